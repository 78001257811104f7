package frappeauth

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/coalesce"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// stateConfig is the configuration of a state.
type stateConfig struct {
	backends            []backends.Backend
	backendsFingerprint string
	store               frappe.Store // nil: nothing is shared with other Caddys
	fingerprint         string       // of the backends and the store
	maxInflight         int
	now                 func() time.Time
	random              func() float64 // in [0, 1)
}

// state is what verifiers with the same backends share. It survives a reload of the configuration.
type state struct {
	cache    *cache
	fleet    *fleet.Fleet // nil: nothing is shared with other Caddys
	lookups  coalesce.Group[lookupKey, verdict]
	backends []*backends.State
	feeds    backends.Feeds
	failures *rate.Limiter
	now      func() time.Time
	clock    *verdicts.Clock // of the ages of verdicts and of failures
	results  [lookupResults]atomic.Uint64

	mu      sync.Mutex
	demands map[*demand]bool
	sharing atomic.Int64 // number of demands
}

// demand is what one verifier asks of the shared state.
type demand struct {
	name        string // of the handler
	cacheSize   int
	maxInflight int
	longest     time.Duration // that a granted verdict may serve
	feeds       []backends.Feed
}

// lookupKey identifies a lookup, for coalescing. It contains the revision, so a request that arrives after a revocation
// never gets the answer to a lookup from before it.
type lookupKey struct {
	key      verdicts.Key
	spelling uint64
	revision uint64
}

// states holds one state for each distinct list of backends, by its fingerprint.
var states = caddy.NewUsagePool()

func newState(conf stateConfig) (*state, error) {
	s := &state{
		failures: rate.New(),
		now:      conf.now,
		clock:    verdicts.NewClock(conf.now()),
		demands:  make(map[*demand]bool),
	}
	for _, b := range conf.backends {
		s.backends = append(s.backends, backends.NewState(b.Name, conf.maxInflight, conf.random))
	}
	if conf.store == nil {
		s.cache = newCache(nil)
		return s, nil
	}
	var err error
	s.fleet, err = fleet.New(fleet.Config{
		Secret: conf.store.Secret(),
		Scope:  conf.backendsFingerprint,
		Apply:  func(r fleet.Revocation) { s.cache.apply(r) },
		Keep:   s.longestVerdict,
		Now:    conf.now,
		Random: conf.random,
	})
	if err != nil {
		return nil, err
	}
	s.cache = newCache(s.fleet.TagKey())
	return s, nil
}

// Destruct implements caddy.Destructor. The state holds only memory, so there is nothing to do.
func (*state) Destruct() error { return nil }

// join adds a demand until leave. The cache size and the in-flight limits follow the highest demand.
func (s *state) join(d *demand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demands[d] = true
	s.feeds.Add(d.feeds)
	s.adjust()
}

// leave takes back what join did, if it was called.
func (s *state) leave(d *demand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.demands[d] {
		delete(s.demands, d)
		s.feeds.Remove(d.feeds)
		s.adjust()
	}
}

func (s *state) adjust() {
	s.sharing.Store(int64(len(s.demands)))
	if len(s.demands) == 0 {
		s.cache.Resize(1)
		return // keep the in-flight limits for the requests that Caddy is still finishing
	}
	size, limit := 1, 1
	for d := range s.demands {
		size, limit = max(size, d.cacheSize), max(limit, d.maxInflight)
	}
	s.cache.Resize(size)
	for _, b := range s.backends {
		b.Resize(limit)
	}
}

// longestVerdict returns the longest time that a granted verdict may serve.
func (s *state) longestVerdict() (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.demands {
		longest = max(longest, d.longest)
	}
	return longest
}

// abandoned reports whether no configuration uses the state any more. Caddy may still be finishing requests for it. They
// ask the backends without the cache, because revocations no longer reach that cache.
func (s *state) abandoned() bool { return s.sharing.Load() == 0 }

// serves reports whether a handler of that name shares the state.
func (s *state) serves(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.demands {
		if d.name == name {
			return true
		}
	}
	return false
}
