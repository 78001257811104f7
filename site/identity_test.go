package site_test

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/caddy-frappe/frappe-auth" // the handler that the backend is for
	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// recordedSession is the session of the recordings.
var recordedSession = frappe.Credential{Scheme: frappe.SchemeSession, Session: testutil.RecordedSession}

// TestSiteVerdicts: the answers of a site about a credential and its owner.
func TestSiteVerdicts(t *testing.T) {
	alice, roles, user := testutil.ParsedAnswer(t, "granted.http").Body, testutil.ParsedAnswer(t, "roles.http").Body,
		testutil.ParsedAnswer(t, "user.http").Body
	const odd = "o'brien+api@example.com"
	for _, test := range []struct {
		name    string
		options string
		answers testutil.Answers
		status  int
		body    string
	}{
		{
			"granted", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, alice)},
			200, "alice@example.com||",
		},
		{
			"Guest is a refusal", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, `{"message":"Guest"}`)},
			401, "",
		},
		{
			"denied by 14", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(401, testutil.ParsedAnswer(t, "denied-14.http").Body)},
			401, "",
		},
		{
			"denied by 15", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(401, testutil.ParsedAnswer(t, "denied-15.http").Body)},
			401, "",
		},
		{
			"served as Guest by 15", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(403, testutil.ParsedAnswer(t, "guest-15.http").Body)},
			401, "",
		},
		{
			"roles", "roles",
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, alice), testutil.GetRoles: testutil.Always(200, roles)},
			200, "alice@example.com|System Manager,Report Manager,All,Guest,Desk User|",
		},
		{
			"roles of a user with quote and plus", "roles",
			testutil.Answers{
				testutil.LoggedUser: testutil.Always(200, fmt.Sprintf(`{"message":%q}`, odd)),
				testutil.GetRoles: func(r *http.Request) (int, string) {
					if r.URL.Query().Get("uid") != odd || strings.Contains(r.URL.RawQuery, "+") {
						t.Errorf("asked for the roles of %q by %s", r.URL.Query().Get("uid"), r.URL.RawQuery)
					}
					return 200, `{"message":[]}`
				},
			},
			200, odd + "||",
		},
		{
			"credential ends between two requests", "roles",
			testutil.Answers{
				testutil.LoggedUser: first(alice, 401),
				testutil.GetRoles:   testutil.Always(401, `{}`), testutil.HasRole: testutil.Always(401, `{}`),
			},
			401, "",
		},
		{
			"a firewall refuses the request for roles", "roles",
			testutil.Answers{
				testutil.LoggedUser: testutil.Always(200, alice),
				testutil.GetRoles:   testutil.Always(401, `{}`), testutil.HasRole: testutil.Always(401, `{}`),
			},
			503, "",
		},
		{
			"user may not ask for roles", "roles",
			testutil.Answers{
				testutil.LoggedUser: testutil.Always(200, alice),
				testutil.GetRoles:   testutil.Always(403, `{}`), testutil.HasRole: testutil.Always(403, `{}`),
			},
			503, "",
		},
		{
			"enabled", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser:                    testutil.Always(200, alice),
				"/api/resource/User/alice@example.com": testutil.Always(200, user),
			},
			200, "alice@example.com||Alice",
		},
		{
			"disabled", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser: testutil.Always(200, alice),
				"/api/resource/User/alice@example.com": testutil.Always(200,
					strings.Replace(user, `"enabled":1`, `"enabled":0`, 1)),
			},
			401, "",
		},
		{
			"credential ends before its User document is read", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser:                    first(alice, 401),
				"/api/resource/User/alice@example.com": testutil.Always(401, `{}`),
			},
			401, "",
		},
		{
			"User document refused", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser:                    testutil.Always(200, alice),
				"/api/resource/User/alice@example.com": testutil.Always(417, `{"exc_type":"ValidationError"}`),
			},
			503, "",
		},
		{
			"does not say whether enabled", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser:                    testutil.Always(200, alice),
				"/api/resource/User/alice@example.com": testutil.Always(200, strings.Replace(user, `"enabled":1,`, "", 1)),
			},
			503, "",
		},
		{
			"another user's document", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser: testutil.Always(200, alice),
				"/api/resource/User/alice@example.com": testutil.Always(200,
					strings.Replace(user, `"name":"alice@`, `"name":"bob@`, 1)),
			},
			503, "",
		},
		{
			"document of a user with slash and percent", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser: testutil.Always(200, `{"message":"a/b%2F?c"}`),
				"/api/resource/User/a/b%2F?c": func(r *http.Request) (int, string) {
					if r.URL.EscapedPath() != "/api/resource/User/a%2Fb%252F%3Fc" {
						t.Errorf("asked for %s", r.URL.EscapedPath())
					}
					return 200, `{"data":{"name":"a/b%2F?c","enabled":1}}`
				},
			},
			200, "a/b%2F?c||",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := testutil.JSONSite(t, test.answers)
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t,
				fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s/ {\n%s\n}\n}\nrespond "+
					"{http.auth.user.id}|{http.auth.user.roles}|{http.auth.user.full_name}\n}",
					address, site.URL, test.options))
			got := testutil.Get(t, "http://"+address, "Authorization: "+testutil.AlicePair)
			if got.Status != test.status || (test.body != "" && got.Body != test.body) {
				t.Errorf("%d %q, want %d %q", got.Status, got.Body, test.status, test.body)
			}
		})
	}
}

