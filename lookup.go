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
	"github.com/caddy-frappe/frappe-auth/internal/events"
	"github.com/caddy-frappe/frappe-auth/internal/inflight"
	"github.com/caddy-frappe/frappe-auth/internal/jwt"
	"github.com/caddy-frappe/frappe-auth/internal/metrics"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/tracing"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// lookup is one question to the backends: is this credential good, and whose is it?
type lookup struct {
	cred    frappe.Credential
	sites   []string // from verifier.sites
	subject verdicts.Subject
	known   bool            // a backend has granted it before
	bad     bool            // a backend has denied it before
	renew   *grant          // a verdict to refresh although it is still fresh
	asked   verdicts.Moment // when the backends were asked; no two lookups have the same
	share   share

	client   netip.Prefix // charged with a failure
	failures rate.Limit   // of the client

	span  trace.Span // of the request that asks
	trace func(step) // if set: called with each backend's answer
}

// step is one backend's answer to a lookup.
type step struct {
	backend  namedBackend
	site     string
	identity frappe.Identity
	err      error
	took     time.Duration
}

// siteOf returns the request's site for a backend.
func siteOf(sites []string, backend int) string {
	if sites == nil {
		return ""
	}
	return sites[backend]
}

// maxJoins is how many lookups of other requests one request waits for. It needs another one only if the client that ran
// the lookup had reached its failure limit.
const maxJoins = 3

