package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
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

func forEachKind(t *testing.T, test func(t *testing.T, kind string)) {
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

// TestTokens: what makes an access token end.
func TestTokens(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		for _, test := range []struct {
			name, change, back string
			want               string
		}{
			{"no expiry", `"expiration_time" = NULL`, `"expiration_time" = '2099-01-01 00:00:00'`, "denied"},
			{"no status", `"status" = NULL`, `"status" = 'Active'`, "alice@example.com"},
			{"no scopes", `"scopes" = NULL`, `"scopes" = 'all openid'`, "denied"},
			{"empty scopes", `"scopes" = ''`, `"scopes" = 'all openid'`, "denied"},
			{"one scope beyond the client's", `"scopes" = 'nosuch all'`, `"scopes" = 'all openid'`, "denied"},
			{"unknown client", `"client" = 'nosuch'`, `"client" = (SELECT "name" FROM "tabOAuth Client")`, "denied"},
			{"Guest's", `"user" = 'Guest'`, `"user" = 'alice@example.com'`, "denied"},
			{"nobody's", `"user" = 'nobody@example.com'`, `"user" = 'alice@example.com'`, "denied"},
			{"unchanged", `"status" = 'Active'`, `"status" = 'Active'`, "alice@example.com"},
		} {
			update := `UPDATE "tabOAuth Bearer Token" SET %s WHERE "name" = '` + s.creds.bearer["alice"] + `'`
			s.change(t, fmt.Sprintf(update, test.change))
			if got := verdict(b, bearer(s.creds.bearer["alice"])); got != test.want {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
			s.change(t, fmt.Sprintf(update, test.back))
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
	for _, kind := range []string{"mariadb", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, kind)
			s.createRoles(t)
			raw, err := os.ReadFile("testdata/grants-" + kind + ".sql")
			if err != nil {
				t.Fatal(err)
			}
			mustExec(t, s.admin, string(raw))
			t.Cleanup(func() {
				if kind == "mariadb" {
					mustExec(t, s.admin, `DROP USER 'caddy'@'127.0.0.1'`)
				} else {
					mustExec(t, s.admin, `DROP OWNED BY caddy; DROP USER caddy`)
				}
			})
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
				if _, err := b.source.current.Load().db.Exec(dialects[kind].query(forbidden)); err == nil {
					t.Errorf("may %s", forbidden)
				}
			}
			// Not even a user who may write does.
			b = provisioned(t, &Backend{Site: s.dir})
			if _, err := b.source.current.Load().db.Exec(dialects[kind].query(`DELETE FROM "tabOAuth Client"`)); err == nil {
				t.Error("the session may write")
			}
		})
	}
}

