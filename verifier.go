package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// Guest is the user as whom Frappe serves those without a credential. No credential is Guest's.
const Guest = "Guest"

// maxUserSize is the longest name of a user, in bytes: Frappe's column holds 140 characters.
const maxUserSize = 560

// Backend decides whether a credential is good and whose it is. Backends are guest modules in the namespace
// `http.frappe_auth.backends`.
//
// Verify answers with the identity, or with an error that is ErrDenied (errors.Is) where the credential is known to
// be bad; any other error means that it could not find out, and is never taken for a denial. An error never holds a
// secret. Verify may be called from many goroutines at once, never twice at once for the same credential; it returns
// soon after ctx is done.
//
// A backend that is a fmt.Stringer names its source to the operator: in the admin API and by the commands, without a secret.
type Backend interface {
	Verify(ctx context.Context, c Credential) (Identity, error)
}

// Tenanted is an optional interface of a Backend that may judge credentials of several sites.
type Tenanted interface {
	// Tenanted reports whether the backend is configured to.
	Tenanted() bool

	// Site names the site that a request is for, from the request's placeholders. It becomes Credential.Site and part
	// of the cache key. An error refuses the request with status 400.
	Site(repl *caddy.Replacer) (string, error)
}

// Fingerprinter is an optional interface of a Backend whose verdicts depend on more than its JSON configuration: on
// placeholders or on files that it reads when it is provisioned. Cached verdicts outlive a reload of the
// configuration only where JSON and fingerprint stay the same.
type Fingerprinter interface {
	Fingerprint() string
}

// RoleReporter is an optional interface of a Backend that can be configured not to ask for roles. A requirement of
// a role is then an error when the configuration is loaded, rather than a refusal of everybody.
type RoleReporter interface {
	ReportsRoles() bool
}

// RoleLister is an optional interface of a Backend that knows which roles there are at its source, so that a requirement of
// a role that nobody can have is found when the configuration is loaded, or by `caddy frappe-auth doctor`.
type RoleLister interface {
	// RoleNames returns the names of all roles. An error says that they could not be read now, without a secret.
	RoleNames(ctx context.Context) ([]string, error)
}

// Watcher is an optional interface of a Backend that learns by itself of what changes at its source, so that cached
// verdicts can be dropped at once and kept for longer.
type Watcher interface {
	// Watch reports changes until ctx is done, and then returns. It calls observe after every look at the source that
	// succeeded, with the changes since the look before it (none: nil). The first call says that from now on
	// changes will be seen. observe is fast and may be called from any one goroutine at a time.
	Watch(ctx context.Context, observe func([]Change))
}

// Change names verdicts that may no longer hold. Each field that is not empty selects verdicts by itself.
type Change struct {
	// User selects the granted verdicts of this user.
	User string

	// Key selects the verdicts, granted and denied, about this API key.
	Key string

	// Token selects the verdicts, granted and denied, about this access token.
	Token string

	// Everything selects every verdict.
	Everything bool
}

// Identity is whose a credential is.
type Identity struct {
	// User is the name of Frappe's User document, as Frappe spells it: mostly an e-mail address, or Administrator.
	User string

	// FullName is the user's full name. Empty where the backend does not know it.
	FullName string

	// Roles are the user's roles, automatic ones such as All included. Nil where the backend did not ask.
	Roles []string

	// Scopes are the OAuth scopes of an access token. Nil for a pair, and where the backend cannot see them.
	Scopes []string

	// Expiry is when the credential ends. Zero where it does not, or where the backend cannot see it.
	Expiry time.Time
}

// ErrDenied is a backend's verdict that a credential is bad: unknown, wrong, expired, revoked, or of a disabled user.
var ErrDenied = errors.New("credential denied")

// ErrUnknownSite is the error of a Backend that is Tenanted where its source has no site of the name that the request
// gave. The request gets 404, and the backend is not asked again about that site for a while.
var ErrUnknownSite = errors.New("no such site")

