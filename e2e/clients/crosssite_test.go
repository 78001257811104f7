package clients

import (
	"net/http"
	"strings"
	"testing"
)

// TestAcrossSites: what other sites can make the browser of a logged-in user do. Frappe's cookie has SameSite=Lax, so that
// browsers do not send it along with most of these requests. The tests with SameSite=None show that Caddy does not rely on
// that. Nor does Lax help against another host of the same domain.
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
		w.erp.sameSite = cookie.sameSite
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
