package frappeauth

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/coalesce"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
)

// state is what verifiers of the same backends share, and what outlives a reload of the configuration.
type state struct {
	cache    *cache
	lookups  coalesce.Group[lookupKey, verdict]
	backends []*backendState // of each backend
	failures *rate.Limiter
	now      func() time.Time
	start    time.Time // where the clock of the state begins
	results  [lookupResults]atomic.Uint64

	mu      sync.Mutex
	demands map[*demand]bool
	sharing atomic.Int64 // how many there are
}

// demand is what one of those that share a state asks for.
type demand struct {
	name        string // of the handler
	cacheSize   int
	maxInflight int
}

// lookupKey names a lookup at the backends. A revocation separates lookups: a request that comes after it does not get
// the answer to a lookup from before it.
type lookupKey struct {
	key      cacheKey
	spelling uint64
	revision uint64
}

// states holds the state of each distinct list of backends, by its fingerprint.
var states = caddy.NewUsagePool()

func newState(conf verifierConfig) *state {
	s := &state{
		cache:    newCache(),
		failures: rate.New(),
		now:      conf.now,
		start:    conf.now(),
		demands:  make(map[*demand]bool),
	}
	for _, b := range conf.backends {
		s.backends = append(s.backends, newBackendState(b.name, conf.maxInflight, conf.random))
	}
	return s
}

// Destruct implements caddy.Destructor: nothing is held but memory.
func (*state) Destruct() error { return nil }

// clock is the time on the state's clock, in nanoseconds, which no change of the wall clock moves.
func (s *state) clock(now time.Time) int64 { return int64(now.Sub(s.start)) }

// join takes in a demand, until leave. The cache is as large, and the in-flight limits are as high, as the highest demand.
func (s *state) join(d *demand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.demands[d] = true
	s.adjust()
}

func (s *state) leave(d *demand) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.demands, d)
	s.adjust()
}

func (s *state) adjust() {
	s.sharing.Store(int64(len(s.demands)))
	if len(s.demands) == 0 {
		s.cache.resize(1)
		return // requests that Caddy still has keep their in-flight limits
	}
	size, limit := 1, 1
	for d := range s.demands {
		size, limit = max(size, d.cacheSize), max(limit, d.maxInflight)
	}
	s.cache.resize(size)
	for _, b := range s.backends {
		b.resize(limit)
	}
}

// abandoned reports whether no configuration has the state any more. Caddy may still have requests for it. They ask the
// backends without the cache: what is revoked no longer reaches it.
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
