package database

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

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
				if got := verdict(b, c); !strings.HasPrefix(got, "unavailable") || strings.Contains(got, "s3cret") || strings.Contains(got, s.creds.pairs["alice@example.com"][1]) {
					t.Errorf("%s", got)
				}
			}
		})
	}
}
