package frappeauth

import (
	"context"
	"net/http"
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
// `GET /frappe_auth/` returns the handlers, the state of their backends, feeds and shared stores, and the size and the hit ratio of their
// caches.
//
// `DELETE /frappe_auth/cache` drops all cached verdicts. With `?user=<name>` it drops only those of that user; with
// `handler=<name>`, only those in the caches of the handlers with that name. Other Caddys that share a store drop them, too.
// The answer is 204, or 503 if the verdicts were dropped here but the other Caddys could not be told yet.
//
// `POST /frappe_auth/check` takes a credential in the body, written as in an Authorization header. It returns what each
// handler would do with it, the user, and where the verdict came from. It asks the backends as a request would and fills
// the cache, but it does not count failures against any client. `?handler=<name>` selects the handlers with that name.
// `?url=<URL>` is the URL of the request, for backends that serve several sites. Of the credential, the answer contains
// at most four characters of the API key.
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

func (adminSource) Overview() (caches []admin.Cache) {
	for _, s := range currentStates("") {
		caches = append(caches, s.overview())
	}
	return caches
}

func (adminSource) Drop(ctx context.Context, handler string, change frappe.Change) (found bool, err error) {
	return revokeIn(ctx, handler, []frappe.Change{change}, telemetry.SourceAdmin)
}

func (adminSource) Check(ctx context.Context, handler, line string, repl *caddy.Replacer) (verdicts []admin.Verdict) {
	for _, s := range currentStates(handler) {
		for _, o := range handlersOf(s) {
			if handler == "" || handler == o.Name {
				verdicts = append(verdicts, o.try(ctx, repl, line))
			}
		}
	}
	return verdicts
}

// overview is the state as the admin API shows it.
func (s *state) overview() admin.Cache {
	o := admin.Cache{
		Handlers:       []admin.Handler{},
		Lookups:        make(map[string]uint64),
		FailingClients: s.failures.Clients(),
	}
	o.Granted, o.Denied, o.Size = s.cache.Fill()
	var all uint64
	for result := range lookupResults {
		n := s.results[result].Load()
		o.Lookups[result.String()] = n
		all += n
	}
	if all > 0 {
		o.HitRatio = float64(o.Lookups[lookupHit.String()]+o.Lookups[lookupHitDenied.String()]) / float64(all)
	}
	sources := make([]string, len(s.backends))
	for _, h := range handlersOf(s) {
		l := h.verifier.lifetimes
		o.Handlers = append(o.Handlers, admin.Handler{
			Name:         h.Name,
			Schemes:      h.Schemes,
			Require:      h.Require,
			TTL:          l.TTL.String(),
			BearerTTL:    l.BearerTTL.String(),
			SessionTTL:   l.SessionTTL.String(),
			NegativeTTL:  l.NegativeTTL.String(),
			StaleIfError: l.StaleIfError.String(),
			MaxInflight:  h.MaxInflight,
		})
		for i, b := range h.verifier.backends {
			sources[i] = b.Source()
		}
	}
	for i, b := range s.backends {
		calls, waiting := b.InFlight()
		shown := admin.Backend{
			Name:        b.Name,
			Source:      sources[i],
			InFlight:    calls,
			Waiting:     waiting,
			CircuitOpen: b.Open(),
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

// try returns what the handler would do with a credential. It counts no failure against any client.
func (o *Options) try(ctx context.Context, repl *caddy.Replacer, header string) admin.Verdict {
	d := o.decideWritten(ctx, header, &attempt{repl: repl, caller: caller{uncharged: true}})
	found := admin.Verdict{Handler: o.Name, Status: http.StatusOK, Outcome: d.outcome.String(), Cache: d.verdict.cache}
	for _, b := range o.verifier.backends {
		found.Backends = append(found.Backends, b.Name)
	}
	if d.rejection != nil {
		found.Status, found.Reason = d.status, d.reason.Error()
		if d.outcome == outcomeUnavailable {
			found.Reason = d.verdict.err.Error() // for the operator
		}
		return found
	}
	more := d.detail()
	found.User, found.Backend, found.FullName, found.Roles = d.user(), d.backend(), more.fullName, more.roles
	found.Scopes = strings.Fields(more.scopes)
	if expiry := d.verdict.Expiry; expiry != 0 {
		expires := time.Unix(0, expiry).UTC()
		found.Expires = &expires
	}
	return found
}

// Interface guards
var (
	_ caddy.AdminRouter = (*AdminAPI)(nil)
	_ admin.Source      = adminSource{}
)
