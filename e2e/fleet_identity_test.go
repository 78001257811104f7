package e2e

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestFleetIdentity: a Caddy that takes a result from Redis decides and publishes as the one that asked the backend.
func TestFleetIdentity(t *testing.T) {
	dir := sqliteSite(t)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "db", "_site.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`INSERT INTO "tabRole" VALUES ('Report Manager', '2026-01-01 00:00:00.000000', 0), ('Auditor', '2026-01-01 00:00:00.000000', 0)`,
		`INSERT INTO "tabHas Role" VALUES ('Report Manager', 'alice@example.com', 'User')`,
		`INSERT INTO "tabOAuth Client" VALUES ('mcp', 'all openid', '2026-01-01 00:00:00.000000'), ('other', 'all openid', '2026-01-01 00:00:00.000000')`,
		`INSERT INTO "tabOAuth Bearer Token" ("name", "access_token", "user", "client", "scopes", "status", "expiration_time", "modified") VALUES ('` + aliceToken + `', '` + aliceToken + `', 'alice@example.com', 'mcp', 'all openid', 'Active', '2099-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000')`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	recorded := testutil.NewRecordedSite(t, testutil.OnMariaDB)
	const session = "Cookie: sid=" + testutil.RecordedSession
	for _, test := range []struct {
		name, backend, options string
		sent                   []string
		status                 int
		body                   string
	}{
		{"key", "database " + dir, "", []string{tokenHeader}, 200, "alice@example.com|token|Alice|Report Manager,All,Guest||database|"},
		{"token", "database " + dir, "", []string{bearerHeader}, 200, "alice@example.com|bearer|Alice|Report Manager,All,Guest|all openid|database|"},
		{"session", "site " + recorded.URL + " {\nroles\n}", "schemes session", []string{session}, 200, "Administrator|session||System Manager,Report Manager,All,Guest,Desk User||site|"},
		{"role", "database " + dir, `require role "Report Manager"`, []string{tokenHeader}, 200, "alice@example.com|"},
		{"another role", "database " + dir, "require role Auditor", []string{tokenHeader}, 403, ""},
		{"scope", "database " + dir, "require scope openid", []string{bearerHeader}, 200, "alice@example.com|"},
		{"another scope", "database " + dir, "require scope project", []string{bearerHeader}, 403, ""},
		{"key, which has every scope", "database " + dir, "require scope project", []string{tokenHeader}, 200, "alice@example.com|"},
		{"client", "database " + dir, "require client mcp", []string{bearerHeader}, 200, "alice@example.com|"},
		{"another client", "database " + dir, "require client other", []string{bearerHeader}, 403, ""},
		{"key, which has no client", "database " + dir, "require client mcp", []string{tokenHeader}, 403, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := testutil.StartRedis(t)
			nodes := make([]*node, 2)
			for i := range nodes {
				address := testutil.FreeAddress(t)
				nodes[i] = &node{address: address, sites: "http://" + address + ` {
					frappe_auth {
						backend ` + test.backend + `
						share redis redis://` + server.Address + ` {
							secret ` + fleetSecret + `
							timeout ` + patient + `
						}
						` + test.options + `
					}
					respond "{http.auth.user.id}|{http.auth.user.scheme}|{http.auth.user.full_name}|{http.auth.user.roles}|{http.auth.user.scopes}|{http.auth.user.backend}|{http.auth.user.json}|{http.auth.frappe.cache}"
					handle_errors {
						respond "{http.auth.candidate.id}|{http.auth.frappe.cache}|{http.auth.frappe.error}"
					}
				}`}
			}
			launchAll(t, nodes)
			var answers [2]string
			for i, n := range nodes {
				status, body := ask(t, "GET", "http://"+n.address, "", test.sent...)
				answers[i] = fmt.Sprint(status, " ", body)
				if status != test.status || !strings.HasPrefix(body, test.body) {
					t.Errorf("Caddy %d: %d %s", i, status, body)
				}
			}
			if want := strings.Replace(answers[0], "miss", "shared", 1); want == answers[0] || answers[1] != want {
				t.Errorf("the first says  %s\nthe second says %s", answers[0], answers[1])
			}
		})
	}
}
