package e2e

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const (
	loggedIn    = testutil.RecordedSession // of Administrator
	deadSession = "0000000000000000000000000000000000000000000000000000dead"
)

// runSessions runs sessionsCaddyfile with a double of the recorded site.
func runSessions(t *testing.T, options string) (address string, site *testutil.RecordedSite) {
	t.Helper()
	address, site = testutil.FreeAddress(t), testutil.NewRecordedSite(t, testutil.OnMariaDB)
	testutil.RunCaddy(t, sessionsCaddyfile(address, site, options))
	return address, site
}

func sessionsCaddyfile(address string, site *testutil.RecordedSite, options string) string {
	return caddyfileOf(address, "backend site "+site.URL+" {\nroles\n}\n"+options)
}

// caddyfileOf returns a site with frappe_auth, which answers with the user and the credential that it gets.
func caddyfileOf(address, block string) string {
	return "http://" + address + ` {
	log
	frappe_auth {
		` + block + `
	}
	respond "{http.auth.user.id}|{http.auth.user.scheme}|{header.Cookie}|{header.Authorization}"
}`
}

// TestSession: which requests are granted by a session, and what the next handler sees of it.
func TestSession(t *testing.T) {
	const (
		cookie = "Cookie: a=1; sid=" + loggedIn + ";b=2"
		dead   = "Cookie: sid=" + deadSession
		wrong  = "Authorization: token " + testutil.AliceKey + "x:y"
		own    = "Authorization: Bearer own"
	)
	for _, test := range []struct {
		name, options string
		headers       []string
		status        int
		body          string // if the request passes
		asked         int
	}{
		{
			"session", "schemes basic session",
			[]string{cookie},
			200, "Administrator|session|a=1; sid=" + loggedIn + ";b=2|",
			1,
		},
		{
			"session in quotes", "schemes session",
			[]string{`Cookie: sid="` + loggedIn + `"`},
			200,
			`Administrator|session|sid="` + loggedIn + `"|`, 1,
		},
		{"session, hidden", "schemes session\nhide_credentials", []string{cookie}, 200, "Administrator|session|a=1;b=2|", 1},
		{
			"only the session, hidden", "schemes session\nhide_credentials",
			[]string{"Cookie: sid=" + loggedIn},
			200,
			"Administrator|session||", 1,
		},
		{"session that is not accepted", "", []string{cookie}, 401, "", 0},
		{
			"session that is not accepted, beside a key", "hide_credentials",
			[]string{cookie, tokenHeader},
			200,
			"alice@example.com|token|a=1; sid=" + loggedIn + ";b=2|", 1,
		},
		{"unknown session", "schemes session", []string{dead}, 401, "", 1},
		{"session of Guest", "schemes session", []string{"Cookie: sid=Guest"}, 401, "", 0},
		{"empty session", "schemes session", []string{"Cookie: sid="}, 401, "", 0},
		{"no session", "schemes session", []string{"Cookie: a=1"}, 401, "", 0},
		{"the first of two", "schemes session", []string{"Cookie: sid=" + deadSession + "; sid=" + loggedIn}, 401, "", 1},
		{
			"a key beside it", "schemes token session\nhide_credentials",
			[]string{dead, tokenHeader},
			200,
			"alice@example.com|token||", 1,
		},
		{"a bad key beside it", "schemes token session", []string{cookie, wrong}, 401, "", 1},
		{"a malformed header beside it", "schemes token session", []string{cookie, "Authorization: token"}, 401, "", 0},
		{
			"the application's header beside it", "schemes token session\nhide_credentials",
			[]string{cookie, own},
			200,
			"Administrator|session|a=1;b=2|Bearer own", 1,
		},
		{
			"the application's API key beside it", "schemes session",
			[]string{cookie, tokenHeader},
			200,
			"Administrator|session|a=1; sid=" + loggedIn + ";b=2|token " + testutil.AliceKey + ":" + testutil.AliceSecret, 1,
		},
		{
			"the application's signature beside it", "schemes session",
			[]string{cookie, "Authorization: AWS4-HMAC-SHA256 a=b"},
			200, "Administrator|session|a=1; sid=" + loggedIn + ";b=2|AWS4-HMAC-SHA256 a=b", 1,
		},
		{"the application's header beside a bad session", "schemes session", []string{dead, own}, 401, "", 1},
		{"the application's header alone", "schemes session", []string{own}, 401, "", 0},
		{"the application's header alone, anonymous", "schemes session\nanonymous", []string{own}, 401, "", 0},
		{"the application's header beside Guest", "schemes session", []string{own, "Cookie: sid=Guest"}, 401, "", 0},
		{"the application's header, no sessions", "schemes token", []string{cookie, own}, 401, "", 0},
		{"a header without a scheme beside it", "schemes session", []string{cookie, "Authorization: =x"}, 401, "", 0},
		{"a tab after the scheme beside it", "schemes token session", []string{cookie, "Authorization: token\tx:y"}, 401, "", 0},
		{"two spaces beside it", "schemes bearer session", []string{cookie, "Authorization: bearer  x"}, 401, "", 0},
		{"two headers beside it", "schemes token session", []string{cookie, tokenHeader, tokenHeader}, 400, "", 0},
		{
			"an empty header beside it", "schemes session",
			[]string{cookie, "Authorization: "},
			200,
			"Administrator|session|a=1; sid=" + loggedIn + ";b=2|", 1,
		},
		{
			"a scheme named session in the header", "schemes session",
			[]string{"Authorization: session " + loggedIn},
			401, "",
			0,
		},
		{"anonymous, no session", "schemes session\nanonymous", nil, 200, "Guest|||", 0},
		{"anonymous, Guest", "schemes session\nanonymous", []string{"Cookie: sid=Guest"}, 200, "Guest||sid=Guest|", 0},
		{"anonymous, unknown session", "schemes session\nanonymous", []string{dead}, 401, "", 1},
		{"role that the user lacks", "schemes session\nrequire role Auditor", []string{cookie}, 403, "", 1},
		{
			"role that the user has", "schemes session\nrequire role \"Report Manager\"",
			[]string{"Cookie: sid=" + loggedIn},
			200, "Administrator|session|sid=" + loggedIn + "|", 1,
		},
		{"session in capitals", "schemes session", []string{"Cookie: sid=" + strings.ToUpper(loggedIn)}, 401, "", 0},
		{
			"beside a backend without sessions", "schemes token session\nbackend static {\ntoken " + testutil.AliceKey + " " +
				testutil.Hash("s") + " bob@example.com\n}",
			[]string{cookie},
			200,
			"Administrator|session|a=1; sid=" + loggedIn + ";b=2|", 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, site := runSessions(t, test.options)
			got := testutil.Get(t, "http://"+address, test.headers...)
			if n := site.Asked(); n != test.asked {
				t.Errorf("the site was asked %d times", n)
			}
			if got.Status != test.status || test.status == 200 && got.Body != test.body {
				t.Errorf("%d %q", got.Status, got.Body)
			}
		})
	}
}

