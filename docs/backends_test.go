package docs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
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

// lookUp is the directory of the example in docs/backends.md.
func lookUp(_ context.Context, token string) (partner string, found bool, err error) {
	switch token {
	case "acme":
		return "acme@partners.example", true, nil
	case "away":
		return "", false, errors.New("away")
	}
	return "", false, nil
}

// TestDocsBackend: the backend of docs/backends.md is the one in this file, and works.
func TestDocsBackend(t *testing.T) {
	source, err := os.ReadFile("backends_test.go")
	if err != nil {
		t.Fatal(err)
	}
	shown := testutil.Blocks(t, testutil.Page(t, "docs/backends.md"), "go")[0]
	if !strings.Contains(string(source), shown) {
		t.Errorf("docs/backends.md has\n%s", shown)
	}
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth {
		backend partners
		require role Partner
	}
	respond {http.auth.user.id}|{http.auth.user.backend}
}`, address))
	for token, want := range map[string]string{
		"acme":  "200 acme@partners.example|partners",
		"away":  "503 ",
		"other": "401 ",
	} {
		got := testutil.Get(t, "http://"+address, "Authorization: Bearer "+token)
		if answer := fmt.Sprintf("%d %s", got.Status, got.Body); answer != want {
			t.Errorf("%s: %s, want %s", token, answer, want)
		}
	}
}
