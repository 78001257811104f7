package database

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// recordedSession is a session of 15.44.2, which began at sessionBegan in Asia/Kolkata.
const (
	recordedSession = "3de0000d68e25cda54c03d7ac35a12454d05dfad594b63a2149f1375"
	sessionBegan    = "2026-11-25 02:19:58.258815"
	sessionData     = `{'user': 'alice@example.com', 'session_ip': '127.0.0.1', 'last_updated': '2026-11-25 ` +
		`02:19:58.258815', ` +
		`'session_expiry': '170:00:00', 'full_name': None, 'user_type': 'System User', 'lang': 'en'}`
)

// createSessions adds the tables of sessions, with the recorded session.
func (s *site) createSessions(t testing.TB) {
	t.Helper()
	stamp := map[string]string{"mariadb": "datetime(6)", "postgres": "timestamp(6)", "sqlite": "text"}[s.kind]
	s.change(
		t,
		`CREATE TABLE "tabSessions" ("user" varchar(255), "sid" varchar(255), "sessiondata" text, "ipaddress" `+
			`varchar(16), "lastupdate" `+
			stamp+`, "status" varchar(20))`,
	)
	s.change(t, `CREATE INDEX sid_of_sessions ON "tabSessions" ("sid")`)
	s.change(
		t,
		`CREATE TABLE "tabDefaultValue" ("name" varchar(140) PRIMARY KEY, "parent" varchar(140), "defkey" varchar(140), `+
			`"defvalue" text)`,
	)
	s.change(
		t,
		`INSERT INTO "tabDefaultValue" VALUES ('a', '__default', 'session_expiry', '170:00'), ('b', `+
			`'alice@example.com', 'session_expiry', '1:00')`,
	)
	s.putSession(t)
	if s.kind == "postgres" {
		s.change(t, `GRANT SELECT ON "tabSessions", "tabDefaultValue" TO `+s.name)
	}
}

// putSession puts the recorded session back.
func (s *site) putSession(t testing.TB) {
	t.Helper()
	s.change(t, `DELETE FROM "tabSessions"`)
	s.change(
		t,
		`INSERT INTO "tabSessions" ("user", "sid", "sessiondata", "lastupdate", "status") VALUES (?, ?, ?, ?, 'Active')`,
		"alice@example.com",
		recordedSession,
		sessionData,
		sessionBegan,
	)
}

func session(id string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeSession, Session: id}
}

