package frappeauth

import (
	"errors"
	"slices"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
)

// errNoSessions is the error for the scheme session without a backend that verifies sessions.
var errNoSessions = errors.New("schemes session: no backend can verify sessions; add backend site or database, or remove session from schemes")

// needs is what the options need a backend to do.
func (o *Options) needs() backends.Needs {
	needs := backends.Needs{Sessions: o.accepts(frappe.SchemeSession)}
	for _, required := range o.Require {
		needs.Roles = needs.Roles || len(required.Roles) > 0
		needs.Scopes = needs.Scopes || len(required.Scopes) > 0
		needs.Clients = needs.Clients || len(required.Clients) > 0
	}
	return needs
}

// accepts reports whether credentials of that scheme are accepted.
func (o *Options) accepts(scheme frappe.Scheme) bool {
	if len(o.Schemes) == 0 {
		return slices.Contains(defaultSchemes, scheme)
	}
	return slices.Contains(o.Schemes, scheme)
}
