package database

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	logobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2"
)

// conf is the site's site_config.json.
func (s *site) conf(t testing.TB) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.dir, "site_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var conf map[string]any
	if err := json.Unmarshal(raw, &conf); err != nil {
		t.Fatal(err)
	}
	return conf
}

// observed makes the source of a backend log to where a test sees it.
func observed(b *Backend) *logobserver.ObservedLogs {
	core, logs := logobserver.New(zapcore.InfoLevel)
	b.source.use(zap.New(core))
	return logs
}

// TestFollowPassword: a password that is changed in the server and in site_config.json takes effect by itself, with the next
// verification.
func TestFollowPassword(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		if kind == "postgres" { // which does not ask for passwords where it trusts
			s.server.demandPassword(t, s.name)
		}
		look := looker(t, s)
		b := provisioned(t, &Backend{Site: s.dir, PollInterval: maxPollInterval})
		alice := pair(s.creds.pairs["alice@example.com"])
		look()
		if got := verdict(b, alice); got != "alice@example.com" {
			t.Fatal(got)
		}
		if kind == "mariadb" {
			mustExec(t, s.admin, fmt.Sprintf("ALTER USER %s@'127.0.0.1' IDENTIFIED BY 'rotated'", s.name))
		} else {
			mustExec(t, s.admin, fmt.Sprintf("ALTER USER %s PASSWORD 'rotated'", s.name))
		}
		b.source.current.Load().db.SetMaxIdleConns(0) // what is open stays logged in
		if got := verdict(b, alice); !strings.Contains(got, "check db_user and db_password") {
			t.Errorf("with the old password: %s", got)
		}
		conf := s.conf(t)
		conf["db_password"] = "rotated"
		s.configure(t, conf)
		if got := verdict(b, alice); got != "alice@example.com" {
			t.Errorf("with the new password: %s", got)
		}
		if got := look(); got != "everything" {
			t.Errorf("the next look reports %q", got)
		}
		if got := look(); got != "" {
			t.Errorf("the look after it reports %q", got)
		}
	})
}

// demandPassword makes PostgreSQL ask a user for the password.
func (s *server) demandPassword(t testing.TB, user string) {
	t.Helper()
	name := filepath.Join(s.dir, "data", "pg_hba.conf")
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	write := func(rules []byte) {
		if err := os.WriteFile(name, rules, 0o600); err != nil {
			t.Fatal(err)
		}
		admin := s.admin(t, "")
		defer admin.Close()
		mustExec(t, admin, "SELECT pg_reload_conf()")
	}
	write(append([]byte("host all "+user+" 127.0.0.1/32 scram-sha-256\n"), before...))
	t.Cleanup(func() { write(before) })
}

// TestFollow: what changes in site_config.json takes effect with the next look, and what is broken does not.
func TestFollow(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		conf := s.conf(t)
		key := conf["encryption_key"]
		delete(conf, "encryption_key")
		s.configure(t, conf)
		look := looker(t, s)
		b := provisioned(t, &Backend{Site: s.dir, PollInterval: maxPollInterval})
		logs := observed(b)
		alice := pair(s.creds.pairs["alice@example.com"])
		look()

		// A site without encryption_key.
		for name, test := range map[string][2]string{
			"a token":        {verdict(b, bearer(s.creds.bearer["alice"])), "alice@example.com"},
			"a pair":         {verdict(b, alice), "encryption_key is missing"},
			"an unknown key": {verdict(b, pair([2]string{"unknown", "x"})), "denied"},
		} {
			if !strings.Contains(test[0], test[1]) {
				t.Errorf("without encryption_key, %s: %s", name, test[0])
			}
		}
		expect(t, b, "TROUBLE encryption_key: missing, so no API key can be verified; site_config.json has none yet: generate keys for any user once, and Frappe writes it there")
		conf["encryption_key"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		s.configure(t, conf)
		look()
		expect(t, b, "TROUBLE encryption_key: does not decrypt the site's API secrets; put back the site_config.json that belongs to this database, or generate the users' keys anew")
		delete(conf, "encryption_key")
		s.configure(t, conf)
		look()
		s.change(t, `UPDATE "__Auth" SET "encrypted" = 0`)
		if got := verdict(b, alice); got != "denied" {
			t.Errorf("without encryption_key and secrets: %s", got)
		}
		expect(t, b, "warning encryption_key: missing, and no user has an API secret; Frappe writes one")
		s.change(t, `UPDATE "__Auth" SET "encrypted" = 1 WHERE "fieldname" = 'api_secret'`)

		// Frappe writes one.
		conf["encryption_key"] = key
		s.configure(t, conf)
		if got := look(); got != "everything" {
			t.Errorf("with a new key: %q", got)
		}
		if got := verdict(b, alice); got != "alice@example.com" {
			t.Errorf("with a new key: %s", got)
		}

		// A file that is broken, and whole again.
		if err := os.WriteFile(filepath.Join(s.dir, "site_config.json"), []byte(`{"db_password": "s3cret"`), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if got := look(); got != "" {
				t.Errorf("with a broken file: %q", got)
			}
		}
		if got := verdict(b, alice); got != "alice@example.com" {
			t.Errorf("with a broken file: %s", got)
		}
		warnings := logs.FilterLevelExact(zapcore.WarnLevel).FilterMessageSnippet("configuration").All()
		if len(warnings) != 1 || !strings.Contains(fmt.Sprint(warnings[0].ContextMap()), "not valid JSON, at line 1, column ") ||
			strings.Contains(fmt.Sprint(warnings[0].ContextMap()), "s3cret") {
			t.Errorf("a broken file is logged as %v", warnings)
		}
		s.configure(t, conf)
		if got := look(); got != "" {
			t.Errorf("with the file as before: %q", got)
		}
		if logs.FilterMessageSnippet("can be read again").Len() != 1 {
			t.Error("it is not logged that the file can be read again")
		}
	})
}

