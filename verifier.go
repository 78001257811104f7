package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/inflight"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// namedBackend is a backend with what the verifier needs to know of it.
type namedBackend struct {
	frappe.Backend
	name     string
	tenanted frappe.SiteResolver // nil: one site only
}

// source names what the backend asks, where it says so.
func (b namedBackend) source() string {
	if s, ok := b.Backend.(fmt.Stringer); ok {
		return s.String()
	}
	return ""
}

// verifierConfig is what a verifier is made of.
type verifierConfig struct {
	name        string
	backends    []namedBackend
	fingerprint string
	cache       CacheConfig
	maxInflight int
	failures    FailureLimit
	now         func() time.Time
	random      func() float64 // in [0, 1)
	logger      *zap.Logger
	events      events
	metrics     *metrics
	owner       *Options // nil in tests
}

// verifier verifies credentials: from the cache, or else by the backends in order, once for all who wait for the same
// credential.
type verifier struct {
	verifierConfig
	tenanted    bool // one of the backends is
	ttl         int64
	bearerTTL   int64
	negativeTTL int64
	stale       int64
	state       *state

	unwatch  context.CancelFunc
	watchers sync.WaitGroup
}

// maxVerification bounds a verification, whatever the backend does. A verification under way when its configuration is
// replaced is finished, since Caddy finishes the requests that wait for it; so this also bounds how long it outlives
// the configuration.
const maxVerification = time.Minute

// newVerifier makes a verifier that has the state of the backends' fingerprint. The verifier must be closed. It serves once it is
// started.
func newVerifier(conf verifierConfig) (*verifier, error) {
	pooled, _, err := states.LoadOrNew(conf.fingerprint, func() (caddy.Destructor, error) { return newState(conf), nil })
	if err != nil {
		return nil, err
	}
	v := &verifier{
		verifierConfig: conf,
		ttl:            int64(*conf.cache.TTL),
		bearerTTL:      int64(*conf.cache.BearerTTL),
		negativeTTL:    int64(*conf.cache.NegativeTTL),
		stale:          int64(conf.cache.StaleIfError),
		state:          pooled.(*state),
		unwatch:        func() {},
	}
	for _, b := range v.backends {
		v.metrics.expect(b.name)
		v.tenanted = v.tenanted || b.tenanted != nil
	}
	return v, nil
}

// start watches the backends that can be watched until ctx is done or the verifier is closed, and shows the verifier to the
// admin API and to those who revoke.
func (v *verifier) start(ctx context.Context) {
	ctx, v.unwatch = context.WithCancel(ctx)
	v.state.join(v)
	for i, b := range v.backends {
		if w, ok := b.Backend.(frappe.Watcher); ok {
			v.watchers.Go(func() { v.watch(ctx, w, v.state.backends[i]) })
		}
	}
}

// close ends the watch of the backends, and leaves the state to others.
func (v *verifier) close() error {
	v.unwatch()
	v.watchers.Wait()
	v.state.leave(v)
	_, err := states.Delete(v.fingerprint)
	return err
}

// watch drops the verdicts that a backend reports as changed.
func (v *verifier) watch(ctx context.Context, w frappe.Watcher, g *backendState) {
	g.watch.began(v.state.clock(v.now()))
	defer g.watch.ended()
	w.Watch(ctx, func(changes []frappe.Change) {
		for _, c := range changes {
			v.state.cache.revoke(c)
			v.metrics.countRevocation(revokedByWatch)
		}
		g.watch.looked(v.state.clock(v.now()))
	})
}

// Where a verdict came from, for the placeholder {http.auth.frappe.cache}.
const (
	cacheHit   = "hit"
	cacheMiss  = "miss"
	cacheStale = "stale"
)

// answer is a verdict: a grant, or an error as Backend's.
type verdict struct {
	*grant
	cache string
	err   error
}

// throttledError refuses a client that failed too often.
type throttledError struct{ wait time.Duration }

func (*throttledError) Error() string { return "too many denied credentials" }

