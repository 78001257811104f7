package frappeauth

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/coalesce"
)

// state is what verifiers of the same backends share, and what outlives a reload of the configuration.
type state struct {
	cache    *cache
	lookups  coalesce.Group[lookupKey, verdict]
	backends []*backendState // of each backend
	throttle *throttle
	now      func() time.Time
	start    time.Time // where the clock of the state begins
	results  [lookupResults]atomic.Uint64

	mu        sync.Mutex
	verifiers map[*verifier]bool
	sharing   atomic.Int64 // how many they are
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
		cache:     newCache(),
		throttle:  newThrottle(),
		now:       conf.now,
		start:     conf.now(),
		verifiers: make(map[*verifier]bool),
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

// join makes a verifier one of those that share the state. The cache is as large, and the in-flight limits are as high, as
// the most demanding of them asks for.
func (s *state) join(v *verifier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verifiers[v] = true
	s.adjust()
}

func (s *state) leave(v *verifier) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.verifiers, v)
	s.adjust()
}

func (s *state) adjust() {
	s.sharing.Store(int64(len(s.verifiers)))
	if len(s.verifiers) == 0 {
		s.cache.resize(1)
		return // requests that Caddy still has keep their in-flight limits
	}
	size, limit := 1, 1
	for v := range s.verifiers {
		size, limit = max(size, v.cache.Size), max(limit, v.maxInflight)
	}
	s.cache.resize(size)
	for _, g := range s.backends {
		g.resize(limit)
	}
}

// abandoned reports whether no configuration has the state any more. Caddy may still have requests for it. They ask the
// backends without the cache: what is revoked no longer reaches it.
func (s *state) abandoned() bool { return s.sharing.Load() == 0 }

// sharers are the verifiers that share the state, by name.
func (s *state) sharers() []*verifier {
	s.mu.Lock()
	defer s.mu.Unlock()
	sharers := make([]*verifier, 0, len(s.verifiers))
	for v := range s.verifiers {
		sharers = append(sharers, v)
	}
	slices.SortStableFunc(sharers, func(a, b *verifier) int { return strings.Compare(a.name, b.name) })
	return sharers
}

// serves reports whether a verifier of that name shares the state.
func (s *state) serves(name string) bool {
	return slices.ContainsFunc(s.sharers(), func(v *verifier) bool { return v.name == name })
}
