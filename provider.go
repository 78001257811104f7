package frappeauth

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	caddy.RegisterModule(Provider{})
}

// Provider is the verification of the `frappe_auth` handler as an authentication provider, for those who combine it
// with other providers in Caddy's `authentication` handler. Without that need, use the handler: whatever goes wrong
// here, an unavailable backend included, ends with status 401, since Caddy makes one of every provider's
// error, and a client then takes a good credential for a bad one.
//
// A refused request keeps its body, since another provider may still let it pass; the handler ends it (see there).
//
// The placeholders are those of the handler, with `{http.auth.frappe.error}` for why a credential was refused.
type Provider struct {
	Options
}

// CaddyModule returns the Caddy module information.
func (Provider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.providers.frappe",
		New: func() caddy.Module { return new(Provider) },
	}
}

// Provision loads the backends.
func (p *Provider) Provision(ctx caddy.Context) error {
	if err := p.validate(); err != nil {
		return err
	}
	return p.provision(ctx)
}

// Cleanup ends the watch of the backends.
func (p *Provider) Cleanup() error { return p.cleanup() }

// Authenticate implements caddyauth.Authenticator.
func (p *Provider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	d := p.decideRequest(r, false)
	if d.rejection == nil {
		publish(r, &d)
		p.observe(r, &d)
		return caddyauth.User{ID: d.user()}, true, nil
	}
	unavailable := d.outcome == outcomeUnavailable
	unauthorized := *d.rejection
	unauthorized.status = http.StatusUnauthorized // whatever it was, this is what Caddy answers, and it needs a challenge
	d.rejection = &unauthorized
	publish(r, &d)
	p.observe(r, &d)
	p.challenge(w, r, &d)
	if unavailable {
		return caddyauth.User{}, false, d.reason
	}
	return caddyauth.User{ID: d.credential.Key}, false, nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Provider)(nil)
	_ caddy.CleanerUpper      = (*Provider)(nil)
	_ caddyauth.Authenticator = (*Provider)(nil)
)