// TestApplicationHeaderPassesTwoHandlers: a second handler leaves the application's header alone, too, where the first
// one has hidden the session.
func TestApplicationHeaderPassesTwoHandlers(t *testing.T) {
	address, site := testutil.FreeAddress(t), testutil.NewRecordedSite(t, testutil.OnMariaDB)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	route {
		frappe_auth %[2]s {
			schemes session
			hide_credentials
		}
		frappe_auth %[2]s {
			schemes session token
		}
		respond "{http.auth.user.id}|{header.Cookie}|{header.Authorization}"
	}
}`, address, site.URL))
	got := testutil.Get(t, "http://"+address, "Cookie: sid="+loggedIn, "Authorization: Bearer own")
	if got.Status != 200 || got.Body != "Administrator||Bearer own" {
		t.Errorf("%d %q", got.Status, got.Body)
	}
}

// TestLogoutEndsSession: a logout takes effect when the cached verdict expires. While the site is unavailable, browsers
// are not sent to the login page. Cookies of the site's answers do not reach clients.
func TestLogoutEndsSession(t *testing.T) {
	const navigation = "Sec-Fetch-Mode: navigate"
	address, site := runSessions(t, "schemes session\nlogin /login\ncache {\nttl 0\n"+
		"negative_ttl 0\n}")
	for _, test := range []struct {
		name                   string
		loggedOut, maintenance bool
		status                 int
	}{
		{"logged in", false, false, 200},
		{"maintenance", false, true, 503},
		{"logged out in maintenance", true, true, 503},
		{"logged out", true, false, 302},
	} {
		site.LoggedOut.Store(test.loggedOut)
		site.Maintenance.Store(test.maintenance)
		got := testutil.Get(t, "http://"+address, "Cookie: sid="+loggedIn, navigation)
		cookies := strings.Join(got.Header["Set-Cookie"], "")
		if got.Status != test.status || len(got.Header["Set-Cookie"]) > 1 ||
			cookies != "" && !strings.HasPrefix(cookies, "frappe_auth_login_") {
			t.Errorf("%s: %d %v", test.name, got.Status, got.Header)
		}
	}
}

// TestCrossSiteRequests: a request that another site makes a browser send with a session, and that may change
// something, is refused before any backend is asked.
func TestCrossSiteRequests(t *testing.T) {
	const (
		cookie  = "Cookie: sid=" + loggedIn
		cross   = "Sec-Fetch-Site: cross-site"
		evil    = "Origin: https://evil.example.net"
		trusted = "Origin: https://app.example.com"
		upgrade = "Upgrade: websocket"
	)
	address, site := testutil.FreeAddress(t), testutil.NewRecordedSite(t, testutil.OnMariaDB)
	testutil.RunCaddy(t, "{\nservers {\ntrusted_proxies static 127.0.0.1\n}\n}\n"+
		sessionsCaddyfile(address, site, "schemes token session\n"+
			"trusted_origins https://app.example.com https://other.example.com"))
	for _, test := range []struct {
		name, method string
		headers      []string
		status       int
	}{
		{"a form of another site", "POST", []string{cookie, cross, evil}, 403},
		{"a form of another site, old browser", "POST", []string{cookie, evil}, 403},
		{"a form of a sandboxed frame", "POST", []string{cookie, "Origin: null"}, 403},
		{"a form of a sibling", "PUT", []string{cookie, "Sec-Fetch-Site: same-site", "Origin: https://x.example.com"}, 403},
		{"a form of the same origin", "POST", []string{cookie, "Sec-Fetch-Site: same-origin"}, 200},
		{"a form of the same origin, old browser", "POST", []string{cookie, "Origin: http://" + address}, 200},
		{
			"a form of the same origin behind a proxy", "POST",
			[]string{cookie, "Origin: https://erp.example.com", "X-Forwarded-Host: erp.example.com"},
			200,
		},
		{"a form of a trusted origin", "DELETE", []string{cookie, cross, trusted}, 200},
		{"no browser", "POST", []string{cookie}, 200},
		{"a link of another site", "GET", []string{cookie, cross, "Sec-Fetch-Mode: navigate"}, 200},
		{"a preflight", "OPTIONS", []string{cookie, cross, evil, "Access-Control-Request-Method: POST"}, 200},
		{"a WebSocket of another site", "GET", []string{cookie, upgrade, "Connection: Upgrade", evil}, 403},
		{"a WebSocket of the same origin", "GET", []string{
			cookie, upgrade, "Connection: Upgrade",
			"Origin: http://" + address,
		}, 200},
		{"an API key across sites", "POST", []string{tokenHeader, cross, evil}, 200},
		{"an API key across sites, beside a session", "POST", []string{tokenHeader, cookie, cross, evil}, 200},
		{"no session", "POST", []string{cross, evil}, 401},
		{"an unknown session", "POST", []string{"Cookie: sid=" + deadSession, cross, evil}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := site.Asked()
			got := testutil.RequestOver(t, testutil.Client, test.method, "http://"+address, test.headers...)
			if got.Status != test.status {
				t.Errorf("%d %v", got.Status, got.Header)
			}
			if test.status == 403 && site.Asked() > before {
				t.Error("the site was asked")
			}
			if test.status == 403 && got.Header["Www-Authenticate"] != nil {
				t.Errorf("it has a challenge: %v", got.Header)
			}
		})
	}
}

// TestLoginRedirect: navigations without a session are redirected to the login page, and no other requests.
func TestLoginRedirect(t *testing.T) {
	const (
		navigate = "Sec-Fetch-Mode: navigate"
		html     = "Accept: text/html"
		dead     = "Cookie: sid=" + deadSession
	)
	address, site := testutil.FreeAddress(t), testutil.NewRecordedSite(t, testutil.OnMariaDB)
	testutil.RunCaddy(t, sessionsCaddyfile(address, site, "schemes basic session\nlogin /login")+`
