package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestUnsupportedOptionsAreErrors: an option that the backends do not support is an error when the configuration is
// loaded.
func TestUnsupportedOptionsAreErrors(t *testing.T) {
	const (
		site   = "backend site http://127.0.0.1:8000"
		pair   = "backend static {\ntoken key sha256:708a11bd2c1ecdd5f774a80d15d45d3796beb5f0f7434439522136fe3a8937ca alice@example.com\n}"
		static = "backend static {\nbearer sha256:708a11bd2c1ecdd5f774a80d15d45d3796beb5f0f7434439522136fe3a8937ca alice@example.com\n}"
	)
	for _, test := range []struct{ name, block, wrong string }{
		{"sessions", site + "\nschemes session", ""},
		{"sessions beside a backend without them", site + "\n" + static + "\nschemes bearer session", ""},
		{
			"no backend with sessions", static + "\nschemes bearer session",
			"no backend can verify sessions; add backend site or database",
		},
		{
			"a backend that cannot as it is configured", "backend test_people no_sessions\nschemes session",
			"schemes session: backend test_people cannot verify sessions: it is configured without sessions",
		},
		{
			"the same beside one that can", "backend test_people\nbackend test_people no_sessions\nschemes session",
			"it is configured without sessions",
		},
		{
			"scopes that one backend cannot see", "backend test_people\nbackend test_people blind\nrequire scope all",
			"require scope: backend test_people cannot see the scopes",
		},
		{
			"clients that the backend cannot see", "backend test_people blind\nrequire client x",
			"require client: backend test_people cannot see which client",
		},
		{"roles of a backend that is blind to tokens", "backend test_people blind\nrequire role Employee", ""},
		{
			"scopes with a site", site + "\nrequire scope all",
			"require scope: backend site cannot see the scopes of access tokens; use backend database",
		},
		{"clients with a site", site + "\nrequire client x", "require client: backend site cannot see which client"},
		{"a listed user in capitals", static + "\nrequire user Alice@Example.com", ""},
		{"scopes of listed tokens", static + "\nrequire scope all", "no credential of the static backend matches scope all"},
		{
			"scopes of listed tokens beside another backend", "backend test_people\n" + static + "\nrequire scope all",
			"require scope: backend static cannot see the scopes",
		},
		{
			"clients of listed tokens beside another backend", "backend test_people\n" + static + "\nrequire client x",
			"require client: backend static cannot see which client",
		},
		{"scopes of listed API keys", pair + "\nrequire scope all", ""},
		{"scopes of listed API keys beside tokens", "backend test_people\n" + pair + "\nrequire scope all", ""},
		{"clients of listed API keys", pair + "\nrequire client x", "no credential of the static backend matches client x"},
		{
			"a session_ttl above ttl", site + "\ncache {\nttl 10s\nsession_ttl 11s\n}",
			"cache session_ttl: 11s is not between 0 and the ttl of 10s",
		},
		{
			"metadata without a server", static + "\nprotected_resource",
			"write authorization_server and the URL of the Frappe site",
		},
		{
			"metadata of a site that only Caddy reaches", "backend site http://127.0.0.1:8000\nprotected_resource",
			"write authorization_server and the URL of the Frappe site",
		},
		{"metadata of a site by its name", "backend site https://10.0.0.1 {\nsite_name erp.example.com\n}\n" +
			"protected_resource", "write authorization_server and the URL of the Frappe site"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := testutil.RunCaddy(t, "").TryLoad("http://" + testutil.FreeAddress(t) + " {\nfrappe_auth {\n" + test.block +
				"\n}\n}")
			if test.wrong == "" && err != nil || test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Error(err)
			}
		})
	}
}

// rolesBackend denies everything, and knows the names of roles. Reading these can fail or hang.
type rolesBackend struct {
	Roles []string `json:"roles,omitempty"`
	Error string   `json:"error,omitempty"`
	Hang  bool     `json:"hang,omitempty"`
}

func init() { caddy.RegisterModule(rolesBackend{}) }

// hung gets a value when a rolesBackend begins to hang, and another when its context is done.
var hung = make(chan string)

// CaddyModule returns the Caddy module information.
func (rolesBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.backends.test_roles",
		New: func() caddy.Module { return new(rolesBackend) },
	}
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