// first answers the first request with 200 and a body, and all others with another status.
func first(body string, then int) func(*http.Request) (int, string) {
	var asked atomic.Bool
	return func(*http.Request) (int, string) {
		if asked.Swap(true) {
			return then, `{}`
		}
		return 200, body
	}
}

// TestSessionVerdicts: the answers of a site, or of a proxy in front of it, about a session.
func TestSessionVerdicts(t *testing.T) {
	const user = "/api/resource/User/Administrator"
	grantedBody := testutil.ParsedAnswer(t, "session-granted.http").Body
	granted := testutil.Always(200, grantedBody)
	ended := testutil.Always(403, testutil.ParsedAnswer(t, "session-logged-out.http").Body)
	invalid := func(status int) func(*http.Request) (int, string) {
		return testutil.Always(status, testutil.ParsedAnswer(t, "session-disabled.http").Body)
	}
	roles := testutil.Always(200, testutil.ParsedAnswer(t, "roles.http").Body)
	enabled := testutil.Always(200, `{"data":{"name":"Administrator","enabled":1,"full_name":"Administrator"}}`)
	for _, test := range []struct {
		name    string
		options map[string]any
		answers testutil.Answers
		want    string
	}{
		{"good", nil, testutil.Answers{testutil.LoggedUser: granted}, "Administrator"},
		{"ended", nil, testutil.Answers{testutil.LoggedUser: ended}, "denied"},
		{"Guest", nil, testutil.Answers{testutil.LoggedUser: testutil.Always(200, `{"message":"Guest"}`)}, "denied"},
		{
			"ended, but an app names a user", nil,
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, `{"session_expired":1,"message":"app@example.com"}`)},
			"denied",
		},
		{"refused with another status", nil, testutil.Answers{testutil.LoggedUser: testutil.Always(401, `{}`)}, "denied"},
		{"user disabled", nil, testutil.Answers{testutil.LoggedUser: invalid(417)}, "denied"},
		{"the same with another status", nil, testutil.Answers{testutil.LoggedUser: invalid(500)}, "unavailable"},
		{
			"site that is being installed", nil,
			testutil.Answers{testutil.LoggedUser: testutil.Always(417, `{"exc_type":"ValidationError",`+
				`"_server_messages":"[\"{\\\"message\\\": \\\"User Guest is disabled. Please contact your System Manager.\\\"}\"]"}`)},
			"unavailable for this credential",
		},
		{
			"another exception", nil,
			testutil.Answers{testutil.LoggedUser: testutil.Always(417, `{"exc_type":"UnicodeDecodeError"}`)},
			"unavailable for this credential",
		},
		{
			"417 without an exception", nil,
			testutil.Answers{testutil.LoggedUser: testutil.Always(417, `{"message":"Administrator"}`)},
			"unavailable for this credential",
		},
		{
			"roles",
			map[string]any{"roles": true},
			testutil.Answers{testutil.LoggedUser: granted, testutil.GetRoles: roles},
			"Administrator",
		},
		{
			"ended before its roles were read",
			map[string]any{"roles": true},
			testutil.Answers{testutil.LoggedUser: first(grantedBody, 403), testutil.GetRoles: ended, testutil.RoleList: ended},
			"denied",
		},
		{
			"user disabled before its roles were read",
			map[string]any{"roles": true},
			testutil.Answers{
				testutil.LoggedUser: first(grantedBody, 401), testutil.GetRoles: invalid(417), testutil.RoleList: invalid(417),
			},
			"denied",
		},
		{
			"good, although nothing else accepts it",
			map[string]any{"roles": true},
			testutil.Answers{testutil.LoggedUser: granted, testutil.GetRoles: ended, testutil.RoleList: invalid(417)},
			"unavailable for this credential",
		},
		{
			"may not read its roles",
			map[string]any{"roles": true},
			testutil.Answers{
				testutil.LoggedUser: granted,
				testutil.GetRoles:   testutil.Always(403, `{}`), testutil.RoleList: testutil.Always(403, `{}`),
			},
			"unavailable for this credential",
		},
		{
			"enabled",
			map[string]any{"refuse_disabled": true},
			testutil.Answers{testutil.LoggedUser: granted, user: enabled},
			"Administrator",
		},
		{
			"ended before its user was read",
			map[string]any{"refuse_disabled": true},
			testutil.Answers{testutil.LoggedUser: first(grantedBody, 403), user: ended},
			"denied",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			double := testutil.JSONSite(t, test.answers)
			config := map[string]any{"urls": []string{double.URL}}
			maps.Copy(config, test.options)
			id, err := mustLoadSite(t, config).Verify(t.Context(), recordedSession)
			if got := verdictOf(id, err); got != test.want {
				t.Errorf("%s, want %s: %v", got, test.want, err)
			}
		})
	}
}

