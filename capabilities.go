package frappeauth

import (
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// errNoSessions is the error for the scheme session without a backend that verifies sessions.
var errNoSessions = errors.New("schemes session: no backend can verify sessions; add backend site or database, or remove session from schemes")

// checkBackend returns an error if the options need what a backend cannot do as it is configured. It reports whether the
// backend verifies sessions. One that never does, such as static, may stand beside one that does.
func (o *Options) checkBackend(name string, backend any) (sessions bool, err error) {
	if reporter, ok := backend.(frappe.RoleReporter); ok && !reporter.ReportsRoles() && o.requiresRole() {
		return false, fmt.Errorf("require role: backend %s does not ask for roles; add `roles` to it", name)
	}
	if reporter, ok := backend.(frappe.TokenReporter); ok && !reporter.ReportsTokens() {
		for _, required := range o.Require {
			switch {
			case len(required.Scopes) > 0:
				return false, fmt.Errorf("require scope: backend %s cannot see the scopes of access tokens; use backend database", name)
			case len(required.Clients) > 0:
				return false, fmt.Errorf("require client: backend %s cannot see which client an access token was issued to; use backend database", name)
			}
		}
	}
	verifier, ok := backend.(frappe.SessionVerifier)
	if !ok || !o.accepts(frappe.SchemeSession) {
		return false, nil
	}
	if err := verifier.VerifiesSessions(); err != nil {
		return false, fmt.Errorf("schemes session: backend %s cannot verify sessions: %w", name, err)
	}
	return true, nil
}

// accepts reports whether credentials of that scheme are accepted.
func (o *Options) accepts(scheme frappe.Scheme) bool {
	if len(o.Schemes) == 0 {
		return slices.Contains(defaultSchemes, scheme)
	}
	return slices.Contains(o.Schemes, scheme)
}

func (o *Options) requiresRole() bool {
	return slices.ContainsFunc(o.Require, func(r frappe.Requirement) bool { return len(r.Roles) > 0 })
}

// requiredScopes returns all scopes that the requirements name, each once.
func (o *Options) requiredScopes() (names []string) {
	for _, required := range o.Require {
		for _, scope := range required.Scopes {
			if !slices.Contains(names, scope) {
				names = append(names, scope)
			}
		}
	}
	return names
}
