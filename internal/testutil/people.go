package testutil

import (
	"context"
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// peopleBackend is `backend test_people`. It knows alice's API key, her recorded session, and two of her access tokens
// with their scopes and clients. With the argument `blind` it cannot see scopes and clients, and with `no_sessions` its
// configuration does not support sessions.
type peopleBackend struct {
	Without string `json:"without,omitempty"`
}

func init() { caddy.RegisterModule(peopleBackend{}) }

// CaddyModule returns the Caddy module information.
func (peopleBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.backends.test_people",
		New: func() caddy.Module { return new(peopleBackend) },
	}
}

// UnmarshalCaddyfile reads the missing capability, an optional argument.
func (b *peopleBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&b.Without)
	return nil
}

// Verify implements frappe.Backend.
func (peopleBackend) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	alice := frappe.Identity{User: "alice@example.com", Roles: []string{"All", "Employee"}}
	switch c.Session + c.Token + c.Key {
	case RecordedSession, AliceKey:
		return alice, nil
	case "all-of-mcp":
		alice.Scopes, alice.Client = []string{"all", "openid"}, "mcp"
		return alice, nil
	case "openid-of-other":
		alice.Scopes, alice.Client = []string{"openid"}, "other"
		return alice, nil
	}
	return frappe.Identity{}, frappe.ErrDenied
}

// EnableSessions implements frappe.SessionVerifier.
func (b peopleBackend) EnableSessions() error {
	if b.Without == "no_sessions" {
		return errors.New("it is configured without sessions")
	}
	return nil
}

// ReportsTokens implements frappe.TokenReporter.
func (b peopleBackend) ReportsTokens() bool { return b.Without != "blind" }
