package database

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

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
			{"hashed token revoked", func(s *site) {
				s.hashToken(t, "alice", "a1b2c3d4e5")
				s.change(t, `UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked', "modified" = ? WHERE "name" = 'a1b2c3d4e5'`, stamp())
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
	go s.poller.watchers.Watch(ctx, func([]frappe.Change) {
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
