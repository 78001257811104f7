package frappeauth

import (
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() {
	caddy.RegisterModule(Provider{})
}

// Provider is an authentication provider that verifies credentials like the `frappe_auth` handler. Use it only if you
// combine it with other providers in Caddy's `authentication` handler; otherwise use the handler. Caddy turns every
// provider's error into status 401, so even an unavailable backend ends in 401 here, and a client then takes a good
// credential for a bad one.
//
// A refused request keeps its body, because another provider may still let the request pass. The handler, in contrast,
// discards it.
//
// The options of the handler that answer or change the request are not available, such as login, protected_resource,
// anonymous and hide_credentials. A request across sites that would get 403 gets 401. Refusals and answers to requests
// with a session have no Cache-Control of this module, since it cannot change the answer.
//
// The placeholders are the same as the handler's. `{http.auth.frappe.error}` says why a credential was refused.
type Provider struct {
	Options

	configured
	auth *authenticator
}

// CaddyModule returns the Caddy module information.
func (Provider) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.authentication.providers.frappe",
		New: func() caddy.Module { return new(Provider) },
	}
}

// handlerOptions are the options that only the handler has.
var handlerOptions = []string{
	"match", "anonymous", "allow_preflight", "hide_credentials", "user_header", "login", "login_for", "login_secret",
	"old_login_secrets", "protected_resource",
}

// UnmarshalJSON implements json.Unmarshaler. It names an option that only the handler has.
func (p *Provider) UnmarshalJSON(raw []byte) error {
	const advice = "it cannot answer or change requests, so use the handler frappe_auth"
	instead := make(map[string]string)
	for _, name := range handlerOptions {
		instead[name] = advice
	}
	type plain Provider
	return directive.DecodeJSON(raw, (*plain)(p), "the provider frappe", instead)
}

// Provision applies the defaults, checks the options and loads the backends.
func (p *Provider) Provision(ctx caddy.Context) (err error) {
	if err = p.keep(p); err != nil {
		return err
	}
	p.setDefaults()
	if err := p.check(); err != nil {
		return err
	}
	p.auth, err = p.load(ctx, nil, false, logins{})
	return err
}

// Cleanup stops watching the backends for changes.
func (p *Provider) Cleanup() error {
	if p.auth == nil {
		return nil // provisioning failed
	}
	return p.auth.close()
}

// Authenticate implements caddyauth.Authenticator.
func (p *Provider) Authenticate(w http.ResponseWriter, r *http.Request) (caddyauth.User, bool, error) {
	// Caddy answers 401 whatever the cause, and a 401 needs a challenge.
	d := p.auth.decideRequest(r, false).unauthorized()
	p.auth.publish(r, &d)
	p.auth.observe(r, &d)
	if d.rejection == nil {
		p.auth.notePage(w, r, &d)
		return caddyauth.User{ID: d.user()}, true, nil
	}
	p.auth.challenge(w, r, &d)
	if d.outcome == outcomeUnavailable {
		return caddyauth.User{}, false, d.reason
	}
	return caddyauth.User{ID: d.key}, false, nil
}

// Interface guards
var (
	_ caddy.Provisioner       = (*Provider)(nil)
	_ caddy.CleanerUpper      = (*Provider)(nil)
	_ caddyauth.Authenticator = (*Provider)(nil)
)
