package frappeauth

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/jwt"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// lookup asks the backends about one credential: is it good, and whose is it?
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
	backend  backends.Backend
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

// maxCoalesced is how many lookups of other requests one request waits for. It needs another one only if the client that ran
// the lookup had reached its failure limit.
const maxCoalesced = 3

// coalesced asks the backends, or waits for a request that is already asking about the same credential. That request may
// belong to the previous configuration.
func (v *verifier) coalesced(ctx context.Context, l *lookup) verdict {
	for range maxCoalesced {
		key := lookupKey{key: l.subject.Key, spelling: l.subject.Spelling, revision: v.state.cache.Revision()}
		result, shared, err := v.state.lookups.Do(ctx, key, func() verdict { return v.lookUp(l) })
		if err != nil {
			return verdict{err: err}
		}
		if _, throttled := errors.AsType[*throttledError](result.err); !throttled || !shared {
			return result
		}
	}
	return verdict{err: &frappe.UnavailableError{Reason: backends.ErrBusy, RetryAfter: time.Second}}
}

// lookUp takes the verdict of another Caddy, or asks the backends.
func (v *verifier) lookUp(l *lookup) verdict {
	if result, ok := v.answeredSince(l); ok {
		return result
	}
	if v.state.fleet == nil {
		return v.askBackends(l)
	}
	l.share.store = v.state.fleet.Exchange()
	if l.subject.Uncached {
		return v.askBackends(l)
	}
	return v.lookUpShared(l)
}

// askBackends asks the backends in order and caches their verdict.
func (v *verifier) askBackends(l *lookup) verdict {
	l.asked = v.state.cache.Begin()
	l.share.begin(v.state.fleet)
	at := v.state.clock.At(v.now())
	var (
		unavailable     *frappe.UnavailableError
		denied, unknown bool
	)
	for i, b := range v.backends {
		if l.cred.Scheme == frappe.SchemeSession && !b.Sessions {
			denied = true
			continue
		}
		began := v.now()
		id, err := v.askBackend(i, l)
		_, throttled := errors.AsType[*throttledError](err)
		if l.trace != nil {
			l.trace(step{backend: b, site: siteOf(l.sites, i), identity: id, err: err, took: v.now().Sub(began)})
		}
		switch {
		case err == nil:
			g := v.newGrant(l, id, i)
			g.At, g.Moment = at, l.asked
			if !l.subject.Uncached {
				v.cacheGrant(l, g, id, i)
			}
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
		v.state.cache.Forget(l.subject, l.asked)
		v.withdraw(l)
		return verdict{cache: cacheMiss, err: frappe.ErrUnknownSite}
	}
	d := denial{Spelling: l.subject.Spelling, Tags: v.denialTags(l), At: at, Moment: l.asked}
	if !l.subject.Uncached && v.state.cache.Deny(l.subject, d) {
		telemetry.CountEviction(telemetry.VerdictDenied)
	}
	v.withdraw(l)
	if !l.bad {
		v.charge(l)
	}
	return verdict{cache: cacheMiss, err: frappe.ErrDenied}
}

// charge counts a failure against the client.
func (v *verifier) charge(l *lookup) {
	v.state.failures.Charge(l.client, l.failures, v.state.clock.At(v.now()))
	if limit, ok := v.sharedLimit(l); ok {
		l.share.store.Charge(limit, l.share.name)
	}
}

// answeredSince returns the verdict of another lookup that ended after this request read the cache.
func (v *verifier) answeredSince(l *lookup) (verdict, bool) {
	g, d := v.cached(l.subject)
	now := v.now()
	switch {
	case g != nil && g != l.renew && v.freshness(g, now) <= verdicts.Due:
		return verdict{grant: g, cache: cacheHit}, true
	case d != nil && v.isFresh(d, now):
		return verdict{cache: cacheHit, err: frappe.ErrDenied}, true
	}
	return verdict{}, false
}

// askBackend asks one backend.
func (v *verifier) askBackend(i int, l *lookup) (frappe.Identity, error) {
	cred := l.cred
	cred.Site = siteOf(l.sites, i)
	return v.state.backends[i].Verify(v.backends[i], v.reporter(), backends.Call{
		Credential: cred,
		Key:        l.subject.Key,
		Claim:      v.state.cache.claimTag(&cred),
		Lookup:     l.asked.Lookup(),
		Known:      l.known,
		// The client's other credentials may have been denied while this one waited for the in-flight limit.
		Allow: func() error {
			if err := v.throttled(l, v.now()); err != nil {
				return err
			}
			return v.throttledElsewhere(l)
		},
		Charge: func() { v.charge(l) },
		Span:   l.span,
	})
}

// newGrant turns an identity into the form that is cached and published.
func (v *verifier) newGrant(l *lookup, id frappe.Identity, by int) *grant {
	g := &grant{user: id.User, by: v.state.backends[by]}
	g.Spelling = l.subject.Spelling
	g.Tags = v.state.cache.credentialTags(&l.cred)
	g.Tags.User, g.Tags.Site = v.state.cache.userTag(id.User), v.siteTag(l, by)
	expiry := id.Expiry
	g.Session = l.cred.Scheme == frappe.SchemeSession
	g.ExpiryUnknown = expiry.IsZero() && (g.Session || l.cred.Bearer())
	if l.cred.Bearer() {
		if exp := jwt.Expiry(l.cred.Token); expiry.IsZero() || (!exp.IsZero() && exp.Before(expiry)) {
			expiry = exp
		}
	}
	if !expiry.IsZero() {
		g.Expiry = unixNanos(expiry)
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