// TestSessionOfUnknownSite: a site that may not exist is asked again as a guest, without the session.
func TestSessionOfUnknownSite(t *testing.T) {
	for _, test := range []struct{ name, guest, want string }{
		{"the site is missing", "unknown-site.http", "unknown site"},
		{"only the session gets 404", "guest-15.http", "unavailable for this credential"},
	} {
		t.Run(test.name, func(t *testing.T) {
			double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				answer := "unknown-site.http"
				if r.Header["Cookie"] == nil && r.Header["Authorization"] == nil {
					answer = test.guest
				}
				testutil.Reply(t, w, testutil.Answer(t, answer))
			}))
			defer double.Close()
			of := recordedSession
			of.Site = "a.example"
			id, err := mustLoadSite(t,
				map[string]any{"urls": []string{double.URL}, "site_name": "{http.request.host}"}).Verify(t.Context(), of)
			if got := verdictOf(id, err); got != test.want {
				t.Errorf("%s, want %s: %v", got, test.want, err)
			}
		})
	}
}

// TestRecordedTokens: what real Frappe answers about access tokens after refreshes, revocations, a logout and changes
// of the user or the client. A refresh ends nothing; a revocation does, and what else does depends on the version.
func TestRecordedTokens(t *testing.T) {
	const denied, one, two, three, four = "denied", "oa1@example.com", "oa2@example.com", "oa3@example.com", "oa4@example.com"
	for version, want := range map[string][]string{
		"15.44.2": {
			one, one, one, // a refresh
			denied, three, three, three, three, denied, denied, denied, four, // what changed before a refresh
			denied, one, // a rotation by hand
			denied, denied, denied, one, one, one, // revocations
			two, two, // a logout
		},
		"17.0.0-dev": {
			one, one, one,
			denied, three, three, denied, denied, denied, denied, denied, four,
			denied, one,
			denied, denied, denied, one, one, denied,
			two, two,
		},
	} {
		t.Run(version, func(t *testing.T) {
			recordings := strings.Split(string(testutil.ReadFile(t, "testdata/oauth/"+version+".http")), "### ")[1:]
			if len(recordings) != len(want) {
				t.Fatalf("%d recordings, want %d", len(recordings), len(want))
			}
			for i, recording := range recordings {
				request, answer, _ := strings.Cut(strings.TrimSuffix(recording, "\n"), "\n\n")
				name, sent, _ := strings.Cut(request, "\nAuthorization: ")
				double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if got := r.Header.Get("Authorization"); got != sent {
						t.Errorf("%s: the site gets %q, want %q", name, got, sent)
					}
					testutil.Reply(t, w, []byte(strings.TrimSuffix(answer, "\n")))
				}))
				credential, err := frappe.ParseCredential(sent)
				if err != nil {
					t.Fatal(err)
				}
				id, err := mustLoadSite(t, map[string]any{"urls": []string{double.URL}}).Verify(t.Context(), credential)
				if got := verdictOf(id, err); got != want[i] {
					t.Errorf("%s: %s, want %s: %v", name, got, want[i], err)
				}
				double.Close()
			}
		})
	}
}

