package site_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// recorded answers as a Frappe site did.
func recorded(t testing.TB, file string) func(*http.Request) (int, string) {
	t.Helper()
	parsed := testutil.ParsedAnswer(t, file)
	return testutil.Always(parsed.Status, parsed.Body)
}

// site17 is what 17.0.0-dev answers to alice@example.com, except for the changes.
func site17(t testing.TB, changes testutil.Answers) testutil.Answers {
	t.Helper()
	answers := testutil.Answers{
		testutil.LoggedUser: recorded(t, "granted-17.http"),
		testutil.GetRoles:   recorded(t, "no-get_roles-17.http"),
		testutil.HasRole:    recorded(t, "has-role-17.http"),
		testutil.UserList:   recorded(t, "system-user-17.http"),
	}
	maps.Copy(answers, changes)
	return answers
}

// TestRolesWithoutGetRoles: the roles of users of 17.0.0-dev, which has no get_roles, are those that Frappe gives them.
func TestRolesWithoutGetRoles(t *testing.T) {
	always := testutil.Always
	website := testutil.Answers{
		testutil.LoggedUser: always(200, `{"message":"web@example.com"}`),
		testutil.GetRoles:   recorded(t, "no-get_roles-of-website-user-17.http"),
		testutil.HasRole:    recorded(t, "has-role-of-website-user-17.http"),
		testutil.UserList:   recorded(t, "system-user-of-website-user-17.http"),
	}
	administrator := testutil.Answers{
		testutil.LoggedUser: recorded(t, "session-granted-17.http"),
		testutil.RoleList:   recorded(t, "roles-of-administrator-17.http"),
	}
	row := func(parent, role string) string { return fmt.Sprintf(`{"parent":%q,"role":%q}`, parent, role) }
	rows := func(rows ...string) func(*http.Request) (int, string) {
		return always(200, `{"data":[`+strings.Join(rows, ",")+`]}`)
	}
	const alice = "alice@example.com"
	for _, test := range []struct {
		name    string
		changes testutil.Answers
		want    string // roles, or verdict
		cause   string
	}{
		{"user of Desk", nil, "Report Manager,System Manager,All,Guest,Desk User", ""},
		{"website user", website, "Customer,All,Guest", ""},
		{"website user without roles", testutil.Answers{
			testutil.HasRole: rows(), testutil.UserList: rows(),
		}, "All,Guest", ""},
		{"Administrator has all", administrator, "28 roles", ""},
		{"a document cannot bring a role that Frappe gives by itself", testutil.Answers{
			testutil.HasRole:  rows(row(alice, "Administrator"), row(alice, "Desk User"), row(alice, "Customer")),
			testutil.UserList: rows(),
		}, "Customer,All,Guest", ""},

		{"not permitted", testutil.Answers{
			testutil.HasRole: recorded(t, "has-role-not-permitted-17.http"),
		}, "unavailable for this credential", "get_roles: status 417: "},
		{"not permitted, and both requests are named", testutil.Answers{
			testutil.HasRole: recorded(t, "has-role-not-permitted-17.http"),
		}, "unavailable for this credential", "Has Role: status 403: the user is not permitted"},
		{"roles of another user", testutil.Answers{
			testutil.HasRole: rows(row(alice, "Customer"), row("bob@example.com", "System Manager")),
		}, "unavailable for this credential", "the roles of another user"},
		{"roles of nobody", testutil.Answers{
			testutil.HasRole: rows(`{"role":"System Manager"}`),
		}, "unavailable for this credential", "the roles of another user"},
		{"another user of Desk", testutil.Answers{
			testutil.UserList: rows(`{"name":"bob@example.com"}`),
		}, "unavailable for this credential", "with another user"},
		{"the type of the user is not told", testutil.Answers{
			testutil.UserList: always(403, `{"exc_type":"PermissionError"}`),
		}, "unavailable for this credential", "User: status 403"},
		{"no list", testutil.Answers{
			testutil.HasRole: always(200, `{"message":[]}`),
		}, "unavailable for this credential", "the answer's data is missing"},
		{"the credential has ended", testutil.Answers{
			testutil.LoggedUser: first(testutil.ParsedAnswer(t, "granted-17.http").Body, 401),
			testutil.GetRoles:   recorded(t, "denied-17.http"),
			testutil.HasRole:    recorded(t, "denied-17.http"),
		}, "denied", ""},
		{"the session has ended", testutil.Answers{
			testutil.LoggedUser: first(testutil.ParsedAnswer(t, "granted-17.http").Body, 403),
			testutil.GetRoles:   recorded(t, "session-logged-out-17.http"),
			testutil.HasRole:    recorded(t, "session-logged-out-17.http"),
		}, "denied", ""},
	} {
		for _, credential := range []frappe.Credential{bearer(""), recordedSession} {
			t.Run(test.name+", "+credential.String(), func(t *testing.T) {
				double := testutil.JSONSite(t, site17(t, test.changes))
				id, err := mustLoadSite(t, map[string]any{"urls": []string{double.URL}, "roles": true}).
					Verify(t.Context(), credential)
				got := strings.Join(id.Roles, ",")
				switch {
				case err != nil:
					got = verdictOf(id, err)
				case test.want == "28 roles":
					got = fmt.Sprint(len(id.Roles), " roles")
				}
				if got != test.want || (test.cause != "" && !strings.Contains(fmt.Sprint(err), test.cause)) {
					t.Errorf("%s %v, want %s %s", got, err, test.want, test.cause)
				}
			})
		}
	}
}

