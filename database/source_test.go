package database

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestFollowPassword: a password that is changed in the server and in site_config.json takes effect by itself, with the
// next verification.
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
		expect(
			t,
			b,
			"TROUBLE encryption_key: missing, so no API key can be verified; site_config.json has none yet: generate keys "+
				"for any user once, and Frappe writes it there",
		)
		conf["encryption_key"] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		s.configure(t, conf)
		look()
		expect(
			t,
			b,
			"TROUBLE encryption_key: does not decrypt the site's API secrets; put back the site_config.json that belongs "+
				"to this database, or generate the users' keys anew",
		)
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
		if len(warnings) != 1 ||
			!strings.Contains(fmt.Sprint(warnings[0].ContextMap()), "not valid JSON, at line 1, column ") ||
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

// TestOutage: the server stops and starts under load. Nobody is let in who should not be, nobody is refused who should
// not be, and it recovers by itself.
func TestOutage(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		url, logs := serve(t, fmt.Sprintf(`frappe_auth {
	backend database %s {
	poll_interval 100ms
	timeout 500ms
	}
	cache {
	ttl 0
	negative_ttl 0
	}
	failures off
}`, s.dir))
		alice := s.creds.pairs["alice@example.com"]
		good, bad := "token "+alice[0]+":"+alice[1], "token "+alice[0]+":wrong"
		var (
			wg     sync.WaitGroup
			stop   atomic.Bool
			counts [2]sync.Map // outcome to how often, of the good and the bad one
		)
		for worker := range 8 {
			wg.Go(func() {
				for !stop.Load() {
					got, _, _ := strings.Cut(ask(t, url, []string{good, bad}[worker%2]), " ")
					n, _ := counts[worker%2].LoadOrStore(got, new(atomic.Int64))
					n.(*atomic.Int64).Add(1)
				}
			})
		}
		count := func(which int, outcome string) int64 {
			n, ok := counts[which].Load(outcome)
			if !ok {
				return 0
			}
			return n.(*atomic.Int64).Load()
		}
		until := func(what string, condition func() bool) {
			t.Helper()
			if !testutil.Holds(30*time.Second, condition) {
				stop.Store(true)
				t.Fatalf("never: %s", what)
			}
		}
		for range 2 {
			before := count(0, "200")
			until("served", func() bool { return count(0, "200") > before+20 })
			s.server.kill()
			before = count(0, "503")
			until("503 while it is away", func() bool { return count(0, "503") > before+20 })
			s.server.start(t)
		}
		before := count(0, "200")
		until("recovered", func() bool { return count(0, "200") > before+20 })
		stop.Store(true)
		wg.Wait()
		for which, allowed := range [2]string{"200", "401"} {
			counts[which].Range(func(outcome, n any) bool {
				if outcome != allowed && outcome != "503" {
					t.Errorf("credential %d got %s, %d times", which, outcome, n.(*atomic.Int64).Load())
				}
				return true
			})
		}
		for _, secret := range []string{alice[1], "38jWnH1vU3H1INnP", "hRNDc24knjHOmbIK", "MUx-kgDu", "Jd1Btmz"} {
			if strings.Contains(logs(), secret) {
				t.Errorf("%s was logged", secret)
			}
		}
	})
}

// TestAway: a database that was never there, whose password is wrong, or that is no Frappe's, is no verdict.
func TestAway(t *testing.T) {
	s := newSite(t, "mariadb")
	other := newSite(t, "postgres")
	mustExec(t, s.admin, "CREATE DATABASE IF NOT EXISTS empty; GRANT ALL ON empty.* TO "+s.name+"@'127.0.0.1'")
	for name, b := range map[string]*Backend{
		"no server":       {Site: s.dir, DBPort: testutil.FreePort(t)},
		"no socket":       {Site: s.dir, DBSocket: "/nonexistent"},
		"wrong password":  {Site: s.dir, DBPassword: "wrong-s3cret"},
		"no database":     {Site: s.dir, DBUser: s.name, DBName: "nosuch"},
		"not Frappe's":    {Site: s.dir, DBUser: s.name, DBName: "empty"},
		"PostgreSQL away": {Site: other.dir, DBPort: testutil.FreePort(t)},
		"SQLite away":     {Site: s.dir, DBType: "sqlite"},
	} {
		t.Run(name, func(t *testing.T) {
			b.Timeout = caddy.Duration(2 * time.Second)
			provisioned(t, b)
			for _, c := range []frappe.Credential{pair(s.creds.pairs["alice@example.com"]), bearer(s.creds.bearer["alice"]), pair([2]string{"x", "y"})} {
				if got := verdict(b, c); !strings.HasPrefix(got, "unavailable") || strings.Contains(got, "s3cret") ||
					strings.Contains(got, s.creds.pairs["alice@example.com"][1]) {
					t.Errorf("%s", got)
				}
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
