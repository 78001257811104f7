package frappeauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// rolesBackend denies everything, and knows these roles; asked for them, it fails where there is an error, and hangs where it
// is to.
type rolesBackend struct {
	Roles []string `json:"roles,omitempty"`
	Error string   `json:"error,omitempty"`
	Hang  bool     `json:"hang,omitempty"`
}

func init() { caddy.RegisterModule(rolesBackend{}) }

// hung gets a value when a rolesBackend that hangs was asked, and another when it was given up.
var hung = make(chan string)

// CaddyModule returns the Caddy module information.
func (rolesBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.frappe_auth.backends.test_roles", New: func() caddy.Module { return new(rolesBackend) }}
}

// UnmarshalCaddyfile takes the roles as arguments.
func (b *rolesBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	b.Roles = d.RemainingArgs()
	switch {
	case len(b.Roles) == 1 && b.Roles[0] == "fails":
		*b = rolesBackend{Error: "connection refused"}
	case len(b.Roles) == 1 && b.Roles[0] == "hangs":
		*b = rolesBackend{Hang: true}
	}
	return nil
}

// Verify implements frappe.Backend.
func (rolesBackend) Verify(context.Context, frappe.Credential) (frappe.Identity, error) {
	return frappe.Identity{}, frappe.ErrDenied
}

// RoleNames implements frappe.RoleLister.
func (b rolesBackend) RoleNames(ctx context.Context) ([]string, error) {
	if b.Hang {
		hung <- "asked"
		<-ctx.Done()
		hung <- "given up"
		return nil, ctx.Err()
	}
	if b.Error != "" {
		return nil, errors.New(b.Error)
	}
	return b.Roles, nil
}

// TestRequiredRoles: a role that nobody can have is warned of when the configuration is loaded, and without need nothing is.
func TestRequiredRoles(t *testing.T) {
	static := "backend static {\ntoken k " + hashed("x") + " alice@example.com Employee \"System Manager\"\n}\n"
	const (
		site   = "backend site http://127.0.0.1:1 {\nroles\n}\n"
		roles  = "backend test_roles Employee \"System Manager\" \"Sales User\"\n"
		words  = "require role lists the words of one role as several roles"
		absent = "require names roles that no backend has"
		unread = "the names of the roles could not be read"
		listed = "a requirement refuses every credential that the static backend lists"
	)
	for _, test := range []struct {
		name, config string
		want         []string // warnings, in any order
		with         string   // part of one
	}{
		{"quoted", roles + `require role "System Manager"`, nil, ""},
		{"without quotes", roles + "require role System Manager", []string{words, absent}, `"write":"require role \"System Manager\""`},
		{"without quotes, among others", site + "require role Employee Sales Master Manager", []string{words}, `require role \"Sales Master Manager\"`},
		{"several without quotes", site + "require role System Manager HR User", []string{words, words}, `require role \"HR User\"`},
		{"custom roles", site + `require role Manager "My Role" User`, nil, ""},
		{"misspelled", roles + "require role Employe", []string{absent}, `"roles":["Employe"]`},
		{"one of two misspelled", roles + "require role Employee Employe", []string{absent}, `"roles":["Employe"]`},
		{"no requirement", roles, nil, ""},
		{"users only", roles + "require user alice@example.com", nil, ""},
		{"a backend that does not know its roles", roles + site + "require role Employe", nil, ""},
		{"two that know theirs", static + roles + `require role "Sales User" Employee`, nil, ""},
		{"static, one role of two", static + `require role Employee "Sales User"`, nil, ""},
		{"static that no credential passes", site + static + `require role "Sales User"`, []string{listed}, "role Sales User"},
		{"roles that cannot be read", "backend test_roles fails\nrequire role Employee", []string{unread}, "connection refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := freeAddress(t)
			c := runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\n%s\n}\n}", address, test.config))
			if len(test.want) > 0 {
				c.Logged(test.want[len(test.want)-1])
			}
			if err := caddy.Stop(); err != nil { // which waits for the check
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(c.Logs()) {
				for _, warning := range []string{words, absent, unread, listed} {
					if strings.Contains(line, warning) && strings.Contains(line, `"level":"warn"`) {
						got = append(got, warning)
					}
				}
			}
			if strings.Join(got, "|") != strings.Join(test.want, "|") || !strings.Contains(c.Logs(), test.with) {
				t.Errorf("warnings %q, want %q with %s, in:\n%s", got, test.want, test.with, c.Logs())
			}
		})
	}
}

