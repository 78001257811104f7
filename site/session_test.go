package site_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// recordedSession is the session of the recordings.
var recordedSession = frappe.Credential{Scheme: frappe.SchemeSession, Session: testutil.RecordedSession}

// TestSessionVerdicts: what a site, or something in front of it, says of a session.
func TestSessionVerdicts(t *testing.T) {
	const user = "/api/resource/User/Administrator"
	granted := testutil.Always(200, testutil.ParsedAnswer(t, "session-granted.http").Body)
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
		{"ended, but an app knows somebody", nil, testutil.Answers{testutil.LoggedUser: testutil.Always(200, `{"session_expired":1,"message":"app@example.com"}`)}, "denied"},
		{"refused in other words", nil, testutil.Answers{testutil.LoggedUser: testutil.Always(401, `{}`)}, "denied"},
		{"user disabled", nil, testutil.Answers{testutil.LoggedUser: invalid(417)}, "denied"},
		{"the same with another status", nil, testutil.Answers{testutil.LoggedUser: invalid(500)}, "unavailable"},
		{"another exception", nil, testutil.Answers{testutil.LoggedUser: testutil.Always(417, `{"exc_type":"UnicodeDecodeError"}`)}, "unavailable for this credential"},
		{"417 without an exception", nil, testutil.Answers{testutil.LoggedUser: testutil.Always(417, `{"message":"Administrator"}`)}, "unavailable for this credential"},
		{"roles", map[string]any{"roles": true}, testutil.Answers{testutil.LoggedUser: granted, testutil.GetRoles: roles}, "Administrator"},
		{"ended before its roles were read", map[string]any{"roles": true}, testutil.Answers{testutil.LoggedUser: granted, testutil.GetRoles: ended}, "denied"},
		{"user disabled before its roles were read", map[string]any{"roles": true}, testutil.Answers{testutil.LoggedUser: granted, testutil.GetRoles: invalid(417)}, "denied"},
		{"may not read its roles", map[string]any{"roles": true}, testutil.Answers{testutil.LoggedUser: granted, testutil.GetRoles: testutil.Always(403, `{}`)}, "unavailable for this credential"},
		{"enabled", map[string]any{"refuse_disabled": true}, testutil.Answers{testutil.LoggedUser: granted, user: enabled}, "Administrator"},
		{"ended before its user was read", map[string]any{"refuse_disabled": true}, testutil.Answers{testutil.LoggedUser: granted, user: ended}, "denied"},
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

// TestSessionAndProxies: what does not come from Frappe is no verdict on a session.
func TestSessionAndProxies(t *testing.T) {
	for _, test := range []struct {
		status int
		want   string
	}{
		{200, "unavailable"},
		{302, "unavailable"},
		{401, "unavailable for this credential"},
		{403, "unavailable for this credential"},
		{417, "unavailable for this credential"},
		{502, "unavailable"},
	} {
		double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Location", "/login")
			w.WriteHeader(test.status)
			io.WriteString(w, "<p>Administrator</p>")
		}))
		defer double.Close()
		id, err := mustLoadSite(t, map[string]any{"urls": []string{double.URL}}).Verify(t.Context(), recordedSession)
		if got := verdictOf(id, err); got != test.want {
			t.Errorf("%d: %s, want %s: %v", test.status, got, test.want, err)
		}
	}
}

// TestSessionRequests: of a client's request, only its session reaches the site, in each request that is sent for it. What
// cookies the site sets reaches neither the client nor the site.
func TestSessionRequests(t *testing.T) {
	var (
		mu   sync.Mutex
		seen strings.Builder
	)
	double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		header := r.Header.Clone()
		header.Set("Host", r.Host) // which the server takes out
		fmt.Fprintf(&seen, "%s %s %s\n", r.Method, r.RequestURI, r.Proto)
		header.Write(&seen) //nolint:errcheck // in memory
		for _, cookie := range []string{"sid=fromsite; Path=/", "user_id=Administrator; Path=/"} {
			w.Header().Add("Set-Cookie", cookie)
		}
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case testutil.LoggedUser:
			io.WriteString(w, testutil.ParsedAnswer(t, "session-granted.http").Body)
		case testutil.GetRoles:
			io.WriteString(w, testutil.ParsedAnswer(t, "roles.http").Body)
		default:
			io.WriteString(w, `{"data":{"name":"Administrator","enabled":1,"full_name":"Admin"}}`)
		}
	}))
	t.Cleanup(double.Close)
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth {
		backend site %s {
			site_name erp.example.com
			roles
			refuse_disabled
		}
		schemes session token
		cache {
			ttl 0
		}
	}
	respond "{http.auth.user.id}|{http.auth.user.scheme}"
}`, address, double.URL))
	for range 2 {
		got := testutil.Get(t, "http://"+address+"/bi?sid=x&a=b",
			"Cookie: a=1; sid="+testutil.RecordedSession+"; sid=other; system_user=yes; full_name=Mallory", "Authorization: ",
			"Frappe-Authorization-Source: ToDo", "X-Frappe-Site-Name: two.example.com", "X-Forwarded-For: 10.0.0.1", "X-Frappe-CSRF-Token: t",
			"User-Agent: browser", "Accept-Language: de", "Referer: https://erp.example.com/", "Origin: https://erp.example.com", "Tracestate: a=b")
		if got.Status != 200 || got.Body != "Administrator|session" || got.Header["Set-Cookie"] != nil {
			t.Errorf("%d %q %v", got.Status, got.Body, got.Header)
		}
	}
	testutil.Golden(t, "site/testdata/session-requests.txt", strings.ReplaceAll(seen.String(), "\r\n", "\n"))
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
			id, err := mustLoadSite(t, map[string]any{"urls": []string{double.URL}, "site_name": "{http.request.host}"}).Verify(t.Context(), of)
			if got := verdictOf(id, err); got != test.want {
				t.Errorf("%s, want %s: %v", got, test.want, err)
			}
		})
	}
}
