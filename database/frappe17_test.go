package database

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// TestFrappe17: each credential of the recorded 17.0.0-dev gets the verdict that 17.0.0-dev gave.
func TestFrappe17(t *testing.T) {
	const (
		recordedSession = "9d560a615943aa9cb3174ecd109b6cf9b4f2e4cf6b48ec629a814ece" // of eve@example.com
		began           = "2026-11-30 22:36:34.797125"
	)
	s := newSiteOf(t, "mariadb", "mariadb-site-17", mariaDB)
	start, err := instant(began, defaultZone)
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
		expect("refresh token of "+whose, bearer(token+"-refresh"), "denied")
	}
	for whose, want := range map[string][]string{
		"alice@example.com": {"All", "Desk User", "Guest", "Report Manager", "System Manager"},
		"web@example.com":   {"All", "Customer", "Guest"},
	} {
		id, err := b.Verify(t.Context(), pair(s.creds.pairs[whose]))
		slices.Sort(id.Roles)
		if err != nil || !slices.Equal(id.Roles, want) {
			t.Errorf("roles of %s: %q %v, want %q", whose, id.Roles, err, want)
		}
	}
	expect("session", session(recordedSession), "eve@example.com")
	expect("another session", session(strings.Repeat("0", 56)), "denied")
	now = start.Add(170 * time.Hour)
	expect("session, expired", session(recordedSession), "denied")
}