// UnavailableError says that it could not be found out whether a credential is good. Any error of a Backend other
// than ErrDenied means the same; this one adds when to try again.
type UnavailableError struct {
	// Reason says what happened and what its likely cause is, without a secret. It goes to the log, not to clients.
	Reason error

	// RetryAfter is after how long another attempt makes sense. Zero: not known.
	RetryAfter time.Duration

	// OnlyThis says that the backend is well but cannot judge this one credential. It is not left alone for it, or
	// a client could shut it off for the others.
	OnlyThis bool
}

func (e *UnavailableError) Error() string { return fmt.Sprintf("could not find out: %v", e.Reason) }

// Unwrap returns the reason.
func (e *UnavailableError) Unwrap() error { return e.Reason }

// state is what verifiers of the same backends share, and what outlives a reload of the configuration.
type state struct {
	cache    *cache
	flights  flights
	guards   []*guard // of each backend
	throttle *throttle
	now      func() time.Time
	start    time.Time // where the clock of the state begins
	lookups  [lookupResults]atomic.Uint64
}

// states holds the state of each distinct list of backends, by its fingerprint.
var states = caddy.NewUsagePool()

// Destruct implements caddy.Destructor: nothing is held but memory.
func (*state) Destruct() error { return nil }

// pooled reports whether those who revoke know of the state.
func (s *state) pooled() (found bool) {
	states.Range(func(_, value any) bool {
		found = found || value == any(s)
		return !found
	})
	return found
}

// clock is the time on the state's clock, in nanoseconds, which no change of the wall clock moves.
func (s *state) clock(now time.Time) int64 { return int64(now.Sub(s.start)) }

// namedBackend is a backend with what the verifier needs to know of it.
type namedBackend struct {
	Backend
	name     string
	tenanted Tenanted // nil: one site only
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
	owner       *Verification // nil in tests
}

// verifier finds out whether a credential is good: from the cache, or else from the backends in order, once for all
// who wait for the same credential.
type verifier struct {
	verifierConfig
	tenanted    bool // one of the backends is
	ttl         int64
	negativeTTL int64
	stale       int64
	state       *state
	closed      atomic.Bool

	unwatch  context.CancelFunc
	watchers sync.WaitGroup
}

// maxVerification bounds a verification, whatever the backend does. A verification under way when its configuration is
// replaced is finished, since Caddy finishes the requests that wait for it; so this also bounds how long it outlives
// the configuration.
const maxVerification = time.Minute

