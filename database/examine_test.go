package database

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver
)

// examined is what the examination of a backend finds, a line each, without what differs from run to run.
func examined(t testing.TB, b *Backend) string {
	t.Helper()
	var lines []string
	for _, f := range b.CheckHealth(t.Context()) {
		detail := regexp.MustCompile(`in \d[\d.]*(µs|ms|s)`).ReplaceAllString(f.String(), "in no time")
		if f.Check == "database" {
			detail = regexp.MustCompile(`^(SQLite |PostgreSQL )?\d+\.[^ ,]+`).ReplaceAllString(detail, "${1}x.y")
		}
		detail = regexp.MustCompile(`_site\d+`).ReplaceAllString(detail, "_site")
		lines = append(lines, string(f.Result)+" "+f.Check+": "+detail)
	}
	text := strings.Join(lines, "\n")
	if secret := secretIn(t, text); secret != "" {
		t.Errorf("the examination shows the secret %s", secret)
	}
	return text
}

// TestExamine: a recorded site is well, on each server.
func TestExamine(t *testing.T) {
	rights := map[string]string{
		"mariadb": "warning rights: user _site may also write; docs/database.md has the statements to create a " +
			"read-only user",
		"postgres": "ok rights: user _site may only read",
		"sqlite":   "ok rights: the file is opened read-only",
	}
	server := map[string]string{"mariadb": "x.y", "postgres": "PostgreSQL x.y", "sqlite": "SQLite x.y"}
	clock := map[string]string{
		"mariadb":  "at most 5s from this machine's",
		"postgres": "at most 5s from this machine's",
		"sqlite":   "this machine's",
	}
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		want := []string{
			"ok database: " + server[kind] + ", in no time",
			"warning tables: tabRole: no name, modified, disabled, or its user may not read it; Administrator's roles and " +
				"the names of all roles " +
				"are not known, and disabling a role takes up to ttl to take effect; docs/database.md has the GRANT",
			rights[kind],
			"ok encryption_key: decrypts the site's API secrets",
			"ok Frappe: 15 or later, by its tables",
			"warning time zone: System Settings name none; access tokens then expire by Frappe's default, Asia/Kolkata",
			"ok clock: " + clock[kind],
		}
		got := examined(t, b)
		if got != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}

		bench := filepath.Join(s.dir, "..", "..", "apps", "frappe", "frappe")
		if err := os.MkdirAll(bench, 0o700); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(filepath.Join(s.dir, "..", "..", "apps")) })
		if err := os.WriteFile(filepath.Join(bench, "__init__.py"), []byte("import os\n__version__ = "+
			"\"15.44.2\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s.createRoles(t)
		b.source.current.Load().forgetSchema()
		got = examined(t, b)
		for _, line := range []string{"ok Frappe: 15.44.2, by the bench", "ok tables: everything that is needed can " +
			"be read"} {
			if !strings.Contains(got, line) {
				t.Errorf("no %q in\n%s", line, got)
			}
		}
	})
}

// TestPing: a database answers a ping while it is there.
func TestPing(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		if err := provisioned(t, &Backend{Site: s.dir}).Ping(t.Context(), ""); err != nil {
			t.Error(err)
		}
	})
	away := provisioned(t, &Backend{
		DBName: "_site", DBPassword: "x", DBPort: "1", EncryptionKey: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
	})
	if err := away.Ping(t.Context(), ""); err == nil {
		t.Error("a database that is away answers")
	}
}