// began is the moment at which the recorded session began.
func began(t testing.TB) time.Time {
	t.Helper()
	at, err := instant(sessionBegan, defaultZone)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestSessions: what ends a session, on each database.
func TestSessions(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.createSessions(t)
		start := began(t)
		now := start
		b := provisioned(t, &Backend{Site: s.dir, now: func() time.Time { return now }})
		const row, user, setting = `UPDATE "tabSessions" SET `, `UPDATE "tabUser" SET `, `UPDATE "tabDefaultValue" SET ` +
			`"defvalue" = `
		ofAlice := ` WHERE "name" = 'alice@example.com'`
		for _, test := range []struct {
			name, change, back string
			sid                string
			after              time.Duration
			want               string
		}{
			{name: "at once", want: "alice@example.com"},
			{name: "just before it expires", after: 170*time.Hour - time.Nanosecond, want: "alice@example.com"},
			{name: "at its expiry", after: 170 * time.Hour, want: "denied"},
			{name: "unknown", sid: strings.Repeat("0", 56), want: "denied"},
			{name: "in capitals", sid: strings.ToUpper(recordedSession), want: "denied"},
			{name: "stored in capitals", change: row + `"sid" = UPPER("sid")`, want: "denied"},
			{name: "stored with a space", change: row + `"sid" = '` + recordedSession + ` '`, want: "denied"},
			{
				name: "stored as its hash", change: row + `"sid" = '` + frappe.StoredHash(recordedSession) + `'`,
				want: "alice@example.com",
			},
			{
				name: "the hash that is stored", change: row + `"sid" = '` + frappe.StoredHash(recordedSession) + `'`,
				sid: frappe.StoredHash(recordedSession), want: "denied",
			},
			{name: "its hash", sid: frappe.StoredHash(recordedSession), want: "denied"},
			{name: "Guest", sid: "Guest", want: "denied"},
			{name: "empty", sid: "-", want: "denied"},
			{name: "logged out", change: `DELETE FROM "tabSessions"`, want: "denied"},
			{name: "of Guest", change: row + `"user" = 'Guest'`, want: "denied"},
			{name: "of nobody", change: row + `"user" = NULL`, want: "denied"},
			{name: "of a user who is gone", change: row + `"user" = 'gone@example.com'`, want: "denied"},
			{
				name: "of a disabled user", change: user + `"enabled" = 0` + ofAlice, back: user + `"enabled" = 1` + ofAlice,
				want: "denied",
			},
			{
				name: "of a user with Restrict IP", change: user + `"restrict_ip" = '127.0.0.1'` + ofAlice,
				back: user + `"restrict_ip" = NULL` + ofAlice, want: "denied",
			},
			{
				name: "the setting got shorter", change: setting + `'10:00' WHERE "name" = 'a'`,
				back: setting + `'170:00' WHERE "name" = 'a'`, after: 10 * time.Hour, want: "denied",
			},
			{
				name: "the setting got longer", change: setting + `'500:00' WHERE "name" = 'a'`,
				back: setting + `'170:00' WHERE "name" = 'a'`, after: 170 * time.Hour, want: "denied",
			},
			{name: "no setting", change: setting + `NULL WHERE "name" = 'a'`, back: setting + `'170:00' WHERE ` +
				`"name" = 'a'`, after: 169 * time.Hour, want: "alice@example.com"},
			{name: "a bad setting", change: setting + `'soon' WHERE "name" = 'a'`, back: setting + `'170:00' WHERE ` +
				`"name" = 'a'`, want: "session_expiry is not in the format"},
			{name: "two settings", change: `INSERT INTO "tabDefaultValue" VALUES ('c', '__default', 'session_expiry', ` +
				`'1:00')`, back: `DELETE FROM "tabDefaultValue" WHERE "name" = 'c'`, want: "several values"},
			{name: "the row is older than it says", change: row + `"lastupdate" = '2026-11-17 00:00:00'`, want: "denied"},
			{
				name: "the row is newer than it says", change: row + `"lastupdate" = '2026-12-24 00:00:00'`,
				after: 170 * time.Hour, want: "denied",
			},
			{name: "no time", change: row + `"lastupdate" = NULL`, want: "not in Frappe's format"},
			{name: "a second row that has ended", change: `INSERT INTO "tabSessions" ("user", "sid", "sessiondata", ` +
				`"lastupdate") VALUES ('alice@example.com', '` +
				recordedSession + `', '{}', '2026-11-01 00:00:00')`, want: "denied"},
			{name: "a second row of somebody else", change: `INSERT INTO "tabSessions" ("user", "sid", "sessiondata", ` +
				`"lastupdate") VALUES ('bob@example.com', '` +
				recordedSession + `', '{}', '2026-11-25 02:00:00')`, want: "several users"},
			{
				name: "another time zone", change: `UPDATE "tabSingles" SET "value" = 'Pacific/Kiritimati' WHERE "field" = ` +
					`'time_zone'`,
				back: `UPDATE "tabSingles" SET "value" = NULL WHERE "field" = 'time_zone'`, after: 170*time.Hour - 8*time.Hour - 30*time.Minute, want: "denied",
			},
			{name: "of Frappe 14", change: row + `"sessiondata" = '{''device'': ''desktop''}'`, want: "Frappe 14 or older"},
			{name: "all as before", after: time.Hour, want: "alice@example.com"},
		} {
			if strings.Contains(test.change, "time_zone") {
				s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
				s.change(t, `INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', NULL)`)
			}
			if test.change != "" {
				s.change(t, test.change)
			}
			now = start.Add(test.after)
			sid := map[string]string{"": recordedSession, "-": ""}[test.sid]
			if len(test.sid) > 1 {
				sid = test.sid
			}
			if got := verdict(b, session(sid)); got != test.want &&
				(!strings.HasPrefix(got, "unavailable") || !strings.Contains(got, test.want)) {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
			if test.back != "" {
				s.change(t, test.back)
			}
			s.putSession(t)
		}
		now = start
		id, err := b.Verify(t.Context(), session(recordedSession))
		if err != nil || id.FullName != "Alice" || len(id.Roles) != 5 || id.Scopes != nil || id.Client != "" ||
			!id.Expiry.Equal(start.Add(170*time.Hour)) {
			t.Errorf("%+v %v", id, err)
		}
	})
}

