package database

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// serve runs a Caddy with the directive until the test ends, and returns its address.
func serve(t testing.TB, directive string) (url string, logs func() string) {
	t.Helper()
	address := testutil.FreeAddress(t)
	c := testutil.NewCaddy(t)
	t.Cleanup(func() {
		c.Stop()
		if secret := secretIn(t, c.Logs()); secret != "" {
			t.Errorf("the log holds the secret %s", secret)
		}
	})
	c.Load(fmt.Sprintf("http://%s {\n%s\nrespond \"{http.auth.user.id}|{http.auth.user.roles}\"\n}", address, directive))
	return "http://" + address, c.Logs
}

// secretIn is a secret of the recorded sites that a text holds, or empty: of users, of the database, and of the site.
func secretIn(t testing.TB, text string) string {
	t.Helper()
	for _, recorded := range []string{"mariadb-site", "postgres-site"} {
		creds := readCredentials(t, recorded)
		conf, err := readSiteConfig(filepath.Join("testdata", recorded))
		if err != nil {
			t.Fatal(err)
		}
		secrets := []string{conf.DBPassword, conf.EncryptionKey}
		for _, pair := range creds.pairs {
			secrets = append(secrets, pair[1], base64.StdEncoding.EncodeToString([]byte(pair[0]+":"+pair[1])))
		}
		for _, token := range creds.bearer {
			secrets = append(secrets, token)
		}
		for _, secret := range secrets {
			if secret != "" && strings.Contains(text, secret) {
				return secret
			}
		}
	}
	return ""
}

// ask is what Caddy answers to a credential: the status, and the user and roles if it is good.
func ask(t testing.TB, url, authorization string) string {
	t.Helper()
	got := testutil.Get(t, url, "Authorization: "+authorization)
	return strings.TrimSuffix(fmt.Sprintf("%d %s", got.Status, got.Body), " ")
}

// TestCorpusThroughCaddy: on every database a running Caddy lets in what the recorded site let in, but for disabled users,
// and for keys and tokens in another case.
func TestCorpusThroughCaddy(t *testing.T) {
	recordedWith := readCredentials(t, "mariadb-site")
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		url, _ := serve(t, fmt.Sprintf("frappe_auth {\nbackend database %s\nfailures off\n}", s.dir))
		driven := 0
		for _, c := range testutil.Corpus(t) {
			if len(c.Headers) > 0 || len(c.Authorization) != 1 || strings.TrimSpace(c.Authorization[0]) != c.Authorization[0] {
				continue // what other headers do, and white space, is the handler's part
			}
			driven++
			recorded := c.Frappe[testutil.OnPostgreSQL] // which compares with case
			got := ask(t, url, s.creds.inPlaceOf(recordedWith, c.Authorization[0]))
			switch {
			case strings.Contains(c.Name, "disabled"):
				if got != "401" {
					t.Errorf("%s: %s", c.Name, got)
				}
			case recorded.Status == 200 && !strings.HasPrefix(got, "200 "+*recorded.User+"|"):
				t.Errorf("%s: %s, but Frappe let %s in", c.Name, got, *recorded.User)
			case recorded.Status != 200 && got != "401":
				t.Errorf("%s: %s, but Frappe refused", c.Name, got)
			}
		}
		if driven < 50 {
			t.Errorf("only %d cases were driven", driven)
		}
		for user, p := range s.creds.pairs {
			got := ask(t, url, "token "+p[0]+":"+p[1])
			if want := "200 " + user; (user == "disabled@example.com" && got != "401") || (user != "disabled@example.com" && !strings.HasPrefix(got, want)) {
				t.Errorf("key of %s: %s", user, got)
			}
		}
		for name, token := range s.creds.bearer {
			want := map[string]string{"alice": "200 alice@example.com|", "openidonly": "200 alice@example.com|", "bob": "200 bob@example.com|"}[name]
			if got := ask(t, url, "Bearer "+token); (want == "" && got != "401") || !strings.HasPrefix(got, want) {
				t.Errorf("token %s: %s", name, got)
			}
		}
	})
}

