package frappeauth_test

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestLoginLoop: where the login page takes a session for good that is refused here, it sends the browser straight back, and the
// browser then gets 401. Without a session, it is sent to the login page again and again.
func TestLoginLoop(t *testing.T) {
	address := testutil.FreeAddress(t)
	runCaddy(t, `http://`+address+` {
		route {
			@back {
				path /login
				header Cookie *sid=*
			}
			redir @back {query.redirect-to} 302
			respond /login "log in"
			frappe_auth {
				backend test_people
				schemes session
				login /login
			}
			respond {http.auth.user.id}
		}
	}`)
	home, err := url.Parse("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: testutil.Client.Transport, Jar: jar}
	for _, step := range []struct {
		name, sid string
		status    int
		path      string
	}{
		{"without a session", "", 200, "/login"},
		{"without a session, again", "", 200, "/login"},
		{"with a session that only the login page accepts", "600d", 401, "/bi"},
		{"with a session, after a login", aliceSession, 200, "/bi"},
		{"logged out", "", 200, "/login"},
	} {
		jar.SetCookies(home, []*http.Cookie{{Name: "sid", Value: step.sid, MaxAge: len(step.sid)*2 - 1}})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, home.JoinPath("bi").String(), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		resp, err := client.Do(r)
		if err != nil {
			t.Errorf("%s: %v", step.name, err)
			continue
		}
		resp.Body.Close()
		if resp.StatusCode != step.status || resp.Request.URL.Path != step.path {
			t.Errorf("%s: %d at %s, want %d at %s", step.name, resp.StatusCode, resp.Request.URL.Path, step.status, step.path)
		}
	}
}
