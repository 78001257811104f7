package frappeauth

import (
	"encoding/json"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// share is the part of a lookup that concerns the store which several Caddys share. It is zero without one.
type share struct {
	name   string          // of the verdict
	store  *fleet.Exchange // nil: nothing is shared
	found  bool            // the store had a verdict: this credential was good
	asked  fleet.Moment    // when the backends were asked
	usable bool            // asked is known
}

// begin records when the backends are asked.
func (s *share) begin(f *fleet.Fleet) {
	if s.name != "" {
		s.asked, s.usable = f.Begin()
	}
}

// sharedGrant is the value of a verdict in the store.
type sharedGrant struct {
	Backend  int             `json:"backend"` // position in the configuration, which is part of the verdict's name
	Identity frappe.Identity `json:"identity"`
}

// lookUpShared takes the verdict of another Caddy. If there is none, it asks the backends, unless another Caddy is asking them.
func (v *verifier) lookUpShared(l *lookup) verdict {
	l.share.name = v.shareName(l)
	l.share.store.AwaitLook()
	g := v.takeShared(l)
	if g == nil && v.mayAsk(l) {
		unlock := l.share.store.Lock(l.share.name, func() bool {
			g = v.takeShared(l)
			return g != nil
		})
		defer unlock()
	}
	if g != nil {
		return verdict{grant: g, cache: cacheShared}
	}
	result := v.askBackends(l)
	result.known = l.known
	return result
}

// shareName returns the name of a verdict in the store. Unlike the key in memory, it depends on the exact spelling.
func (v *verifier) shareName(l *lookup) string {
	kind, claim := claimOf(&l.cred)
	return v.state.fleet.Name(append([]string{kind, claim, l.cred.Secret}, l.sites...)...)
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

// takeShared returns the grant of another Caddy, and caches it with its true age. A grant that may only serve stale is cached
// too, for the case that the backends are unavailable, but is not returned.
func (v *verifier) takeShared(l *lookup) *grant {
	read := v.state.cache.Begin()
	found := l.share.store.Get(l.share.name)
	if found == nil {
		return nil
	}
	l.share.found = true
	var shared sharedGrant
	if json.Unmarshal(found.Plain, &shared) != nil || shared.Backend < 0 || shared.Backend >= len(v.backends) ||
		!frappe.ValidUser(shared.Identity.User) {
		return nil
	}
	g := v.newGrant(l, shared.Identity, shared.Backend)
	now := v.now()
	g.At = v.state.clock.At(now) - int64(found.Age)
	freshness := v.freshness(g, now)
	if all := g.Tags.All(); freshness > verdicts.Stale || !v.state.fleet.IsCurrent(found, all[:]...) {
		return nil
	}
	cached, evicted := v.state.cache.Adopt(l.subject, g, read)
	if evicted {
		telemetry.CountEviction(telemetry.VerdictGranted)
	}
	switch {
	case !cached:
		return nil
	case freshness == verdicts.Fresh || freshness == verdicts.Due && l.renew == nil:
		return g
	}
	l.known = true
	return nil
}

// cacheGrant caches a grant, and shares it if it was cached. It does so even with a ttl of 0: a credential that is known to be
// good is exempt from the failure limit.
func (v *verifier) cacheGrant(l *lookup, g *grant, id frappe.Identity, backend int) {
	cached, evicted := v.state.cache.Grant(l.subject, g)
	if evicted {
		telemetry.CountEviction(telemetry.VerdictGranted)
	}
	if cached {
		v.putShared(l, g, id, backend)
	}
}

// putShared stores a grant for the other Caddys.
func (v *verifier) putShared(l *lookup, g *grant, id frappe.Identity, backend int) {
	if !l.share.usable {
		return
	}
	plain, err := json.Marshal(sharedGrant{Backend: backend, Identity: id})
	if err != nil {
		return // an expiry beyond the year 9999
	}
	l.share.store.Put(l.share.name, l.share.asked, plain, v.lifetimes.Longest(g.Validity, v.now()))
}

// withdraw takes back the verdict on a credential that was good and no longer is, so that no other Caddy serves it on.
func (v *verifier) withdraw(l *lookup) {
	if l.share.name == "" || !l.known && !l.share.found {
		return
	}
	v.state.fleet.RevokeElsewhere(fleet.Revocation{Tags: []uint64{v.state.cache.claimTag(&l.cred)}})
	l.share.store.Delete(l.share.name)
}

// sharedLimit returns the client's limit at all Caddys together. ok is false if there is none.
func (v *verifier) sharedLimit(l *lookup) (limit fleet.Limit, ok bool) {
	if v.state.fleet == nil || l.failures.Max < 0 {
		return fleet.Limit{}, false
	}
	return fleet.Limit{Client: l.client.String(), Max: l.failures.Max, Window: l.failures.Window}, true
}

// throttledElsewhere is like throttled, for the failures at all Caddys together.
func (v *verifier) throttledElsewhere(l *lookup) error {
	limit, ok := v.sharedLimit(l)
	if l.known || !ok {
		return nil
	}
	if wait := l.share.store.Wait(limit); wait > 0 {
		return &throttledError{wait: wait}
	}
	return nil
}

// siteTag returns the tag of the site that a backend verifies a credential with.
func (v *verifier) siteTag(l *lookup, backend int) uint64 {
	if v.backends[backend].Resolver == nil {
		return v.state.cache.unnamedTag(onlySite)
	}
	return v.state.cache.siteTag(siteOf(l.sites, backend))
}

// denialTags returns the tags of a denial, on which all backends agree.
func (v *verifier) denialTags(l *lookup) verdicts.Tags {
	t := v.state.cache.credentialTags(&l.cred)
	t.Site = v.siteTag(l, 0)
	for i := 1; i < len(v.backends); i++ {
		if v.siteTag(l, i) != t.Site {
			t.Site = v.state.cache.unnamedTag(anySite)
			break
		}
	}
	return t
}