http://localhost:`+testutil.PortOf(address)+` {
	handle_path /bi* {
		frappe_auth {
			backend site `+site.URL+` {
				roles
			}
			schemes session
			login /login
			require role Auditor
			anonymous
		}
		respond passed
	}
	handle {
		frappe_auth {
			backend site `+site.URL+`
			schemes session
			login /login
		}
		respond passed
	}
}`)
	const login = "/login?redirect-to="
	for _, test := range []struct {
		name, method, host, target string
		headers                    []string
		status                     int
		location                   string
	}{
		{"a page", "GET", address, "/bi/?a=b%20c&d", []string{navigate}, 302, login + "%2Fbi%2F%3Fa%3Db%2520c%26d"},
		{"an old browser", "GET", address, "/", []string{html}, 302, login + "%2F"},
		{"HEAD", "HEAD", address, "/", []string{navigate}, 302, login + "%2F"},
		{"an unknown session", "GET", address, "/", []string{navigate, dead}, 302, login + "%2F"},
		{"Guest", "GET", address, "/", []string{navigate, "Cookie: sid=Guest"}, 302, login + "%2F"},
		{"a good session", "GET", address, "/", []string{navigate, "Cookie: sid=" + loggedIn}, 200, ""},
		{"another host in the path", "GET", address, "//evil.example.net", []string{navigate}, 302, login + "%2F"},
		{"another host in the path, escaped", "GET", address, "/%5cevil.example.net", []string{navigate}, 302, login + "%2F"},
		{
			"another host in the absolute form", "GET", address, "http://" + address + "//evil.example.net/",
			[]string{navigate},
			302, login + "%2F",
		},
		{"a script", "GET", address, "/", []string{"Sec-Fetch-Mode: cors", html}, 401, ""},
		{"curl", "GET", address, "/", []string{"Accept: */*"}, 401, ""},
		{"a form", "POST", address, "/", []string{navigate, html}, 401, ""},
		{"a header", "GET", address, "/", []string{navigate, "Authorization: token x:y"}, 401, ""},
		{"an empty header", "GET", address, "/", []string{navigate, "Authorization: "}, 401, ""},
		{"a good header", "GET", address, "/", []string{navigate, "Authorization: " + testutil.AliceBasic}, 200, ""},
		{"unavailable", "GET", address, "/", []string{navigate, "Cookie: sid=unavailable"}, 503, ""},
		{
			"the path before it was stripped", "GET", "localhost", "/bi/x",
			[]string{navigate},
			302,
			"/login?redirect-to=%2Fbi%2Fx",
		},
		{"Guest may not pass", "GET", "localhost", "/bi", []string{navigate}, 302, "/login?redirect-to=%2Fbi"},
		{"a user may not pass", "GET", "localhost", "/bi", []string{navigate, "Cookie: sid=" + loggedIn}, 403, ""},
		{"the login page", "GET", "localhost", "/login?redirect-to=%2F", []string{navigate}, 401, ""},
		{"the login page, escaped", "GET", "localhost", "/%6cogin/", []string{navigate}, 401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			site.Maintenance.Store(test.status == 503)
			host := test.host
			if host == "localhost" {
				host += ":" + testutil.PortOf(address)
			}
			raw := test.method + " " + test.target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n" +
				strings.Join(test.headers, "\r\n") + "\r\n\r\n"
			got := testutil.RawRequest(t, address, raw)
			if got.Status != test.status || got.Header.Get("Location") != test.location {
				t.Errorf("%d to %q", got.Status, got.Header.Get("Location"))
			}
			if got.Status == http.StatusFound && (got.Header.Get("Cache-Control") != "no-store" ||
				got.Header["Www-Authenticate"] != nil) {
				t.Errorf("%v", got.Header)
			}
		})
	}
}

// TestLoginRedirectsInACircle: if the login page accepts a session that is refused here, it sends the browser back at
// once, and the browser then gets 401. Without a session, each navigation is redirected to the login page.
func TestLoginRedirectsInACircle(t *testing.T) {
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, `http://`+address+` {
		route {
			@back {
				path /login
				header Cookie *sid=600d*
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
		name, page, sid string
		status          int
		path            string
	}{
		{"without a session", "bi", "", 200, "/login"},
		{"without a session, again", "bi", "", 200, "/login"},
		{"with a session that only the login page accepts", "bi", "600d", 401, "/bi"},
		{"with a session, after a login", "bi", loggedIn, 200, "/bi"},
		{"with a session that has ended, another page", "reports", "dead", 200, "/login"},
		{"the first page again", "bi", "dead", 401, "/bi"},
		{"logged out", "bi", "", 200, "/login"},
	} {
		jar.SetCookies(home, []*http.Cookie{{Name: "sid", Value: step.sid, MaxAge: len(step.sid)*2 - 1}})
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, home.JoinPath(step.page).String(), http.NoBody)
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
