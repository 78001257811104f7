package database

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver
)

// TestOlderSchemas: what a version of Frappe has not is done without.
func TestOlderSchemas(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.change(t, `DELETE FROM "tabHas Role" WHERE "role" = 'Desk User'`) // 13 and 14
		s.change(t, `ALTER TABLE "tabUser" DROP COLUMN "full_name"`)
		s.change(t, `DROP TABLE "tabDeleted Document"`)
		b := provisioned(t, &Backend{Site: s.dir, PollInterval: minPollInterval})
		id, err := b.Verify(t.Context(), pair(s.creds.pairs["alice@example.com"]))
		if err != nil || slices.Contains(id.Roles, "Desk User") || id.FullName != "" {
			t.Errorf("%+v %v", id, err)
		}
		b.source.waitForPoll(t)
		s.change(t, `DROP TABLE "tabOAuth Bearer Token"`)
		b.source.current.Load().forgetSchema()
		if got := verdict(b, bearer(s.creds.bearer["alice"])); !strings.Contains(
			got,
			"no column tabOAuth Bearer Token.name",
		) {
			t.Errorf("without access tokens: %s", got)
		}
		if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
			t.Errorf("without access tokens: %s", got)
		}
	})
}

// TestSchemaIsForgotten: what was read before the schema was forgotten is not kept.
func TestSchemaIsForgotten(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		var asked atomic.Pointer[func()]
		c := connected(t, s, proxied(t, s, func() (func(), func([]byte)) {
			return func() {
				if do := asked.Load(); do != nil {
					(*do)()
				}
			}, func([]byte) {}
		}))
		read := func() *schema {
			sch, err := c.currentSchema(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return sch
		}
		if first := read(); first != read() {
			t.Error("the schema is read twice")
		}
		forget := c.forgetSchema
		asked.Store(&forget)
		c.forgetSchema()
		before := read()
		asked.Store(nil)
		if read() == before {
			t.Error("what was read before is kept")
		}
	})
}

// TestGrants: the statements of docs/database.md let the backend do all of its work, and no more.
func TestGrants(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.createRoles(t)
		s.grant(t)
		t.Setenv("FRAPPE_AUTH_TEST_PASSWORD", "choose-a-password")
		b := provisioned(
			t,
			&Backend{Site: s.dir, DBUser: "caddy", DBPassword: "{env.FRAPPE_AUTH_TEST_PASSWORD}", PollInterval: minPollInterval},
		)
		if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
			t.Error(got)
		}
		if got := verdict(b, bearer(s.creds.bearer["alice"])); got != "alice@example.com" {
			t.Error(got)
		}
		b.source.waitForPoll(t)
		for _, forbidden := range []string{`SELECT "email" FROM "tabUser"`, `UPDATE "tabUser" SET "enabled" = 1`} {
			if _, err := b.source.current.Load().one(t.Context(), forbidden); err == nil {
				t.Errorf("may %s", forbidden)
			}
		}
		// Not even a user who may write does.
		b = provisioned(t, &Backend{Site: s.dir})
		_, err := b.source.current.Load().one(t.Context(), `DELETE FROM "tabOAuth Client"`)
		if want := map[string]string{"mariadb": "1792", "postgres": "25006"}[kind]; code(err) != want {
			t.Errorf("the transaction may write: %v", err)
		}
	})
}

// TestGrantsMissing: a user without grants, and with too few, is pointed to them, by verifications, by the log and by
// doctor.
func TestGrantsMissing(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.createRoles(t)
		user := s.name + "_reader"
		at := map[string]string{"mariadb": user + "@'127.0.0.1'", "postgres": user}[kind]
		mustExec(
			t,
			s.admin,
			map[string]string{"mariadb": "CREATE USER " + at + " IDENTIFIED BY 'choose-a-password'", "postgres": "CREATE USER " + at + " PASSWORD 'choose-a-password'"}[kind],
		)
		t.Cleanup(func() {
			if kind == "postgres" {
				mustExec(t, s.admin, "DROP OWNED BY "+user)
			}
			mustExec(t, s.admin, "DROP USER "+at)
		})
		b := provisioned(
			t,
			&Backend{Site: s.dir, DBUser: user, DBPassword: "choose-a-password", PollInterval: minPollInterval},
		)
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
		var grants, ofUsers []string
		for line := range strings.SplitSeq(strings.ReplaceAll(strings.ReplaceAll(string(raw), "'caddy'@'127.0.0.1'", at), "caddy", user), "\n") {
			switch {
			case strings.HasPrefix(line, "CREATE USER"), strings.Contains(line, "tabDeleted Document"), line == "":
			case strings.Contains(line, "tabUser"):
				ofUsers = append(ofUsers, line)
			default:
				grants = append(grants, strings.Replace(line, "(name, modified, disabled)", "(name)", 1)) // of tabRole
			}
		}
		// A poll may come between two statements. Without tabUser it fails, and does not log what else is missing.
		for _, statement := range slices.Concat(grants, ofUsers) {
			mustExec(t, s.admin, statement)
		}
		b.source.waitForPoll(t)
		if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
			t.Errorf("with most grants: %s", got)
		}
		for _, missing := range []string{"tabRole: no modified, disabled, or its user may not read it", "tabDeleted Document: no deleted_doctype, deleted_name, modified, or its user may not read it"} {
			expect(t, b, "warning tables: "+missing)
			if n := len(logs.FilterMessageSnippet("not all of the site's tables").All()); n != 1 ||
				!strings.Contains(fmt.Sprint(logs.FilterMessageSnippet("not all").All()[0].ContextMap()), missing) {
				t.Errorf("%q is logged %d times", missing, n)
			}
		}
	})
}