// TestRecordedAnswers: each recorded answer of a real Frappe is the right verdict on an access token and on a session.
func TestRecordedAnswers(t *testing.T) {
	want := map[string]string{
		"granted.http":                      "alice@example.com",
		"session-granted.http":              "Administrator",
		"expired-session-beside-token.http": "alice@example.com",
		"denied-14.http":                    "denied",
		"denied-15.http":                    "denied",
		"guest-15.http":                     "denied",
		"session-unknown.http":              "denied",
		"session-logged-out.http":           "denied",
		"session-restricted-ip.http":        "denied",
		"session-disabled.http":             "unavailable for this credential",
		"bad-base64-15.http":                "unavailable for this credential",
		"database-down.http":                "unavailable",
		"maintenance.http":                  "unavailable",
		"rate-limited.http":                 "unavailable",
		"unknown-site.http":                 "unavailable",

		// Answers of 16.4.1, which still accepts a session of a user whom a script disabled.
		"granted-16.http":                      "alice@example.com",
		"session-granted-16.http":              "Administrator",
		"session-disabled-16.http":             "eve@example.com",
		"expired-session-beside-token-16.http": "alice@example.com",
		"denied-16.http":                       "denied",
		"denied-bearer-16.http":                "denied",
		"guest-16.http":                        "denied",
		"session-unknown-16.http":              "denied",
		"session-logged-out-16.http":           "denied",
		"session-restricted-ip-16.http":        "denied",
		"bad-base64-16.http":                   "unavailable for this credential",
		"maintenance-16.http":                  "unavailable",
		"unknown-site-16.http":                 "unavailable",

		// Answers of 17.0.0-dev, which still accepts a session of a user whom a script disabled.
		"granted-17.http":                      "alice@example.com",
		"session-granted-17.http":              "Administrator",
		"session-disabled-17.http":             "eve@example.com",
		"expired-session-beside-token-17.http": "alice@example.com",
		"denied-17.http":                       "denied",
		"denied-bearer-17.http":                "denied",
		"guest-17.http":                        "denied",
		"session-unknown-17.http":              "denied",
		"session-logged-out-17.http":           "denied",
		"session-restricted-ip-17.http":        "denied",
		"bad-base64-17.http":                   "unavailable for this credential",
		"maintenance-17.http":                  "unavailable",
		"unknown-site-17.http":                 "unavailable",

		// Answers to other requests.
		"introspect_token-17.http":             "unavailable",
		"openid_profile-17.http":               "unavailable",
		"user-17.http":                         "unavailable",
		"has-role-17.http":                     "unavailable",
		"has-role-of-website-user-17.http":     "unavailable",
		"has-role-not-permitted-17.http":       "denied",
		"system-user-17.http":                  "unavailable",
		"system-user-of-website-user-17.http":  "unavailable",
		"roles-of-administrator-17.http":       "unavailable",
		"no-get_roles-17.http":                 "unavailable for this credential",
		"no-get_roles-of-website-user-17.http": "unavailable for this credential",

		"introspect_token-16.http": "unavailable",
		"openid_profile-16.http":   "unavailable",
		"roles-16.http":            "unavailable",
		"user-16.http":             "unavailable",

		"introspect_token.http": "unavailable",
		"openid_profile.http":   "unavailable",
		"roles.http":            "unavailable",
		"user.http":             "unavailable",
	}
	ofSession := map[string]string{
		"expired-session-beside-token.http":    "denied", // the named user is not the session's
		"expired-session-beside-token-16.http": "denied",
		"expired-session-beside-token-17.http": "denied",
		"session-disabled.http":                "denied",
		"no-get_roles-17.http":                 "denied", // a missing get_logged_user would look like a disabled user
		"no-get_roles-of-website-user-17.http": "denied",
	}
	files, err := filepath.Glob(testutil.Path(t, "testdata/answers/*.http"))
	if err != nil || len(files) != len(want) {
		t.Errorf("%d recordings, %d expectations: %v", len(files), len(want), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
				_ *http.Request,
			) {
				testutil.Reply(t, w, testutil.Answer(t, name))
			}))
			defer double.Close()
			site := mustLoadSite(t, map[string]any{"urls": []string{double.URL}})
			id, err := site.Verify(t.Context(), bearer(""))
			if got := verdictOf(id, err); got != want[name] {
				t.Errorf("%s, want %q: %v", got, want[name], err)
			}
			id, err = site.Verify(t.Context(), recordedSession)
			if got := verdictOf(id, err); got != cmp.Or(ofSession[name], want[name]) {
				t.Errorf("session: %s, want %q: %v", got, cmp.Or(ofSession[name], want[name]), err)
			}
		})
	}
}