// sites names the site of the request for each backend; nil where no backend needs to know.
func (v *verifier) sites(repl *caddy.Replacer) ([]string, error) {
	if !v.tenanted {
		return nil, nil
	}
	sites := make([]string, len(v.backends))
	for i, b := range v.backends {
		if b.tenanted == nil {
			continue
		}
		site, err := b.tenanted.Site(repl)
		if err != nil {
			return nil, err
		}
		sites[i] = site
	}
	return sites, nil
}

// lookup is a credential that the backends are asked about.
type lookup struct {
	cred    frappe.Credential
	sites   []string // as verifier.sites
	subject subject
	known   bool   // it was granted before
	bad     bool   // it was denied before
	renew   *grant // although this verdict is still fresh

	client   netip.Prefix // charged with a failure
	failures FailureLimit // of the client

	span  trace.Span // of the request that asks
	trace func(step) // if set, it is called with what each backend answers
}

// step is what one backend answered to a lookup.
type step struct {
	backend  namedBackend
	site     string
	identity frappe.Identity
	err      error
	took     time.Duration
}

// verify returns the verdict on the credential of an attempt, for the sites of its request. When ctx is done, a request that waits for another's lookup returns at once; the request that asks the backends sees that through, which
// takes inflight.MaxWait and maxVerification for each backend at most.
func (v *verifier) verify(ctx context.Context, a *attempt, sites []string, cred *frappe.Credential) verdict {
	subject := v.state.cache.subject(sites, cred)
	subject.uncached = subject.uncached || v.state.abandoned() || a.trace != nil
	g, d := v.cached(subject)
	now, worth := v.now(), credentialEnded
	if g != nil {
		worth = v.freshness(g, now)
	}
	if worth == fresh {
		v.countLookup(lookupHit)
		return verdict{grant: g, cache: cacheHit}
	}

	q := lookup{cred: *cred, sites: sites, subject: subject, trace: a.trace}
	if worth == due {
		v.refreshAhead(ctx, q, g, now)
		v.countLookup(lookupHit)
		return verdict{grant: g, cache: cacheHit}
	}
	q.known, q.bad = worth != credentialEnded, d != nil
	q.client, q.failures, q.span = clientOf(a.client), a.failures, trace.SpanFromContext(ctx)
	if err := v.throttled(&q, now); err != nil {
		return verdict{err: err}
	}
	if d != nil && v.isFresh(d, now) {
		v.countLookup(lookupHitDenied)
		return verdict{cache: cacheHit, err: frappe.ErrDenied}
	}
	return v.ask(ctx, &q)
}

// cached is the verdict of the cache, if there is one.
func (v *verifier) cached(s subject) (*grant, *denial) {
	if s.uncached {
		return nil, nil
	}
	return v.state.cache.lookup(s)
}

// throttled refuses a client that failed too often, unless its credential is known to be good.
func (v *verifier) throttled(q *lookup, now time.Time) error {
	if q.known {
		return nil
	}
	if wait := v.state.throttle.wait(q.client, v.state.clock(now), q.failures); wait > 0 {
		return &throttledError{wait: wait}
	}
	return nil
}

// ask returns the verdict of the backends, or of the cache while they are unavailable.
func (v *verifier) ask(ctx context.Context, q *lookup) verdict {
	a := v.coalesced(ctx, q)
	switch {
	case ctx.Err() != nil:
		a = verdict{err: ctx.Err()} // the client went away
	case a.err != nil && q.known && !errors.Is(a.err, frappe.ErrDenied) && !errors.Is(a.err, frappe.ErrUnknownSite):
		if cached, ok := v.staleAnswer(q); ok {
			return cached
		}
	}
	v.countLookup(lookupMiss)
	return a
}

func (v *verifier) countLookup(result lookupResult) {
	v.state.results[result].Add(1)
	v.metrics.countLookup(result)
}

// freshness is what a granted verdict is worth.
type freshness int

const (
	fresh           freshness = iota
	due                       // fresh, but to be asked for ahead of its end
	stale                     // serves only while the backends are unavailable
	expired                   // to be asked for again
	credentialEnded           // the credential itself has expired
)

