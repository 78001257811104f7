package database

import (
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver
)

// TestWindow: from when and up to when a look lists, by the site's clock, also where that goes back.
func TestWindow(t *testing.T) {
	for _, test := range []struct {
		name, zone, clock string
		pause             time.Duration // since the previous look
		after, upTo       string
	}{
		{"no zone", "", "2026-06-01T12:00:00Z", 0, "2026-06-01 17:20:00.000000", "2026-06-01 17:40:00.000000"},
		{"summer", "Europe/Berlin", "2026-06-01T12:00:00Z", 0, "2026-06-01 13:50:00.000000", "2026-06-01 14:10:00.000000"},
		{
			"before the clock goes back", "Europe/Berlin", "2026-10-24T22:30:00Z", 0, "2026-10-25 00:20:00.000000",
			"2026-10-25 00:40:00.000000",
		},
		{
			"as the clock goes back", "Europe/Berlin", "2026-10-25T00:55:00Z", 0, "2026-10-25 01:45:00.000000",
			"2026-10-25 03:05:00.000000",
		},
		{
			"after the clock went back", "Europe/Berlin", "2026-10-25T01:30:00Z", 0, "2026-10-25 02:20:00.000000",
			"2026-10-25 02:40:00.000000",
		},
		{
			"after an outage", "Europe/Berlin", "2026-10-25T01:30:00Z", 90 * time.Minute, "2026-10-25 00:50:00.000000",
			"2026-10-25 03:40:00.000000",
		},
		{
			"unknown zone", "Mars/Olympus", "2026-06-01T12:00:00Z", 0, "2026-05-31 23:50:00.000000",
			"2026-06-02 02:10:00.000000",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock, err := time.Parse(time.RFC3339, test.clock)
			if err != nil {
				t.Fatal(err)
			}
			after, upTo := window(test.zone, clock.Add(-test.pause), clock)
			if after != test.after || upTo != test.upTo {
				t.Errorf("after %s up to %s, want %s and %s", after, upTo, test.after, test.upTo)
			}
		})
	}
}

const insertDeletion = `INSERT INTO "tabDeleted Document" ("name", "creation", "modified", "deleted_doctype", ` +
	`"deleted_name") `

// deleteOften adds old deletions to the site. Their number doubles so often.
func deleteOften(t *testing.T, s *site, doublings int) {
	t.Helper()
	s.change(t, insertDeletion+`VALUES ('old', '2020-01-01', '2020-01-01', 'User', 'old@example.com')`)
	for i := range doublings {
		s.change(
			t,
			fmt.Sprintf(
				insertDeletion+`SELECT CONCAT("name", '-%d'), "creation", "modified", "deleted_doctype", "deleted_name" FROM `+
					`"tabDeleted Document"`,
				i,
			),
		)
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

// TestDeletionsByIndex: each look finds deletions by an index, in Frappe 16 by that on creation, before by that on
// modified.
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

// TestDeletionsWithoutIndex: with the rights that older versions of the docs gave, deletions of Frappe 16 are found,
// too, and the health check says what to grant.
func TestDeletionsWithoutIndex(t *testing.T) {
	s := newSite16(t, false)
	deleteOften(t, s, 14)
	s.grant(t)
	mustExec(t, s.admin, "REVOKE SELECT (creation) ON `tabDeleted Document` FROM 'caddy'@'127.0.0.1'")
	t.Setenv("FRAPPE_AUTH_TEST_PASSWORD", "choose-a-password")
	b := provisioned(t, &Backend{Site: s.dir, DBUser: "caddy", DBPassword: "{env.FRAPPE_AUTH_TEST_PASSWORD}"})
	expect(
		t,
		b,
		"warning indexes: tabDeleted Document has more than 10000 rows and no index on modified, so each poll reads all "+
			"of them; "+
			"let the database's user read creation, too; docs/database.md has the GRANT; or run CREATE INDEX `tabDeleted "+
			"Document_modified` ON `tabDeleted Document` (`modified`)",
	)
	findsDeletion(t, s, b)
}