// inPlaceOf puts the site's own credentials into a header that was recorded with another site's.
func (c credentials) inPlaceOf(other credentials, header string) string {
	var names []string
	for user, p := range other.pairs {
		own := c.pairs[user]
		for i := range p {
			names = append(names, p[i], own[i], strings.ToUpper(p[i]), strings.ToUpper(own[i]))
		}
		names = append(names, base64.StdEncoding.EncodeToString([]byte(p[0]+":"+p[1])), base64.StdEncoding.EncodeToString([]byte(own[0]+":"+own[1])))
	}
	for name, token := range other.bearer {
		names = append(names, token, c.bearer[name], strings.ToUpper(token), strings.ToUpper(c.bearer[name]))
	}
	return strings.NewReplacer(names...).Replace(header)
}

// TestExpiryWhileCached: a token is refused at the very second in which it ends, although its verdict is cached for an
// hour.
func TestExpiryWhileCached(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		url, _ := serve(t, fmt.Sprintf("frappe_auth {\nbackend database %s\ncache {\nttl 1h\n}\n}", s.dir))
		kolkata := time.FixedZone("", 5*3600+1800)
		ends := time.Now().Add(1500 * time.Millisecond).Truncate(time.Microsecond)
		s.change(t, `UPDATE "tabOAuth Bearer Token" SET "expiration_time" = ? WHERE "name" = ?`,
			ends.In(kolkata).Format("2006-01-02 15:04:05.000000"), s.creds.bearer["alice"])
		granted := 0
		for {
			before := time.Now()
			got := ask(t, url, "Bearer "+s.creds.bearer["alice"])
			after := time.Now()
			if strings.HasPrefix(got, "200 ") {
				granted++
				if before.After(ends) {
					t.Fatalf("granted %s after its end", before.Sub(ends))
				}
				continue
			}
			if got != "401" || after.Before(ends) || granted == 0 {
				t.Errorf("%s, %s after its end, granted %d times before", got, after.Sub(ends), granted)
			}
			return
		}
	})
}