// TestSessionEnd: the end of a session by what the row says.
func TestSessionEnd(t *testing.T) {
	const at = "2026-11-25 12:00:00"
	for _, test := range []struct{ name, data, expiry, zone, want string }{
		{"nothing but the row", "", "", "UTC", "2026-12-05T12:00:00Z"},
		{"a setting", "", "24:00", "UTC", "2026-11-26T12:00:00Z"},
		{"seconds", "", "00:00:30", "UTC", "2026-11-25T12:00:30Z"},
		{"older expiry is shorter", `{'session_expiry': '01:00:00'}`, "24:00", "UTC", "2026-11-25T13:00:00Z"},
		{"no older expiry", `{'session_expiry': None}`, "24:00", "UTC", "2026-11-26T12:00:00Z"},
		{
			"JSON", `{"session_expiry":"01:00:00","last_updated":"2026-11-25 11:00:00"}`, "24:00", "UTC",
			"2026-11-25T12:00:00Z",
		},
		{"a name that claims a later time", `{'last_updated': '2026-11-25 12:00:00', 'session_expiry': '01:00:00', ` +
			`'full_name': '"last_updated": "2099-01-01 00:00:00", "session_expiry": "9999:00:00"'}`, "24:00", "UTC", "2026-11-25T13:00:00Z"},
		{"daylight saving ends meanwhile, by the clock", "", "1000:00", "America/New_York", "2027-01-06T09:00:00Z"},
		{"enormous", "", "2000000000:00", "UTC", "2140-12-24T04:00:00Z"},
		{"negative", "", "-1:00", "UTC", "hh:mm"},
		{"one part", "", "24", "UTC", "hh:mm"},
		{"unknown zone", "", "24:00", "Mars/Olympus", "time zone is unknown"},
		{"of Frappe 14", `{'device': 'mobile'}`, "24:00", "UTC", "Frappe 14 or older"},
	} {
		got, err := sessionEnd(test.data, at, test.expiry, test.zone)
		text := fmt.Sprint(err)
		if err == nil {
			text = got.UTC().Format(time.RFC3339Nano)
		}
		if !strings.Contains(text, test.want) {
			t.Errorf("%s: %s, want %s", test.name, text, test.want)
		}
	}
}

