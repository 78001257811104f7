package frappeauth

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// verifierConfig is the configuration of a verifier.
type verifierConfig struct {
	stateConfig
	name      string // of the handler
	feeds     []backends.Feed
	cacheSize int
	lifetimes verdicts.Lifetimes
	failures  rate.Limit // of each client
	logger    *zap.Logger
	events    telemetry.Emitter
}

// verifier verifies credentials. It answers from the cache, or asks the backends in order. Requests with the same
// credential share one lookup.
type verifier struct {
	verifierConfig
	resolvesSites bool // at least one backend is a SiteResolver
	state         *state
	demand        *demand // what this verifier asks of the state

	detach   func() // the store
	unwatch  context.CancelFunc
	watchers sync.WaitGroup
}

// newVerifier returns a verifier that shares the state of the backends' fingerprint. The caller must close it. The
// verifier serves once it is started.
func newVerifier(conf verifierConfig) (*verifier, error) {
	pooled, _, err := states.LoadOrNew(conf.fingerprint, func() (caddy.Destructor, error) { return newState(conf.stateConfig) })
	if err != nil {
		return nil, err
	}
	v := &verifier{
		verifierConfig: conf,
		state:          pooled.(*state),
		unwatch:        func() {},
		detach:         func() {},
	}
	v.demand = &demand{
		name: conf.name, cacheSize: conf.cacheSize, maxInflight: conf.maxInflight,
		longest: conf.lifetimes.TTL + conf.lifetimes.StaleIfError, feeds: conf.feeds,
	}
	for _, b := range v.backends {
		telemetry.ExpectBackend(b.Name)
		v.resolvesSites = v.resolvesSites || b.Resolver != nil
	}
	return v, nil
}

// start watches the backends that are Watchers until ctx is done or the verifier is closed. From then on the admin API
// shows the verifier, and revocations reach its cache.
func (v *verifier) start(ctx context.Context) {
	ctx, v.unwatch = context.WithCancel(ctx)
	v.state.join(v.demand)
	for i, b := range v.backends {
		if w, ok := b.Backend.(frappe.Watcher); ok {
			v.watch(ctx, w, &v.state.backends[i].Watch, telemetry.SourceWatch)
		}
	}
	for _, f := range v.feeds {
		v.watch(ctx, f.Watcher, v.state.feeds.Watch(f), telemetry.SourceFeed)
	}
	if v.store != nil {
		v.detach = v.state.fleet.Attach(v.store, v.logger)
		v.watchers.Go(func() { v.state.fleet.Run(ctx) })
	}
}

// watch drops, in the background, the cached verdicts that a backend or a feed reports as changed.
func (v *verifier) watch(ctx context.Context, w frappe.Watcher, ages *backends.Watch, source telemetry.Source) {
	ages.Started(v.now()) // before a configuration that is replaced stops
	v.watchers.Go(func() {
		defer ages.Stopped()
		w.Watch(ctx, func(changes []frappe.Change) {
			v.state.drop(changes...)
			for range changes {
				telemetry.CountRevocation(source)
			}
			if ages.Looked(v.now()) {
				v.state.dropUnwatched()
			}
		})
	})
}

// close stops watching the backends and releases the shared state.
func (v *verifier) close() error {
	v.unwatch()
	v.watchers.Wait()
	v.detach()
	v.state.leave(v.demand)
	_, err := states.Delete(v.fingerprint)
	return err
}

func (v *verifier) reporter() backends.Reporter {
	return backends.Reporter{Logger: v.logger, Events: v.events, Now: v.now}
}

// throttledError says that a client has reached its failure limit.
type throttledError struct{ wait time.Duration }

func (*throttledError) Error() string { return "too many denied credentials" }

// sites returns the request's site for each backend, or nil if no backend is a SiteResolver.
func (v *verifier) sites(repl *caddy.Replacer) ([]string, error) {
	if !v.resolvesSites {
		return nil, nil
	}
	sites := make([]string, len(v.backends))
	for i, b := range v.backends {
		if b.Resolver == nil {
			continue
		}
		site, err := b.Resolver.Site(repl)
		if err != nil {
			return nil, err
		}
		sites[i] = site
	}
	return sites, nil
}

// caller is who has a credential verified.
type caller struct {
	client    string     // address, charged with a failure
	uncharged bool       // a failure counts against nobody
	trace     func(step) // if set, it is called with what each backend answers, and the cache is not used
}

