package site_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestEndSession: a session is ended as each version allows, in as few requests as possible, and a failure is an error.
func TestEndSession(t *testing.T) {
	for _, test := range []struct {
		name, version string
		unknown, desk bool
		sent          string // requests but those for the user
	}{
		{"15", "15", false, false, "POST /api/method/logout"},
		{"15, Desk was opened", "15", false, true, "POST /api/method/logout, GET /api/method/logout"},
		{"17", "17", false, false, "POST /api/method/logout"},
		{
			"17, Desk was opened", "17", false, true,
			"POST /api/method/logout, GET /api/method/logout, GET /me, POST /api/method/logout",
		},
		{"a session that is over", "15", true, false, "POST /api/method/logout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			erp := testutil.NewERP(t, nil)
			erp.Version = test.version
			var sent []string
			counting := erp.Config.Handler
			erp.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != testutil.LoggedUser && r.URL.Path != "/app" {
					sent = append(sent, r.Method+" "+r.URL.Path)
				}
				if r.Header.Get("Cookie") != "sid="+testutil.RecordedSession {
					t.Errorf("the cookies %q", r.Header["Cookie"])
				}
				counting.ServeHTTP(w, r)
			})
			if !test.unknown {
				erp.LogIn(testutil.RecordedSession)
			}
			if test.desk {
				testutil.Get(t, erp.URL+"/app", "Cookie: sid="+testutil.RecordedSession)
			}
			backend := mustLoadSite(t, map[string]any{"urls": []string{erp.URL}})
			session := frappe.Credential{Scheme: frappe.SchemeSession, Session: testutil.RecordedSession}
			if err := backend.EndSession(t.Context(), session); err != nil || erp.Sessions() != 0 {
				t.Errorf("%v, %d sessions", err, erp.Sessions())
			}
			if got := strings.Join(sent, ", "); got != test.sent {
				t.Errorf("sent %s", got)
			}
		})
	}
}

// TestEndSessionFails: a session that goes on is an error, and so is a site that does not answer.
func TestEndSessionFails(t *testing.T) {
	const page = `<script>csrf_token = "0123456789abcdef"</script>`
	for name, test := range map[string]struct {
		logout, user int
		want         string
	}{
		"refused":     {http.StatusForbidden, http.StatusOK, "the session goes on after a logout"},
		"unavailable": {http.StatusOK, http.StatusBadGateway, "status 502"},
	} {
		t.Run(name, func(t *testing.T) {
			always := testutil.Always(test.logout, "{}")
			site := testutil.JSONSite(t, testutil.Answers{
				"/api/method/logout": always, "/me": testutil.Always(http.StatusOK, page),
				testutil.LoggedUser: testutil.Always(test.user, `{"message":"alice@example.com"}`),
			})
			backend := mustLoadSite(t, map[string]any{"urls": []string{site.URL}})
			session := frappe.Credential{Scheme: frappe.SchemeSession, Session: testutil.RecordedSession}
			err := backend.EndSession(t.Context(), session)
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), testutil.RecordedSession) {
				t.Errorf("%v", err)
			}
		})
	}
	backend := mustLoadSite(t, map[string]any{"urls": []string{"http://127.0.0.1:1"}})
	for _, c := range []frappe.Credential{
		{Scheme: frappe.SchemeSession, Session: testutil.RecordedSession}, {Scheme: frappe.SchemeBearer, Token: "x"},
	} {
		if err := backend.EndSession(t.Context(), c); err == nil {
			t.Errorf("%s: no error", c.Scheme)
		}
	}
}
