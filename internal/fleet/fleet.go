// Package fleet lets several Caddys that share a store act as one: a verdict of one serves all, a revocation at one
// reaches all, and failures count together.
//
// All Caddys hold the same small state: the stamp of the last revocation of each tag. The store holds a sealed copy,
// which is replaced by compare-and-set. A verdict carries the stamp that its Caddy knew before it asked a backend. It
// is good while the state is of the same generation and none of its tags has a later stamp. The store is trusted with
// nothing but being there: what it returns is authenticated, ages are measured rather than believed, and whatever it
// may have lost counts as revoked. docs/redis.md explains the whole.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/internal/breaker"
)

var (
	// ErrAway says that the store cannot be used now.
	ErrAway = errors.New("the shared store is not available")

	// ErrRefused says that the store takes no values: it is full, or read-only.
	ErrRefused = errors.New("the shared store takes no values")
)

// Registry holds what this Caddy shares, across configurations: what it knows of each place, and what waits to be
// published.
type Registry struct {
	now    func() time.Time
	random func() float64
	began  time.Time

	revoked revoked

	mu     sync.Mutex
	fleets map[Place]*fleet
	left   map[string]Revocation // by prefix: what a fleet that ended could not publish
}

// NewRegistry returns an empty Registry. now returns the time, with a monotonic reading. random returns numbers in [0,
// 1), for jitter.
func NewRegistry(now func() time.Time, random func() float64) *Registry {
	return &Registry{
		now: now, random: random, began: now(), fleets: make(map[Place]*fleet), left: make(map[string]Revocation),
		revoked: revoked{tags: make(map[uint64]heard)},
	}
}

// Revoked notes what was revoked at this Caddy without a Member. From then on, no Member takes a verdict from before.
func (r *Registry) Revoked(what Revocation) { r.revoked.add(what, r.now(), Place{}) }

// Member is what shares verdicts within a fleet: the handlers with the same backends, across reloads.
type Member struct {
	fleet *fleet
	scope string
	apply func(Revocation)
}

// Join returns a member of the fleet of a place. Verdicts and failures are shared only with members of the same scope
// at other Caddys, revocations with all. apply drops verdicts from the member's memory; it must not call the Member.
// The caller must call Leave.
func (r *Registry) Join(place Place, scope string, apply func(Revocation)) *Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.fleets[place]
	if f == nil {
		f = newFleet(r, place)
		r.fleets[place] = f
	}
	m := &Member{fleet: f, scope: scope, apply: apply}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = append(f.members, m)
	return m
}

// Leave ends what Join began.
func (m *Member) Leave() {
	r, f := m.fleet.registry, m.fleet
	r.mu.Lock()
	defer r.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.members = slices.DeleteFunc(f.members, func(other *Member) bool { return other == m })
	if len(f.members) == 0 {
		delete(r.fleets, f.place)
	}
}

// fleet is what this Caddy knows of one place.
type fleet struct {
	registry *Registry
	place    Place
	breakers *breaker.Group[path]
	away     atomic.Bool // a breaker is open, and that was logged
	foreign  atomic.Bool // another secret was seen, and that was logged
	failures atomic.Uint64
	kick     chan struct{} // wakes the publisher
	busy     chan struct{} // holds an element while states are read or replaced
	tried    chan struct{} // closed after the first sync, or the first failed attempt

	mu       sync.Mutex
	members  []*Member
	attached []*attachment   // the newest is last
	stop     func()          // ends the loops, and waits for them; nil: there are none
	pass     context.Context // done when another attachment is the newest
	endPass  context.CancelFunc
	rings    []*ring // one for each secret; verdicts are written to the first
	outbox   outbox
	clock    clock
	back     bool // the store's clock went back: everything is to be revoked
	budget   budget
	hold     hold
	full     bool      // the store has little room left
	evicts   bool      // the store evicts any key
	marked   mark      // the connection of the last sync
	looked   time.Time // when the last sync began; zero: there was none
	noted    time.Time // when the note was last written

	published, received uint64
}

// ring is what Caddys with the same secret share at one place.
type ring struct {
	keys
	name string
	at   StateKeys

	// The following belong to the fleet's mutex; only who holds busy changes them.
	state   *state // nil: it was never read
	version string // of the stored state
	wake    string // the position of the last wake
	ok      bool   // state is the stored one, and may be used
	doubted bool   // state also has what was read but not trusted, and not applied

	published uint64 // the number in the outbox up to which the ring holds everything
}

// attachment is the connection of one configuration.
type attachment struct {
	store  Connection
	rings  []*ring
	logger *zap.Logger
	users  int // the configuration, and what is under way; guarded by the fleet's mutex
}