// TestRolesThroughCaddy: a key and a session of 17.0.0-dev get in by a role.
func TestRolesThroughCaddy(t *testing.T) {
	double := testutil.JSONSite(t, site17(t, nil))
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth {
		backend site %s {
			roles
		}
		schemes token session
		require role "Desk User"
	}
	respond "{http.auth.user.id}|{http.auth.user.roles}"
}`, address, double.URL))
	for _, header := range []string{"Authorization: " + testutil.AlicePair, "Cookie: sid=" + testutil.RecordedSession} {
		got := testutil.Get(t, "http://"+address, header)
		if got.Status != 200 || got.Body != "alice@example.com|Report Manager,System Manager,All,Guest,Desk User" {
			t.Errorf("%s: %d %q", header, got.Status, got.Body)
		}
	}
}

// TestWayToRolesIsRemembered: the way that a site does not have is tried once, for each site apart, until the other one
// fails, as after an upgrade or its rollback.
func TestWayToRolesIsRemembered(t *testing.T) {
	var (
		mu    sync.Mutex
		asked []string
		old   atomic.Bool // the tenant new.example runs an older version
	)
	seventeen := site17(t, nil)
	fifteen := testutil.Answers{
		testutil.LoggedUser: recorded(t, "granted.http"),
		testutil.GetRoles:   recorded(t, "roles.http"),
		testutil.HasRole:    testutil.Always(403, `{"exc_type":"PermissionError"}`),
	}
	double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers := seventeen
		if r.Host == "old.example" || old.Load() {
			answers = fifteen
		}
		mu.Lock()
		asked = append(asked, r.URL.Path[strings.LastIndexAny(r.URL.Path, "./")+1:])
		mu.Unlock()
		status, body := answers[r.URL.Path](r)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}))
	t.Cleanup(double.Close)
	backend := mustLoadSite(t, map[string]any{
		"urls": []string{double.URL}, "roles": true, "site_name": "{http.request.host}",
	})
	for _, step := range []struct {
		name, site string
		old        bool
		want       string
	}{
		{"old site", "old.example", false, "get_logged_user get_roles"},
		{"new site, first", "new.example", false, "get_logged_user get_roles Has Role User"},
		{"new site, again", "new.example", false, "get_logged_user Has Role User"},
		{"old site, again", "old.example", false, "get_logged_user get_roles"},
		{"rolled back", "new.example", true, "get_logged_user Has Role get_roles"},
		{"rolled back, again", "new.example", true, "get_logged_user get_roles"},
		{"upgraded", "new.example", false, "get_logged_user get_roles Has Role User"},
		{"upgraded, again", "new.example", false, "get_logged_user Has Role User"},
	} {
		old.Store(step.old)
		asked = nil
		id, err := backend.Verify(t.Context(), bearer(step.site))
		if got := strings.Join(asked, " "); err != nil || len(id.Roles) != 5 || got != step.want {
			t.Errorf("%s: %v %v, asked for %s, want %s", step.name, id.Roles, err, got, step.want)
		}
	}
}
