package frappeauth

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/streams"
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
	pings     bool // backends that nobody asks are pinged, for the metrics
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
	shared, err := stateOf(conf.stateConfig)
	if err != nil {
		return nil, err
	}
	v := &verifier{
		verifierConfig: conf,
		state:          shared,
		demand: &demand{
			name: conf.name, cacheSize: conf.cacheSize, maxInflight: conf.maxInflight,
			feeds: conf.feeds,
		},
		unwatch: func() {},
		detach:  func() {},
	}
	if v.store != nil {
		if v.detach, err = v.state.fleet.Attach(v.store, v.logger); err != nil {
			return nil, errors.Join(err, v.release())
		}
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
		if v.pings {
			v.watchers.Go(func() { v.state.backends[i].KeepPinging(ctx, b, v.reporter()) })
		}
	}
	for _, f := range v.feeds {
		v.watch(ctx, f.Watcher, v.state.feeds.Watch(f), telemetry.SourceFeed)
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
	return v.release()
}

// release releases the shared state.
func (v *verifier) release() error {
	_, err := states.Delete(v.fingerprint)
	return err
}

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

// caller identifies the client that sent a credential.
type caller struct {
	client    string     // address, charged with a failure
	uncharged bool       // a failure counts against nobody
	trace     func(step) // if set, it is called with each backend's answer, and the cache is not used
}

// step is one backend's answer to a lookup.
type step struct {
	backend  backends.Loaded
	site     string
	identity frappe.Identity
	err      error
	took     time.Duration
}

// throttledError says that a client has reached its failure limit.
type throttledError struct{ wait time.Duration }

func (*throttledError) Error() string { return "too many denied credentials" }

// verify returns the verdict on a credential, for the sites of its request. A request that waits for another request's
// lookup returns as soon as ctx is done. A request that asks the backends itself finishes that first, which takes at
// most backends.MaxWait plus backends.MaxCall for each backend.
func (v *verifier) verify(ctx context.Context, by caller, sites []string, cred *frappe.Credential) verdict {
	subject := v.state.cache.subject(sites, cred)
	subject.Uncached = subject.Uncached || v.state.abandoned() || by.trace != nil
	g, d := v.cached(subject)
	now, freshness := v.now(), verdicts.CredentialExpired
	if g != nil {
		freshness = v.freshness(g, now)
	}
	if freshness == verdicts.Fresh {
		return v.counted(verdict{grant: g, cache: cacheHit})
	}
	l := lookup{
		credential: *cred, sites: sites, subject: subject, client: rate.ClientOf(by.client), failures: v.failures,
		known: !subject.Uncached && v.state.cache.WasGood(subject), denied: d != nil,
		span: trace.SpanFromContext(ctx), trace: by.trace,
	}
	if by.uncharged {
		l.failures = rate.Unlimited
	}
	if freshness == verdicts.Due {
		v.refreshAhead(l, g, now)
		return v.counted(verdict{grant: g, cache: cacheHit})
	}
	if err := v.throttled(&l, now); err != nil {
		return verdict{err: err}
	}
	if d != nil && v.isFresh(d, now) {
		return v.counted(verdict{cache: cacheHit, err: frappe.ErrDenied})
	}
	result := v.lookUp(ctx, &l)
	if ctx.Err() != nil {
		return verdict{err: ctx.Err()} // the client closed the connection
	}
	if isUnavailable(result.err) {
		if stale, ok := v.staleVerdict(&l); ok {
			result = stale
		}
	}
	return v.counted(result)
}

// counted counts a verdict by where it came from, and returns it.
func (v *verifier) counted(result verdict) verdict {
	v.state.count(result)
	return result
}

// isUnavailable reports whether err says that no backend could tell whether a credential is good.
func isUnavailable(err error) bool {
	_, throttled := errors.AsType[*throttledError](err)
	return err != nil && !throttled && !errors.Is(err, frappe.ErrDenied) && !errors.Is(err, frappe.ErrUnknownSite)
}