// TestChanges: whatever an operator changes in Frappe takes effect within poll_interval, although verdicts are cached for an
// hour. The statements are Frappe's.
func TestChanges(t *testing.T) {
	stamp := func() string { return frappeNow(0) }
	forEachKind(t, func(t *testing.T, kind string) {
		for _, test := range []struct {
			name   string
			change func(s *site)
			pair   string // what alice's key gets afterwards
			bearer string // and her access token
		}{
			{"new secret", func(s *site) {
				s.change(t, `UPDATE "__Auth" SET "password" = '`+s.encrypted(t, "another")+`' WHERE "name" = 'alice@example.com' AND "fieldname" = 'api_secret'`)
				s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "401", "200 alice@example.com"},
			{"new key", func(s *site) {
				s.change(t, `UPDATE "tabUser" SET "api_key" = 'another', "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "401", "200 alice@example.com"},
			{"disable", func(s *site) {
				s.change(t, `UPDATE "tabUser" SET "enabled" = 0, "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "401", "401"},
			{"delete", func(s *site) {
				s.change(t, `DELETE FROM "tabUser" WHERE "name" = 'alice@example.com'`)
				at := stamp()
				s.change(t, `INSERT INTO "tabDeleted Document" ("name", "creation", "modified", "docstatus", "idx", "deleted_name", "deleted_doctype", "restored") VALUES ('d1', ?, ?, 0, 0, 'alice@example.com', 'User', 0)`, at, at)
			}, "401", "401"},
			{"rename", func(s *site) {
				s.change(t, `UPDATE "tabUser" SET "name" = 'carol@example.com' WHERE "name" = 'alice@example.com'`)
				s.change(t, `UPDATE "__Auth" SET "name" = 'carol@example.com' WHERE "name" = 'alice@example.com'`)
				s.change(t, `UPDATE "tabHas Role" SET "parent" = 'carol@example.com' WHERE "parent" = 'alice@example.com'`)
				s.change(t, `UPDATE "tabOAuth Bearer Token" SET "user" = 'carol@example.com' WHERE "user" = 'alice@example.com'`)
				s.change(t, `UPDATE "tabUser" SET "email" = 'carol@example.com', "modified" = ? WHERE "name" = 'carol@example.com'`, stamp())
			}, "200 carol@example.com", "200 carol@example.com"},
			{"role added", func(s *site) {
				s.change(t, `INSERT INTO "tabHas Role" ("name", "docstatus", "idx", "role", "parent", "parentfield", "parenttype") VALUES ('r1', 0, 9, 'Auditor', 'alice@example.com', 'roles', 'User')`)
				s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "Auditor", "Auditor"},
			{"role removed", func(s *site) {
				s.change(t, `DELETE FROM "tabHas Role" WHERE "parent" = 'alice@example.com' AND "role" = 'Report Manager'`)
				s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "!Report Manager", "!Report Manager"},
			{"token revoked", func(s *site) {
				s.change(t, `UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked', "modified" = ? WHERE "name" = ?`, stamp(), s.creds.bearer["alice"])
			}, "200 alice@example.com", "401"},
			{"token deleted", func(s *site) {
				s.change(t, `DELETE FROM "tabOAuth Bearer Token" WHERE "name" = ?`, s.creds.bearer["alice"])
				at := stamp()
				s.change(t, `INSERT INTO "tabDeleted Document" ("name", "creation", "modified", "docstatus", "idx", "deleted_name", "deleted_doctype", "restored") VALUES ('d2', ?, ?, 0, 0, ?, 'OAuth Bearer Token', 0)`, at, at, s.creds.bearer["alice"])
			}, "200 alice@example.com", "401"},
			{"scopes of the client", func(s *site) {
				s.change(t, `UPDATE "tabOAuth Client" SET "scopes" = 'openid', "modified" = ?`, stamp())
			}, "200 alice@example.com", "401"},
			{"committed late", func(s *site) { // its time is before the newest that was seen
				s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'web@example.com'`, frappeNow(0))
				s.waitForPoll(t)
				s.change(t, `UPDATE "tabUser" SET "enabled" = 0, "modified" = ? WHERE "name" = 'alice@example.com'`, frappeNow(-5*time.Minute))
			}, "401", "401"},
			{"thousands at once", func(s *site) {
				s.change(t, `UPDATE "tabUser" SET "enabled" = 0 WHERE "name" = 'alice@example.com'`)
				s.addClients(t, 6000, stamp())
			}, "401", "401"},
			{"disabled beside a user of the future", func(s *site) {
				s.change(t, `UPDATE "tabUser" SET "modified" = '2093-01-01' WHERE "name" = 'web@example.com'`)
				s.waitForPoll(t)
				s.change(t, `UPDATE "tabUser" SET "enabled" = 0, "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "401", "401"},
			{"disabled, and modified goes back", func(s *site) {
				s.change(t, `UPDATE "tabUser" SET "enabled" = 0, "modified" = '2020-01-01' WHERE "name" = 'alice@example.com'`)
			}, "401", "401"},
			{"deleted permanently", func(s *site) {
				s.change(t, `DELETE FROM "tabUser" WHERE "name" = 'alice@example.com'`)
			}, "401", "401"},
			{"role disabled", func(s *site) {
				s.change(t, `DELETE FROM "tabHas Role" WHERE "role" = 'Report Manager'`)
				s.change(t, `UPDATE "tabRole" SET "disabled" = 1, "modified" = ? WHERE "name" = 'Report Manager'`, stamp())
			}, "!Report Manager", "!Report Manager"},
			{"client deleted", func(s *site) {
				s.change(t, `DELETE FROM "tabOAuth Client"`)
			}, "200 alice@example.com", "401"},
			{"time zone", func(s *site) { // east of Kolkata, the token has ended
				s.change(t, `UPDATE "tabOAuth Bearer Token" SET "expiration_time" = ?, "modified" = ? WHERE "name" = ?`, frappeNow(time.Hour), stamp(), s.creds.bearer["alice"])
				s.waitForPoll(t)
				s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
				s.change(t, `INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', 'Pacific/Auckland')`)
			}, "200 alice@example.com", "401"},
			{"restored", func(s *site) {
				s.restore(t)
				s.change(t, `UPDATE "tabUser" SET "enabled" = 0 WHERE "name" = 'alice@example.com'`)
			}, "401", "401"},
		} {
			t.Run(test.name, func(t *testing.T) {
				s := newSite(t, kind)
				s.createRoles(t)
				url, _ := serve(t, fmt.Sprintf("frappe_auth {\nbackend database %s {\npoll_interval 100ms\n}\ncache {\nttl 1h\nnegative_ttl 1h\n}\n}", s.dir))
				alice := s.creds.pairs["alice@example.com"]
				authorizations := [2]string{"token " + alice[0] + ":" + alice[1], "Bearer " + s.creds.bearer["alice"]}
				bob := "token " + s.creds.pairs["bob@example.com"][0] + ":" + s.creds.pairs["bob@example.com"][1]
				for _, authorization := range append(authorizations[:], bob) {
					if got := ask(t, url, authorization); !strings.HasPrefix(got, "200 ") {
						t.Fatalf("before: %s", got)
					}
				}
				s.waitForPoll(t)
				test.change(s)
				for i, want := range [2]string{test.pair, test.bearer} {
					has := func(got string) bool {
						if unwanted, ok := strings.CutPrefix(want, "!"); ok {
							return !strings.Contains(got, unwanted)
						}
						return strings.Contains(got, want)
					}
					got := ""
					// A restored backup that looks like the rows before is found by the next count, which waits longer on a busy machine.
					if !testutil.Holds(2*maxCountWait, func() bool {
						got = ask(t, url, authorizations[i])
						return has(got)
					}) {
						t.Errorf("afterwards %q gets %s, want %s", authorizations[i][:6], got, want)
					}
				}
				if got := ask(t, url, bob); !strings.HasPrefix(got, "200 bob@example.com") {
					t.Errorf("somebody else gets %s", got)
				}
			})
		}
		t.Run("enable, and a new user", func(t *testing.T) {
			s := newSite(t, kind)
			url, _ := serve(t, fmt.Sprintf("frappe_auth {\nbackend database %s {\npoll_interval 100ms\n}\ncache {\nttl 1h\nnegative_ttl 1h\n}\n}", s.dir))
			disabled := s.creds.pairs["disabled@example.com"]
			authorizations := []string{"token " + disabled[0] + ":" + disabled[1], "token newkey:newsecret", "Bearer " + s.creds.bearer["disabled"]}
			for _, authorization := range authorizations {
				if got := ask(t, url, authorization); got != "401" {
					t.Fatalf("before: %s", got)
				}
			}
			s.waitForPoll(t)
			s.change(t, `UPDATE "tabUser" SET "enabled" = 1, "modified" = ? WHERE "name" = 'disabled@example.com'`, stamp())
			s.change(t, `INSERT INTO "__Auth" ("doctype", "name", "fieldname", "password", "encrypted") VALUES ('User', 'nokey@example.com', 'api_secret', ?, 1)`, s.encrypted(t, "newsecret"))
			s.change(t, `UPDATE "tabUser" SET "api_key" = 'newkey', "modified" = ? WHERE "name" = 'nokey@example.com'`, stamp())
			for _, authorization := range authorizations {
				got := ""
				if !testutil.Holds(10*time.Second, func() bool {
					got = ask(t, url, authorization)
					return strings.HasPrefix(got, "200 ")
				}) {
					t.Errorf("afterwards %q gets %s: a denial was not dropped", authorization[:6], got)
				}
			}
		})
	})
}

// waitForPoll returns when the poller of the site has looked after the call.
func (s *site) waitForPoll(t *testing.T) {
	t.Helper()
	found := false
	sources.Range(func(_, value any) bool {
		src := value.(*source)
		settings := src.current.Load().settings
		if settings.name == s.name && (settings.file == "" || strings.HasPrefix(settings.file, s.dir)) {
			found = true
			src.waitForPoll(t)
		}
		return true
	})
	if !found {
		t.Fatal("the site's database is not open")
	}
}

func (s *source) waitForPoll(t *testing.T) {
	t.Helper()
	looked := make(chan struct{}, 100)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go s.poller.watch(ctx, func([]frappe.Change) {
		select {
		case looked <- struct{}{}:
		default:
		}
	})
	for range 3 { // one for the subscription, one that was under way
		select {
		case <-looked:
		case <-time.After(10 * time.Second):
			t.Fatal("nobody polls")
		}
	}
}

// TestOutage: the server stops and starts under load. Nobody is let in who should not be, nobody is refused who should
// not be, and it recovers by itself.
func TestOutage(t *testing.T) {
	for _, kind := range []string{"mariadb", "postgres"} {
		t.Run(kind, func(t *testing.T) {
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