// TestUnknownSite: a tenant that the bench does not have is distinguished from a credential that cannot be looked up,
// and from a wrong site_name.
func TestUnknownSite(t *testing.T) {
	// This answer names nosuch.example.
	html := func(w http.ResponseWriter) { testutil.Reply(t, w, testutil.Answer(t, "unknown-site.http")) }
	json404 := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(404)
		io.WriteString(w, `{"exc_type":"DoesNotExistError"}`)
	}
	denies := func(w http.ResponseWriter) { testutil.Reply(t, w, testutil.Answer(t, "denied-15.http")) }
	failing := func(w http.ResponseWriter) { testutil.Reply(t, w, nil) }
	for _, test := range []struct {
		name, siteName, tenant string
		answer, guest          func(w http.ResponseWriter)
		want, cause            string
	}{
		{"tenant that Frappe names", "{http.request.host}", "nosuch.example", html, nil, "unknown site", ""},
		{"tenant", "{http.request.host}", "a.example", html, html, "unknown site", ""},
		{
			"tenant, with a page of a proxy", "{http.request.host}", "a.example",
			func(w http.ResponseWriter) { http.Error(w, "404 page not found", 404) }, html, "unknown site", "",
		},
		{"tenant, in JSON", "{http.request.host}", "a.example", json404, json404, "unknown site", ""},
		{
			"credential without its document", "{http.request.host}", "a.example", json404, denies,
			"unavailable for this credential", "status 404: the site exists",
		},
		{
			"credential that a firewall blocks as an attack", "{http.request.host}", "a.example", html, denies,
			"unavailable for this credential", "status 404: the site exists",
		},
		{
			"the guest gets no answer", "{http.request.host}", "a.example", html, failing, "unavailable", "the connection broke",
		},
		{
			"socket.io, whatever the tenant", "{http.request.host}", "a.example", socketIO, socketIO, "unavailable", "socket.io",
		},
		{
			"fixed name", "erp.localhost", "", html, html, "unavailable",
			"(erp.localhost): status 404: the bench has no such site; check site_name",
		},
		{
			"no name", "", "", html, html, "unavailable",
			"status 404: the bench has no site with the name of the host in the address; add site_name",
		},
		{
			"no name, one credential", "", "", json404, denies, "unavailable for this credential", "status 404: the site exists",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header["Authorization"] == nil {
					if test.guest == nil {
						t.Error("asked again although Frappe named the site")
						return
					}
					test.guest(w)
					return
				}
				test.answer(w)
			}))
			defer double.Close()
			site := mustLoadSite(t, map[string]any{"urls": []string{double.URL}, "site_name": test.siteName})
			id, err := site.Verify(t.Context(), bearer(test.tenant))
			if got := verdictOf(id, err); got != test.want || !strings.Contains(err.Error(), test.cause) {
				t.Errorf("%s, want %s with %q: %v", got, test.want, test.cause, err)
			}
		})
	}
}

// socketIO answers like socket.io 2 and 4 on Frappe's port 9000.
func socketIO(w http.ResponseWriter) {
	w.Header()["Content-Type"] = nil
	w.WriteHeader(http.StatusNotFound)
}
