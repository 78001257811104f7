package database

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// frappeNow is a time as Frappe writes it now, in the recorded sites' time zone, or so much later.
func frappeNow(later time.Duration) string {
	return time.Now().Add(later).In(time.FixedZone("", 5*3600+1800)).Format(parameterLayout)
}

// deletedDocument writes what Frappe writes when it deletes a document.
func (s *site) deletedDocument(t testing.TB, name, doctype, document string) {
	t.Helper()
	now := frappeNow(0)
	s.change(t, `INSERT INTO "tabDeleted Document" ("name", "creation", "modified", "docstatus", "idx", "deleted_name", "deleted_doctype", "restored") VALUES (?, ?, ?, 0, 0, ?, ?, 0)`,
		name, now, now, document, doctype)
}

// addClients adds OAuth clients, all with one modified.
func (s *site) addClients(t testing.TB, n int, modified string) {
	t.Helper()
	rows := make([]string, n)
	for i := range rows {
		rows[i] = fmt.Sprintf(`('client%d', '%s', 0, 0, 0)`, i, modified)
	}
	s.change(t, `INSERT INTO "tabOAuth Client" ("name", "modified", "docstatus", "idx", "skip_authorization") VALUES `+strings.Join(rows, ", "))
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

// looker looks for the changes of a site when told to, and counts with each look.
func looker(t testing.TB, s *site) (look func() string) {
	t.Helper()
	b := provisioned(t, &Backend{Site: s.dir, PollInterval: maxPollInterval})
	p := &poller{source: b.source}
	return func() string {
		b.source.follow()
		return lookOnce(t, s, p)
	}
}

// lookOnce has a poller look for changes, and count the rows.
func lookOnce(t testing.TB, s *site, p *poller) string {
	t.Helper()
	if p.view != nil {
		p.view.countNext = time.Time{}
	}
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
		{"user deleted permanently", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabUser" WHERE "name" = 'alice@example.com'`)
		}, "everything"},
		{"user deleted permanently while another is changed", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabUser" WHERE "name" = 'bob@example.com'`)
			touch(t, s, "", frappeNow(0))
		}, "everything"},
		{
			"user deleted permanently just after a change", func(t *testing.T, s *site) { touch(t, s, "", frappeNow(0)) },
			func(t *testing.T, s *site) { s.change(t, `DELETE FROM "tabUser" WHERE "name" = 'alice@example.com'`) }, "everything",
		},
		{"user deleted just after a change", func(t *testing.T, s *site) { touch(t, s, "", frappeNow(0)) }, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabUser" WHERE "name" = 'alice@example.com'`)
			s.deletedDocument(t, "d1", "User", "alice@example.com")
		}, "alice@example.com"},
		{"user renamed", nil, func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "user" = 'carol@example.com' WHERE "user" = 'alice@example.com'`)
			s.change(t, `UPDATE "tabUser" SET "name" = 'carol@example.com', "modified" = ? WHERE "name" = 'alice@example.com'`, frappeNow(0))
		}, strings.Replace(alicesTokens, "alice@example.com key", "carol@example.com key", 1)},
		{
			"same name deleted twice", func(t *testing.T, s *site) { s.deletedDocument(t, "d1", "User", "x@example.com") },
			func(t *testing.T, s *site) { s.deletedDocument(t, "d2", "User", "x@example.com") }, "x@example.com",
		},
		{"token revoked", nil, func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked', "modified" = ? WHERE "name" = ?`, frappeNow(0), s.creds.bearer["bob"])
		}, "bob"},
		{"token deleted", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabOAuth Bearer Token" WHERE "name" = ?`, s.creds.bearer["bob"])
			s.deletedDocument(t, "d1", "OAuth Bearer Token", s.creds.bearer["bob"])
		}, "bob"},
		{"token deleted permanently", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabOAuth Bearer Token" WHERE "name" = ?`, s.creds.bearer["bob"])
		}, "everything"},
		{"hashed token revoked", func(t *testing.T, s *site) { s.hashToken(t, "bob", "a1b2c3d4e5") }, func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked', "modified" = ? WHERE "name" = 'a1b2c3d4e5'`, frappeNow(0))
		}, "bob hashed"},
		{"hashed token deleted", func(t *testing.T, s *site) { s.hashToken(t, "bob", "a1b2c3d4e5") }, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabOAuth Bearer Token" WHERE "name" = 'a1b2c3d4e5'`)
			s.deletedDocument(t, "d1", "OAuth Bearer Token", "a1b2c3d4e5")
		}, "everything"},
		{"scopes of a client", nil, func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabOAuth Client" SET "scopes" = 'openid', "modified" = ?`, frappeNow(0))
		}, "alice, bob, disabled, expired, openidonly, revoked, wrongscope"},
		{"client deleted", nil, func(t *testing.T, s *site) {
			s.change(t, `INSERT INTO "tabDeleted Document" ("name", "modified", "docstatus", "idx", "deleted_name", "deleted_doctype", "restored") SELECT 'd1', CAST('`+
				frappeNow(0)+`' AS `+map[string]string{"mariadb": "datetime(6)", "postgres": "timestamp", "sqlite": "text"}[s.kind]+`), 0, 0, "name", 'OAuth Client', 0 FROM "tabOAuth Client"`)
			s.change(t, `DELETE FROM "tabOAuth Client"`)
		}, "alice, bob, disabled, expired, openidonly, revoked, wrongscope"},
		{"client deleted permanently", nil, func(t *testing.T, s *site) { s.change(t, `DELETE FROM "tabOAuth Client"`) }, "everything"},
		{"role disabled", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabHas Role" WHERE "role" = 'Report Manager'`)
			s.change(t, `UPDATE "tabRole" SET "disabled" = 1, "modified" = ? WHERE "name" = 'Report Manager'`, frappeNow(0))
		}, "everything"},
		{"time zone", nil, func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
			s.change(t, `INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', 'America/Los_Angeles')`)
		}, "everything"},

		{"change beside a row in the future", func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabUser" SET "modified" = '2093-01-01' WHERE "name" = 'web@example.com'`)
		}, func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, alicesTokens},
		{"change into the future", nil, func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, "2093-01-01 00:00:00.000000") }, alicesTokens},
		{
			"change in the future", func(t *testing.T, s *site) { touch(t, s, "", "2093-01-01 00:00:00.000000") },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, "2093-01-01 00:00:01.000000") }, alicesTokens,
		},
		{
			"change back from the future", func(t *testing.T, s *site) { touch(t, s, "", "2093-01-01 00:00:00.000000") },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, "everything",
		},
		{"change where the zone is west of Kolkata", func(t *testing.T, s *site) {
			s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
			s.change(t, `INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', 'America/Los_Angeles')`)
			s.change(t, `UPDATE "tabUser" SET "modified" = ?`, frappeNow(0))
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "modified" = ?`, frappeNow(0))
		}, func(t *testing.T, s *site) {
			zone, _ := time.LoadLocation("America/Los_Angeles")
			touch(t, s, `"enabled" = 0, `, time.Now().In(zone).Format(parameterLayout))
		}, "everything"}, // its modified goes back by half a day
		{"modified goes back", nil, func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, "2020-01-01 00:00:00.000000") }, "everything"},
		{
			"modified goes back just after a change", func(t *testing.T, s *site) { touch(t, s, "", frappeNow(0)) },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, "2020-01-01 00:00:00.000000") }, "everything",
		},
		{"modified goes back while another is added", nil, func(t *testing.T, s *site) {
			touch(t, s, `"enabled" = 0, `, "1990-01-01 00:00:00.000000")
			s.change(t, `UPDATE "tabUser" SET "modified" = '1990-01-01' WHERE "name" = 'web@example.com'`)
			s.change(t, `INSERT INTO "tabUser" ("name", "modified", "docstatus", "idx") VALUES ('new@example.com', ?, 0, 0)`, frappeNow(0))
		}, "everything"},
		{"committed within the overlap", func(t *testing.T, s *site) {
			s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'web@example.com'`, frappeNow(0))
		}, func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(-5*time.Minute)) }, alicesTokens},
		{"committed an hour late", nil, func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(-time.Hour)) }, "everything"},
		{"thousands at once", nil, func(t *testing.T, s *site) { s.addClients(t, 6000, frappeNow(0)) }, "everything"},
		{
			"a change after thousands", func(t *testing.T, s *site) { s.addClients(t, 6000, frappeNow(-time.Second)) },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, alicesTokens,
		},
		{
			"a change beside thousands in the future", func(t *testing.T, s *site) { s.addClients(t, 6000, "2093-01-01 00:00:00.000000") },
			func(t *testing.T, s *site) { touch(t, s, `"enabled" = 0, `, frappeNow(0)) }, alicesTokens,
		},
		{
			"one of thousands in the future", func(t *testing.T, s *site) { s.addClients(t, 6000, "2093-01-01 00:00:00.000000") },
			func(t *testing.T, s *site) {
				s.change(t, `UPDATE "tabOAuth Client" SET "modified" = '2094-01-01' WHERE "name" = 'client5999'`)
			}, "everything",
		},
		{"restored: a user and a token made since", func(t *testing.T, s *site) {
			s.change(t, `INSERT INTO "tabUser" ("name", "modified", "docstatus", "idx") VALUES ('new@example.com', ?, 0, 0)`, frappeNow(-time.Hour))
			s.change(t, `INSERT INTO "tabOAuth Bearer Token" ("name", "modified", "docstatus", "idx") VALUES ('new', ?, 0, 0)`, frappeNow(-time.Hour))
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

// TestRestoreThatAVerificationSees: a restored backup is reported also if the rows look as before, and if a verification, rather than a
// look, was the first to find the tables replaced.
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