// mark tells a connection from those before it.
type mark struct {
	attachment *attachment
	dialled    uint64
}

func newFleet(r *Registry, place Place) *fleet {
	return &fleet{
		registry: r,
		place:    place,
		breakers: breaker.NewGroup[path](4, r.random),
		kick:     make(chan struct{}, 1),
		busy:     make(chan struct{}, 1),
		tried:    make(chan struct{}),
		outbox:   newOutbox(),
		budget:   budget{tokens: maxLosses},
	}
}

// Attach makes a store the one that is used, until detach is called or a newer one is attached. The last detach
// publishes what waits, for a second at most.
func (m *Member) Attach(module Module, logger *zap.Logger) (detach func(), err error) {
	f := m.fleet
	secrets := module.Secrets()
	if len(secrets) == 0 || len(secrets) > maxSecrets {
		return nil, fmt.Errorf("the shared store has %d secrets; give it 1 to %d", len(secrets), maxSecrets)
	}
	a := &attachment{logger: logger, users: 1}
	for _, secret := range secrets {
		k, err := deriveKeys(f.place, secret)
		if err != nil {
			return nil, err
		}
		rg := &ring{keys: k, name: k.id("ring")}
		rg.at = StateKeys{State: k.key("s", rg.name), Wake: k.key("w", rg.name)}
		a.rings = append(a.rings, rg)
	}
	a.store = module.Connect()
	f.attach(a)
	return sync.OnceFunc(func() { f.detach(a) }), nil
}

func (f *fleet) attach(a *attachment) {
	f.registry.mu.Lock()
	left, any := f.registry.left[f.place.Prefix]
	delete(f.registry.left, f.place.Prefix)
	f.registry.mu.Unlock()

	f.mu.Lock()
	defer f.mu.Unlock()
	if any {
		f.revoke(left, nil)
	}
	f.attached = append(f.attached, a)
	f.chooseRings()
	f.renew()
	if f.stop == nil {
		f.start()
	}
}

// detach ends the use of a connection. The last one publishes what waits, and leaves the rest to another fleet with the
// same prefix, such as one with a new URL.
func (f *fleet) detach(a *attachment) {
	f.mu.Lock()
	var stop func()
	if len(f.attached) == 1 {
		stop, f.stop = f.stop, nil
	}
	f.mu.Unlock()
	var err error
	if stop != nil {
		stop()
		ctx, cancel := context.WithTimeout(context.Background(), lastTimeout)
		err = f.publish(ctx, a)
		cancel()
	}

	f.mu.Lock()
	newest := f.attached[len(f.attached)-1] == a
	f.attached = slices.DeleteFunc(f.attached, func(other *attachment) bool { return other == a })
	f.chooseRings()
	if newest {
		f.renew()
	}
	var left Revocation
	if len(f.attached) == 0 {
		left = f.outbox.after(0)
		f.outbox.remove(f.outbox.number)
	}
	f.mu.Unlock()
	f.unuse(a)
	if left.size() > 0 && !f.registry.leave(f.place.Prefix, left) {
		a.logger.Warn("revocations could not be published before the end; other Caddys use what they have cached until ttl",
			zap.Int("revocations", max(1, len(left.Tags))), zap.Error(err))
	}
}

// leave gives what a fleet could not publish to the others with its prefix. If there are none, it is kept for one that
// may come.
func (r *Registry) leave(prefix string, left Revocation) (taken bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for place, f := range r.fleets {
		if place.Prefix == prefix && f.take(left) {
			taken = true
		}
	}
	if !taken && len(r.left) < maxLeft {
		left.add(r.left[prefix])
		if left.Everything || len(left.Tags) > maxWaiting {
			left = Revocation{Everything: true}
		}
		r.left[prefix] = left
	}
	return taken
}

// take publishes what another fleet could not, if this one is in use.
func (f *fleet) take(left Revocation) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.attached) == 0 {
		return false
	}
	f.revoke(left, nil)
	return true
}

// chooseRings makes the rings those of all attachments, beginning with those of the newest. A ring that stays keeps
// what it knows.
func (f *fleet) chooseRings() {
	var rings []*ring
	for _, a := range slices.Backward(f.attached) {
		for i, wanted := range a.rings {
			same := func(r *ring) bool { return r.name == wanted.name }
			if at := slices.IndexFunc(f.rings, same); at >= 0 {
				a.rings[i] = f.rings[at]
			}
			if !slices.ContainsFunc(rings, same) {
				rings = append(rings, a.rings[i])
			}
		}
	}
	for _, gone := range f.rings {
		if len(rings) == 0 || gone.state == nil || slices.Contains(rings, gone) {
			continue
		}
		// What was published under that secret only, and what this Caddy has not relayed yet.
		missing := Revocation{Everything: true}
		if rings[0].state != nil {
			missing = gone.state.missing(rings[0].state)
		}
		if missing.size() > 0 {
			f.outbox.add(missing)
		}
	}
	f.rings = rings
}