// verify returns the verdict on a credential, for the sites of its request. A request that waits for another request's
// lookup returns as soon as ctx is done. A request that asks the backends itself finishes that first, which takes at most
// backends.MaxWait plus backends.MaxCall for each backend.
func (v *verifier) verify(ctx context.Context, by caller, sites []string, cred *frappe.Credential) verdict {
	subject := v.state.cache.subject(sites, cred)
	subject.Uncached = subject.Uncached || v.state.abandoned() || by.trace != nil
	g, d := v.cached(subject)
	now, freshness := v.now(), verdicts.CredentialExpired
	if g != nil {
		freshness = v.freshness(g, now)
	}
	if freshness == verdicts.Fresh {
		v.countLookup(lookupHit)
		return verdict{grant: g, cache: cacheHit}
	}

	l := lookup{cred: *cred, sites: sites, subject: subject, trace: by.trace}
	if freshness == verdicts.Due {
		v.refreshAhead(ctx, l, g, now)
		v.countLookup(lookupHit)
		return verdict{grant: g, cache: cacheHit}
	}
	l.known, l.bad = freshness != verdicts.CredentialExpired, d != nil
	l.client, l.failures, l.span = rate.ClientOf(by.client), v.failures, trace.SpanFromContext(ctx)
	if by.uncharged {
		l.failures = rate.Unlimited
	}
	if err := v.throttled(&l, now); err != nil {
		return verdict{err: err}
	}
	if d != nil && v.isFresh(d, now) {
		v.countLookup(lookupHitDenied)
		return verdict{cache: cacheHit, err: frappe.ErrDenied}
	}
	return v.ask(ctx, &l)
}

// cached returns the verdict in the cache, if there is one.
func (v *verifier) cached(s verdicts.Subject) (*grant, *denial) {
	if s.Uncached {
		return nil, nil
	}
	return v.state.cache.Lookup(s)
}

// throttled returns an error if the client has reached its failure limit, unless its credential is known to be good.
func (v *verifier) throttled(l *lookup, now time.Time) error {
	if l.known {
		return nil
	}
	if wait := v.state.failures.Wait(l.client, l.failures, v.state.clock.At(now)); wait > 0 {
		return &throttledError{wait: wait}
	}
	return nil
}

// ask returns the verdict of the backends. If they are unavailable, it may return a stale one from the cache.
func (v *verifier) ask(ctx context.Context, l *lookup) verdict {
	result := v.coalesced(ctx, l)
	switch {
	case ctx.Err() != nil:
		result = verdict{err: ctx.Err()} // the client went away
	case result.err != nil && (l.known || result.known) && !errors.Is(result.err, frappe.ErrDenied) && !errors.Is(result.err, frappe.ErrUnknownSite):
		if cached, ok := v.staleAnswer(l); ok {
			return cached
		}
	}
	if result.cache == cacheShared {
		v.countLookup(lookupShared)
	} else {
		v.countLookup(lookupMiss)
	}
	return result
}

func (v *verifier) countLookup(result lookupResult) {
	v.state.results[result].Add(1)
	telemetry.CountLookup(result.String())
}

// freshness says how a cached grant may be used.
func (v *verifier) freshness(g *grant, now time.Time) verdicts.Freshness {
	return v.lifetimes.Freshness(g.Validity, v.age(g.At, now), now)
}

func (v *verifier) isFresh(d *denial, now time.Time) bool {
	return v.age(d.At, now) < v.lifetimes.NegativeTTL
}

// age returns how long ago a time on the clock of the state was.
func (v *verifier) age(at int64, now time.Time) time.Duration {
	return time.Duration(v.state.clock.At(now) - at)
}

// refreshAhead asks the backends again before a verdict expires, so that a client that comes back regularly never waits.
// If that fails, the next attempt comes after another twentieth of the ttl.
func (v *verifier) refreshAhead(ctx context.Context, l lookup, g *grant, now time.Time) {
	clock, next := v.state.clock.At(now), g.renewal.Load()
	if next > clock || !g.renewal.CompareAndSwap(next, clock+int64(v.lifetimes.For(g.Validity))/20) {
		return
	}
	l.known, l.renew, l.failures, l.span = true, g, rate.Unlimited, trace.SpanFromContext(ctx)
	go v.coalesced(context.Background(), &l) //nolint:gosec // it outlives the request, of which nothing may be kept
}

// staleAnswer returns a cached grant although its ttl is over. It reads the cache again, because the grant may have been
// revoked or refreshed while the backends were asked.
func (v *verifier) staleAnswer(l *lookup) (verdict, bool) {
	g, _ := v.state.cache.Lookup(l.subject)
	if g == nil {
		return verdict{}, false
	}
	switch v.freshness(g, v.now()) {
	case verdicts.Fresh, verdicts.Due:
		v.countLookup(lookupHit)
		return verdict{grant: g, cache: cacheHit}, true
	case verdicts.Stale:
		v.countLookup(lookupStale)
		v.logStale(g, l.sites)
		return verdict{grant: g, cache: cacheStale}, true
	default:
		return verdict{}, false
	}
}

// logStale logs, once per outage of a site, that stale verdicts are served.
func (v *verifier) logStale(g *grant, sites []string) {
	for i, b := range v.backends {
		if v.state.backends[i] == g.by && g.by.Once(siteOf(sites, i)) {
			v.logger.Warn("serving stale verdicts while the backend is unavailable",
				zap.String("backend", b.Name), zap.String("site", siteOf(sites, i)))
		}
	}
}
