package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// readWait is how long one read of the log waits for a new entry.
	readWait = time.Second

	// logTimeout is how long one pass of the loop may take.
	logTimeout = 3 * time.Second

	// minRetry and maxRetry are the waits between attempts while the store is away.
	minRetry = 100 * time.Millisecond
	maxRetry = 2 * time.Second

	// checkInterval is how often the secret is compared with that of the other Caddys.
	checkInterval = time.Minute
)

// Run follows the log of the newest attached store, and publishes what waits in the outbox, until ctx is done. Of several at
// once, as while a configuration replaces another, one does so. When it ends, another one takes over all that is not done.
func (f *Fleet) Run(ctx context.Context) {
	select {
	case f.running <- struct{}{}:
		defer func() { <-f.running }()
	case <-ctx.Done():
		return
	}
	var both sync.WaitGroup
	defer both.Wait()
	both.Go(func() {
		f.repeatedly(ctx, func(a *attachment) error {
			if err := f.publish(ctx, a); err != nil {
				return err
			}
			select {
			case <-f.kick:
			case <-ctx.Done():
			}
			return nil
		})
	})
	var checked time.Time
	f.repeatedly(ctx, func(a *attachment) error {
		err := f.follow(ctx, a)
		f.hasTried()
		if err != nil {
			return err
		}
		if now := f.Now(); now.Sub(checked) >= checkInterval || f.away.Load() {
			checked = now
			f.checkSecret(a)
		}
		return nil
	})
}

// hasTried lets the requests go on that wait for the first look.
func (f *Fleet) hasTried() {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.tried:
	default:
		close(f.tried)
	}
}

// repeatedly calls do until ctx is done, with growing waits while it fails.
func (f *Fleet) repeatedly(ctx context.Context, do func(*attachment) error) {
	wait := minRetry
	for ctx.Err() == nil {
		if a := f.current(); a != nil && do(a) == nil {
			wait = minRetry
			continue
		}
		timer := time.NewTimer(time.Duration(float64(wait) * (0.75 + f.Random()/2)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		wait = min(2*wait, maxRetry)
	}
}

// follow reads the log once, waiting for a new entry, and then the store's clock.
func (f *Fleet) follow(ctx context.Context, a *attachment) error {
	f.mu.Lock()
	after := f.log.last
	f.mu.Unlock()
	began := f.Now()
	var entries []frappe.LogEntry
	err := f.try(ctx, a, logging, false, logTimeout, func(ctx context.Context, s frappe.Store) (err error) {
		entries, err = s.Read(ctx, after, readWait)
		if err == nil && len(entries) == 1 && entries[0].Epoch == after.Epoch && entries[0].Sequence > after.Sequence+1 {
			// The store waited in vain and returned the last entry. Others came in the meantime.
			entries, err = s.Read(ctx, after, 0)
		}
		return err
	})
	if err != nil {
		return err
	}
	broken := f.apply(after, entries, began)
	var measured clock
	return f.try(ctx, a, logging, false, logTimeout, func(ctx context.Context, s frappe.Store) (err error) {
		if broken != "" {
			if err := s.Reset(ctx, broken); err != nil {
				return err
			}
		}
		measured.sent = f.Now()
		if measured.store, err = s.Time(ctx); err != nil {
			return err
		}
		measured.received = f.Now()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.clock = measured
		return nil
	})
}

// apply takes over what was read after a position. It does nothing if another Run was faster. It returns the epoch of
// a log that has lost entries, and must start anew.
func (f *Fleet) apply(after frappe.Position, entries []frappe.LogEntry, began time.Time) (broken string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.log.last != after || len(entries) == 0 {
		return ""
	}
	for _, e := range entries {
		if e.Position == f.log.last {
			continue
		}
		missed := f.log.advance(e.Position)
		if missed {
			f.Apply(Revocation{Everything: true})
		}
		r, origin := decodeRevocation(e.Data)
		f.log.record(e.Sequence, r)
		if origin == f.origin {
			f.own = e.Position
		}
		if origin == f.origin || len(r.Tags) == 0 && !r.Everything {
			continue // it took effect here before it was published
		}
		f.count.received.Add(1)
		if !missed {
			f.Apply(r)
		}
	}
	f.looked = began
	if f.log.broken {
		return f.log.last.Epoch
	}
	return ""
}

// secretCheck is the name of a value that each Caddy of the fleet can open.
const secretCheck = "secret"

// checkSecret compares the secret with that of the other Caddys. It also probes a store that was away.
func (f *Fleet) checkSecret(a *attachment) {
	var value []byte
	err := f.callWithin(a, reading, a.timeout, func(ctx context.Context, s frappe.Store) (err error) {
		value, err = s.Get(ctx, secretCheck)
		return err
	})
	if err != nil {
		return
	}
	if len(value) > 0 {
		if _, err := f.opened(secretCheck, value); err != nil {
			if f.foreign.CompareAndSwap(false, true) {
				a.logger.Warn("another Caddy uses the same shared store with another secret, so nothing is shared with it; " +
					"set the same secret on every Caddy, or another prefix")
			}
			return
		}
		f.foreign.Store(false)
	}
	sealed, err := f.sealed(secretCheck, []byte("frappe-auth"))
	if err != nil {
		return
	}
	_ = f.callWithin(a, writing, a.timeout, func(ctx context.Context, s frappe.Store) error {
		return s.Set(ctx, secretCheck, sealed, 3*checkInterval)
	})
}
