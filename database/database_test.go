package database

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// provisioned is a backend of the site.
func provisioned(t testing.TB, b *Backend) *Backend {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	if err := b.Provision(ctx); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := b.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func pair(p [2]string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeToken, Key: p[0], Secret: p[1]}
}

func bearer(token string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeBearer, Token: token}
}

// verdict is what a backend says, in a word.
func verdict(b *Backend, c frappe.Credential) string {
	id, err := b.Verify(context.Background(), c)
	switch {
	case err == nil:
		return id.User
	case errors.Is(err, frappe.ErrDenied):
		return "denied"
	}
	return "unavailable: " + err.Error()
}

// forEachKind runs a test on each kind of database, and forEachServer on those that are servers.
func forEachKind(t *testing.T, test func(t *testing.T, kind string)) {
	t.Helper()
	forEachOf(t, kinds, test)
}

func forEachServer(t *testing.T, test func(t *testing.T, kind string)) {
	t.Helper()
	forEachOf(t, servers, test)
}

func forEachOf(t *testing.T, kinds []string, test func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

// TestCredentials: every credential of the recorded sites.
func TestCredentials(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		for user, p := range s.creds.pairs {
			want := user
			if user == "disabled@example.com" {
				want = "denied"
			}
			if got := verdict(b, pair(p)); got != want {
				t.Errorf("key of %s: %s", user, got)
			}
			for name, wrong := range map[string][2]string{
				"wrong secret":               {p[0], "wrong"},
				"secret in capitals":         {p[0], strings.ToUpper(p[1])},
				"key in capitals":            {strings.ToUpper(p[0]), p[1]},
				"key with a space":           {p[0] + " ", p[1]},
				"key with a NUL":             {p[0] + "\x00", p[1]},
				"secret with a NUL":          {p[0], p[1] + "\x00"},
				"key with an accent":         {p[0][:5] + "\u0301" + p[0][5:], p[1]},
				"key with a quote":           {p[0] + "' OR '1'='1", p[1]},
				"key that is no UTF-8":       {p[0] + "\xff", p[1]},
				"empty secret":               {p[0], ""},
				"stars for the secret":       {p[0], "***************"},
				"what the database has":      {p[0], "gAAAAA"},
				"empty key":                  {"", p[1]},
				"key of a user without keys": {"", ""},
			} {
				if got := verdict(b, pair(wrong)); got != "denied" && name != "key that is no UTF-8" {
					t.Errorf("%s of %s: %s", name, user, got)
				} else if got == user {
					t.Errorf("%s of %s: granted", name, user)
				}
			}
		}
		for name, token := range s.creds.bearer {
			want := "denied"
			switch name {
			case "alice", "openidonly":
				want = "alice@example.com"
			case "bob":
				want = "bob@example.com"
			}
			if got := verdict(b, bearer(token)); got != want {
				t.Errorf("token %s: %s, want %s", name, got, want)
			}
			for _, wrong := range []string{strings.ToUpper(token), token + " ", token + "\x00", token[1:], "", "' OR '1'='1"} {
				if got := verdict(b, bearer(wrong)); got != "denied" && wrong != token {
					t.Errorf("token %q: %s", wrong, got)
				}
			}
		}
	})
}