// TestUnknownRolesAreWarnedOf: loading a configuration warns of required roles that nobody can have, and of no others.
func TestUnknownRolesAreWarnedOf(t *testing.T) {
	static := "backend static {\ntoken k " + testutil.Hash("x") + " alice@example.com Employee \"System Manager\"\n}\n"
	const (
		site     = "backend site http://127.0.0.1:1 {\nroles\n}\n"
		roles    = "backend test_roles Employee \"System Manager\" \"Sales User\"\n"
		words    = "are listed as several roles"
		capitals = "keeps e-mail addresses in lower case"
		absent   = "require names roles that no backend has"
		unread   = "the names of the roles could not be read"
		listed   = "a requirement refuses every credential that the static backend lists"
	)
	for _, test := range []struct {
		name, config string
		want         []string // warnings, in any order
		with         string   // part of one
	}{
		{"quoted", roles + `require role "System Manager"`, nil, ""},
		{
			"without quotes", roles + "require role System Manager",
			[]string{words, absent},
			`require role \"System Manager\"`,
		},
		{
			"without quotes, among others", site + "require role Employee Sales Master Manager",
			[]string{words},
			`require role \"Sales Master Manager\"`,
		},
		{
			"several without quotes", site + "require role System Manager HR User",
			[]string{words, words},
			`require role \"HR User\"`,
		},
		{"a user in capitals", site + "require user Alice@Example.com", []string{capitals}, "write require user alice@example.com"},
		{"custom roles", site + `require role Manager "My Role" User`, nil, ""},
		{"misspelled", roles + "require role Employe", []string{absent}, `"roles":["Employe"]`},
		{"one of two misspelled", roles + "require role Employee Employe", []string{absent}, `"roles":["Employe"]`},
		{"no requirement", roles, nil, ""},
		{"users only", roles + "require user alice@example.com", nil, ""},
		{"a backend that does not know its roles", roles + site + "require role Employe", nil, ""},
		{"two that know theirs", static + roles + `require role "Sales User" Employee`, nil, ""},
		{"static, one role of two", static + `require role Employee "Sales User"`, nil, ""},
		{
			"static that no credential passes", site + static + `require role "Sales User"`,
			[]string{listed},
			"role Sales User",
		},
		{
			"roles that cannot be read", "backend test_roles fails\nrequire role Employee",
			[]string{unread},
			"connection refused",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := testutil.FreeAddress(t)
			c := testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\n%s\n}\n}", address, test.config))
			for _, warning := range test.want {
				c.Logged(warning)
			}
			if err := caddy.Stop(); err != nil { // which waits for the check
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(c.Logs()) {
				for _, warning := range []string{words, capitals, absent, unread, listed} {
					if strings.Contains(line, warning) && strings.Contains(line, `"level":"warn"`) {
						got = append(got, warning)
					}
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, slices.Sorted(slices.Values(test.want))) || !strings.Contains(c.Logs(), test.with) {
				t.Errorf("warnings %q, want %q with %s, in:\n%s", got, test.want, test.with, c.Logs())
			}
		})
	}
}

// TestLoadDoesNotWaitForRoleNames: neither loading nor replacing a configuration waits for the names of roles.
func TestLoadDoesNotWaitForRoleNames(t *testing.T) {
	config := fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend test_roles hangs\nrequire role Employee\n}\n}",
		testutil.FreeAddress(t))
	c := testutil.RunCaddy(t, config)
	if got := <-hung; got != "asked" {
		t.Fatal(got)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- c.TryLoad("http://" + testutil.FreeAddress(t) + " {\nrespond ok\n}") }()
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

// TestFindingsAreLogged: what doctor finds around the handlers is a warning when a configuration is loaded, once for
// all handlers that it concerns.
func TestFindingsAreLogged(t *testing.T) {
	const auth = "frappe_auth {\nbackend test_people\n}\n"
	site := func(inner string) string { return "http://" + testutil.FreeAddress(t) + " {\n" + inner + "\n}\n" }
	for _, test := range []struct {
		name, config string
		want         []string // parts of the warnings, in any order
	}{
		{"well", site(auth+"root /srv/files\nfile_server") + site("respond ok"), nil},
		{
			"everybody's folders", site("root /srv/{http.auth.user.id}\n"+auth+"file_server") +
				site("root /srv/{http.auth.user.id}\n"+auth+"file_server"),
			[]string{"placeholders: root uses {http.auth.user.id} before frappe_auth sets it, so it is empty there"},
		},
		{
			"open, in a subroute", site("root /srv/files\nhandle /public/* {\nfile_server\n}\nhandle {\n" + auth + "file_server\n}"),
			[]string{"open: file_server /srv/files needs no credential here"},
		},
		{"open by its matcher", site("root /srv/files\nfrappe_auth /private/* {\nbackend test_people\n}\nfile_server"), nil},
		{
			"a webhook without a handler", site("frappe_auth_webhook /hook s3cret {\nhandler erp\n}\nrespond ok"),
			[]string{"webhook: no frappe_auth is named erp"},
		},
		{
			"metadata in a handle", site("handle_path /a/* {\nfrappe_auth {\nbackend test_people\nprotected_resource {\n" +
				"authorization_server https://erp.example.com\nresource https://mcp.example.com/a\n}\n}\nrespond ok\n}"),
			[]string{"protected_resource: no request for /.well-known/oauth-protected-resource/a reaches this frappe_auth"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := testutil.RunCaddy(t, test.config)
			check := func(times int) {
				t.Helper()
				logs := c.Logs()
				for _, want := range test.want {
					if n := strings.Count(logs, want); n != times {
						t.Errorf("%q is logged %d times, want %d, in:\n%s", want, n, times, logs)
					}
				}
				if n := strings.Count(logs, `"advice":`); n != times*len(test.want) {
					t.Errorf("%d findings are logged, want %d, in:\n%s", n, times*len(test.want), logs)
				}
			}
			check(1)
			c.Load(test.config + site("respond more"))
			check(2)
		})
	}
}