// TestSiteConfig: what is wrong with a site's configuration is said, without its secrets.
func TestSiteConfig(t *testing.T) {
	good := map[string]any{"db_name": "n", "db_password": "s3cret", "encryption_key": "MUx-kgDuoW3K9ELDxqTkj66Ki_XXwUytLVR5IbGA5nE="}
	with := func(name string, value any) map[string]any {
		changed := maps.Clone(good)
		changed[name] = value
		return changed
	}
	for _, test := range []struct {
		name   string
		conf   map[string]any
		common string
		want   string // of the database, or of the error
	}{
		{"defaults", good, `{}`, "mariadb n at 127.0.0.1:3306"},
		{"common", good, `{"db_host": "db.internal", "db_port": 3307}`, "mariadb n at db.internal:3307"},
		{"site over common", with("db_host", "own.internal"), `{"db_host": "db.internal"}`, "mariadb n at own.internal:3306"},
		{"postgres", with("db_type", "postgres"), `{}`, "postgres n at 127.0.0.1:5432"},
		{"port as text", with("db_port", "3308"), `{}`, "mariadb n at 127.0.0.1:3308"},
		{"socket", with("db_socket", "/run/mysqld/mysqld.sock"), `{}`, "mariadb n at /run/mysqld/mysqld.sock"},
		{"sqlite", with("db_type", "sqlite"), `{}`, "erp.example.com/db/n.db"},
		{"unknown type", with("db_type", "oracle"), `{}`, `db_type "oracle" is none of mariadb, postgres and sqlite`},
		{"no name", with("db_name", ""), `{}`, "db_name is missing"},
		{"no password", with("db_password", ""), `{}`, "db_password is missing"},
		{"no key yet", with("encryption_key", ""), `{}`, "mariadb n at 127.0.0.1:3306"},
		{"broken key", with("encryption_key", "s3cret"), `{}`, "encryption_key is not a Frappe key"},
		{"broken port", with("db_port", "x"), `{}`, "db_port is not a port number"},
		{"broken common", good, `{"db_host": `, "common_site_config.json is not valid JSON, at line 1, column 12"},
		{"no site", nil, `{}`, "has no site_config.json: give the site's directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &site{dir: t.TempDir() + "/erp.example.com"}
			if err := os.MkdirAll(s.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if test.conf != nil {
				s.configure(t, test.conf)
			}
			if err := os.WriteFile(s.dir+"/../common_site_config.json", []byte(test.common), 0o600); err != nil {
				t.Fatal(err)
			}
			settings, err := (&Backend{Site: s.dir}).readSettings()
			got := fmt.Sprint(err)
			if err == nil {
				got = settings.String()
			}
			if !strings.Contains(got, test.want) || strings.Contains(got, "s3cret") {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// TestInstant: the moment that a time without a zone means, at both ends of daylight saving.
func TestInstant(t *testing.T) {
	for _, test := range []struct{ zone, naive, want string }{
		{"", "2026-06-01 12:00:00", "2026-06-01T06:30:00Z"},
		{"Asia/Kolkata", "2026-06-01 12:00:00.5", "2026-06-01T06:30:00.5Z"},
		{"Europe/Berlin", "2026-03-29 01:59:59", "2026-03-29T00:59:59Z"},
		{"Europe/Berlin", "2026-03-29 02:30:00", "2026-03-29T01:00:00Z"}, // skipped: the moment of skipping
		{"Europe/Berlin", "2026-03-29 03:00:00", "2026-03-29T01:00:00Z"},
		{"Europe/Berlin", "2026-10-25 01:59:59", "2026-10-24T23:59:59Z"},
		{"Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00Z"}, // twice: the first
		{"Europe/Berlin", "2026-10-25 03:00:00", "2026-10-25T02:00:00Z"},
		{"America/New_York", "2026-03-08 02:15:00", "2026-03-08T07:00:00Z"},
		{"America/New_York", "2026-03-08 03:15:00", "2026-03-08T07:15:00Z"},
		{"America/New_York", "2026-11-01 01:15:00", "2026-11-01T05:15:00Z"},
		{"America/New_York", "2026-11-01 02:15:00", "2026-11-01T07:15:00Z"},
		{"Australia/Lord_Howe", "2026-04-05 01:45:00", "2026-04-04T14:45:00Z"}, // half an hour, twice
		{"Australia/Lord_Howe", "2026-10-04 02:15:00", "2026-10-03T15:30:00Z"}, // half an hour, skipped
		{"Australia/Lord_Howe", "2026-10-04 02:30:00", "2026-10-03T15:30:00Z"},
		{"Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30T10:00:00Z"}, // a day that was skipped
		{"Mars/Olympus", "2026-06-01 12:00:00", "unknown"},
		{"Asia/Kolkata", "yesterday", "not in Frappe's format"},
	} {
		got, err := instant(test.naive, test.zone)
		text := fmt.Sprint(err)
		if err == nil {
			text = got.UTC().Format(time.RFC3339Nano)
		}
		if !strings.Contains(text, test.want) {
			t.Errorf("%s in %s: %s, want %s", test.naive, test.zone, text, test.want)
		}
	}
}

// TestExpiryInZones: a token is good until the very moment, in the site's zone, on each database.
func TestExpiryInZones(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		now := time.Time{}
		b := &Backend{Site: s.dir, now: func() time.Time { return now }}
		provisioned(t, b)
		for _, test := range []struct{ zone, naive string }{
			{"Europe/Berlin", "2026-03-29 02:30:00"},
			{"Europe/Berlin", "2026-10-25 02:30:00"},
			{"America/New_York", "2026-11-01 01:15:00.123456"},
			{"Australia/Lord_Howe", "2026-10-04 02:15:00"},
		} {
			s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
			s.change(t, `INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', ?)`, test.zone)
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "expiration_time" = ? WHERE "name" = ?`, test.naive, s.creds.bearer["alice"])
			ends, err := instant(test.naive, test.zone)
			if err != nil {
				t.Fatal(err)
			}
			now = ends.Add(-time.Nanosecond)
			if got := verdict(b, bearer(s.creds.bearer["alice"])); got != "alice@example.com" {
				t.Errorf("%s in %s, just before: %s", test.naive, test.zone, got)
			}
			now = ends
			if got := verdict(b, bearer(s.creds.bearer["alice"])); got != "denied" {
				t.Errorf("%s in %s, at the moment: %s", test.naive, test.zone, got)
			}
		}
	})
}

// TestFingerprint: settings of one database are not taken for another's, and show no secret.
func TestFingerprint(t *testing.T) {
	s := newSite(t, "sqlite")
	a, b := provisioned(t, &Backend{Site: s.dir}), provisioned(t, &Backend{Site: s.dir})
	if a.Fingerprint() != b.Fingerprint() || a.source != b.source {
		t.Error("the same database is opened twice")
	}
	c := provisioned(t, &Backend{Site: s.dir, EncryptionKey: "MUx-kgDuoW3K9ELDxqTkj66Ki_XXwUytLVR5IbGA5nE="})
	if c.Fingerprint() == a.Fingerprint() || strings.Contains(c.Fingerprint(), "MUx") {
		t.Error("another encryption key is not told apart, or shown")
	}
	marshaled, _ := json.Marshal(a)
	if strings.Contains(string(marshaled), "hRND") {
		t.Error("the configuration shows the site's password")
	}
}

// TestSockets: both servers by their Unix sockets.
func TestSockets(t *testing.T) {
	for kind, socket := range map[string]string{"mariadb": "s", "postgres": ""} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, kind)
			if kind == "mariadb" { // whose users are of a host
				mustExec(t, s.admin, fmt.Sprintf("CREATE USER %[1]s@localhost IDENTIFIED BY '38jWnH1vU3H1INnP'; GRANT ALL ON %[1]s.* TO %[1]s@localhost", s.name))
			}
			b := provisioned(t, &Backend{Site: s.dir, DBHost: "192.0.2.1", DBSocket: filepath.Join(s.server.dir, socket)})
			if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
				t.Error(got)
			}
		})
	}
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
