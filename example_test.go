package frappeauth_test

import (
	"context"
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

func init() {
	caddy.RegisterModule(Partners{})
}

// Partners lets in who is in a directory of partners.
type Partners struct{}

// CaddyModule returns the Caddy module information.
func (Partners) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.frappe_auth.backends.partners", New: func() caddy.Module { return new(Partners) }}
}

// UnmarshalCaddyfile makes `backend partners` known to the Caddyfile.
func (*Partners) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// Verify answers with an identity, with ErrDenied, or with any other error where it is unavailable.
func (*Partners) Verify(ctx context.Context, c frappe.Credential) (frappe.Identity, error) {
	partner, found, err := lookUp(ctx, c.Token)
	switch {
	case err != nil:
		return frappe.Identity{}, errors.New("the directory of partners is away")
	case !found:
		return frappe.Identity{}, frappe.ErrDenied
	}
	return frappe.Identity{User: partner, Roles: []string{"Partner"}}, nil
}
