package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/inflight"
	"github.com/caddy-frappe/frappe-auth/internal/jwt"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
)

// lookup is a credential that the backends are asked about.
type lookup struct {
	cred    frappe.Credential
	sites   []string // as verifier.sites
	subject subject
	known   bool   // it was granted before
	bad     bool   // it was denied before
	renew   *grant // although this verdict is still fresh

	client   netip.Prefix // charged with a failure
	failures rate.Limit   // of the client

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
	v.state.failures.Charge(q.client, q.failures, v.state.clock(v.now()))
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
	if b.resolver != nil && g.unknownSites.has(site, v.state.clock(v.now())) {
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
	case errors.Is(err, frappe.ErrUnknownSite) && b.resolver != nil:
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
		if exp := jwt.Expiry(q.cred.Token); expiry.IsZero() || (!exp.IsZero() && exp.Before(expiry)) {
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

// unixNanos is the time in Unix nanoseconds, or the nearest that there is: nanoseconds end in the year 2262.
func unixNanos(t time.Time) int64 {
	switch seconds := t.Unix(); {
	case seconds >= math.MaxInt64/int64(time.Second):
		return math.MaxInt64
	case seconds <= math.MinInt64/int64(time.Second):
		return math.MinInt64
	}
	return t.UnixNano()
}