// freshness is the one rule of how long a grant serves: for its ttl after a backend was asked, and for stale_if_error more
// while the backends are unavailable; never past the expiry of the credential, and never stale where that is not known.
func (v *verifier) freshness(g *grant, now time.Time) freshness {
	if g.expiry != 0 && now.UnixNano() >= g.expiry {
		return credentialEnded
	}
	ttl := v.ttlOf(g)
	switch age := v.state.clock(now) - g.at; {
	case age < ttl-ttl/5:
		return fresh
	case age < ttl:
		return due
	case age < ttl+v.stale && !g.expiryUnknown:
		return stale
	}
	return expired
}

func (v *verifier) ttlOf(g *grant) int64 {
	if g.expiryUnknown {
		return v.bearerTTL
	}
	return v.ttl
}

func (v *verifier) isFresh(d *denial, now time.Time) bool {
	return v.state.clock(now)-d.at < v.negativeTTL
}

// refreshAhead asks for a verdict again before it expires, so that a steady client never waits. If that fails, the next attempt
// is another twentieth of the ttl away.
func (v *verifier) refreshAhead(ctx context.Context, q lookup, g *grant, now time.Time) {
	clock, next := v.state.clock(now), g.renewal.Load()
	if next > clock || !g.renewal.CompareAndSwap(next, clock+v.ttlOf(g)/20) {
		return
	}
	q.known, q.renew, q.failures, q.span = true, g, unlimited, trace.SpanFromContext(ctx)
	go v.coalesced(context.Background(), &q) //nolint:gosec // it outlives the request, of which nothing may be kept
}

// staleAnswer is a cached grant although its ttl is over. The grant may have been revoked, or renewed, while the backends were asked.
func (v *verifier) staleAnswer(q *lookup) (verdict, bool) {
	g, _ := v.state.cache.lookup(q.subject)
	if g == nil {
		return verdict{}, false
	}
	switch v.freshness(g, v.now()) {
	case fresh, due:
		v.countLookup(lookupHit)
		return verdict{grant: g, cache: cacheHit}, true
	case stale:
		v.countLookup(lookupStale)
		v.logStale(g, q.sites)
		return verdict{grant: g, cache: cacheStale}, true
	default:
		return verdict{}, false
	}
}

// logStale logs once for each outage of a site that stale verdicts are served.
func (v *verifier) logStale(g *grant, sites []string) {
	for i, b := range v.backends {
		if v.state.backends[i] == g.by && g.by.sites.Once(siteOf(sites, i)) {
			v.logger.Warn("serving stale verdicts while the backend is unavailable",
				zap.String("backend", b.name), zap.String("site", siteOf(sites, i)))
		}
	}
}

// siteOf is the site of the request for a backend.
func siteOf(sites []string, backend int) string {
	if sites == nil {
		return ""
	}
	return sites[backend]
}

// maxJoins is how many lookups of others a request waits for. It waits for another one only where the client that asked
// failed too often.
const maxJoins = 3

// coalesced asks the backends, or waits for a request that asks them about the same credential already, be it for the
// configuration before this one.
func (v *verifier) coalesced(ctx context.Context, q *lookup) verdict {
	for range maxJoins {
		key := lookupKey{key: q.subject.key, spelling: q.subject.spelling, revision: v.state.cache.revision()}
		a, shared, err := v.state.lookups.Do(ctx, key, func() verdict { return v.lookUp(q) })
		if err != nil {
			return verdict{err: err}
		}
		if _, throttled := errors.AsType[*throttledError](a.err); !throttled || !shared {
			return a
		}
	}
	return verdict{err: &frappe.UnavailableError{Reason: inflight.ErrBusy, RetryAfter: time.Second}}
}