// coalesced asks the backends, or waits for a request that is already asking about the same credential. That request may
// belong to the previous configuration.
func (v *verifier) coalesced(ctx context.Context, q *lookup) verdict {
	for range maxJoins {
		key := lookupKey{key: q.subject.Key, spelling: q.subject.Spelling, revision: v.state.cache.Revision()}
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

// lookUp takes the verdict of another Caddy, or asks the backends.
func (v *verifier) lookUp(q *lookup) verdict {
	if a, ok := v.answeredSince(q); ok {
		return a
	}
	if v.state.fleet == nil || q.subject.Uncached {
		return v.askBackends(q)
	}
	return v.lookUpShared(q)
}

// askBackends asks the backends in order and caches their verdict.
func (v *verifier) askBackends(q *lookup) verdict {
	q.asked = v.state.cache.Begin()
	q.share.begin(v.state.fleet)
	at := v.state.clock(v.now())
	var (
		unavailable     *frappe.UnavailableError
		denied, unknown bool
	)
	for i, b := range v.backends {
		if q.cred.Scheme == frappe.SchemeSession && !b.sessions {
			denied = true
			continue
		}
		began := v.now()
		id, err := v.askBackend(b, v.state.backends[i], siteOf(q.sites, i), q)
		_, throttled := errors.AsType[*throttledError](err)
		if q.trace != nil {
			q.trace(step{backend: b, site: siteOf(q.sites, i), identity: id, err: err, took: v.now().Sub(began)})
		}
		switch {
		case err == nil:
			g := v.newGrant(q, id, i)
			g.At, g.Moment = at, q.asked
			if !q.subject.Uncached {
				v.cacheGrant(q, g, id, i)
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
		v.state.cache.Forget(q.subject, q.asked)
		v.withdraw(q)
		return verdict{cache: cacheMiss, err: frappe.ErrUnknownSite}
	}
	d := denial{Spelling: q.subject.Spelling, Tags: v.denialTags(q), At: at, Moment: q.asked}
	if !q.subject.Uncached && v.state.cache.Deny(q.subject, d) {
		metrics.Eviction(metrics.Denied)
	}
	v.withdraw(q)
	if !q.bad {
		v.charge(q)
	}
	return verdict{cache: cacheMiss, err: frappe.ErrDenied}
}

// charge counts a failure against the client.
func (v *verifier) charge(q *lookup) {
	v.state.failures.Charge(q.client, q.failures, v.state.clock(v.now()))
	if limit, ok := v.sharedLimit(q); ok {
		v.state.fleet.Charge(limit, q.share.name)
	}
}

// answeredSince returns the verdict of another lookup that ended after this request read the cache.
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

// askBackend asks one backend. It does not ask if the in-flight limit is reached, a circuit breaker is open or the client
// has reached its failure limit.
func (v *verifier) askBackend(b namedBackend, bs *backendState, site string, q *lookup) (frappe.Identity, error) {
	if b.resolver != nil && bs.unknownSites.has(site, v.state.clock(v.now())) {
		return frappe.Identity{}, frappe.ErrUnknownSite
	}
	p, err := v.acquire(bs, site, q)
	if err != nil {
		metrics.Rejection(b.name, rejectionReason(err))
		return frappe.Identity{}, err
	}
	defer p.release()

	cred := q.cred
	cred.Site = site
	asked := v.now()
	id, err := v.call(b, cred, q.span)
	metrics.Call(b.name, err, v.now().Sub(asked))
	switch {
	case err == nil, errors.Is(err, frappe.ErrDenied):
		v.succeeded(b, bs, site, q)
	case errors.Is(err, frappe.ErrUnknownSite) && b.resolver != nil:
		v.succeeded(b, bs, site, q)
		bs.unknownSites.add(site, v.state.clock(asked))
		v.charge(q)
	default:
		v.failed(b, bs, site, q, p, err)
	}
	return id, err
}

// succeeded records that a backend gave a verdict.
func (v *verifier) succeeded(b namedBackend, bs *backendState, site string, q *lookup) {
	bs.credentials.Success(q.subject.Key)
	ended, wasOpen := bs.sites.Success(site)
	if wasOpen {
		bs.credentials.Reset() // their failures came from the site's outage
	}
	if ended {
		v.logger.Info("the backend is available again", zap.String("backend", b.name), zap.String("site", site))
		v.events.Emit(events.Recovered, "backend", b.name, "site", site)
	}
}

// failed records that a backend gave no verdict.
func (v *verifier) failed(b namedBackend, bs *backendState, site string, q *lookup, p permit, err error) {
	v.logger.Warn("the credential could not be verified",
		zap.String("backend", b.name), zap.String("site", site), zap.Error(err))
	now := v.now()
	first := bs.credentials.Failure(q.subject.Key, q.asked.Lookup(), now, p.credentialProbe)
	unavailable, ok := errors.AsType[*frappe.UnavailableError](err)
	switch {
	case !ok || !unavailable.CredentialSpecific:
		if began := bs.sites.Failure(site, v.state.cache.claimTag(&q.cred), now, p.siteProbe); began {
			v.events.Emit(events.Unavailable, "backend", b.name, "site", site)
		}
	default:
		bs.sites.Cancel(site, p.siteProbe)
		if first && !q.known {
			v.charge(q)
		}
	}
}

// permit allows one call of a backend. The caller must report the outcome to the breakers and call release.
type permit struct {
	siteProbe, credentialProbe bool
	release                    func()
}

// acquire waits until the backend may be called. It checks the client again after the wait, because other credentials of
// that client may have been denied in the meantime.
func (v *verifier) acquire(bs *backendState, site string, q *lookup) (p permit, err error) {
	if err := bs.checkBreakers(site, q.subject.Key, v.now()); err != nil {
		return permit{}, err
	}
	if p.release, err = bs.limit.Load().Acquire(q.known); err != nil {
		return permit{}, &frappe.UnavailableError{Reason: err, RetryAfter: time.Second}
	}
	now := v.now()
	if err = v.throttled(q, now); err == nil {
		err = v.throttledElsewhere(q)
	}
	if err == nil {
		p.siteProbe, p.credentialProbe, err = bs.acquireProbes(site, q.subject.Key, now)
	}
	if err != nil {
		p.release()
		return permit{}, err
	}
	return p, nil
}

// call asks one backend. Any misbehavior, a panic included, counts as unavailable.
func (v *verifier) call(b namedBackend, cred frappe.Credential, parent trace.Span) (id frappe.Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The value of a panic may contain a secret. Its type and the stack do not.
			err = fmt.Errorf("the backend panicked with a %T", p)
			v.logger.Error("backend panicked", zap.String("backend", b.name), zap.Stack("stack"))
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), maxVerification)
	defer cancel()
	ctx, end := tracing.StartCall(ctx, parent, b.name, cred.Site)
	defer func() { end(err) }()
	id, err = b.Verify(ctx, cred)
	switch {
	case err != nil:
		return frappe.Identity{}, err
	case !frappe.ValidUser(id.User):
		return frappe.Identity{}, errors.New("the backend granted, but named no valid Frappe user")
	case !id.Expiry.IsZero() && !v.now().Before(id.Expiry):
		return frappe.Identity{}, frappe.ErrDenied
	}
	return id, nil
}

// newGrant turns an identity into the form that is cached and published.
func (v *verifier) newGrant(q *lookup, id frappe.Identity, backend int) *grant {
	g := &grant{user: id.User, by: v.state.backends[backend]}
	g.Spelling = q.subject.Spelling
	g.Tags = verdicts.Tags{User: v.state.cache.userTag(id.User), Claim: v.state.cache.claimTag(&q.cred), Site: v.siteTag(q, backend)}
	expiry := id.Expiry
	g.session = q.cred.Scheme == frappe.SchemeSession
	g.expiryUnknown = expiry.IsZero() && (g.session || q.cred.Bearer())
	if q.cred.Bearer() {
		if exp := jwt.Expiry(q.cred.Token); expiry.IsZero() || (!exp.IsZero() && exp.Before(expiry)) {
			expiry = exp
		}
	}
	if !expiry.IsZero() {
		g.expiry = unixNanos(expiry)
	}
	if id.FullName != "" || id.Roles != nil || id.Scopes != nil || id.Client != "" {
		g.detail = &detail{
			fullName: id.FullName,
			roles:    id.Roles,
			roleList: strings.Join(id.Roles, ","),
			scopes:   strings.Join(id.Scopes, " "),
			client:   id.Client,
		}
	}
	return g
}

// minRetryAfter returns the error with the shorter RetryAfter. An unknown RetryAfter counts as the longest.
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
