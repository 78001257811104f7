package clients

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestAcrossSites: what other sites can make the browser of a logged-in user do. Frappe's cookie has SameSite=Lax, so
// that browsers do not send it along with most of these requests. The tests with SameSite=None show that Caddy does not
// rely on that. Nor does Lax help against another host of the same domain.
func TestAcrossSites(t *testing.T) {
	const (
		evil    = "evil.example.net"
		sibling = "sibling.example.com"
		trusted = "app.example.com"
		own     = "erp.example.com"
	)
	const reads, changes = http.MethodGet, http.MethodPost
	for _, cookie := range []struct {
		name     string
		sameSite http.SameSite
		evil     int // the status of a change that another site wants
	}{
		{"Lax", http.SameSiteLaxMode, 401},
		{"None", http.SameSiteNoneMode, 403},
	} {
		w := start(t, "schemes bearer token session\nlogin /login\ntrusted_origins https://app.example.com:PORT")
		w.erp.SameSite = cookie.sameSite
		b := newTab(t)
		b.open(w.bi(""))
		w.logIn(b)
		for i, test := range []struct {
			name, host, expression, path, method string
			status                               int
		}{
			{"a form", evil, "", "data", changes, cookie.evil},
			{"fetch", evil, `ask("URL", {method: "POST", mode: "no-cors", credentials: "include", body: "x"})`, "data", changes, cookie.evil},
			{"a WebSocket", evil, `socket("URL")`, "socket", reads, cookie.evil},
			{"a form of a sibling", sibling, "", "data", changes, 403},
			{"fetch of a sibling", sibling, `ask("URL", {method: "POST", mode: "no-cors", credentials: "include", body: "x"})`, "data", changes, 403},
			{"a WebSocket of a sibling", sibling, `socket("URL")`, "socket", reads, 403},
			{"a form of a trusted origin", trusted, "", "data", changes, 200},
			{"fetch of a trusted origin", trusted, `ask("URL", {method: "POST", mode: "no-cors", credentials: "include", body: "x"})`, "data", changes, 200},
			{"a WebSocket of a trusted origin", trusted, `socket("URL")`, "socket", reads, 101},
			{"a form of the dashboard", own, "", "data", changes, 200},
			{"a link of another site", evil, `(location.href = "URL", Promise.resolve("gone"))`, "page", reads, 200},
		} {
			t.Run(cookie.name+", "+test.name, func(t *testing.T) {
				uri := test.path + "?" + string(rune('a'+i))
				target := w.bi(uri)
				if test.path == "socket" {
					target = w.socket("?" + string(rune('a'+i)))
				}
				if test.host == own {
					b.open(w.bi(""))
				} else {
					b.open(w.url(test.host, "/"))
				}
				if test.expression == "" {
					if status := b.send(target); status != int64(test.status) {
						t.Errorf("the browser shows a page with %d", status)
					}
				} else {
					b.does(strings.Replace(test.expression, "URL", target, 1))
				}
				status, _ := w.answered(uri)
				if status != test.status {
					t.Errorf("Caddy answered %d, want %d", status, test.status)
				}
				if saw := w.app.saw(test.method + " /bi/" + uri + " by " + alice); saw != (test.status < 300) {
					t.Errorf("the dashboard saw it: %t", saw)
				}
				if boxes := b.opened(); len(boxes) > 0 {
					t.Errorf("a login box opened for %v", boxes)
				}
			})
		}
	}
}

// TestProxyThatLosesThePort: over plain http, behind a proxy that leaves the port out of Host, users can send forms,
// and other sites cannot make them do so.
func TestProxyThatLosesThePort(t *testing.T) {
	app, erp, address := newDashboard(t), newERP(t), testutil.FreeAddress(t)
	sid := random()
	erp.LogIn(sid)
	port := testutil.PortOf(nginx(t, address, ""))
	testutil.RunCaddy(t, fmt.Sprintf(`http://:%s {
	bind 127.0.0.1
	frappe_auth /bi/* {
		backend site %s
		schemes session
	}
	handle /bi/* {
		reverse_proxy %s {
			header_up X-Frappe-User {http.auth.user.id}
		}
	}
	handle {
		header Content-Type text/html
		respond "<title>Page</title><body></body>"
	}
	handle_errors {
		respond {err.status_code}
	}
}`, testutil.PortOf(address), erp.URL, app.URL))
	b := newTab(t)
	own := "http://erp.lan:" + port
	b.setCookie(own, "sid", sid)
	for _, test := range []struct {
		name, from string
		status     int64
	}{
		{"its own page", own, 200},
		{"a sibling", "http://x.erp.lan:" + port, 403},
	} {
		b.open(test.from + "/")
		if status := b.send(own + "/bi/data"); status != test.status {
			t.Errorf("%s: %d, want %d", test.name, status, test.status)
		}
	}
}