// lookUp asks the backends in order, and keeps their verdict.
func (v *verifier) lookUp(q *lookup) verdict {
	if a, ok := v.answeredSince(q); ok {
		return a
	}
	asked, at := v.state.cache.begin(), v.state.clock(v.now())
	var (
		unavailable     *frappe.UnavailableError
		denied, unknown bool
	)
	for i, b := range v.backends {
		began := v.now()
		id, err := v.askBackend(b, v.state.backends[i], siteOf(q.sites, i), q)
		_, throttled := errors.AsType[*throttledError](err)
		if q.trace != nil {
			q.trace(step{backend: b, site: siteOf(q.sites, i), identity: id, err: err, took: v.now().Sub(began)})
		}
		switch {
		case err == nil:
			g := v.newGrant(q, id, v.state.backends[i])
			g.at, g.moment = at, asked
			// Also with a ttl of 0: credentials that are known to be good have privileges.
			if !q.subject.uncached && v.state.cache.grant(q.subject, g) {
				v.metrics.countEviction("granted")
			}
			return verdict{grant: g, cache: cacheMiss}
		case throttled:
			return verdict{err: err}
		case errors.Is(err, frappe.ErrDenied):
			denied = true
		case errors.Is(err, frappe.ErrUnknownSite):
			unknown = true
		default:
			unavailable = minRetryAfter(unavailable, err)
		}
	}
	switch {
	case unavailable != nil:
		return verdict{cache: cacheMiss, err: unavailable}
	case unknown && !denied:
		v.state.cache.forget(q.subject, asked)
		return verdict{cache: cacheMiss, err: frappe.ErrUnknownSite}
	}
	d := denial{spelling: q.subject.spelling, byClaim: v.state.cache.claimTag(&q.cred), at: at, moment: asked}
	if !q.subject.uncached && v.state.cache.deny(q.subject, d) {
		v.metrics.countEviction("denied")
	}
	if !q.bad {
		v.charge(q)
	}
	return verdict{cache: cacheMiss, err: frappe.ErrDenied}
}

// charge counts a failure of the client.
func (v *verifier) charge(q *lookup) {
	v.state.throttle.fail(q.client, v.state.clock(v.now()), q.failures)
}

// answeredSince is the verdict of a lookup that ended between the look into the cache and now.
func (v *verifier) answeredSince(q *lookup) (verdict, bool) {
	g, d := v.cached(q.subject)
	now := v.now()
	switch {
	case g != nil && g != q.renew && v.freshness(g, now) <= due:
		return verdict{grant: g, cache: cacheHit}, true
	case d != nil && v.isFresh(d, now):
		return verdict{cache: cacheHit, err: frappe.ErrDenied}, true
	}
	return verdict{}, false
}

// askBackend asks one backend, unless it is busy, or has failed too often.
func (v *verifier) askBackend(b namedBackend, g *backendState, site string, q *lookup) (frappe.Identity, error) {
	if b.tenanted != nil && g.unknownSites.has(site, v.state.clock(v.now())) {
		return frappe.Identity{}, frappe.ErrUnknownSite
	}
	p, err := v.acquire(g, site, q)
	if err != nil {
		v.metrics.countRejection(b.name, err)
		return frappe.Identity{}, err
	}
	defer p.release()

	cred := q.cred
	cred.Site = site
	asked := v.now()
	id, err := v.call(b, cred, q.span)
	v.metrics.countCall(b.name, err, v.now().Sub(asked))
	switch {
	case err == nil, errors.Is(err, frappe.ErrDenied):
		v.succeeded(b, g, site, q)
	case errors.Is(err, frappe.ErrUnknownSite) && b.tenanted != nil:
		v.succeeded(b, g, site, q)
		g.unknownSites.add(site, v.state.clock(asked))
		v.charge(q)
	default:
		v.failed(b, g, site, q, p, err)
	}
	return id, err
}

// succeeded notes that a backend answered.
func (v *verifier) succeeded(b namedBackend, g *backendState, site string, q *lookup) {
	g.credentials.Success(q.subject.key)
	ended, wasOpen := g.sites.Success(site)
	if wasOpen {
		g.credentials.Reset() // they failed for the site's sake
	}
	if ended {
		v.logger.Info("the backend is available again", zap.String("backend", b.name), zap.String("site", site))
		v.events.emit(eventRecovered, "backend", b.name, "site", site)
	}
}

