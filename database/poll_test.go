package database

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// frappeNow is a time as Frappe writes it now, in the recorded sites' time zone, or so much later.
func frappeNow(later time.Duration) string {
	return time.Now().Add(later).In(time.FixedZone("", 5*3600+1800)).Format(parameterLayout)
}

// deletedDocument writes what Frappe writes when it deletes a document.
func (s *site) deletedDocument(t testing.TB, name, doctype, document string) {
	t.Helper()
	now := frappeNow(0)
	s.change(
		t,
		`INSERT INTO "tabDeleted Document" ("name", "creation", "modified", "docstatus", "idx", "deleted_name", `+
			`"deleted_doctype", "restored") VALUES (?, ?, ?, 0, 0, ?, ?, 0)`,
		name,
		now,
		now,
		document,
		doctype,
	)
}

// addClients adds OAuth clients, all with one modified.
func (s *site) addClients(t testing.TB, n int, modified string) {
	t.Helper()
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(`('client%d', '%s', 0, 0, 0)`, i, modified)
	}
	s.change(
		t,
		`INSERT INTO "tabOAuth Client" ("name", "modified", "docstatus", "idx", "skip_authorization") VALUES `+strings.Join(
			rows,
			", ",
		),
	)
}

// described is a list of changes in words.
func described(s *site, changes []frappe.Change) string {
	names := make([]string, 0, len(changes))
	for _, c := range changes {
		if c.Everything {
			return "everything"
		}
		for name, token := range s.creds.bearer {
			switch c.Token {
			case token:
				c.Token = name
			case frappe.StoredHash(token):
				c.Token = name + " hashed"
			}
		}
		if c.Key == s.creds.pairs["alice@example.com"][0] {
			c.Key = "key"
		}
		names = append(names, strings.TrimSpace(strings.Join([]string{c.User, c.Key, c.Token}, " ")))
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// looker looks for the changes of a site when told to.
func looker(t testing.TB, s *site) (look func() string) {
	t.Helper()
	b := provisioned(t, &Backend{Site: s.dir, PollInterval: maxPollInterval})
	p := &poller{source: b.source}
	return func() string {
		b.source.follow()
		return lookOnce(t, s, p)
	}
}

// lookOnce has a poller look for changes.
func lookOnce(t testing.TB, s *site, p *poller) string {
	t.Helper()
	changes, err := p.look(t.Context())
	if err != nil {
		return err.Error()
	}
	return described(s, changes)
}

// TestLook: whatever an operator changes in Frappe, or beside it, is reported by the next look, and once.
func TestLook(t *testing.T) {
	touch := func(t *testing.T, s *site, set, modified string) {
		s.change(t, `UPDATE "tabUser" SET `+set+`"modified" = ? WHERE "name" = 'alice@example.com'`, modified)
	}
	const alicesTokens = "alice, alice@example.com key, expired, openidonly, revoked, wrongscope"
	for _, test := range []struct {
		name   string
		before func(t *testing.T, s *site) // the first look
		change func(t *testing.T, s *site)
		want   string
	}{
		{"nothing", nil, func(*testing.T, *site) {}, ""},
		{"user disabled", nil, func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, alicesTokens},
		{"user deleted", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabUser" WHERE "name" = 'alice@example.com'`)
			s.deletedDocument(t, "d1", "User", "alice@example.com")
		}, "alice@example.com"},
		{
			"user deleted permanently just after a change", func(t *testing.T, s *site) { touch(t, s, "", frappeNow(0)) },
			func(t *testing.T, s *site) {
				s.change(t, `DELETE FROM "tabUser" WHERE "name" = `+
					`'alice@example.com'`)
			}, "everything",
		},
		{"user deleted just after a change", func(t *testing.T, s *site) { touch(t, s, "", frappeNow(0)) }, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabUser" WHERE "name" = 'alice@example.com'`)
			s.deletedDocument(t, "d1", "User", "alice@example.com")
		}, "alice@example.com"},
		{"user renamed", nil, func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "user" = 'carol@example.com' WHERE "user" = 'alice@example.com'`)
			s.change(t, `UPDATE "tabUser" SET "name" = 'carol@example.com', "modified" = ? WHERE "name" = `+
				`'alice@example.com'`, frappeNow(0))
		}, strings.Replace(alicesTokens, "alice@example.com key", "carol@example.com key", 1)},
		{
			"same name deleted twice", func(t *testing.T, s *site) { s.deletedDocument(t, "d1", "User", "x@example.com") },
			func(t *testing.T, s *site) { s.deletedDocument(t, "d2", "User", "x@example.com") }, "x@example.com",
		},
		{"token revoked", nil, func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked', "modified" = ? WHERE `+
				`"name" = ?`, frappeNow(0), s.creds.bearer["bob"])
		}, "bob"},
		{"token deleted", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabOAuth Bearer Token" WHERE "name" = ?`, s.creds.bearer["bob"])
			s.deletedDocument(t, "d1", "OAuth Bearer Token", s.creds.bearer["bob"])
		}, "bob"},
		{"hashed token revoked", func(t *testing.T, s *site) { s.hashToken(t, "bob", "a1b2c3d4e5") }, func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked', "modified" = ? WHERE "name" = `+
				`'a1b2c3d4e5'`, frappeNow(0))
		}, "bob hashed"},
		{"hashed token deleted", func(t *testing.T, s *site) { s.hashToken(t, "bob", "a1b2c3d4e5") }, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabOAuth Bearer Token" WHERE "name" = 'a1b2c3d4e5'`)
			s.deletedDocument(t, "d1", "OAuth Bearer Token", "a1b2c3d4e5")
		}, "everything"},
		{"scopes of a client", nil, func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabOAuth Client" SET "scopes" = 'openid', "modified" = ?`, frappeNow(0))
		}, "alice, bob, disabled, expired, openidonly, revoked, wrongscope"},
		{"client deleted", nil, func(t *testing.T, s *site) {
			s.change(t, `INSERT INTO "tabDeleted Document" ("name", "modified", "docstatus", "idx", "deleted_name", `+
				`"deleted_doctype", "restored") SELECT 'd1', CAST('`+
				frappeNow(0)+`' AS `+map[string]string{"mariadb": "datetime(6)", "postgres": "timestamp", "sqlite": "text"}[s.kind]+`), 0, 0, "name", 'OAuth Client', 0 FROM "tabOAuth Client"`)
			s.change(t, `DELETE FROM "tabOAuth Client"`)
		}, "alice, bob, disabled, expired, openidonly, revoked, wrongscope"},
		{"role disabled", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabHas Role" WHERE "role" = 'Report Manager'`)
			s.change(t, `UPDATE "tabRole" SET "disabled" = 1, "modified" = ? WHERE "name" = 'Report Manager'`, frappeNow(0))
		}, "everything"},
		{"time zone", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
			s.change(t, `INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', `+
				`'America/Los_Angeles')`)
		}, "everything"},

		{"change beside a row in the future", func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabUser" SET "modified" = '2093-01-01' WHERE "name" = 'web@example.com'`)
		}, func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, alicesTokens},
		{
			"change into the future", nil,
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, "2093-01-01 00:00:00.000000") }, alicesTokens,
		},
		{
			"change in the future", func(t *testing.T, s *site) { touch(t, s, "", "2093-01-01 00:00:00.000000") },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, "2093-01-01 00:00:01.000000") }, alicesTokens,
		},
		{
			"change back from the future", func(t *testing.T, s *site) { touch(t, s, "", "2093-01-01 00:00:00.000000") },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, alicesTokens,
		},
		{"change where the zone is west of Kolkata", func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
			s.change(t, `INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', `+
				`'America/Los_Angeles')`)
			s.change(t, `UPDATE "tabUser" SET "modified" = ?`, frappeNow(0))
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "modified" = ?`, frappeNow(0))
		}, func(t *testing.T, s *site) {
			zone, _ := time.LoadLocation("America/Los_Angeles")
			touch(t, s, `"enabled" = 0, `, time.Now().In(zone).Format(parameterLayout))
		}, alicesTokens}, // its modified goes back by half a day
		{"change after modified went back", func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabUser" SET "modified" = '1990-01-01' WHERE "name" = 'web@example.com'`)
			touch(t, s, "", "1990-01-01 00:00:00.000000")
		}, func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, alicesTokens},
		{
			"modified goes back just after a change", func(t *testing.T, s *site) { touch(t, s, "", frappeNow(0)) },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, "2020-01-01 00:00:00.000000") }, "everything",
		},
		{"committed within the overlap", func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'web@example.com'`, frappeNow(0))
		}, func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(-5*time.Minute)) }, alicesTokens},
		{"thousands at once", nil, func(t *testing.T, s *site) { s.addClients(t, 6000, frappeNow(0)) }, "everything"},
		{
			"a change after thousands", func(t *testing.T, s *site) { s.addClients(t, 6000, frappeNow(-time.Second)) },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, alicesTokens,
		},
		{
			"a change beside thousands in the future", func(t *testing.T, s *site) { s.addClients(t, 6000, "2093-01-01 00:00:00.000000") },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, alicesTokens,
		},
		{"restored: a user and a token made since", func(t *testing.T, s *site) {
			s.change(t, `INSERT INTO "tabUser" ("name", "modified", "docstatus", "idx") VALUES ('new@example.com', `+
				`?, 0, 0)`, frappeNow(-time.Hour))
			s.change(t, `INSERT INTO "tabOAuth Bearer Token" ("name", "modified", "docstatus", "idx") VALUES ('new', `+
				`?, 0, 0)`, frappeNow(-time.Hour))
		}, func(t *testing.T, s *site) { s.restore(t); s.createRoles(t) }, "everything"},
		{"restored: a secret superseded since", func(t *testing.T, s *site) {
			s.change(t, `UPDATE "__Auth" SET "password" = ? WHERE "name" = 'alice@example.com'`, s.encrypted(t, "another"))
			touch(t, s, "", frappeNow(-time.Hour))
		}, func(t *testing.T, s *site) { s.restore(t); s.createRoles(t) }, "everything"},
		{
			"restored: a secret superseded just now", func(t *testing.T, s *site) { touch(t, s, "", frappeNow(0)) },
			func(t *testing.T, s *site) { s.restore(t); s.createRoles(t) }, "everything",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			forEachKind(t, func(t *testing.T, kind string) {
				s := newSite(t, kind)
				s.createRoles(t)
				s.change(t, `UPDATE "tabRole" SET "modified" = '2026-01-01'`)
				if kind == "sqlite" {
					s.change(t, `CREATE INDEX modified_of_users ON "tabUser" ("modified")`)
				}
				if test.before != nil {
					test.before(t, s)
				}
				look := looker(t, s)
				for range 2 {
					if got := look(); got != "" {
						t.Errorf("before: %s", got)
					}
				}
				test.change(t, s)
				if got := look(); got != test.want {
					t.Errorf("%q, want %q", got, test.want)
				}
				for range 3 {
					if got := look(); got != "" {
						t.Errorf("again: %s", got)
					}
				}
			})
		})
	}
}

// TestRestoreThatAVerificationSees: a restored backup is reported also if the rows look as before, and if a
// verification, rather than a look, was the first to find the tables replaced.
func TestRestoreThatAVerificationSees(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.createRoles(t)
		b := provisioned(t, &Backend{Site: s.dir, PollInterval: maxPollInterval})
		cred := pair(s.creds.pairs["alice@example.com"])
		verify := func() error {
			_, err := b.Verify(t.Context(), cred)
			return err
		}
		if err := verify(); err != nil {
			t.Fatal(err)
		}
		p := &poller{source: b.source}
		look := func() string { return lookOnce(t, s, p) }
		for i := range 2 {
			if got := look(); got != "" {
				t.Fatalf("look %d: %q", i, got)
			}
		}
		s.restore(t) // without tabRole, which the backup does not have
		for range 2 {
			_ = verify() // the first finds a table missing, the second reads the schema again
		}
		if got := look(); got != "everything" {
			t.Errorf("after the restore: %q", got)
		}
		if got := look(); got != "" {
			t.Errorf("and again: %q", got)
		}
	})
}

// TestNextWait: polls that fail wait longer and longer, up to a limit.
func TestNextWait(t *testing.T) {
	for _, test := range []struct {
		name             string
		interval, before time.Duration
		failed           bool
		want             time.Duration
	}{
		{"no failure", time.Second, time.Second, false, time.Second},
		{"after failures", time.Second, maxWait, false, time.Second},
		{"first poll fails", time.Second, 0, true, 2 * time.Second},
		{"fails", time.Second, time.Second, true, 2 * time.Second},
		{"fails again", time.Second, 2 * time.Second, true, 4 * time.Second},
		{"fails for long", time.Second, 8 * time.Second, true, maxWait},
		{"long interval", time.Minute, time.Minute, true, time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := nextWait(test.interval, test.before, test.failed); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// TestReset: a look that does not continue the one before drops everything.
func TestReset(t *testing.T) {
	clock := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	const newest, upTo = "2026-06-01 13:00:00", "2026-06-01 14:10:00"
	last := &snapshot{zone: "Europe/Berlin", clock: clock, newest: newest, upTo: upTo}
	for _, test := range []struct {
		name string
		next snapshot
		want string
	}{
		{"later", snapshot{zone: last.zone, clock: clock.Add(time.Second), newest: newest, upTo: upTo}, ""},
		{"set by NTP", snapshot{zone: last.zone, clock: clock.Add(-time.Second), newest: newest, upTo: upTo}, ""},
		{
			"set back",
			snapshot{zone: last.zone, clock: clock.Add(-time.Hour), newest: newest, upTo: upTo},
			"the database's clock went back",
		},
		{
			"another zone",
			snapshot{zone: "Asia/Tokyo", clock: clock, newest: newest, upTo: upTo},
			"the site's time zone changed",
		},
		{"no zone any more", snapshot{clock: clock, newest: newest, upTo: upTo}, "the site's time zone changed"},
		{
			"an older backup",
			snapshot{zone: last.zone, clock: clock, newest: "2026-06-01 12:59:59", upTo: upTo},
			"the newest row is gone or older, as after restoring a backup",
		},
		{
			"end of daylight saving",
			snapshot{zone: last.zone, clock: clock, newest: "2026-06-01 12:00:00", upTo: "2026-06-01 12:30:00"},
			"",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := last.reset(&test.next); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// TestChanges: whatever an operator changes in Frappe takes effect within poll_interval, although verdicts are cached
// for an hour. The statements are Frappe's.
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
				s.change(t, `UPDATE "__Auth" SET "password" = '`+s.encrypted(t, "another")+`' WHERE "name" = `+
					`'alice@example.com' AND "fieldname" = 'api_secret'`)
				s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "401", "200 alice@example.com"},
			{"new key", func(s *site) {
				s.change(t, `UPDATE "tabUser" SET "api_key" = 'another', "modified" = ? WHERE "name" = `+
					`'alice@example.com'`, stamp())
			}, "401", "200 alice@example.com"},
			{"disable", func(s *site) {
				s.change(t, `UPDATE "tabUser" SET "enabled" = 0, "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "401", "401"},
			{"delete", func(s *site) {
				s.change(t, `DELETE FROM "tabUser" WHERE "name" = 'alice@example.com'`)
				at := stamp()
				s.change(t, `INSERT INTO "tabDeleted Document" ("name", "creation", "modified", "docstatus", "idx", `+
					`"deleted_name", "deleted_doctype", "restored") VALUES ('d1', ?, ?, 0, 0, 'alice@example.com', 'User', 0)`, at, at)
			}, "401", "401"},
			{"rename", func(s *site) {
				s.change(t, `UPDATE "tabUser" SET "name" = 'carol@example.com' WHERE "name" = 'alice@example.com'`)
				s.change(t, `UPDATE "__Auth" SET "name" = 'carol@example.com' WHERE "name" = 'alice@example.com'`)
				s.change(t, `UPDATE "tabHas Role" SET "parent" = 'carol@example.com' WHERE "parent" = 'alice@example.com'`)
				s.change(t, `UPDATE "tabOAuth Bearer Token" SET "user" = 'carol@example.com' WHERE "user" = 'alice@example.com'`)
				s.change(t, `UPDATE "tabUser" SET "email" = 'carol@example.com', "modified" = ? WHERE "name" = `+
					`'carol@example.com'`, stamp())
			}, "200 carol@example.com", "200 carol@example.com"},
			{"role added", func(s *site) {
				s.change(t, `INSERT INTO "tabHas Role" ("name", "docstatus", "idx", "role", "parent", "parentfield", `+
					`"parenttype") VALUES ('r1', 0, 9, 'Auditor', 'alice@example.com', 'roles', 'User')`)
				s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "Auditor", "Auditor"},
			{"role removed", func(s *site) {
				s.change(t, `DELETE FROM "tabHas Role" WHERE "parent" = 'alice@example.com' AND "role" = 'Report Manager'`)
				s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'alice@example.com'`, stamp())
			}, "!Report Manager", "!Report Manager"},
			{"token revoked", func(s *site) {
				s.change(t, `UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked', "modified" = ? WHERE `+
					`"name" = ?`, stamp(), s.creds.bearer["alice"])
			}, "200 alice@example.com", "401"},
			{"hashed token revoked", func(s *site) {
				s.hashToken(t, "alice", "a1b2c3d4e5")
				s.change(t, `UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked', "modified" = ? WHERE "name" = `+
					`'a1b2c3d4e5'`, stamp())
			}, "200 alice@example.com", "401"},
			{"token deleted", func(s *site) {
				s.change(t, `DELETE FROM "tabOAuth Bearer Token" WHERE "name" = ?`, s.creds.bearer["alice"])
				at := stamp()
				s.change(t, `INSERT INTO "tabDeleted Document" ("name", "creation", "modified", "docstatus", "idx", `+
					`"deleted_name", "deleted_doctype", "restored") VALUES ('d2', ?, ?, 0, 0, ?, 'OAuth Bearer `+
					`Token', 0)`, at, at, s.creds.bearer["alice"])
			}, "200 alice@example.com", "401"},
			{"scopes of the client", func(s *site) {
				s.change(t, `UPDATE "tabOAuth Client" SET "scopes" = 'openid', "modified" = ?`, stamp())
			}, "200 alice@example.com", "401"},
			{"committed late", func(s *site) { // its time is before the newest that was seen
				s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'web@example.com'`, frappeNow(0))
				s.waitForPoll(t)
				s.change(t, `UPDATE "tabUser" SET "enabled" = 0, "modified" = ? WHERE "name" = `+
					`'alice@example.com'`, frappeNow(-5*time.Minute))
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
			{"role disabled", func(s *site) {
				s.change(t, `DELETE FROM "tabHas Role" WHERE "role" = 'Report Manager'`)
				s.change(t, `UPDATE "tabRole" SET "disabled" = 1, "modified" = ? WHERE "name" = 'Report Manager'`, stamp())
			}, "!Report Manager", "!Report Manager"},
			{"client deleted", func(s *site) {
				for _, client := range column(t, s, `SELECT "name" FROM "tabOAuth Client"`) {
					s.deletedDocument(t, client, "OAuth Client", client)
				}
				s.change(t, `DELETE FROM "tabOAuth Client"`)
			}, "200 alice@example.com", "401"},
			{"time zone", func(s *site) { // east of Kolkata, the token has ended
				s.change(t, `UPDATE "tabOAuth Bearer Token" SET "expiration_time" = ?, "modified" = ? WHERE `+
					`"name" = ?`, frappeNow(time.Hour), stamp(), s.creds.bearer["alice"])
				s.waitForPoll(t)
				s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
				s.change(t, `INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', `+
					`'Pacific/Auckland')`)
			}, "200 alice@example.com", "401"},
			{"restored", func(s *site) {
				s.restore(t)
				s.change(t, `UPDATE "tabUser" SET "enabled" = 0 WHERE "name" = 'alice@example.com'`)
			}, "401", "401"},
		} {
			t.Run(test.name, func(t *testing.T) {
				s := newSite(t, kind)
				s.createRoles(t)
				url, _ := serve(
					t,
					fmt.Sprintf(
						"frappe_auth {\nbackend database %s {\npoll_interval 100ms\n}\ncache {\nttl 1h\nnegative_ttl 1h\n}\n}",
						s.dir,
					),
				)
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
					if !testutil.Holds(4*schemaAge, func() bool {
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
			url, _ := serve(
				t,
				fmt.Sprintf(
					"frappe_auth {\nbackend database %s {\npoll_interval 100ms\n}\ncache {\nttl 1h\nnegative_ttl 1h\n}\n}",
					s.dir,
				),
			)
			disabled := s.creds.pairs["disabled@example.com"]
			authorizations := []string{
				"token " + disabled[0] + ":" + disabled[1],
				"token newkey:newsecret",
				"Bearer " + s.creds.bearer["disabled"],
			}
			for _, authorization := range authorizations {
				if got := ask(t, url, authorization); got != "401" {
					t.Fatalf("before: %s", got)
				}
			}
			s.waitForPoll(t)
			s.change(t, `UPDATE "tabUser" SET "enabled" = 1, "modified" = ? WHERE "name" = 'disabled@example.com'`, stamp())
			s.change(
				t,
				`INSERT INTO "__Auth" ("doctype", "name", "fieldname", "password", "encrypted") VALUES ('User', `+
					`'nokey@example.com', 'api_secret', ?, 1)`,
				s.encrypted(t, "newsecret"),
			)
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
