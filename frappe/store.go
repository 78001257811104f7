package frappe

import (
	"context"
	"time"
)

// Store is what several Caddys share: verdicts, revocations and failures. Stores are guest modules in the namespace
// `http.frappe_auth.stores`. Names are keyed hashes, and values are encrypted and authenticated, before they reach a
// store. So a store cannot read, forge or move a verdict; it can only lose one.
//
// Every method returns soon after ctx is done. An error means that the store cannot be used now, and must not contain a
// secret. The methods may be called from many goroutines at once. A store that holds connections closes them in its
// Cleanup (caddy.CleanerUpper); those of equal configurations should be shared across a reload.
type Store interface {
	// Secret is the key material that all Caddys share. Names and values are derived from it. It has at least 32 bytes.
	Secret() []byte

	// Get returns the value under a name, or nil if there is none.
	Get(ctx context.Context, name string) ([]byte, error)

	// Set stores a value. It may be lost at any time, and must be gone after ttl.
	Set(ctx context.Context, name string, value []byte, ttl time.Duration) error

	// Delete removes the value under a name.
	Delete(ctx context.Context, name string) error

	// Lock takes the lock of a name for owner, for at most ttl, unless another owner holds it. It returns the owner that
	// holds it now.
	Lock(ctx context.Context, name, owner string, ttl time.Duration) (holder string, err error)

	// Unlock releases the lock of a name if owner still holds it.
	Unlock(ctx context.Context, name, owner string) error

	// Charge adds a cost to the debt of a name, which time pays off: a debt of one second is gone a second later. The
	// debt never exceeds limit. Charge returns the new debt. With a cost of 0 it only returns the debt.
	Charge(ctx context.Context, name string, cost, limit time.Duration) (time.Duration, error)

	// Append adds an entry to the log of revocations. Entries older than keep may be removed. It returns the position of
	// the new entry. If there is no log, Append starts one with a new epoch.
	Append(ctx context.Context, data []byte, keep time.Duration) (Position, error)

	// Read returns the entries of the log after a position, oldest first; after the zero Position, all that are left. It
	// waits for a new entry for at most wait, and then returns the last entry of the log. So it never returns an empty list
	// without an error. If entries came while it waited, it should return all of them rather than the last only. If there is
	// no log, Read starts one with a new epoch, whose first entry has no data.
	//
	// Sequence numbers are consecutive within an epoch. A caller that sees a gap, a number it has seen before under
	// another ID, or another epoch has missed entries.
	Read(ctx context.Context, after Position, wait time.Duration) ([]LogEntry, error)

	// Reset starts a new epoch, unless the log is no longer in the given one.
	Reset(ctx context.Context, epoch string) error

	// Time returns the time by the store's clock, which all Caddys share.
	Time(ctx context.Context) (time.Time, error)
}

// StoreTimeout is an optional interface of a Store.
type StoreTimeout interface {
	// Timeout is how long a request waits for one answer of the store before it goes on without. The default is 100 milliseconds.
	Timeout() time.Duration
}

// Position is a position in the log of a Store.
type Position struct {
	// Epoch names the log. A log that was lost, and begun anew, has another one.
	Epoch string

	// Sequence is the number of the entry in its epoch, from 1.
	Sequence uint64

	// ID is the store's own name for the entry.
	ID string
}

// LogEntry is an entry in the log of a Store.
type LogEntry struct {
	Position

	// Data is what was appended. It is empty in the entry that starts an epoch.
	Data []byte
}
