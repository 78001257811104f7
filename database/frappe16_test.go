package database

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// sessionOf16 is a session of eve@example.com of 16.4.1, which began at sessionOf16Began in Asia/Kolkata.
const (
	sessionOf16      = "b089814f8199465d10616ebcdc9ae5b3f0f98b492677edb9293d2de1"
	sessionOf16Began = "2026-11-25 21:10:27.599283"
)

// newSite16 makes a site with the tables and rows of 16.4.1. If hashed is true, its tokens and sessions are as the patches
// hash_oauth_bearer_tokens and hash_session_ids of later versions of Frappe 16 left them.
func newSite16(t testing.TB, hashed bool) *site {
	t.Helper()
	s := newSiteOf(t, "mariadb", "mariadb-site-16", mariaDB)
	if hashed {
		rows, err := os.ReadFile("testdata/mariadb-site-16/hashed.sql")
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, s.admin, "DELETE FROM `tabOAuth Bearer Token`; DELETE FROM tabSessions; "+string(rows))
	}
	return s
}

// TestFrappe16: each credential of the recorded 16.4.1 gets the verdict that 16.4.1 gave, but for tokens of disabled users.
// Neither hashes nor the names of documents are credentials.
func TestFrappe16(t *testing.T) {
	for name, hashed := range map[string]bool{"as 16.4.1 stores tokens and sessions": false, "as later versions store them": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite16(t, hashed)
			start, err := instant(sessionOf16Began, defaultZone)
			if err != nil {
				t.Fatal(err)
			}
			now := start.Add(time.Minute)
			b := provisioned(t, &Backend{Site: s.dir, now: func() time.Time { return now }})
			expect := func(what string, c frappe.Credential, want string) {
				t.Helper()
				if got := verdict(b, c); got != want {
					t.Errorf("%s: %s, want %s", what, got, want)
				}
			}
			for user, p := range s.creds.pairs {
				want := user
				if user == "disabled@example.com" {
					want = "denied"
				}
				expect("key of "+user, pair(p), want)
				expect("wrong secret of "+user, pair([2]string{p[0], "wrong"}), "denied")
			}
			granted := map[string]string{"alice": "alice@example.com", "openidonly": "alice@example.com", "bob": "bob@example.com"}
			for whose, token := range s.creds.bearer {
				want := granted[whose]
				if want == "" {
					want = "denied"
				}
				expect("token "+whose, bearer(token), want)
				expect("token in capitals: "+whose, bearer(strings.ToUpper(token)), "denied")
				expect("hash of token "+whose, bearer(frappe.StoredHash(token)), "denied")
				expect("refresh token of "+whose, bearer(token+"-refresh"), "denied")
			}
			for _, document := range column(t, s, "SELECT name FROM `tabOAuth Bearer Token`") {
				if hashed {
					expect("the name of a document", bearer(document), "denied")
				}
			}
			id, err := b.Verify(t.Context(), bearer(s.creds.bearer["alice"]))
			slices.Sort(id.Roles)
			if want := []string{"All", "Desk User", "Guest", "Report Manager", "System Manager"}; err != nil || !slices.Equal(id.Roles, want) ||
				!slices.Equal(id.Scopes, []string{"all", "openid"}) || id.Client != "pst5lhvsui" {
				t.Errorf("%+v %v", id, err)
			}
			expect("session", session(sessionOf16), "eve@example.com")
			expect("hash of the session", session(frappe.StoredHash(sessionOf16)), "denied")
			expect("another session", session(strings.Repeat("0", 56)), "denied")
			now = start.Add(170*time.Hour - time.Millisecond)
			expect("session, just before it expires", session(sessionOf16), "eve@example.com")
			now = start.Add(170 * time.Hour)
			expect("session, expired", session(sessionOf16), "denied")
			s.change(t, `DELETE FROM "tabSessions"`) // as a logout does
			now = start
			expect("session, logged out", session(sessionOf16), "denied")
		})
	}
}

// column returns the first column of a query.
func column(t testing.TB, s *site, query string) (values []string) {
	t.Helper()
	rows, err := s.admin.QueryContext(t.Context(), dialects[s.kind].query(query))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil || len(values) == 0 {
		t.Fatalf("%q: nothing found, %v", query, err)
	}
	return values
}

const insertDeletion = `INSERT INTO "tabDeleted Document" ("name", "creation", "modified", "deleted_doctype", "deleted_name") `

// deleteOften adds old deletions to the site. Their number doubles so often.
func deleteOften(t *testing.T, s *site, doublings int) {
	t.Helper()
	s.change(t, insertDeletion+`VALUES ('old', '2020-01-01', '2020-01-01', 'User', 'old@example.com')`)
	for i := range doublings {
		s.change(t, fmt.Sprintf(insertDeletion+`SELECT CONCAT("name", '-%d'), "creation", "modified", "deleted_doctype", "deleted_name" FROM "tabDeleted Document"`, i))
	}
}

