package frappeauth_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// peopleBackend knows alice's session, and access tokens with their scopes and clients. With the argument `blind` it cannot
// see these, and with `no_sessions` it cannot verify sessions as it is configured.
type peopleBackend struct {
	Without string `json:"without,omitempty"`
}

func init() { caddy.RegisterModule(peopleBackend{}) }

// peopleAsked is how often a peopleBackend was asked.
var peopleAsked atomic.Int64

const (
	aliceSession = testutil.RecordedSession
	deadSession  = "0000000000000000000000000000000000000000000000000000dead"
)

// CaddyModule returns the Caddy module information.
func (peopleBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.frappe_auth.backends.test_people", New: func() caddy.Module { return new(peopleBackend) }}
}

// UnmarshalCaddyfile takes what the backend cannot do as an argument.
func (b *peopleBackend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&b.Without)
	return nil
}

// Verify implements frappe.Backend.
func (peopleBackend) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	peopleAsked.Add(1)
	alice := frappe.Identity{User: "alice@example.com", Roles: []string{"All", "Employee"}}
	switch c.Session + c.Token + c.Key {
	case aliceSession, aliceKey:
		return alice, nil
	case "all-of-mcp":
		alice.Scopes, alice.Client = []string{"all", "openid"}, "mcp"
		return alice, nil
	case "openid-of-other":
		alice.Scopes, alice.Client = []string{"openid"}, "other"
		return alice, nil
	case "unavailable":
		return frappe.Identity{}, errors.New("down")
	}
	return frappe.Identity{}, frappe.ErrDenied
}

// VerifiesSessions implements frappe.SessionVerifier.
func (b peopleBackend) VerifiesSessions() error {
	if b.Without == "no_sessions" {
		return errors.New("it has no eyes")
	}
	return nil
}

// ReportsTokens implements frappe.TokenReporter.
func (b peopleBackend) ReportsTokens() bool { return b.Without != "blind" }

// runPeople runs a site with frappe_auth and these options, which answers with what it knows of a request.
func runPeople(t *testing.T, options string) (address string) {
	t.Helper()
	address = freeAddress(t)
	runCaddy(t, peopleCaddyfile(address, options))
	return address
}

func peopleCaddyfile(address, options string) string {
	return "http://" + address + ` {
	log
	frappe_auth {
		backend test_people
		` + options + `
	}
	respond "{http.auth.user.id}|{http.auth.user.scheme}|{header.Cookie}|{header.Authorization}"
}`
}

// asked returns how often a backend is asked while f runs.
func asked(f func()) int64 {
	before := peopleAsked.Load()
	f()
	return peopleAsked.Load() - before
}