// cached returns the verdict in the cache, if there is one.
func (v *verifier) cached(s verdicts.Subject) (*grant, *denial) {
	if s.Uncached {
		return nil, nil
	}
	return v.state.cache.Lookup(s)
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

// lookup is what the backends, or another Caddy, are asked about one credential. It does not change once it is made.
type lookup struct {
	credential frappe.Credential
	sites      []string // from verifier.sites
	subject    verdicts.Subject
	known      bool         // the last verdict on the credential was granted
	denied     bool         // a backend has denied it before
	refreshes  *grant       // a verdict that is refreshed although it is still fresh
	client     netip.Prefix // charged with a failure
	failures   rate.Limit   // of the client
	span       trace.Span   // of the request
	trace      func(step)   // if set, it is called with each backend's answer
}

// maxCoalesced is how many lookups of other requests one request waits for. It needs another one only if the client
// that ran the lookup had reached its failure limit.
const maxCoalesced = 3

// lookUp asks about a credential, or waits for a request that is already asking about the same one. That request may
// belong to the previous configuration.
func (v *verifier) lookUp(ctx context.Context, l *lookup) verdict {
	for range maxCoalesced {
		key := lookupKey{key: l.subject.Key, spelling: l.subject.Spelling, revision: v.state.cache.Revision()}
		result, shared, err := v.state.lookups.Do(ctx, key, func() verdict { return v.ask(l) })
		if err != nil {
			return verdict{err: err}
		}
		if _, throttled := errors.AsType[*throttledError](result.err); !throttled || !shared {
			return result
		}
	}
	return verdict{err: &frappe.UnavailableError{Reason: backends.ErrBusy, RetryAfter: time.Second}}
}

// ask returns the verdict of another Caddy, or else asks the backends.
func (v *verifier) ask(l *lookup) verdict {
	if result, ok := v.answeredSince(l); ok {
		return result
	}
	shared := v.state.share(l, v.lifetimes)
	defer shared.end()
	if g := shared.grant(v.mayAsk(l)); g != nil {
		return verdict{grant: g, cache: cacheShared}
	}
	return v.askBackends(l, shared)
}

// answeredSince returns the verdict of another lookup that ended after this request read the cache.
func (v *verifier) answeredSince(l *lookup) (verdict, bool) {
	g, d := v.cached(l.subject)
	now := v.now()
	switch {
	case g != nil && g != l.refreshes && v.freshness(g, now) <= verdicts.Due:
		return verdict{grant: g, cache: cacheHit}, true
	case d != nil && v.isFresh(d, now):
		return verdict{cache: cacheHit, err: frappe.ErrDenied}, true
	}
	return verdict{}, false
}

// mayAsk reports whether the breaker of a backend lets this lookup through. Without that, there is nothing to wait for.
func (v *verifier) mayAsk(l *lookup) bool {
	now := v.now()
	for i, bs := range v.state.backends {
		if bs.Check(siteOf(l.sites, i), l.subject.Key, now) == nil {
			return true
		}
	}
	return false
}

// askBackends asks the backends in order, and caches and shares their verdict.
func (v *verifier) askBackends(l *lookup, shared *sharedLookup) verdict {
	began := v.state.cache.Begin()
	at := v.state.clock.At(v.now())
	var (
		unavailable     *frappe.UnavailableError
		denied, unknown bool
	)
	for i, b := range v.backends {
		if l.credential.Scheme == frappe.SchemeSession && !b.Sessions {
			denied = true
			continue
		}
		id, err := v.askBackend(i, l, shared, began)
		_, throttled := errors.AsType[*throttledError](err)
		switch {
		case err == nil:
			g := v.state.cache.newGrant(&l.credential, l.subject.Spelling, id, v.state.backends[i], siteOf(l.sites, i))
			g.At, g.Moment = at, began
			v.keep(l, shared, g, id, i)
			return verdict{grant: g, cache: cacheMiss}
		case throttled:
			return verdict{err: err}
		case errors.Is(err, frappe.ErrDenied):
			denied = true
		case errors.Is(err, frappe.ErrUnknownSite):
			unknown = true
		default:
			unavailable = backends.MinRetryAfter(unavailable, err)
		}
	}
	switch {
	case unavailable != nil:
		return verdict{cache: cacheMiss, err: unavailable}
	case unknown && !denied:
		v.state.cache.Forget(l.subject, began)
		shared.withdraw(l.known)
		return verdict{cache: cacheMiss, err: frappe.ErrUnknownSite}
	}
	tags := v.state.cache.denialTags(&l.credential, l.sites)
	v.deny(l, denial{Spelling: l.subject.Spelling, Tags: tags, At: at, Moment: began})
	shared.withdraw(l.known)
	if !l.denied {
		v.charge(l, shared)
	}
	return verdict{cache: cacheMiss, err: frappe.ErrDenied}
}

// askBackend asks one backend.
func (v *verifier) askBackend(i int, l *lookup, shared *sharedLookup, began verdicts.Moment) (frappe.Identity, error) {
	b, asked := v.backends[i], v.now()
	cred := l.credential
	cred.Site = siteOf(l.sites, i)
	known := l.known || shared.wasGood()
	id, err := v.state.backends[i].Verify(b, v.reporter(), backends.Call{
		Credential: cred,
		Key:        l.subject.Key,
		Claim:      v.state.cache.claimTag(&cred),
		Lookup:     began.Lookup(),
		Known:      known,
		// The client's other credentials may have been denied while this one waited for the in-flight limit.
		Allow: func() error {
			if known {
				return nil
			}
			if err := v.throttled(l, v.now()); err != nil {
				return err
			}
			return shared.throttled()
		},
		Charge: func() { v.charge(l, shared) },
		Span:   l.span,
	})
	if l.trace != nil {
		l.trace(step{backend: b, site: cred.Site, identity: id, err: err, took: v.now().Sub(asked)})
	}
	return id, err
}

func (v *verifier) reporter() backends.Reporter {
	return backends.Reporter{Logger: v.logger, Events: v.events, Now: v.now}
}

// charge counts a failure against the client.
func (v *verifier) charge(l *lookup, shared *sharedLookup) {
	v.state.failures.Charge(l.client, l.failures, v.state.clock.At(v.now()))
	shared.charge()
}

// keep caches a grant, and shares it if it was cached. It does so even with a ttl of 0: a credential that is known to
// be good is exempt from the failure limit.
func (v *verifier) keep(l *lookup, shared *sharedLookup, g *grant, id frappe.Identity, backend int) {
	if l.subject.Uncached {
		return
	}
	cached, evicted := v.state.cache.Grant(l.subject, g)
	if evicted {
		telemetry.CountEviction(telemetry.VerdictGranted)
	}
	if cached {
		shared.put(g.Validity, id, backend)
	}
}

// deny caches a denial.
func (v *verifier) deny(l *lookup, d denial) {
	if !l.subject.Uncached && v.state.cache.Deny(l.subject, d) {
		telemetry.CountEviction(telemetry.VerdictDenied)
	}
}

// refreshAhead asks the backends again before a verdict expires, so that a client that comes back regularly never
// waits. If that fails, the next attempt comes after another twentieth of the ttl.
func (v *verifier) refreshAhead(l lookup, g *grant, now time.Time) {
	clock, next := v.state.clock.At(now), g.renewal.Load()
	if next > clock || !g.renewal.CompareAndSwap(next, clock+int64(v.lifetimes.For(g.Validity))/20) {
		return
	}
	l.refreshes, l.failures = g, rate.Unlimited
	go v.lookUp(context.Background(), &l) //nolint:gosec // it outlives the request, of which nothing may be kept
}

// staleVerdict returns a cached grant although its ttl is over. It reads the cache again, because the grant may have
// been revoked or refreshed while the backends were asked.
func (v *verifier) staleVerdict(l *lookup) (verdict, bool) {
	g, _ := v.cached(l.subject)
	if g == nil {
		return verdict{}, false
	}
	switch v.freshness(g, v.now()) {
	case verdicts.Fresh, verdicts.Due:
		return verdict{grant: g, cache: cacheHit}, true
	case verdicts.Stale:
		v.logStale(g, l.sites)
		return verdict{grant: g, cache: cacheStale}, true
	default:
		return verdict{}, false
	}
}

// confirm returns the verdict on the credential of an open stream, which known opened. While no backend can tell, known
// serves as it would for a request.
func (v *verifier) confirm(cred *frappe.Credential, sites []string, known *grant) verdict {
	subject := v.state.cache.subject(sites, cred)
	subject.Uncached = subject.Uncached || v.state.abandoned()
	g, _ := v.cached(subject)
	if g != nil && v.freshness(g, v.now()) == verdicts.Fresh {
		return verdict{grant: g, cache: cacheHit}
	}
	ctx := context.Background()
	result := v.lookUp(ctx, &lookup{
		credential: *cred, sites: sites, subject: subject, known: true, refreshes: g, failures: rate.Unlimited,
		span: trace.SpanFromContext(ctx),
	})
	if isUnavailable(result.err) && !v.state.cache.Revoked(known) && v.freshness(known, v.now()) <= verdicts.Stale {
		return verdict{grant: known, cache: cacheStale}
	}
	return result
}

// minConfirm is the shortest time between two confirmations of a stream, for a ttl that is shorter.
const minConfirm = time.Second

// term returns how long a stream may stay open that a grant opened.
func (v *verifier) term(g *grant) streams.Term {
	now := v.now()
	age, ttl := v.age(g.At, now), max(v.lifetimes.For(g.Validity), minConfirm)
	t := streams.Term{Confirm: ttl - ttl/5 - age, End: ttl - age}
	if t.Confirm <= 0 { // the last attempt failed
		t.Confirm = max(ttl/20, minConfirm)
	}
	if !g.ExpiryUnknown {
		t.End += v.lifetimes.StaleIfError
	}
	if g.Expiry != 0 {
		t.End = min(t.End, time.Duration(g.Expiry-now.UnixNano()))
	}
	return t
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
