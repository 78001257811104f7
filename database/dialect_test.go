package database

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver
)

// TestServersOwnSettings: how a server writes dates and reads text has no bearing on verdicts and looks.
func TestServersOwnSettings(t *testing.T) {
	for _, test := range []struct{ kind, setting, value string }{
		{"postgres", "DateStyle", "'SQL, DMY'"},
		{"postgres", "DateStyle", "'German'"},
		{"postgres", "TimeZone", "'America/New_York'"},
		{"postgres", "IntervalStyle", "'iso_8601'"},
		{"postgres", "standard_conforming_strings", "'off'"},
		{"mariadb", "sql_mode", "'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,ORACLE'"},
		{"mariadb", "sql_mode", "'STRICT_ALL_TABLES,ONLY_FULL_GROUP_BY,PAD_CHAR_TO_FULL_LENGTH'"},
		{"mariadb", "time_zone", "'-11:00'"},
		{"mariadb", "lc_time_names", "'de_DE'"},
		{"mariadb", "sql_select_limit", "1"},
	} {
		t.Run(test.kind+" "+test.setting+" "+test.value, func(t *testing.T) {
			s := newSite(t, test.kind)
			if test.kind == "postgres" {
				mustExec(t, s.admin, fmt.Sprintf("ALTER DATABASE %s SET %s = %s", s.name, test.setting, test.value))
			} else {
				mustExec(t, s.admin, fmt.Sprintf("SET GLOBAL %s = %s", test.setting, test.value))
				t.Cleanup(func() { mustExec(t, s.admin, fmt.Sprintf("SET GLOBAL %s = DEFAULT", test.setting)) })
			}
			s.change(
				t,
				`UPDATE "tabOAuth Bearer Token" SET "expiration_time" = '2031-04-05 06:07:08.5' WHERE "name" = '`+s.creds.bearer["alice"]+`'`,
			)
			look := looker(t, s)
			b := provisioned(t, &Backend{Site: s.dir, PollInterval: maxPollInterval})
			id, err := b.Verify(t.Context(), bearer(s.creds.bearer["alice"]))
			if want := time.Date(2031, 4, 5, 0, 37, 8, 500_000_000, time.UTC); err != nil || !id.Expiry.Equal(want) {
				t.Errorf("token of alice: %+v %v", id, err)
			}
			if got := verdict(b, pair([2]string{s.creds.pairs["alice@example.com"][0], `x\' OR 1=1 -- `})); got != "denied" {
				t.Errorf("a strange secret: %s", got)
			}
			if got := verdict(b, pair([2]string{`x\' OR 1=1 -- `, "x"})); got != "denied" {
				t.Errorf("a strange key: %s", got)
			}
			look()
			s.change(t, `UPDATE "tabUser" SET "modified" = '`+frappeNow(0)+`' WHERE "name" = 'web@example.com'`)
			if got := look(); !strings.HasPrefix(got, "web@example.com ") {
				t.Errorf("a look reports %q", got)
			}
		})
	}
}

// TestSockets: both servers by their Unix sockets.
func TestSockets(t *testing.T) {
	for kind, socket := range map[string]string{"mariadb": "s", "postgres": ""} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, kind)
			if kind == "mariadb" { // whose users are of a host
				mustExec(
					t,
					s.admin,
					fmt.Sprintf(
						"CREATE USER %[1]s@localhost IDENTIFIED BY '38jWnH1vU3H1INnP'; GRANT ALL ON %[1]s.* TO %[1]s@localhost",
						s.name,
					),
				)
			}
			b := provisioned(t, &Backend{Site: s.dir, DBHost: "192.0.2.1", DBSocket: filepath.Join(s.server.dir, socket)})
			if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
				t.Error(got)
			}
		})
	}
}
