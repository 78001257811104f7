package clients

import (
	"context"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// tokensBackend knows the access tokens of a double with their scopes, as backend database does of a Frappe. No site tells the
// scopes.
type tokensBackend struct {
	Site string `json:"site,omitempty"`
}

// doubles are the doubles, by URL.
var doubles sync.Map

func init() { caddy.RegisterModule(tokensBackend{}) }

// CaddyModule returns the Caddy module information.
func (tokensBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.frappe_auth.backends.test_tokens", New: func() caddy.Module { return new(tokensBackend) }}
}

// UnmarshalCaddyfile takes the URL of the double.
func (b *tokensBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&b.Site)
	return nil
}

// Verify implements frappe.Backend.
func (b tokensBackend) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	double, ok := doubles.Load(b.Site)
	if !ok {
		return frappe.Identity{}, &frappe.UnavailableError{}
	}
	o := double.(*oauth)
	o.mu.Lock()
	defer o.mu.Unlock()
	asked := o.tokens[c.Token]
	if asked == nil {
		return frappe.Identity{}, frappe.ErrDenied
	}
	return frappe.Identity{User: asked.Get("user"), Scopes: strings.Fields(asked.Get("scope")), Client: asked.Get("client_id")}, nil
}