// TestIdentity: what Frappe's get_roles answers, full names, scopes and expiry.
func TestIdentity(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		for user, want := range map[string]struct {
			fullName string
			roles    []string
		}{
			"alice@example.com":       {"Alice", []string{"System Manager", "Report Manager", "All", "Guest", "Desk User"}}, // roles.http
			"web@example.com":         {"Web", []string{"All", "Guest"}},
			"o'brien+api@example.com": {"José", []string{"Blogger", "All", "Guest", "Desk User"}},
		} {
			id, err := b.Verify(t.Context(), pair(s.creds.pairs[user]))
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(want.roles)
			slices.Sort(id.Roles)
			if id.FullName != want.fullName || !slices.Equal(id.Roles, want.roles) || id.Scopes != nil || !id.Expiry.IsZero() {
				t.Errorf("%s: %+v", user, id)
			}
		}
		id, err := b.Verify(t.Context(), pair(s.creds.pairs["Administrator"]))
		if err != nil || len(id.Roles) < 20 || !slices.Contains(id.Roles, "Administrator") || !slices.Contains(id.Roles, "Sales User") {
			t.Errorf("Administrator: %v %v", id.Roles, err)
		}

		// With the table of roles readable, Administrator has all of them, also those that were added since.
		s.createRoles(t)
		s.change(t, `INSERT INTO "tabRole" ("name") VALUES ('Brand New')`)
		b.source.current.Load().schema.Store(nil)
		id, err = b.Verify(t.Context(), pair(s.creds.pairs["Administrator"]))
		if err != nil || !slices.Contains(id.Roles, "Brand New") {
			t.Errorf("Administrator: %v %v", id.Roles, err)
		}
		if id, err = b.Verify(t.Context(), pair(s.creds.pairs["alice@example.com"])); err != nil || slices.Contains(id.Roles, "Brand New") {
			t.Errorf("alice: %v %v", id.Roles, err)
		}

		id, err = b.Verify(t.Context(), bearer(s.creds.bearer["alice"]))
		kolkata := time.Date(2099, 1, 1, 0, 0, 0, 0, time.FixedZone("", 5*3600+1800))
		if err != nil || !slices.Equal(id.Scopes, []string{"all", "openid"}) || !id.Expiry.Equal(kolkata) || len(id.Roles) != 5 {
			t.Errorf("token of alice: %+v %v", id, err)
		}
	})
}

// TestSecrets: how a secret can be stored.
func TestSecrets(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		alice := s.creds.pairs["alice@example.com"]
		update := `UPDATE "__Auth" SET "password" = ?, "encrypted" = ? WHERE "name" = 'alice@example.com'`
		s.change(t, update, "plain", 0)
		for _, secret := range []string{"plain", alice[1]} { // Frappe finds no secret in the hash of a password
			if got := verdict(b, pair([2]string{alice[0], secret})); got != "denied" {
				t.Errorf("not encrypted, with %q: %s", secret, got)
			}
		}
		s.change(t, update, s.encrypted(t, alice[1]), 0)
		if got := verdict(b, pair(alice)); got != "denied" {
			t.Errorf("encrypted, and not said to be: %s", got)
		}
		s.change(t, update, "", 0)
		if got := verdict(b, pair([2]string{alice[0], ""})); got != "denied" {
			t.Errorf("empty: %s", got)
		}
		s.change(t, update, "gAAAAAnot of this key", 1)
		if got := verdict(b, pair(alice)); !strings.Contains(got, "encryption_key") || strings.Contains(got, alice[1]) {
			t.Errorf("of another key: %s", got)
		}
		if kind == "sqlite" { // the others have a unique index
			s.change(t, `UPDATE "tabUser" SET "api_key" = ? WHERE "name" = 'bob@example.com'`, alice[0])
			if got := verdict(b, pair(alice)); !strings.Contains(got, "several users") {
				t.Errorf("of two users: %s", got)
			}
			s.change(t, `UPDATE "tabUser" SET "api_key" = NULL WHERE "name" = 'bob@example.com'`)
		}
		s.change(t, `DELETE FROM "__Auth" WHERE "name" = 'alice@example.com'`)
		if got := verdict(b, pair(alice)); got != "denied" {
			t.Errorf("none: %s", got)
		}
	})
}