// newVerifier joins the state that belongs to the backends' fingerprint, and watches what can be watched. The verifier
// must be closed.
func newVerifier(ctx context.Context, conf verifierConfig) (*verifier, error) {
	pooled, _, err := states.LoadOrNew(conf.fingerprint, func() (caddy.Destructor, error) {
		s := &state{cache: newCache(conf.fingerprint), throttle: newThrottle(), now: conf.now, start: conf.now()}
		for _, b := range conf.backends {
			s.guards = append(s.guards, newGuard(b.name, conf.random))
		}
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	v := &verifier{
		verifierConfig: conf,
		ttl:            int64(*conf.cache.TTL),
		negativeTTL:    int64(*conf.cache.NegativeTTL),
		stale:          int64(conf.cache.StaleIfError),
		state:          pooled.(*state),
	}
	ctx, v.unwatch = context.WithCancel(ctx)
	v.state.cache.join(v, conf.cache.Size)
	for i, b := range v.backends {
		v.metrics.expect(b.name)
		v.tenanted = v.tenanted || b.tenanted != nil
		if w, ok := b.Backend.(Watcher); ok {
			v.watchers.Go(func() { v.watch(ctx, w, v.state.guards[i]) })
		}
	}
	return v, nil
}

// close ends the watch of the backends, and leaves the state to others. Caddy may still have requests for the verifier.
func (v *verifier) close() error {
	v.closed.Store(true) // before the state goes, so that who does not see it can rely on the state
	v.unwatch()
	v.watchers.Wait()
	v.state.cache.leave(v)
	_, err := states.Delete(v.fingerprint)
	return err
}

// watch drops the verdicts that a backend reports as changed, and notes how far its reports reach.
func (v *verifier) watch(ctx context.Context, w Watcher, g *guard) {
	began := false
	w.Watch(ctx, func(changes []Change) {
		// Reports reach to when the backend looked, which was before now; what is asked for in between is judged by
		// what the backend then sees.
		now := v.state.clock(v.now())
		for _, c := range changes {
			v.state.cache.revokeChange(c)
			v.metrics.countRevocation(revokedByWatch)
		}
		if !began {
			began = true
			g.watch.began(now)
		}
		g.watch.looked(now)
	})
	if began {
		g.watch.ended()
	}
}

// How a verdict was come by, for the placeholder {http.auth.frappe.cache}.
const (
	cacheHit   = "hit"
	cacheMiss  = "miss"
	cacheStale = "stale"
)

// answer is what was found out about a credential: a grant, or an error as Backend's.
type answer struct {
	grant
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

// inquiry is a credential that is to be found out about.
type inquiry struct {
	cred  Credential
	sites []string // as verifier.sites
	key   cacheKey
	known bool // it was granted before
	renew bool // although there is a verdict, the one asked for at
	at    int64

	client   netip.Prefix // whom a denial counts against
	failures FailureLimit // of the client

	span trace.Span // of the request that asks
}

// verify finds out about a credential, and writes to a what it found. address is that of the client, asked for only where
// the cache does not grant, and limit bounds how often the client may fail. When ctx ends there is no answer: whoever waits
// for that to another's question stops waiting, whoever asked sees the question through, which takes maxGateWait and
// maxVerification for each backend at most.
//
// What it takes and gives goes by address, and so on the way below it: to copy it from level to level was a twelfth of the
// time of a hit, and a sixth of the stack that Go gives a connection.
func (v *verifier) verify(ctx context.Context, limit FailureLimit, address func() string, sites []string, cred *Credential, a *answer) {
	if v.closed.Load() && !v.state.pooled() {
		v.state.cache.purge() // what was revoked since the configuration went, nobody has told it
	}
	key := v.state.cache.key(sites, cred)
	if v.granted(ctx, key, sites, cred, &a.grant) {
		a.cache = cacheHit
		return
	}
	v.find(ctx, limit, address(), key, sites, cred, a)
}

// granted looks for the cached grant of a credential, and reports whether it may serve. It is the way of most requests.
func (v *verifier) granted(ctx context.Context, key cacheKey, sites []string, cred *Credential, g *grant) bool {
	if !v.state.cache.lookupGranted(key, g) {
		return false
	}
	now := v.now()
	switch v.freshness(g, now) {
	case due:
		v.renewAhead(ctx, key, sites, cred, g, v.state.clock(now))
	case expired, ended:
		return false
	case fresh:
	}
	v.countLookup(lookupHit)
	return true
}

// find finds out about a credential of which there is no grant that may serve, from a cached denial or from the backends.
// limit bounds how often the client may fail.
func (v *verifier) find(ctx context.Context, limit FailureLimit, address string, key cacheKey, sites []string, cred *Credential, a *answer) {
	g, granted, d, denied := v.state.cache.lookup(key)
	now, client := v.now(), clientOf(address)
	clock := v.state.clock(now)
	known := granted && v.freshness(&g, now) != ended
	if wait := v.state.throttle.wait(client, clock, limit); wait > 0 && !known {
		*a = answer{err: &throttledError{wait: wait}}
		return
	}
	if denied && clock-d.at < v.negativeTTL {
		v.countLookup(lookupHitDenied)
		*a = answer{cache: cacheHit, err: ErrDenied}
		return
	}
	v.inquire(ctx, &inquiry{
		cred: *cred, sites: sites, key: key, known: known, failures: limit, client: client, span: trace.SpanFromContext(ctx),
	}, a)
}

// inquire has the backends find out.
func (v *verifier) inquire(ctx context.Context, q *inquiry, a *answer) {
	// A denial counts once, when the backends have given it, however many requests wait for it and whether or not they do
	// so to its end.
	*a = v.fly(ctx, q)
	switch {
	case ctx.Err() != nil:
		*a = answer{err: ctx.Err()} // whoever left gets nothing, and goes nowhere
	case a.err != nil && !errors.Is(a.err, ErrDenied) && q.known:
		// It may have been revoked while the backends were asked.
		if g, granted, _, _ := v.state.cache.lookup(q.key); granted && v.mayServeStale(&g) {
			v.countLookup(lookupStale)
			*a = v.staleAnswer(g, q.sites)
			return
		}
	}
	v.countLookup(lookupMiss)
}

func (v *verifier) countLookup(result lookupResult) {
	v.state.lookups[result].Add(1)
	v.metrics.countLookup(result)
}

// freshness is what a granted verdict is worth.
type freshness int

const (
	fresh   freshness = iota
	due               // fresh, but to be renewed
	expired           // to be asked for again
	ended             // the credential itself has expired
)

func (v *verifier) freshness(g *grant, now time.Time) freshness {
	if g.expiry != 0 && now.UnixNano() >= g.expiry {
		return ended
	}
	clock := v.state.clock(now)
	// A verdict whose backend has looked for changes since is as good as asked for then.
	confirmed, longest := g.at, v.ttl
	if until, ok := g.guard.watch.covers(g.at); ok {
		confirmed, longest = until, max(v.ttl, int64(watchedTTL))
	}
	switch {
	case clock-confirmed >= v.ttl || clock-g.at >= longest:
		return expired
	case clock-confirmed >= v.ttl-v.ttl/5 || clock-g.at >= longest-longest/5:
		return due
	}
	return fresh
}

// renewAhead asks for a verdict again before it expires, so that a steady client never waits. If nobody knows, the
// next attempt is another twentieth of the ttl away.
func (v *verifier) renewAhead(ctx context.Context, key cacheKey, sites []string, cred *Credential, g *grant, clock int64) {
	if g.renewal > clock || !v.state.cache.claimRenewal(key, clock, clock+v.ttl/20) {
		return
	}
	q := inquiry{
		cred: *cred, sites: sites, key: key, known: true, renew: true, at: g.at, failures: unlimited,
		span: trace.SpanFromContext(ctx),
	}
	go v.fly(context.Background(), &q) //nolint:gosec // it outlives the request, of which nothing may be kept
}

// mayServeStale reports whether an expired grant may serve although nobody knows whether it still holds.
func (v *verifier) mayServeStale(g *grant) bool {
	now := v.now()
	confirmed := g.at
	if until, ok := g.guard.watch.covers(g.at); ok {
		confirmed = until
	}
	return v.stale > 0 && v.state.clock(now)-confirmed < v.ttl+v.stale &&
		(g.expiry == 0 || now.UnixNano() < g.expiry)
}

func (v *verifier) staleAnswer(g grant, sites []string) answer {
	for i, b := range v.backends {
		if v.state.guards[i] == g.guard && v.state.guards[i].breaker(siteOf(sites, i)).logStale() {
			v.logger.Warn("serving stale verdicts while it cannot be found out whether they still hold",
				zap.String("backend", b.name))
		}
	}
	return answer{grant: g, cache: cacheStale}
}

// siteOf is the site of the request for a backend.
func siteOf(sites []string, backend int) string {
	if sites == nil {
		return ""
	}
	return sites[backend]
}

// fly asks the backends, unless somebody does so already, be it for the configuration before this one.
func (v *verifier) fly(ctx context.Context, q *inquiry) answer {
	k := flightKey{verdict: q.key, seq: v.state.cache.sequence()}
	return v.state.flights.join(ctx, k, func() answer { return v.ask(q, k.seq) })
}

// ask asks the backends in order and keeps their verdict.
func (v *verifier) ask(q *inquiry, seq uint64) answer {
	if a, ok := v.foundSince(q); ok {
		return a
	}
	at := v.state.clock(v.now())
	claim := v.state.cache.claimTag(q.cred)
	var unavailable *UnavailableError
	for i, b := range v.backends {
		id, err := v.guarded(b, v.state.guards[i], siteOf(q.sites, i), q)
		switch {
		case err == nil:
			g := v.newGrant(id, v.state.guards[i])
			g.at, g.seq, g.byClaim = at, seq, claim
			// Also with a ttl of 0: known good credentials have privileges.
			if v.state.cache.grant(q.key, g) {
				v.metrics.countEviction("granted")
			}
			return answer{grant: g, cache: cacheMiss}
		case errors.Is(err, ErrDenied):
		default:
			unavailable = sooner(unavailable, err)
		}
	}
	if unavailable != nil {
		return answer{cache: cacheMiss, err: unavailable}
	}
	if v.state.cache.deny(q.key, denial{at: at, seq: seq, byClaim: claim}, v.negativeTTL > 0) {
		v.metrics.countEviction("denied")
	}
	v.state.throttle.fail(q.client, at, q.failures)
	return answer{cache: cacheMiss, err: ErrDenied}
}

// foundSince is the verdict that others found out between the look into the cache and now.
func (v *verifier) foundSince(q *inquiry) (answer, bool) {
	g, granted, d, denied := v.state.cache.lookup(q.key)
	now := v.now()
	switch {
	case granted && q.renew && g.at == q.at:
		return answer{}, false // this is the one to be renewed
	case granted && v.freshness(&g, now) <= due:
		return answer{grant: g, cache: cacheHit}, true
	case denied && v.state.clock(now)-d.at < v.negativeTTL:
		return answer{cache: cacheHit, err: ErrDenied}, true
	}
	return answer{}, false
}

// guarded asks one backend, unless it is busy or left alone.
func (v *verifier) guarded(b namedBackend, g *guard, site string, q *inquiry) (Identity, error) {
	br := g.breaker(site)
	probe, leave, err := v.admit(br, g, q.known)
	if err != nil {
		v.metrics.countRejection(b.name, err)
		return Identity{}, err
	}
	defer leave()

	cred := q.cred
	cred.Site = site
	asked := v.now()
	id, err := v.call(b, cred, q.span)
	v.metrics.countCall(b.name, err, v.now().Sub(asked))
	if err == nil || errors.Is(err, ErrDenied) {
		if ended := br.foundOut(); ended {
			v.logger.Info("backend can find out again", zap.String("backend", b.name), zap.String("site", site))
			v.events.emit(eventRecovered, "backend", b.name, "site", site)
		}
		return id, err
	}

	v.logger.Warn("could not find out whether a credential is good",
		zap.String("backend", b.name), zap.String("site", site), zap.Error(err))
	var unavailable *UnavailableError
	if errors.As(err, &unavailable) && unavailable.OnlyThis {
		br.abandon(probe)
	} else if began := br.failed(v.now(), probe); began {
		v.events.emit(eventUnavailable, "backend", b.name, "site", site)
	}
	return id, err
}

// admit waits until the backend may be asked. leave must be called if and only if there is no error.
func (v *verifier) admit(br *breaker, g *guard, known bool) (probe bool, leave func(), err error) {
	if err := br.check(v.now()); err != nil {
		return false, nil, err
	}
	leave, err = g.gate.enter(v.maxInflight, known)
	if err != nil {
		return false, nil, err
	}
	probe, err = br.allow(v.now()) // those before may have opened it
	if err != nil {
		leave()
		return false, nil, err
	}
	return probe, leave, nil
}

// call asks one backend. Whatever it does wrong means that it could not find out.
func (v *verifier) call(b namedBackend, cred Credential, parent trace.Span) (id Identity, err error) {
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
		return Identity{}, err
	case !validUser(id.User):
		return Identity{}, errors.New("the backend granted, but named no user of Frappe's")
	case !id.Expiry.IsZero() && !v.now().Before(id.Expiry):
		return Identity{}, ErrDenied
	}
	return id, nil
}

// validUser reports whether a name can be that of the owner of a credential.
func validUser(name string) bool {
	return name != "" && name != Guest && len(name) <= maxUserSize && !strings.ContainsFunc(name, unicode.IsControl)
}

// newGrant puts an identity into the form in which it is kept and published.
func (v *verifier) newGrant(id Identity, by *guard) grant {
	g := grant{user: id.User, guard: by, byUser: v.state.cache.userTag(id.User)}
	if !id.Expiry.IsZero() {
		g.expiry = id.Expiry.UnixNano()
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

// sooner is the error that promises an answer sooner.
func sooner(known *UnavailableError, err error) *UnavailableError {
	u := new(UnavailableError)
	if !errors.As(err, &u) {
		u = &UnavailableError{Reason: err}
	}
	if known == nil || known.RetryAfter == 0 || (u.RetryAfter != 0 && u.RetryAfter < known.RetryAfter) {
		return u
	}
	return known
}