// TestRequiredRolesWhileABackendHangs: the configuration is loaded, and replaced, without waiting for the names of roles.
func TestRequiredRolesWhileABackendHangs(t *testing.T) {
	config := fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend test_roles hangs\nrequire role Employee\n}\n}", freeAddress(t))
	c := runCaddy(t, config)
	if got := <-hung; got != "asked" {
		t.Fatal(got)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- c.TryLoad("http://" + freeAddress(t) + " {\nrespond ok\n}") }()
	if got := <-hung; got != "given up" {
		t.Fatal(got)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if strings.Contains(c.Logs(), "the names of the roles could not be read") {
		t.Error("a configuration that has gone warns")
	}
}

// TestLoadedJSON: what is wrong is an error in JSON too, in the handler and in the provider.
func TestLoadedJSON(t *testing.T) {
	const site = `{"backend": "site", "urls": ["https://erp.example.com"]}`
	static := `{"backend": "static", "tokens": [{"key": "k", "hash": "` + hashed("x") + `", "user": "alice@example.com", "roles": ["Employee"]}]}`
	for _, test := range []struct{ name, options, want string }{
		{"well", `"backends": [` + site + `], "cache": {"ttl": "60s"}`, ""},
		{"no ttl", `"backends": [` + site + `], "cache": {"ttl": 0}`, ""},
		{"ttl in nanoseconds that are enough", `"backends": [` + site + `], "cache": {"ttl": 60000000000}`, ""},
		{"ttl as a bare number", `"backends": [` + site + `], "cache": {"ttl": 60}`, `cache ttl: 60ns is shorter than a millisecond`},
		{"negative_ttl as a bare number", `"backends": [` + site + `], "cache": {"negative_ttl": 5}`, `cache negative_ttl: 5ns is shorter`},
		{"stale_if_error as a bare number", `"backends": [` + site + `], "cache": {"stale_if_error": 3600}`, `cache stale_if_error: 3.6µs is shorter`},
		{"window as a bare number", `"backends": [` + site + `], "failures": {"window": 60}`, `write a text such as "60s"`},
		{"two identical backends", `"backends": [` + site + `, {"urls": [ "https://erp.example.com" ], "backend": "site"}]`, "the same backend is given twice"},
		{"two different backends", `"backends": [` + site + `, ` + static + `]`, ""},
		{"role that nobody has", `"backends": [` + static + `], "require": [{"roles": ["Employee"]}, {"roles": ["System", "Manager"]}]`, "role System or role Manager"},
		{"user who is not listed", `"backends": [` + static + `], "require": [{"users": ["bob@example.com"]}]`, "user bob@example.com"},
		{"role that somebody has", `"backends": [` + static + `], "require": [{"roles": ["Manager", "Employee"]}]`, ""},
	} {
		for form, config := range map[string]string{
			"handler":  `{"handler": "frappe_auth", ` + test.options + `}`,
			"provider": `{"handler": "authentication", "providers": {"frappe": {` + test.options + `}}}`,
		} {
			t.Run(test.name+", "+form, func(t *testing.T) {
				raw := fmt.Sprintf(`{"admin": {"disabled": true}, "apps": {"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [%s]}]}}}}}`, config)
				err := testutil.Validate(t, []byte(raw))
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("%v, want %q", err, test.want)
				}
			})
		}
	}
}