// TestLoggerOfTheNewest: what a look finds is logged by the newest configuration that is in use.
func TestLoggerOfTheNewest(t *testing.T) {
	s := newSite(t, "sqlite")
	load := func() (*Backend, func()) {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		b := &Backend{Site: s.dir}
		if err := b.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		return b, func() {
			cancel()
			if err := b.Cleanup(); err != nil {
				t.Error(err)
			}
		}
	}
	a, unloadA := load()
	b, unloadB := load()
	if a.source != b.source || b.source.logger() != b.logger {
		t.Error("the newest configuration does not log")
	}
	unloadA()
	if b.source.logger() != b.logger {
		t.Error("after the older one was unloaded, the newest does not log")
	}
	c, unloadC := load()
	unloadC() // it was not taken into use
	if c.logger == b.logger || b.source.logger() != b.logger {
		t.Error("an unloaded configuration logs")
	}
	unloadB()
}

// TestRoleNames: all roles of the site but disabled ones.
func TestRoleNames(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		if _, err := b.RoleNames(t.Context()); err == nil || !strings.Contains(err.Error(), "tabRole cannot be read; docs/database.md has the GRANT") {
			t.Errorf("without the table: %v", err)
		}
		s.createRoles(t)
		s.change(t, `UPDATE "tabRole" SET "disabled" = 1 WHERE "name" = 'Translator'`)
		b.source.current.Load().schema.Store(nil)
		names, err := b.RoleNames(t.Context())
		if got := strings.Join(names, ","); err != nil || len(names) != 26 || !strings.Contains(got, "System Manager") || strings.Contains(got, "Translator") {
			t.Errorf("%d: %s %v", len(names), got, err)
		}
	})
}

// TestServersOwnSettings: how a server writes dates and reads text has no bearing on verdicts and looks.
func TestServersOwnSettings(t *testing.T) {
	for _, test := range []struct{ kind, setting, value string }{
		{"postgres", "DateStyle", "'SQL, DMY'"},
		{"postgres", "DateStyle", "'German'"},
		{"postgres", "TimeZone", "'America/New_York'"},
		{"postgres", "IntervalStyle", "'iso_8601'"},
		{"postgres", "standard_conforming_strings", "'off'"},
		{"mariadb", "sql_mode", "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,ORACLE'"},
		{"mariadb", "sql_mode", "'STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,PAD_CHAR_TO_FULL_LENGTH'"},
		{"mariadb", "time_zone", "'-11:00'"},
		{"mariadb", "lc_time_names", "'de_DE'"},
		{"mariadb", "sql_select_limit", "1"},
	} {
		t.Run(test.kind+" "+test.setting+" "+test.value, func(t *testing.T) {
			s := newSite(t, test.kind)
			if test.kind == "postgres" {
				mustExec(t, s.admin, fmt.Sprintf("ALTER DATABASE %s SET %s = %s", s.name, test.setting, test.value))
			} else {
				mustExec(t, s.admin, fmt.Sprintf("SET GLOBAL %s = %s", test.setting, test.value))
				t.Cleanup(func() { mustExec(t, s.admin, fmt.Sprintf("SET GLOBAL %s = DEFAULT", test.setting)) })
			}
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "expiration_time" = '2031-04-05 06:07:08.5' WHERE "name" = '`+s.creds.bearer["alice"]+`'`)
			look := looker(t, s)
			b := provisioned(t, &Backend{Site: s.dir, PollInterval: maxPollInterval})
			id, err := b.Verify(t.Context(), bearer(s.creds.bearer["alice"]))
			if want := time.Date(2031, 4, 5, 0, 37, 8, 500_000_000, time.UTC); err != nil || !id.Expiry.Equal(want) {
				t.Errorf("token of alice: %+v %v", id, err)
			}
			if got := verdict(b, pair([2]string{s.creds.pairs["alice@example.com"][0], `x\' OR 1=1 -- `})); got != "denied" {
				t.Errorf("a strange secret: %s", got)
			}
			if got := verdict(b, pair([2]string{`x\' OR 1=1 -- `, "x"})); got != "denied" {
				t.Errorf("a strange key: %s", got)
			}
			look()
			s.change(t, `UPDATE "tabUser" SET "modified" = '`+frappeNow(0)+`' WHERE "name" = 'web@example.com'`)
			if got := look(); !strings.HasPrefix(got, "web@example.com ") {
				t.Errorf("a look reports %q", got)
			}
		})
	}
}