// TestSessionsOfOldFrappe: a bench with Frappe 14 cannot have sessions here, and one with 15 can.
func TestSessionsOfOldFrappe(t *testing.T) {
	s := newSite(t, "sqlite")
	bench := filepath.Join(s.dir, "..", "..", "apps", "frappe", "frappe")
	if err := os.MkdirAll(bench, 0o700); err != nil {
		t.Fatal(err)
	}
	for version, refused := range map[string]bool{"13.58.1": true, "14.81.4": true, "15.44.2": false, "16.0.0-dev": false} {
		if err := os.WriteFile(filepath.Join(bench, "__init__.py"), []byte("__version__ = \""+version+"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := provisioned(t, &Backend{Site: s.dir}).EnableSessions()
		if (err != nil) != refused || refused && !strings.Contains(err.Error(), version) {
			t.Errorf("%s: %v", version, err)
		}
	}
}

// TestSessionGrants: sessions need the statements for sessions of docs/database.md, on which the health check insists
// only if sessions are asked for.
func TestSessionGrants(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.createRoles(t)
		s.createSessions(t)
		grant := func(file string) {
			t.Helper()
			raw, err := os.ReadFile("testdata/" + file + "-" + kind + ".sql")
			if err != nil {
				t.Fatal(err)
			}
			mustExec(t, s.admin, string(raw))
		}
		grant("grants")
		t.Cleanup(func() {
			if kind == "mariadb" {
				mustExec(t, s.admin, `DROP USER 'caddy'@'127.0.0.1'`)
			} else {
				mustExec(t, s.admin, `DROP OWNED BY caddy; DROP USER caddy`)
			}
		})
		start := began(t)
		b := provisioned(
			t,
			&Backend{Site: s.dir, DBUser: "caddy", DBPassword: "choose-a-password", now: func() time.Time { return start }},
		)
		if got := examined(t, b); strings.Contains(got, "sessions") {
			t.Errorf("no sessions asked for: %s", got)
		}
		if err := b.EnableSessions(); err != nil {
			t.Fatal(err)
		}
		if got := examined(t, b); !strings.Contains(
			got,
			"sessions: tabSessions: no sid, user, sessiondata, lastupdate, or its user may not read it; docs/database.md "+
				"has the GRANT for sessions",
		) {
			t.Errorf("without grants: %s", got)
		}
		if got := verdict(b, session(recordedSession)); !strings.HasPrefix(got, "unavailable") ||
			!strings.Contains(got, "GRANT for sessions") {
			t.Errorf("without grants: %s", got)
		}
		grant("grants-sessions")
		testutil.Eventually(t, "sessions work with the grants", func() bool {
			b.source.current.Load().forgetSchema()
			return verdict(b, session(recordedSession)) == "alice@example.com" &&
				strings.Contains(examined(t, b), "ok sessions: everything that sessions need can be read")
		})
	})
}

// TestPeopleThroughCaddy: sessions, scopes and clients through a running Caddy, on each database.
func TestPeopleThroughCaddy(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		s.createSessions(t)
		future := "2099-01-01 00:00:00"
		s.change(
			t,
			`UPDATE "tabSessions" SET "lastupdate" = ?, "sessiondata" = ?`,
			future,
			strings.ReplaceAll(sessionData, sessionBegan, future),
		)
		var client string
		if err := s.admin.QueryRow(dialects[kind].query(`SELECT "client" FROM "tabOAuth Bearer Token" WHERE ` +
			`"name" = '` + s.creds.bearer["alice"] + `'`)).Scan(&client); err != nil {
			t.Fatal(err)
		}
		const alice = "200 alice@example.com"
		p := s.creds.pairs["alice@example.com"]
		credentials := map[string]string{
			"token": "Authorization: Bearer " + s.creds.bearer["alice"], "openid only": "Authorization: " +
				"Bearer " + s.creds.bearer["openidonly"],
			"pair": "Authorization: token " + p[0] + ":" + p[1], "session": "Cookie: sid=" + recordedSession,
		}
		for _, test := range []struct {
			require string
			want    map[string]string
		}{
			{"require scope all", map[string]string{"token": alice, "openid only": "403", "pair": alice, "session": alice}},
			{
				"require scope nosuch openid",
				map[string]string{"token": alice, "openid only": alice, "pair": alice, "session": alice},
			},
			{
				"require client " + client,
				map[string]string{"token": alice, "openid only": alice, "pair": "403", "session": "403"},
			},
			{"require client nosuch", map[string]string{"token": "403", "openid only": "403", "pair": "403", "session": "403"}},
		} {
			url, _ := serve(
				t,
				fmt.Sprintf("frappe_auth {\nbackend database %s\nschemes basic bearer token session\n%s\n}", s.dir, test.require),
			)
			for name, header := range credentials {
				got := testutil.Get(t, url, header)
				if text := strings.TrimSpace(fmt.Sprintf("%d %s", got.Status, got.Body)); !strings.HasPrefix(
					text,
					test.want[name],
				) {
					t.Errorf("%s, %s: %s, want %s", test.require, name, text, test.want[name])
				}
			}
		}
	})
}
