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

// Partners is a backend that looks access tokens up in a directory of partners.
type Partners struct{}

// CaddyModule returns the Caddy module information.
func (Partners) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.frappe_auth.backends.partners", New: func() caddy.Module { return new(Partners) }}
}

// UnmarshalCaddyfile allows `backend partners` in a Caddyfile.
func (*Partners) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// Verify returns the partner, or ErrDenied for an unknown token. Any other error means that it could not tell.
func (*Partners) Verify(ctx context.Context, c frappe.Credential) (frappe.Identity, error) {
	partner, found, err := lookUp(ctx, c.Token)
	switch {
	case err != nil:
		return frappe.Identity{}, errors.New("the directory of partners does not answer")
	case !found:
		return frappe.Identity{}, frappe.ErrDenied
	}
	return frappe.Identity{User: partner, Roles: []string{"Partner"}}, nil
}