// TestExamineTrouble: what is wrong is found, and said without a secret.
func TestExamineTrouble(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		t.Run("another key", func(t *testing.T) {
			b := provisioned(t, &Backend{Site: s.dir, EncryptionKey: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="})
			expect(
				t,
				b,
				"TROUBLE encryption_key: does not decrypt the site's API secrets; remove the option encryption_key if the "+
					"site has one in "+
					"site_config.json, or copy that one",
			)
		})
		t.Run("clock", func(t *testing.T) {
			if kind == "sqlite" {
				t.Skip("SQLite has no clock of its own")
			}
			b := provisioned(t, &Backend{Site: s.dir})
			b.now = func() time.Time { return time.Now().Add(10 * time.Second) }
			expect(t, b, "warning clock: differs from this machine's by 10s; run NTP on both")
			b.now = func() time.Time { return time.Now().Add(-time.Hour) }
			expect(
				t,
				b,
				"TROUBLE clock: differs from this machine's by 1h0m0s, so access tokens expire at the wrong time; run NTP on both",
			)
		})
		t.Run("time zone", func(t *testing.T) {
			s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
			s.change(
				t,
				`INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', 'Europe/Berlin')`,
			)
			b := provisioned(t, &Backend{Site: s.dir})
			expect(t, b, "ok time zone: Europe/Berlin")
			s.change(t, `UPDATE "tabSingles" SET "value" = 'Mars/Olympus' WHERE "field" = 'time_zone'`)
			expect(t, b, "TROUBLE time zone: unknown; check time_zone in System Settings")
		})
		t.Run("tables", func(t *testing.T) {
			s.change(t, `DROP TABLE "tabDeleted Document"`)
			s.change(t, `DROP TABLE "tabOAuth Bearer Token"`)
			b := provisioned(t, &Backend{Site: s.dir})
			expect(
				t,
				b,
				"warning tables: tabDeleted Document: no deleted_doctype, deleted_name, modified, or its user may not read it; "+
					"deletions take up to ttl to take effect; docs/database.md has the GRANT",
			)
			expect(
				t,
				b,
				"TROUBLE tables: tabOAuth Bearer Token: no name, access_token, user, client, scopes, status, expiration_time, "+
					"modified, "+
					"or its user may not read it; docs/database.md has the GRANT",
			)
			s.change(t, `DROP TABLE "tabUser"`)
			b.source.current.Load().forgetSchema()
			expect(
				t,
				b,
				"the site has no tables yet: column tabUser.name cannot be read; wait until it is installed, or give the "+
					"database of a Frappe site",
			)
		})
		t.Run("no secrets", func(t *testing.T) {
			s.change(t, `DELETE FROM "__Auth"`)
			s.change(
				t,
				`CREATE TABLE "tabUser" ("name" varchar(140), "api_key" varchar(140), "enabled" int, "modified" varchar(140))`,
			)
			if kind == "postgres" {
				s.change(t, `GRANT SELECT ON "tabUser" TO `+s.name)
			}
			b := provisioned(t, &Backend{Site: s.dir})
			expect(t, b, "warning encryption_key: no user has an API secret to try it on")
			expect(
				t,
				b,
				"TROUBLE tables: tabUser: no full_name, user_type, or its user may not read it; docs/database.md has the GRANT",
			)
		})
	})
	b := provisioned(
		t,
		&Backend{
			DBName:        "_site",
			DBPassword:    "x",
			DBPort:        "1",
			EncryptionKey: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		},
	)
	expect(t, b, "TROUBLE database: mariadb _site at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused")
}

func expect(t *testing.T, b *Backend, line string) {
	t.Helper()
	if got := examined(t, b); !strings.Contains(got, line) {
		t.Errorf("no %q in\n%s", line, got)
	}
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
			s.change(
				t,
				fmt.Sprintf(
					`INSERT INTO "tabOAuth Client" ("name", "modified") SELECT CONCAT("name", '-%d'), '2020-01-01' FROM `+
						`"tabOAuth Client"`,
					i,
				),
			)
		}
		b.source.current.Load().forgetSchema()
		expect(
			t,
			b,
			"warning indexes: tabOAuth Client has more than 10000 rows and no index on modified, so each poll reads all of "+
				"them; run "+
				translated+", or choose a longer poll_interval",
		)
		s.change(t, index)
		b.source.current.Load().forgetSchema()
		without("with the index")
	})
}
