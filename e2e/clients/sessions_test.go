package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// world is what runs for a test: an ERP, a dashboard, and Caddy in front of both with TLS.
type world struct {
	t     *testing.T
	caddy *testutil.Caddy
	erp   *erp
	app   *dashboard
	port  string
}

// start runs Caddy. The dashboard is a part of the ERP's own host name. Other hosts have a page each.
func start(t *testing.T, options string) *world {
	t.Helper()
	w := &world{t: t, erp: newERP(t), app: newDashboard(t)}
	w.caddy, w.port, _ = runCaddy(t, fmt.Sprintf(`erp.example.com {
	log
	@protected path /bi/* /javascript/*
	frappe_auth @protected {
		backend site %[1]s
		hide_credentials
		%[3]s
	}
	handle /bi/* {
		reverse_proxy %[2]s {
			header_up X-Frappe-User {http.auth.user.id}
		}
	}
	handle {
		reverse_proxy %[1]s
	}
	handle_errors {
		respond "{http.auth.frappe.error}"
	}
}
app.example.com, sibling.example.com, evil.example.net {
	header Content-Type text/html
	respond <title>Elsewhere</title><body></body>
}`, w.erp.URL, w.app.URL, options), "erp.example.com", "app.example.com", "sibling.example.com", "evil.example.net")
	return w
}

// url is the URL of a path on a host, with that scheme.
func (w *world) url(host, path string) string { return "https://" + host + ":" + w.port + path }

// bi is the URL of a part of the dashboard.
func (w *world) bi(path string) string { return w.url("erp.example.com", "/bi/"+path) }

// socket is the URL of a WebSocket of the dashboard.
func (w *world) socket(query string) string {
	return "wss" + strings.TrimPrefix(w.bi("socket"+query), "https")
}

// answered waits for the access log's line of a request of the dashboard, and returns the status and the challenges.
func (w *world) answered(uri string) (status int, challenges string) {
	w.t.Helper()
	var line struct {
		Logger  string
		Status  int
		Request struct{ URI string }
		Headers http.Header `json:"resp_headers"`
	}
	testutil.Eventually(w.t, "the access log has "+uri, func() bool {
		for text := range strings.Lines(w.caddy.Logs()) {
			err := json.Unmarshal([]byte(text), &line)
			if err == nil && strings.HasPrefix(line.Logger, "http.log.access") && line.Request.URI == "/bi/"+uri {
				return true
			}
		}
		return false
	})
	return line.Status, strings.Join(line.Headers["Www-Authenticate"], "|")
}

// logIn fills in the login page, and waits for the page that it leads to.
func (w *world) logIn(b *tab) {
	w.t.Helper()
	run(b, chromedp.Steps(
		chromedp.SetValue("#login_email", alice),
		chromedp.SetValue("#login_password", password),
		chromedp.Click(".btn-login"),
		chromedp.WaitVisible("h1"),
	))
}

const everyScheme = "schemes basic bearer token session\nlogin /login"

// TestPeople: from a page that needs a session to the login page and back, what the page's scripts then get, and that all is
// over with the logout.
func TestPeople(t *testing.T) {
	w := start(t, everyScheme+"\ncache {\nsession_ttl 200ms\n}")
	b := newTab(t)

	at, status := b.open(w.bi("report?from=2026-01&q=a%20b"))
	if want := w.url("erp.example.com", "/login?redirect-to=%2Fbi%2Freport%3Ffrom%3D2026-01%26q%3Da%2520b"); at != want || status != 200 {
		t.Fatalf("without a session the browser is at %s with %d, want %s", at, status, want)
	}
	w.logIn(b)
	location, user := run(b, chromedp.Location()), run(b, chromedp.Text("h1"))
	if location != w.bi("report?from=2026-01&q=a%20b") || user != alice {
		t.Fatalf("after the login %q is at %s", user, location)
	}
	sid := b.cookie(location, "sid")

	w.tryWays(t, b, "logged in", true)
	if title := b.does(`frame("/bi/?logged-in")`); title != "Dashboard" {
		t.Errorf("a frame shows %s", title)
	}

	b.does(`ask("/api/method/logout")`)
	if b.cookie(location, "sid") != "" {
		t.Error("the browser still has a session after the logout")
	}
	w.tryWays(t, b, "logged out", false)
	if title := b.does(`frame("/bi/?logged-out")`); title != "Login" {
		t.Errorf("a frame shows %s after the logout", title)
	}
	if at, _ := b.open(w.bi("")); at != w.url("erp.example.com", "/login?redirect-to=%2Fbi%2F") {
		t.Errorf("after the logout the browser is at %s", at)
	}

	b.setCookie(location, "sid", sid)
	testutil.Eventually(t, "the session that was logged out is refused", func() bool {
		return b.does(`ask("/bi/data?replayed")`) == "401 credential denied"
	})
	if logs := w.caddy.Logs(); strings.Contains(logs, sid) || !strings.Contains(logs, "/bi/data?replayed") {
		t.Error("the session is in the log, or nothing is")
	}

	w.erp.Close()
	b.setCookie(location, "sid", random())
	if said := b.does(`ask("/bi/data")`); said != "503 the credential could not be verified" {
		t.Errorf("without the ERP a script is told %q", said)
	}
	if at, status := b.open(w.bi("page")); status != 503 || at != w.bi("page") {
		t.Errorf("without the ERP the browser is at %s with %d", at, status)
	}
}

// TestLoginStays: after the login the browser is on the same host, also for an address of which Frappe's login page makes one of
// another host.
func TestLoginStays(t *testing.T) {
	w := start(t, everyScheme)
	b := newTab(t)
	b.open(w.url("erp.example.com", "/javascript/evil.example.net:"+w.port+"/"))
	w.logIn(b)
	if at := run(b, chromedp.Location()); at != w.url("erp.example.com", "/") {
		t.Errorf("after the login the browser is at %s", at)
	}
	for to, want := range map[string]string{"/bi/page": "/bi/page", "https://evil.example.net:" + w.port + "/": "/app", "": "/app"} {
		at, _ := b.open(w.url("erp.example.com", "/login?"+url.Values{"redirect-to": {to}}.Encode()))
		if at != w.url("erp.example.com", want) {
			t.Errorf("to %q: the browser is at %s", to, at)
		}
	}
}

// TestLoginBox: Chromium opens a login box of its own for a page, if Basic is accepted and there is no login page. It opens
// none for what a page's scripts ask for, if there is another scheme, whatever their order.
func TestLoginBox(t *testing.T) {
	for _, test := range []struct {
		name, options string
		box           bool // for a page
	}{
		{"Basic first", "schemes basic bearer token session", true},
		{"session first", "schemes session token bearer basic", true},
		{"Basic and session", "schemes basic session", true},
		{"only Basic", "schemes basic", true},
		{"without session", "schemes basic bearer token", true},
		{"without Basic", "schemes bearer token session", false},
		{"only session", "schemes session", false},
		{"Basic first, with a login page", everyScheme, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, b := start(t, test.options), newTab(t)
			at, _ := b.open(w.bi("page"))
			if got := len(b.opened()) > 0; got != test.box {
				t.Errorf("for a page: %t, at %s", got, at)
			}
			b.open(w.url("erp.example.com", "/login"))
			if test.options != "schemes basic" {
				w.tryWays(t, b, "no session", false)
				return
			}
			b.does(`ask("/bi/data")`) // RFC 9110 wants a challenge, and there is no other
			if len(b.opened()) == 0 {
				t.Error("no login box opened for a script, so these tests do not see them")
			}
		})
	}
}