// TestOneCredentialDoesNotShutOff: what is wrong with one credential, which a client can send at will, is not taken for an
// outage of the database.
func TestOneCredentialDoesNotShutOff(t *testing.T) {
	s := newSite(t, "mariadb")
	s.change(t, `UPDATE "__Auth" SET "password" = 'gAAAAAnot of this key' WHERE "name" = 'alice@example.com'`)
	s.change(t, `UPDATE "tabSingles" SET "value" = 'Mars/Olympus' WHERE "field" = 'time_zone'`)
	url, _ := serve(t, fmt.Sprintf("frappe_auth {\nbackend database %s\n}", s.dir))
	alice, bob := s.creds.pairs["alice@example.com"], s.creds.pairs["bob@example.com"]
	for i := range 20 {
		if got := ask(t, url, []string{"token " + alice[0] + ":x", "Bearer " + s.creds.bearer["alice"]}[i%2]); got != "503" {
			t.Fatalf("the credential gets %s", got)
		}
	}
	if got := ask(t, url, "token "+bob[0]+":"+bob[1]); !strings.HasPrefix(got, "200 ") {
		t.Errorf("another credential gets %s", got)
	}
}

// TestOlderSchemas: what a version of Frappe has not is done without.
func TestOlderSchemas(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.change(t, `DELETE FROM "tabHas Role" WHERE "role" = 'Desk User'`) // 13 and 14
		s.change(t, `ALTER TABLE "tabUser" DROP COLUMN "full_name"`)
		s.change(t, `DROP TABLE "tabDeleted Document"`)
		b := provisioned(t, &Backend{Site: s.dir, PollInterval: minPollInterval})
		id, err := b.Verify(t.Context(), pair(s.creds.pairs["alice@example.com"]))
		if err != nil || slices.Contains(id.Roles, "Desk User") || id.FullName != "" {
			t.Errorf("%+v %v", id, err)
		}
		b.source.waitForPoll(t)
		s.change(t, `DROP TABLE "tabOAuth Bearer Token"`)
		b.source.current.Load().schema.Store(nil)
		if got := verdict(b, bearer(s.creds.bearer["alice"])); !strings.Contains(got, "no column tabOAuth Bearer Token.name") {
			t.Errorf("without access tokens: %s", got)
		}
		if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
			t.Errorf("without access tokens: %s", got)
		}
	})
}

// TestGrants: the statements of docs/database.md let the backend do all of its work, and no more.
func TestGrants(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.createRoles(t)
		s.grant(t)
		t.Setenv("FRAPPE_AUTH_TEST_PASSWORD", "choose-a-password")
		b := provisioned(t, &Backend{Site: s.dir, DBUser: "caddy", DBPassword: "{env.FRAPPE_AUTH_TEST_PASSWORD}", PollInterval: minPollInterval})
		if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
			t.Error(got)
		}
		if got := verdict(b, bearer(s.creds.bearer["alice"])); got != "alice@example.com" {
			t.Error(got)
		}
		b.source.waitForPoll(t)
		for _, forbidden := range []string{`SELECT "email" FROM "tabUser"`, `UPDATE "tabUser" SET "enabled" = 1`} {
			if _, err := b.source.current.Load().one(t.Context(), forbidden); err == nil {
				t.Errorf("may %s", forbidden)
			}
		}
		// Not even a user who may write does.
		b = provisioned(t, &Backend{Site: s.dir})
		_, err := b.source.current.Load().one(t.Context(), `DELETE FROM "tabOAuth Client"`)
		if want := map[string]string{"mariadb": "1792", "postgres": "25006"}[kind]; code(err) != want {
			t.Errorf("the transaction may write: %v", err)
		}
	})
}

// TestAfterTheConfiguration: Caddy may have requests for a handler that it has unloaded. They are judged, too.
func TestAfterTheConfiguration(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		defer cancel()
		b := &Backend{Site: s.dir}
		if err := b.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		if err := b.Cleanup(); err != nil {
			t.Fatal(err)
		}
		if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
			t.Error(got)
		}
		if got := verdict(b, bearer("unknown")); got != "denied" {
			t.Error(got)
		}
	})
}
