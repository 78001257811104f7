package frappeauth

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/admin"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

func init() {
	caddy.RegisterModule(AdminAPI{})
}

// AdminAPI adds endpoints to Caddy's admin API that show what the `frappe_auth` handlers of this Caddy do, and that let
// an operator drop cached verdicts and check a credential. It needs no configuration.
//
// `GET /frappe_auth/` returns the handlers, the state of their backends, feeds and shared stores, and the size and the
// hit ratio of their caches.
//
// `DELETE /frappe_auth/cache` drops all cached verdicts. With `?user=<name>` it drops only those of that user; with
// `handler=<name>`, only those in the caches of the handlers with that name. Other Caddys that share a store drop them,
// too. The answer is 204, or 503 if the verdicts were dropped here but the other Caddys could not be told yet.
//
// `POST /frappe_auth/check` takes a credential in the body, written as in an Authorization header. It returns what each
// handler would do with it, the user, and where the verdict came from. It asks the backends as a request would and
// fills the cache, but it does not count failures against any client. `?handler=<name>` selects the handlers with that
// name. `?url=<URL>` is the URL of the request, for backends that serve several sites. Of the credential, the answer
// contains at most four characters of the API key.
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.frappe_auth",
		New: func() caddy.Module { return new(AdminAPI) },
	}
}

// Routes implements caddy.AdminRouter.
func (AdminAPI) Routes() []caddy.AdminRoute { return admin.Routes(adminSource{}) }

// adminSource is what the admin API shows and changes.
type adminSource struct{}

func (adminSource) Overview() (caches []admin.CacheStatus) {
	for _, s := range statesOf("") {
		caches = append(caches, s.overview())
	}
	return caches
}

func (adminSource) Drop(ctx context.Context, handler string, change frappe.Change) (found bool, err error) {
	return revoke(ctx, handler, []frappe.Change{change}, telemetry.SourceAdmin)
}

func (adminSource) Check(
	ctx context.Context, handler, line string, repl *caddy.Replacer,
) (results []admin.CheckResult) {
	for _, s := range statesOf(handler) {
		for _, a := range authenticatorsOf(s) {
			if handler == "" || handler == a.name {
				results = append(results, a.try(ctx, repl, line))
			}
		}
	}
	return results
}

// authenticatorsOf returns the authenticators that share a state, sorted by name.
func authenticatorsOf(s *state) (found []*authenticator) {
	active.Range(func(_, value any) bool {
		if a := value.(*authenticator); a.verifier.state == s {
			found = append(found, a)
		}
		return true
	})
	slices.SortStableFunc(found, func(a, b *authenticator) int { return strings.Compare(a.name, b.name) })
	return found
}

// overview is the state as the admin API shows it.
func (s *state) overview() admin.CacheStatus {
	o := admin.CacheStatus{
		Handlers:       []admin.HandlerOptions{},
		Lookups:        make(map[string]uint64),
		FailingClients: s.failures.Clients(),
	}
	o.Granted, o.Denied, o.Size = s.cache.Fill()
	var all uint64
	for result, name := range lookupResultNames {
		n := s.results[result].Load()
		o.Lookups[name] = n
		all += n
	}
	if all > 0 {
		hits := s.results[lookupHit].Load() + s.results[lookupHitDenied].Load()
		o.HitRatio = float64(hits) / float64(all)
		o.StaleRatio = float64(s.results[lookupStale].Load()) / float64(all)
	}
	sources := make([]string, len(s.backends))
	for _, a := range authenticatorsOf(s) {
		l := a.verifier.lifetimes
		o.Handlers = append(o.Handlers, admin.HandlerOptions{
			Name:         a.name,
			Schemes:      a.schemes,
			Require:      a.require,
			TTL:          l.TTL.String(),
			BearerTTL:    l.BearerTTL.String(),
			SessionTTL:   l.SessionTTL.String(),
			NegativeTTL:  l.NegativeTTL.String(),
			StaleIfError: l.StaleIfError.String(),
			MaxInflight:  a.verifier.maxInflight,
		})
		for i, b := range a.verifier.backends {
			sources[i] = b.Source()
		}
	}
	for i, b := range s.backends {
		calls, waiting := b.InFlight()
		shown := admin.BackendStatus{
			Name:        b.Name,
			Source:      sources[i],
			InFlight:    calls,
			Waiting:     waiting,
			CircuitOpen: b.Open(),
			Up:          b.Up(),
		}
		if last, ok := b.LastVerdict(); ok {
			shown.VerdictAge = admin.Seconds(s.now().Sub(last))
		}
		if age, ok := b.Watch.Age(s.now()); ok {
			shown.WatchAge = admin.Seconds(age)
		}
		o.Backends = append(o.Backends, shown)
	}
	o.Feeds = admin.FeedsOf(&s.feeds, s.now())
	if s.fleet != nil {
		o.Store = admin.StoreOf(s.fleet.Stats())
	}
	return o
}

// try returns what happens to a request with a credential. It counts no failure against any client.
func (a *authenticator) try(ctx context.Context, repl *caddy.Replacer, line string) admin.CheckResult {
	d := a.decideLine(ctx, line, repl, caller{uncharged: true})
	found := admin.CheckResult{Handler: a.name, Status: http.StatusOK, Outcome: d.outcome.String(), Cache: d.verdict.cache}
	for _, b := range a.verifier.backends {
		found.Backends = append(found.Backends, b.Name)
	}
	if d.rejection != nil {
		found.Status, found.Reason = d.status, d.reason.Error()
		if d.outcome == outcomeUnavailable {
			found.Reason = d.verdict.err.Error() // for the operator
		}
		return found
	}
	known := d.profile()
	found.User, found.Backend, found.FullName, found.Roles = d.user(), d.backend(), known.fullName, known.roles
	found.Scopes = strings.Fields(known.scopes)
	if expiry := d.verdict.Expiry; expiry != 0 {
		expires := time.Unix(0, expiry).UTC()
		found.Expires = &expires
	}
	return found
}

// decideLine decides on a credential that an operator wrote, as admin.ParseCredential reads it.
func (a *authenticator) decideLine(ctx context.Context, line string, repl *caddy.Replacer, by caller) decision {
	attempted := attempt{repl: repl, guest: a.anonymous, caller: by}
	cookie, isCookie := admin.Cookie(line)
	switch {
	case !isCookie:
		attempted.headers = []string{line}
	case a.accepts(frappe.SchemeSession):
		attempted.cookies = []string{cookie}
	case !a.anonymous: // otherwise the cookies of a request are not looked at
		return decision{rejection: rejectMalformed(errNotAccepted), outcome: outcomeMalformed}
	}
	return a.decide(ctx, &attempted)
}

// Interface guards
var (
	_ caddy.AdminRouter = (*AdminAPI)(nil)
	_ admin.Source      = adminSource{}
)
