package frappeauth

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	weakrand "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/coalesce"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/streams"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// stateConfig is the configuration of a state.
type stateConfig struct {
	backends            []backends.Loaded
	backendsFingerprint string
	store               fleet.Module // nil: nothing is shared with other Caddys
	registry            *fleet.Registry
	fingerprint         string // of the backends and the store's place
	maxInflight         int
	now                 func() time.Time
	random              func() float64 // in [0, 1)
}

// state is what verifiers with the same backends share. It survives a reload of the configuration.
type state struct {
	cache    *cache
	fleet    *fleet.Member // nil: nothing is shared with other Caddys
	registry *fleet.Registry
	lookups  coalesce.Group[lookupKey, verdict]
	backends []*backends.State
	feeds    backends.Feeds
	failures *rate.Limiter
	streams  *streams.Set
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

// fleets holds what this process shares with other Caddys. It survives a reload of the configuration.
var fleets = fleet.NewRegistry(time.Now, weakrand.Float64)

// stateOf returns the state with the fingerprint of a configuration. The caller must delete it from states.
func stateOf(conf stateConfig) (*state, error) {
	pooled, _, err := states.LoadOrNew(conf.fingerprint, func() (caddy.Destructor, error) { return newState(conf), nil })
	if err != nil {
		return nil, err
	}
	return pooled.(*state), nil
}

func newState(conf stateConfig) *state {
	s := &state{
		cache:    newCache(fleet.TagKey()), // what is revoked now also counts for what is shared after a reload
		registry: conf.registry,
		failures: rate.New(),
		streams:  streams.New(),
		now:      conf.now,
		clock:    verdicts.NewClock(conf.now()),
		demands:  make(map[*demand]bool),
	}
	for _, b := range conf.backends {
		s.backends = append(s.backends, backends.NewState(b.Name, conf.maxInflight, conf.random))
	}
	if conf.store == nil {
		return s
	}
	s.fleet = conf.registry.Join(conf.store.Place(), conf.backendsFingerprint, s.apply)
	return s
}

// Destruct implements caddy.Destructor.
func (s *state) Destruct() error {
	if s.fleet != nil {
		s.fleet.Leave()
	}
	return nil
}

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

// abandoned reports whether no configuration uses the state any more. Caddy may still be finishing requests for it.
// They ask the backends without the cache, because revocations no longer reach that cache.
func (s *state) abandoned() bool { return s.sharing.Load() == 0 }

// serves reports whether a handler of that name shares the state; with an empty name, any.
func (s *state) serves(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d := range s.demands {
		if name == "" || d.name == name {
			return true
		}
	}
	return false
}

// names returns the names of the handlers that share the state, each once and sorted. That of an unnamed one is empty.
func (s *state) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(s.demands))
	for d := range s.demands {
		names = append(names, d.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// name returns the first name of a handler that shares the state; empty if none has a name.
func (s *state) name() string {
	for _, name := range s.names() {
		if name != "" {
			return name
		}
	}
	return ""
}

// statesOf returns the states of the handlers with that name, or of all handlers if it is empty. They are sorted by the
// names of their handlers, unnamed ones last. Unnamed ones keep their order until the configuration changes.
func statesOf(name string) []*state {
	keys := make(map[*state]string)
	states.Range(func(fingerprint, value any) bool {
		if s := value.(*state); s.serves(name) {
			first := s.name()
			if first == "" {
				first = "\xff"
			}
			keys[s] = first + "\xff" + fingerprint.(string)
		}
		return true
	})
	return slices.SortedFunc(maps.Keys(keys), func(a, b *state) int { return strings.Compare(keys[a], keys[b]) })
}

// lookupResult says where a verdict came from, for the metrics and the admin API.
type lookupResult uint8

const (
	lookupHit lookupResult = iota
	lookupHitDenied
	lookupMiss
	lookupStale
	lookupShared
	lookupResults // number of results
)

var lookupResultNames = [lookupResults]string{"hit", "hit_denied", "miss", "stale", "shared"}

func init() { telemetry.ExpectLookups(lookupResultNames[:]...) }

// count counts a verdict by where it came from.
func (s *state) count(v verdict) {
	var result lookupResult
	switch v.cache {
	case cacheHit:
		if v.err != nil {
			result = lookupHitDenied
		}
	case cacheMiss:
		result = lookupMiss
	case cacheStale:
		result = lookupStale
	case cacheShared:
		result = lookupShared
	default:
		return
	}
	s.results[result].Add(1)
	telemetry.CountLookup(lookupResultNames[result])
}

// drop drops the verdicts that changes select: here at once, and soon in the other Caddys that share a store. It does
// not wait for them.
func (s *state) drop(changes ...frappe.Change) {
	r := s.cache.revocation(changes...)
	switch {
	case !r.Everything && len(r.Tags) == 0:
	case s.fleet == nil:
		s.registry.Revoked(r)
		s.apply(r)
	default:
		s.fleet.Revoke(r)
	}
}

// apply drops the verdicts that a revocation selects. The streams that they opened are confirmed anew.
func (s *state) apply(r fleet.Revocation) {
	s.cache.apply(r)
	s.streams.Revoked()
}

// dropUnwatched drops the verdicts from before a backend or feed was watched, since changes to them may have been
// missed. Of those in the store it drops what this Caddy has shared: the others watch by themselves, or tell it what
// they were told.
func (s *state) dropUnwatched() {
	claims := s.cache.PurgeOwn()
	s.streams.Revoked()
	if s.fleet != nil && len(claims) > 0 {
		s.fleet.Revoke(fleet.Revocation{Tags: claims})
	}
}

// publish waits until the other Caddys are told what was dropped. An error says that they are not yet: they will be
// once the store is available again.
func (s *state) publish(ctx context.Context) error {
	if s.fleet == nil {
		return nil
	}
	return s.fleet.Publish(ctx)
}

// maxRevoke is how long an answer waits until the other Caddys are told, by all handlers together. Frappe gives up on a
// webhook after 5 seconds, and would not log what the answer says.
const maxRevoke = 4 * time.Second

// revoke drops the verdicts that changes select, in the caches of all handlers or of those with that name. It reports
// whether there was such a cache. An error says that other Caddys could not be told yet.
func revoke(
	ctx context.Context, name string, changes []frappe.Change, source telemetry.Source,
) (found bool, err error) {
	concerned := statesOf(name)
	for _, s := range concerned {
		s.drop(changes...)
	}
	ctx, cancel := context.WithTimeout(ctx, maxRevoke)
	defer cancel()
	for _, s := range concerned {
		if failed := s.publish(ctx); failed != nil {
			err = fmt.Errorf("the verdicts were dropped here, but the other Caddys could not be told yet: %w", failed)
		}
	}
	if len(concerned) > 0 {
		for range changes {
			telemetry.CountRevocation(source)
		}
	}
	return len(concerned) > 0, err
}

// sharedLookup is one lookup's part in what several Caddys share. Nil: nothing is shared. It belongs to the goroutine
// of the lookup.
type sharedLookup struct {
	*lookup
	state     *state
	lifetimes verdicts.Lifetimes
	exchange  *fleet.Lookup
	outcome   fleet.Outcome
	found     bool // the store had a verdict: the credential was good
	mayStale  bool // that verdict may serve stale
}

// share returns a lookup's part in what is shared. The caller must end it.
func (s *state) share(l *lookup, lifetimes verdicts.Lifetimes) *sharedLookup {
	if s.fleet == nil {
		return nil
	}
	var limit fleet.Limit
	if l.failures.Max > 0 {
		limit = fleet.Limit{Client: l.client.String(), Max: l.failures.Max, Window: l.failures.Window}
	}
	// Unlike the key in memory, the name of the verdict depends on the exact spelling.
	kind, claim := claimOf(&l.credential)
	name := append([]string{kind, claim, l.credential.Secret}, l.sites...)
	return &sharedLookup{lookup: l, state: s, lifetimes: lifetimes, exchange: s.fleet.Lookup(limit, name...)}
}

// end stores what the backends said, and lets other Caddys ask about the credential.
func (s *sharedLookup) end() {
	if s != nil {
		s.exchange.End(s.outcome)
	}
}

// sharedGrant is the value of a verdict in the store.
type sharedGrant struct {
	Backend  int             `json:"backend"` // position in the configuration, which is part of the verdict's name
	Identity frappe.Identity `json:"identity"`
}

// grant returns the grant of another Caddy, and caches it. It waits if another Caddy is asking the backends, unless no
// backend may be asked anyway.
func (s *sharedLookup) grant(mayAsk bool) (g *grant) {
	if s == nil || s.subject.Uncached {
		return nil
	}
	s.exchange.Find(mayAsk, func(found *fleet.Verdict) bool {
		g = s.take(found)
		return g != nil
	})
	return g
}

// take caches a grant of the store with its true age, and returns it. A grant that may only serve stale is cached too,
// for the case that the backends are unavailable, but is not returned.
func (s *sharedLookup) take(found *fleet.Verdict) *grant {
	s.found = true
	began := s.state.cache.Begin() // what is revoked before, found.Current knows
	var value sharedGrant
	if json.Unmarshal(found.Plain, &value) != nil || value.Backend < 0 || value.Backend >= len(s.state.backends) ||
		!frappe.ValidUser(value.Identity.User) {
		return nil
	}
	by, site := s.state.backends[value.Backend], siteOf(s.sites, value.Backend)
	g := s.state.cache.newGrant(&s.credential, s.subject.Spelling, value.Identity, by, site)
	now := s.state.now()
	g.At = s.state.clock.At(now) - int64(found.Age)
	freshness := s.lifetimes.Freshness(g.Validity, found.Age, now)
	if all := g.Tags.All(); freshness > verdicts.Stale || !found.Current(all[:]...) {
		return nil
	}
	cached, evicted := s.state.cache.Adopt(s.subject, g, began)
	if evicted {
		telemetry.CountEviction(telemetry.VerdictGranted)
	}
	if !cached {
		return nil
	}
	if freshness == verdicts.Fresh || freshness == verdicts.Due && s.refreshes == nil {
		return g
	}
	s.mayStale = true
	return nil
}

// wasGood reports whether another Caddy has shared a grant that may serve stale.
func (s *sharedLookup) wasGood() bool { return s != nil && s.mayStale }

// put shares a grant with the other Caddys.
func (s *sharedLookup) put(validity verdicts.Validity, id frappe.Identity, backend int) {
	if s == nil {
		return
	}
	plain, err := json.Marshal(sharedGrant{Backend: backend, Identity: id})
	if err != nil {
		return // an expiry beyond the year 9999
	}
	s.outcome = fleet.Outcome{Plain: plain, Keep: s.lifetimes.Longest(validity, s.state.now())}
}

// withdraw revokes the verdict on a credential that was good and no longer is, so that no other Caddy keeps serving it.
func (s *sharedLookup) withdraw(known bool) {
	if s == nil || s.subject.Uncached || !known && !s.found {
		return
	}
	s.state.fleet.RevokeElsewhere(fleet.Revocation{Tags: []uint64{s.state.cache.claimTag(&s.credential)}})
	s.outcome = fleet.Outcome{Delete: true}
}

// throttled returns an error if the client has reached its failure limit at all Caddys together.
func (s *sharedLookup) throttled() error {
	if s == nil {
		return nil
	}
	if wait := s.exchange.Wait(); wait > 0 {
		return &throttledError{wait: wait}
	}
	return nil
}

// charge counts a failure against the client at all Caddys together.
func (s *sharedLookup) charge() {
	if s != nil {
		s.exchange.Charge()
	}
}
