package backends

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Needs is what the options of a handler need a backend to do.
type Needs struct {
	// Roles, Scopes and Clients are set if a requirement names some.
	Roles, Scopes, Clients bool

	// Sessions is set if sessions are accepted.
	Sessions bool
}

// New returns a loaded module as a backend. It returns an error if the module is none, or if it cannot do what is needed as it
// is configured. A backend that never verifies sessions, such as static, may stand beside one that does.
func New(module any, needs Needs) (Backend, error) {
	name := module.(caddy.Module).CaddyModule().ID.Name()
	backend, ok := module.(frappe.Backend)
	if !ok {
		return Backend{}, fmt.Errorf("backend %s: module %T is not a backend", name, module)
	}
	b := Backend{Backend: backend, Name: name}
	if reporter, ok := module.(frappe.RoleReporter); ok && !reporter.ReportsRoles() && needs.Roles {
		return Backend{}, fmt.Errorf("require role: backend %s does not ask for roles; add `roles` to it", name)
	}
	if reporter, ok := module.(frappe.TokenReporter); ok && !reporter.ReportsTokens() {
		switch {
		case needs.Scopes:
			return Backend{}, fmt.Errorf("require scope: backend %s cannot see the scopes of access tokens; use backend database", name)
		case needs.Clients:
			return Backend{}, fmt.Errorf("require client: backend %s cannot see which client an access token was issued to; use backend database", name)
		}
	}
	if verifier, ok := module.(frappe.SessionVerifier); ok && needs.Sessions {
		if err := verifier.EnableSessions(); err != nil {
			return Backend{}, fmt.Errorf("schemes session: backend %s cannot verify sessions: %w", name, err)
		}
		b.Sessions = true
	}
	if resolver, ok := module.(frappe.SiteResolver); ok && resolver.ResolvesSites() {
		b.Resolver = resolver
	}
	return b, nil
}
