package database

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
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
	for _, kind := range []string{"mariadb", "postgres"} {
		t.Run(kind, func(t *testing.T) {
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
		expect(t, b, "TROUBLE encryption_key: missing, so no API key can be verified; copy it from the site's site_config.json")
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

// TestDirectories: a directory that may not be entered, and a file that may not be read, are named with the right that is
// missing.
func TestDirectories(t *testing.T) {
	s := newSite(t, "sqlite")
	asNobody := func(readable string) (err error) {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // and never unlocked: the thread ends with its user
			if os.Getuid() == 0 {
				if err := syscall.Setfsuid(65534); err != nil {
					done <- err
					return
				}
			}
			_, err := readSiteConfig(readable)
			done <- err
		}()
		return <-done
	}
	config := filepath.Join(s.dir, "site_config.json")
	parent := filepath.Dir(filepath.Dir(s.dir)) // of testing, 0777 less the mask
	for dir := s.dir; strings.HasPrefix(dir, parent); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user reads it
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(s.dir, "..", "common_site_config.json"), 0o644); err != nil { //nolint:gosec // as above
		t.Fatal(err)
	}
	if err := os.Chmod(config, 0); err != nil {
		t.Fatal(err)
	}
	if err := asNobody(s.dir); err == nil || !strings.Contains(err.Error(), "read the file, for example with `setfacl -m u:caddy:r "+config+"`") {
		t.Errorf("a file: %v", err)
	}
	sites := filepath.Dir(s.dir)
	if err := os.Chmod(sites, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(sites, 0o700) }) //nolint:errcheck,gosec // so that it can be removed
	if err := asNobody(s.dir); err == nil || !strings.Contains(err.Error(), "enter the directory "+sites+", for example with `setfacl -m u:caddy:x "+sites+"`") {
		t.Errorf("a directory: %v", err)
	}
}

// TestMessages: what is wrong with a path, a file or a number is said, with what to write.
func TestMessages(t *testing.T) {
	for _, test := range []struct{ name, config, want string }{
		{"broken", "{\n \"db_name\": \"n\",\n \"db_password\": \"s3cret\"\n \"db_type\": \"mariadb\"\n}", "site_config.json is not valid JSON, at line 4, column 2"},
		{"truncated", `{"db_password": "s3cret`, "site_config.json is not valid JSON, at line 1, column 23"},
		{"number", `{"db_name": 5}`, "site_config.json: db_name is not a string in quotes, at line 1, column 13"},
		{"array", `["s3cret"]`, "site_config.json is not a JSON object as Frappe writes it"},
		{"empty", ``, "site_config.json is not valid JSON, at line 1, column 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "site_config.json"), []byte(test.config), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := readSiteConfig(dir); err == nil || !strings.HasSuffix(err.Error(), test.want) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
	if _, err := readSiteConfig("/sites/erp/site_config.json"); err == nil || err.Error() != "/sites/erp/site_config.json is a file: give the site's directory, /sites/erp" {
		t.Errorf("the file in place of the directory: %v", err)
	}
	for conf, want := range map[string]string{
		`{"site": "/s", "poll_interval": 60}`:         `poll_interval: 60ns is shorter than a millisecond; a bare number in JSON is nanoseconds, so write a text such as "60s"`,
		`{"site": "/s", "timeout": 5}`:                `timeout: 5ns is shorter than a millisecond; a bare number in JSON is nanoseconds, so write a text such as "60s"`,
		`{"site": "/s", "poll_interval": 1000000000}`: "",
		`{"site": "/s", "timeout": "-5s"}`:            "timeout: -5s is not between 10ms and 1m0s",
	} {
		b := new(Backend)
		if err := json.Unmarshal([]byte(conf), b); err != nil {
			t.Fatal(err)
		}
		if err := b.validate(); (want == "" && err != nil) || (want != "" && (err == nil || err.Error() != want)) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

// TestGrantsMissing: a user without grants, and with too few, is pointed to them, by verifications, by the log and by doctor.
func TestGrantsMissing(t *testing.T) {
	for _, kind := range []string{"mariadb", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, kind)
			s.createRoles(t)
			user := s.name + "_reader"
			at := map[string]string{"mariadb": user + "@'127.0.0.1'", "postgres": user}[kind]
			mustExec(t, s.admin, map[string]string{"mariadb": "CREATE USER " + at + " IDENTIFIED BY 'choose-a-password'", "postgres": "CREATE USER " + at + " PASSWORD 'choose-a-password'"}[kind])
			t.Cleanup(func() {
				if kind == "postgres" {
					mustExec(t, s.admin, "DROP OWNED BY "+user)
				}
				mustExec(t, s.admin, "DROP USER "+at)
			})
			b := provisioned(t, &Backend{Site: s.dir, DBUser: user, DBPassword: "choose-a-password", PollInterval: minPollInterval})
			logs := observed(b)
			advice := "run the GRANT statements of docs/database.md for user " + user
			if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); !strings.Contains(got, advice) {
				t.Errorf("without grants: %s", got)
			}
			expect(t, b, "run the GRANT statements of docs/database.md for user _site_reader")

			raw, err := os.ReadFile("testdata/grants-" + kind + ".sql")
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.SplitSeq(strings.ReplaceAll(strings.ReplaceAll(string(raw), "'caddy'@'127.0.0.1'", at), "caddy", user), "\n") {
				switch {
				case strings.HasPrefix(line, "CREATE USER"), strings.Contains(line, "tabDeleted Document"), line == "":
				case strings.Contains(line, "tabRole"):
					mustExec(t, s.admin, strings.Replace(line, ", modified, disabled", "", 1))
				default:
					mustExec(t, s.admin, line)
				}
			}
			b.source.waitForPoll(t)
			if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
				t.Errorf("with most grants: %s", got)
			}
			for _, missing := range []string{"tabRole: no modified, disabled, or its user may not read it", "tabDeleted Document: no deleted_doctype, deleted_name, modified, or its user may not read it"} {
				expect(t, b, "warning tables: "+missing)
				if n := len(logs.FilterMessageSnippet("not all of the site's tables").All()); n != 1 || !strings.Contains(fmt.Sprint(logs.FilterMessageSnippet("not all").All()[0].ContextMap()), missing) {
					t.Errorf("%q is logged %d times", missing, n)
				}
			}
		})
	}
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