// findsDeletion checks that a poll finds a deletion that is new.
func findsDeletion(t *testing.T, s *site, b *Backend) {
	t.Helper()
	p := &poller{source: b.source}
	lookOnce(t, s, p)
	const now = `UTC_TIMESTAMP(6) + INTERVAL 330 MINUTE`
	s.change(t, insertDeletion+`VALUES ('new', `+now+`, `+now+`, 'User', 'bob@example.com')`)
	if got := lookOnce(t, s, p); got != "bob@example.com" {
		t.Errorf("a deletion is reported as %q", got)
	}
}

// TestDeletionsByIndex: each look finds deletions by an index, in Frappe 16 by that on creation, before by that on modified.
func TestDeletionsByIndex(t *testing.T) {
	for _, test := range []struct {
		name  string
		site  func(t *testing.T) *site
		user  string // of the database
		index string
	}{
		{"15.44.2", func(t *testing.T) *site { return newSite(t, "mariadb") }, "", "modified"},
		{"16.4.1", func(t *testing.T) *site { return newSite16(t, false) }, "", "creation"},
		{"16.4.1, with the rights of the docs", func(t *testing.T) *site { return newSite16(t, false) }, "caddy", "creation"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := test.site(t)
			deleteOften(t, s, 12) // so often that reading all would be slower
			s.change(t, `ANALYZE TABLE "tabDeleted Document"`)
			options := &Backend{Site: s.dir}
			if test.user != "" {
				s.grant(t)
				t.Setenv("FRAPPE_AUTH_TEST_PASSWORD", "choose-a-password")
				options.DBUser, options.DBPassword = test.user, "{env.FRAPPE_AUTH_TEST_PASSWORD}"
			}
			b := provisioned(t, options)
			c := b.source.current.Load()
			sch, err := c.currentSchema(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			query, args := c.listQuery(sch, "2026-01-01 00:00:00", "2026-12-31 00:00:00")
			plans, err := c.texts(t.Context(), "EXPLAIN FORMAT=JSON "+query, args, 1)
			if err != nil {
				t.Fatal(err)
			}
			plan := strings.Join(plans, "")
			if found := strings.Count(plan, `"key": "`+test.index+`"`); found < 3 {
				t.Errorf("%d uses of the index on %s:\n%s", found, test.index, plan)
			}
			findsDeletion(t, s, b)
		})
	}
}

// TestDeletionsWithoutIndex: with the rights that older versions of the docs gave, deletions of Frappe 16 are found, too, and the
// health check says what to grant.
func TestDeletionsWithoutIndex(t *testing.T) {
	s := newSite16(t, false)
	deleteOften(t, s, 14)
	s.grant(t)
	mustExec(t, s.admin, "REVOKE SELECT (creation) ON `tabDeleted Document` FROM 'caddy'@'127.0.0.1'")
	t.Setenv("FRAPPE_AUTH_TEST_PASSWORD", "choose-a-password")
	b := provisioned(t, &Backend{Site: s.dir, DBUser: "caddy", DBPassword: "{env.FRAPPE_AUTH_TEST_PASSWORD}"})
	expect(t, b, "warning indexes: tabDeleted Document has more than 10000 rows and no index on modified, so each poll reads all of them; "+
		"let the database's user read creation, too; docs/database.md has the GRANT; or run CREATE INDEX `tabDeleted Document_modified` ON `tabDeleted Document` (`modified`)")
	findsDeletion(t, s, b)
}

// TestExamineIndexes: the health check names the large tables that each look reads whole, and what to run.
func TestExamineIndexes(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		const index = `CREATE INDEX "tabOAuth Client_modified" ON "tabOAuth Client" ("modified")`
		translated := dialects[kind].query(index)
		without := func(when string) {
			t.Helper()
			if got := examined(t, b); strings.Contains(got, "indexes") {
				t.Errorf("%s: %s", when, got)
			}
		}
		without("few rows")
		if kind == "mariadb" { // what 15.44.2 makes on MariaDB only
			s.change(t, `DROP INDEX "modified" ON "tabOAuth Client"`)
		}
		for i := range 14 {
			s.change(t, fmt.Sprintf(`INSERT INTO "tabOAuth Client" ("name", "modified") SELECT CONCAT("name", '-%d'), '2020-01-01' FROM "tabOAuth Client"`, i))
		}
		b.source.current.Load().schema.Store(nil)
		expect(t, b, "warning indexes: tabOAuth Client has more than 10000 rows and no index on modified, so each poll reads all of them; run "+
			translated+", or choose a longer poll_interval")
		s.change(t, index)
		b.source.current.Load().schema.Store(nil)
		without("with the index")
	})
}