// current returns the newest attachment, or nil, and a context that is done when another one becomes it.
func (f *fleet) current() (*attachment, context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.attached) == 0 {
		return nil, f.pass
	}
	return f.attached[len(f.attached)-1], f.pass
}

// use returns the newest attachment, or nil, and the rings. The caller must give the attachment to unuse.
func (f *fleet) use() (*attachment, []*ring) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.attached) == 0 {
		return nil, nil
	}
	a := f.attached[len(f.attached)-1]
	a.users++
	return a, f.rings
}

// unuse ends a use. The last one closes the connection.
func (f *fleet) unuse(a *attachment) {
	f.mu.Lock()
	a.users--
	unused := a.users == 0
	f.mu.Unlock()
	if unused {
		a.store.Close()
	}
}

// renew makes everything that waits use the newest attachment.
func (f *fleet) renew() {
	if f.endPass != nil {
		f.endPass()
	}
	f.pass, f.endPass = context.WithCancel(context.Background())
}

// path is a way of using a store that may fail by itself, as the writes of a store that is read-only do.
type path string

const (
	reading    path = "read"
	writing    path = "write"
	syncing    path = "sync"
	publishing path = "publish"
)

// request uses the store for a request, for no longer than its timeout and a limit. It returns ErrAway at once while
// the circuit breaker of the path is open. If the limit is shorter than the timeout, reaching it says nothing about the
// store.
func (f *fleet) request(a *attachment, p path, limit time.Duration, do func(context.Context) error) error {
	if limit <= 0 {
		return ErrAway
	}
	probe, err := f.breakers.Acquire(p, f.registry.now())
	if err != nil {
		return ErrAway
	}
	ctx := context.Background()
	if limit < a.store.Timeout() {
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		ctx = limited
	}
	return f.try(ctx, a, p, probe, a.store.Timeout(), do)
}

// try uses a store and reports the outcome to the breaker of the path. A panic counts as a failure. If ctx ends, the
// outcome says nothing about the store.
func (f *fleet) try(ctx context.Context, a *attachment, p path, probe bool, timeout time.Duration,
	do func(context.Context) error,
) (err error) {
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the store panicked with a %T", v) // the value may contain a secret
		}
		switch {
		case err == nil:
			_, wasOpen := f.breakers.Success(p)
			if wasOpen && len(f.breakers.Open()) == 0 && f.away.CompareAndSwap(true, false) {
				a.logger.Info("the shared store is available again")
			}
		case ctx.Err() != nil:
			f.breakers.Cancel(p, probe)
		default:
			f.breakers.Failure(p, f.failures.Add(1), f.registry.now(), probe)
			if len(f.breakers.Open()) > 0 && f.away.CompareAndSwap(false, true) {
				a.logger.Warn("the shared store is not available; this Caddy goes on by itself, "+
					"from its memory and the backends", zap.String("path", string(p)), zap.Error(err))
			}
		}
	}()
	return do(limited)
}

// Stats is what operators see of a fleet.
type Stats struct {
	// Source names the store; empty: there is none now.
	Source string

	// Up is false while a circuit breaker of the store is open, and before the first sync.
	Up bool

	// Failures is how many operations of the store have failed.
	Failures uint64

	// Published is how often this Caddy has published revocations, and Received how often it has heard of others'.
	Published, Received uint64

	// LookAge is how long ago the state was last compared; negative: never.
	LookAge time.Duration

	// Pending is how many revocations wait to be published, also under a new secret.
	Pending int
}

// Stats returns what operators see.
func (m *Member) Stats() Stats {
	f := m.fleet
	open := len(f.breakers.Open())
	f.mu.Lock()
	defer f.mu.Unlock()
	s := Stats{
		Up: open == 0 && !f.looked.IsZero(), LookAge: -1, Pending: f.outbox.size() + f.relayed().size(),
		Failures: f.failures.Load(), Published: f.published, Received: f.received,
	}
	if n := len(f.attached); n > 0 {
		s.Source = f.attached[n-1].store.String()
	}
	if !f.looked.IsZero() {
		s.LookAge = max(0, f.registry.now().Sub(f.looked))
	}
	return s
}
