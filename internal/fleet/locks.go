package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// lockTTL is how long one Caddy may keep the others from asking a backend about a credential. If it dies, they wait as long.
	lockTTL = 3 * time.Second

	// minPoll and maxPoll are how long a Caddy waits before it looks again whether another has stored a verdict.
	minPoll = 2 * time.Millisecond
	maxPoll = 50 * time.Millisecond
)

// Lock makes this Caddy the one that asks a backend about the verdict with a name, or waits for another that is asking. found
// is called each time the verdict may have been stored meanwhile; if it returns true, Lock returns. The caller must call
// unlock in any case. If the store is away, or another Caddy takes longer than a few seconds, Lock returns without the lock.
//
// It waits for one other Caddy only. If that one is done and has stored no verdict, because the credential is bad or the
// backend unavailable, all who waited for it ask at once, as they would without a lock: one after another, many Caddys
// would make the last one wait long.
func (x *Exchange) Lock(name string, found func() bool) (unlock func()) {
	owner := rand.Text()
	release := func() {
		if a := x.fleet.current(); a != nil {
			_ = x.fleet.callWithin(a, writing, a.timeout, func(ctx context.Context, s frappe.Store) error { return s.Unlock(ctx, name, owner) })
		}
	}
	deadline := time.Now().Add(lockTTL)
	var (
		awaited string        // the Caddy that is waited for
		spent   time.Duration // before it was
	)
	for wait := minPoll; ; wait = min(2*wait, maxPoll) {
		var holder string
		err := x.write(func(ctx context.Context, s frappe.Store) (err error) {
			holder, err = s.Lock(ctx, name, owner, lockTTL)
			return err
		})
		switch {
		case errors.Is(err, ErrAway):
			return func() {} // the store was not asked
		case err != nil:
			return release // the lock may have been taken, although the answer did not come in time
		case found() || holder == owner:
			if holder != owner {
				return func() {}
			}
			return release
		case awaited != "" && holder != awaited, time.Until(deadline) <= 0:
			return func() {}
		}
		if awaited == "" {
			spent = x.spent
		}
		awaited, x.spent = holder, spent
		time.Sleep(min(wait, time.Until(deadline)))
	}
}
