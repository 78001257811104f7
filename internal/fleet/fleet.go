// Package fleet lets several Caddys that share a frappe.Store act as one: a verdict of one serves all, a revocation at one
// reaches all, and failures count together. It trusts a store with nothing but being there: names and values are keyed and
// sealed, ages are measured rather than believed, and whatever the store may have lost is treated as revoked.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
)

// ErrAway says that the store cannot be used now.
var ErrAway = errors.New("the shared store is not available")

// defaultTimeout is how long a request waits for a store that does not say (frappe.StoreTimeout).
const defaultTimeout = 100 * time.Millisecond

// Config is the configuration of a Fleet.
type Config struct {
	// Secret is that of the store.
	Secret []byte

	// Scope names the backends. Verdicts and failures are shared only within a scope; revocations with all.
	Scope string

	// Apply drops verdicts from the memory of this Caddy. It must not call the Fleet.
	Apply func(Revocation)

	// Keep returns the longest time that a verdict may serve. Revocations are kept in the log for as long.
	Keep func() time.Duration

	// Now is the clock. Its times have a monotonic reading.
	Now func() time.Time

	// Random returns numbers in [0, 1), for jitter.
	Random func() float64
}

// Fleet is this Caddy's view of what it shares. It survives a reload; the stores of its configurations are attached to it.
// All methods may be called from many goroutines at once.
type Fleet struct {
	Config
	keys

	origin   uint64 // of the entries that this Fleet writes
	breakers *breaker.Group[path]
	away     atomic.Bool // a breaker is open, and that was logged
	foreign  atomic.Bool // another secret was seen, and that was logged
	count    counters
	kick     chan struct{} // wakes a publisher
	running  chan struct{} // holds an element while a Run follows the log
	flushing chan struct{} // holds an element while the outbox is published
	tried    chan struct{} // closed after the first attempt to read the log

	mu       sync.Mutex
	attached []*attachment // the newest is last
	log      position
	outbox   outbox
	clock    clock
	looked   time.Time       // when the last read of the log began; zero: it was never read
	own      frappe.Position // of the last entry of this Caddy that was read since it began to publish
	unseen   time.Time       // when this Caddy last published something that its reading of the log does not explain
}

// attachment is the store of one configuration.
type attachment struct {
	store   frappe.Store
	timeout time.Duration
	logger  *zap.Logger
}

// path is a way of using a store that may fail by itself, as the writes of a store that is read-only do.
type path string

const (
	reading path = "read"
	writing path = "write"
	logging path = "log"
)

// New returns a Fleet without a store.
func New(conf Config) (*Fleet, error) {
	keys, err := deriveKeys(conf.Secret)
	if err != nil {
		return nil, err
	}
	return &Fleet{
		Config:   conf,
		keys:     keys,
		origin:   rand.Uint64(), //nolint:gosec // it only has to be another one than those of the other Caddys
		breakers: breaker.NewGroup[path](3, conf.Random),
		kick:     make(chan struct{}, 1),
		running:  make(chan struct{}, 1),
		flushing: make(chan struct{}, 1),
		tried:    make(chan struct{}),
		log:      newPosition(),
		outbox:   newOutbox(),
	}, nil
}

// Attach makes a store the one that is used, until detach is called or a newer one is attached.
func (f *Fleet) Attach(store frappe.Store, logger *zap.Logger) (detach func()) {
	a := &attachment{store: store, timeout: defaultTimeout, logger: logger}
	if t, ok := store.(frappe.StoreTimeout); ok && t.Timeout() > 0 {
		a.timeout = t.Timeout()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attached = append(f.attached, a)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for i := range f.attached {
			if f.attached[i] == a {
				f.attached = append(f.attached[:i], f.attached[i+1:]...)
				return
			}
		}
	}
}

// current returns the newest attachment, or nil.
func (f *Fleet) current() *attachment {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.attached) == 0 {
		return nil
	}
	return f.attached[len(f.attached)-1]
}

// callWithin uses the store for a request, for no longer than its timeout and a limit. It returns ErrAway at once while the
// circuit breaker of the path is open. If the limit is shorter than the timeout, reaching it says nothing about the store.
func (f *Fleet) callWithin(a *attachment, p path, limit time.Duration, do func(context.Context, frappe.Store) error) error {
	if limit <= 0 {
		return ErrAway
	}
	probe, err := f.breakers.Acquire(p, f.Now())
	if err != nil {
		return ErrAway
	}
	ctx := context.Background()
	if limit < a.timeout {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		ctx = limited
	}
	return f.try(ctx, a, p, probe, a.timeout, do)
}

// try uses a store and reports the outcome to the breaker of the path. A panic counts as a failure. If ctx ends, the outcome
// says nothing about the store.
func (f *Fleet) try(ctx context.Context, a *attachment, p path, probe bool, timeout time.Duration, do func(context.Context, frappe.Store) error) (err error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the store panicked with a %T", v) // the value may contain a secret
		}
		switch {
		case err == nil:
			f.succeeded(a, p)
		case ctx.Err() != nil:
			f.breakers.Cancel(p, probe)
		default:
			f.failed(a, p, probe, err)
		}
	}()
	return do(limited, a.store)
}

func (f *Fleet) succeeded(a *attachment, p path) {
	if _, wasOpen := f.breakers.Success(p); wasOpen && len(f.breakers.Open()) == 0 && f.away.CompareAndSwap(true, false) {
		a.logger.Info("the shared store is available again")
	}
}

func (f *Fleet) failed(a *attachment, p path, probe bool, err error) {
	n := f.count.failures.Add(1)
	f.breakers.Failure(p, n, f.Now(), probe)
	if len(f.breakers.Open()) > 0 && f.away.CompareAndSwap(false, true) {
		a.logger.Warn("the shared store is not available; this Caddy goes on by itself, from its memory and the backends",
			zap.String("path", string(p)), zap.Error(err))
	}
}

// counters are what Stats reports.
type counters struct {
	failures, published, received atomic.Uint64
}

// Stats is what operators see of a Fleet.
type Stats struct {
	// Source names the store; empty: it does not say.
	Source string

	// Up is false while a circuit breaker of the store is open, and before the log has been read.
	Up bool

	// Failures is how many operations of the store have failed.
	Failures uint64

	// Published and Received are how many entries of the log of revocations this Caddy has written, and has got from others.
	Published, Received uint64

	// LookAge is how long ago the log was last read; negative: never.
	LookAge time.Duration

	// Pending is how many revocations wait to be published.
	Pending int
}

// Stats returns what operators see.
func (f *Fleet) Stats() Stats {
	s := Stats{
		Up:       len(f.breakers.Open()) == 0,
		Failures: f.count.failures.Load(), Published: f.count.published.Load(), Received: f.count.received.Load(),
		LookAge: -1,
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Pending = f.outbox.size()
	if len(f.attached) > 0 {
		if named, ok := f.attached[len(f.attached)-1].store.(fmt.Stringer); ok {
			s.Source = named.String()
		}
	}
	if f.looked.IsZero() {
		s.Up = false
	} else {
		s.LookAge = max(0, f.Now().Sub(f.looked))
	}
	return s
}