// failed notes that a backend gave no verdict.
func (v *verifier) failed(b namedBackend, g *backendState, site string, q *lookup, p permit, err error) {
	v.logger.Warn("the credential could not be verified",
		zap.String("backend", b.name), zap.String("site", site), zap.Error(err))
	now := v.now()
	first := g.credentials.Failure(q.subject.key, v.state.cache.begin().lookup, now, p.credentialProbe)
	unavailable, ok := errors.AsType[*frappe.UnavailableError](err)
	switch {
	case !ok || !unavailable.CredentialSpecific:
		if began := g.sites.Failure(site, v.state.cache.claimTag(&q.cred), now, p.siteProbe); began {
			v.events.emit(eventUnavailable, "backend", b.name, "site", site)
		}
	default:
		g.sites.Cancel(site, p.siteProbe)
		if first && !q.known {
			v.charge(q)
		}
	}
}

// permit allows one call of a backend. Its outcome must be reported to the breakers, and release called.
type permit struct {
	siteProbe, credentialProbe bool
	release                    func()
}

// acquire waits until the backend may be asked. The client is checked again after the wait: others of its credentials
// may have been denied in the meantime.
func (v *verifier) acquire(g *backendState, site string, q *lookup) (p permit, err error) {
	if err := g.checkBreakers(site, q.subject.key, v.now()); err != nil {
		return permit{}, err
	}
	if p.release, err = g.limit.Load().Acquire(q.known); err != nil {
		return permit{}, &frappe.UnavailableError{Reason: err, RetryAfter: time.Second}
	}
	now := v.now()
	if err = v.throttled(q, now); err == nil {
		p.siteProbe, p.credentialProbe, err = g.acquireProbes(site, q.subject.key, now)
	}
	if err != nil {
		p.release()
		return permit{}, err
	}
	return p, nil
}

// call asks one backend. Whatever it does wrong means that it is unavailable.
func (v *verifier) call(b namedBackend, cred frappe.Credential, parent trace.Span) (id frappe.Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The value of a panic may hold anything, its type and the stack hold no secret.
			err = fmt.Errorf("the backend panicked with a %T", p)
			v.logger.Error("backend panicked", zap.String("backend", b.name), zap.Stack("stack"))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), maxVerification)
	defer cancel()
	ctx, end := startCall(ctx, parent, b.name, cred.Site)
	defer func() { end(err) }()
	id, err = b.Verify(ctx, cred)
	switch {
	case err != nil:
		return frappe.Identity{}, err
	case !frappe.ValidUser(id.User):
		return frappe.Identity{}, errors.New("the backend granted, but named no user of Frappe's")
	case !id.Expiry.IsZero() && !v.now().Before(id.Expiry):
		return frappe.Identity{}, frappe.ErrDenied
	}
	return id, nil
}

// newGrant puts an identity into the form in which it is kept and published.
func (v *verifier) newGrant(q *lookup, id frappe.Identity, by *backendState) *grant {
	g := &grant{
		user:     id.User,
		by:       by,
		spelling: q.subject.spelling,
		byUser:   v.state.cache.userTag(id.User),
		byClaim:  v.state.cache.claimTag(&q.cred),
	}
	expiry := id.Expiry
	if q.cred.Bearer() {
		g.expiryUnknown = expiry.IsZero()
		if exp := jwtExpiry(q.cred.Token); expiry.IsZero() || (!exp.IsZero() && exp.Before(expiry)) {
			expiry = exp
		}
	}
	if !expiry.IsZero() {
		g.expiry = unixNanos(expiry)
	}
	if id.FullName != "" || id.Roles != nil || id.Scopes != nil {
		g.detail = &detail{
			fullName: id.FullName,
			roles:    id.Roles,
			roleList: strings.Join(id.Roles, ","),
			scopes:   strings.Join(id.Scopes, " "),
		}
	}
	return g
}

// minRetryAfter is the one of two errors that promises an answer first.
func minRetryAfter(known *frappe.UnavailableError, err error) *frappe.UnavailableError {
	u, ok := errors.AsType[*frappe.UnavailableError](err)
	if !ok {
		u = &frappe.UnavailableError{Reason: err}
		if open, ok := errors.AsType[*breaker.OpenError](err); ok {
			u.RetryAfter = open.RetryAfter
		}
	}
	if known == nil || known.RetryAfter == 0 || (u.RetryAfter != 0 && u.RetryAfter < known.RetryAfter) {
		return u
	}
	return known
}
