package fleet

import (
	"context"
	"time"
)

// Place says where a fleet shares: what its Caddys have in common besides the secret. Passwords, timeouts and
// certificates are no part of it, so that correcting them does not make another fleet.
type Place struct {
	Server   string // its URL without user and password
	Database string
	Prefix   string // of all keys
}

// Module is what the guest modules in the namespace `http.frappe_auth.stores` implement.
type Module interface {
	// Place says where the fleet shares.
	Place() Place

	// Secrets are the key material that all Caddys of the fleet have: the one to write with, then those that are still
	// read. Each has at least 32 bytes.
	Secrets() [][]byte

	// Connect returns the connection. The caller closes it, which may be after the module's Cleanup.
	Connect() Connection
}

// Connection reaches what several Caddys share: four scripts, each of which runs as one step, and a wake. Names are
// keyed hashes, and values are encrypted and authenticated, before they reach the store. It may lose them, or return
// others.
//
// Every method returns soon after ctx is done. An error means that the store cannot be used now, and must not contain a
// secret. The methods may be called from many goroutines at once.
type Connection interface {
	// Look reads the states and verdicts of some rings. If there is no verdict that is wanted, it takes the lock, or
	// says who holds it.
	Look(ctx context.Context, q LookQuery) (LookReply, error)

	// Done ends what Look began: it stores or deletes the verdict, releases the lock if the owner holds it, and counts
	// a failure. The error is ErrRefused if the store takes no values.
	Done(ctx context.Context, q DoneQuery) error

	// Publish replaces a state if its version is the given one (empty: there is none), and wakes who waits. ok is false
	// if the version is another.
	Publish(ctx context.Context, at StateKeys, version string, state []byte) (ok bool, err error)

	// Sync returns the states that have other versions than those that are known.
	Sync(ctx context.Context, q SyncQuery) (SyncReply, error)

	// Wait returns once one of the rings was woken after a position, or after patience. Positions are those that Sync
	// returned.
	Wait(ctx context.Context, rings []StateKeys, after []string, patience time.Duration) error

	// Dialled returns how many connections were made so far. A connection counts before its first answer is returned.
	Dialled() uint64

	// Timeout is how long a request waits for one answer.
	Timeout() time.Duration

	// String names the store, without a secret.
	String() string

	// Close releases the connection.
	Close()
}

// StateKeys are the keys of a ring's state and of its wake.
type StateKeys struct{ State, Wake string }

// LookQuery is what Look is asked.
type LookQuery struct {
	Lock, Failures string
	Owner          string
	LockFor        time.Duration // 0: the lock is not taken
	Rings          []LookRing
}

// LookRing is what Look reads of a ring.
type LookRing struct {
	State, Verdict string
	Unwanted       string // the version of a verdict that counts as none
}

// LookReply is what Look answers.
type LookReply struct {
	Time   int64    // the store's clock, in Unix microseconds
	Holder string   // of the lock; empty: nobody, or it was not asked
	Paid   string   // until when the client's failures are paid, by the same clock; empty: there are none
	Rings  []Looked // as they were asked for
}

// Looked is what Look found of a ring.
type Looked struct {
	Version string // of the state
	Verdict string // empty: there is none
}

// DoneQuery is what Done is told.
type DoneQuery struct {
	Lock, Failures, Verdict string
	Owner                   string

	Value  []byte        // nil: the verdict stays as it is
	Keep   time.Duration // how long the value is kept
	Delete bool          // the verdict is deleted

	Cost, Window time.Duration // of a failure; Cost 0: none
	Fingerprint  string        // of the credential that failed; empty: it counts in any case
	Most         int           // how many fingerprints are kept
}

// SyncQuery is what Sync is asked.
type SyncQuery struct {
	Note  string // the key of the note
	Write string // what to write into the note; empty: nothing
	Rings []StateKeys
	Known []string // the versions that are known
}

// SyncReply is what Sync answers.
type SyncReply struct {
	Time        int64  // the store's clock, in Unix microseconds
	Replication string // the server's replication ID
	Full        bool   // the store evicts nothing, and has little room left
	Evicts      bool   // the store evicts any key if it is full
	Note        string // what the note was
	Rings       []Synced
}

// Synced is what Sync found of a ring.
type Synced struct {
	Version string
	State   string // empty if the version is the known one
	Wake    string // the position of the wake
}
