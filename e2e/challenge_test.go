package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestChallenges: which challenges a client gets. A browser gets none that opens its login box over a page, unless the
// user opened the page with the box.
func TestChallenges(t *testing.T) {
	const (
		browser = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
		html    = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
		page    = "Referer: http://erp.lan/app/page"
		script  = "Sec-Fetch-Dest: empty"
		own     = "Sec-Fetch-Site: same-origin"
		box     = "Cookie: frappe_auth_box=1"
		session = "Cookie: sid=" + deadSession
		pair    = "Authorization: token x:y"
		token   = "Authorization: Bearer x"
		wrong   = "Authorization: Basic eDp5"
	)
	discovery := "\nprotected_resource {\nauthorization_server https://erp.example.com\n}"
	for _, test := range []struct {
		name, schemes string
		headers       []string
		want          string
	}{
		{"no browser", "", nil, "Basic"},
		{"a wrong password", "", []string{wrong}, "Basic"},
		{"an unknown token", "", []string{token}, "Basic Bearer"},
		{"an unknown API key", "", []string{pair}, "Basic Bearer"},
		{"a malformed header", "", []string{"Authorization: token"}, "Basic Bearer"},
		{"a malformed password", "", []string{"Authorization: Basic x"}, "Basic"},
		{"in another order", "bearer token basic", []string{token}, "Bearer Basic"},
		{"in another order, no token", "bearer token basic", nil, "Basic"},
		{"tokens only", "token bearer", nil, "Bearer"},
		{"tokens and sessions", "session token bearer", nil, "Bearer"},
		{"API keys only", "token", nil, "token"},
		{"API keys and sessions", "session token", nil, "token"},
		{"API keys and Basic", "token basic", []string{pair}, "Basic"},
		{"metadata", "bearer basic" + discovery, nil, "Basic Bearer"},
		{"metadata, a wrong password", "bearer basic" + discovery, []string{wrong}, "Basic Bearer"},
		{"metadata, a script", "bearer basic" + discovery, []string{script}, "Bearer"},

		{"a page", "", []string{"Sec-Fetch-Dest: document"}, "Basic"},
		{"a frame", "", []string{"Sec-Fetch-Dest: iframe"}, "Basic"},
		{"an old frame", "", []string{"Sec-Fetch-Dest: frame"}, "Basic"},
		{"a page, beside a session", "basic session", []string{"Sec-Fetch-Dest: document", session}, "Basic"},
		{"a page through a worker", "", []string{script, own, "Sec-Fetch-Mode: navigate"}, "Basic"},
		{"a page over plain http", "", []string{browser, html, page}, "Basic"},
		{"a mail program's calendar", "", []string{browser, script, "Sec-Fetch-Site: none"}, "Basic"},
		{"a mail program's calendar over plain http", "", []string{browser, "Accept: text/xml"}, "Basic"},
		{"PowerShell", "", []string{"User-Agent: Mozilla/5.0 (Windows NT; en-US) WindowsPowerShell/5.1"}, "Basic"},
		{"lftp", "", []string{"User-Agent: lftp/4.9.2", "Referer: http://erp.lan/", "Accept: */*"}, "Basic"},
		{"an Android web view", "", []string{"X-Requested-With: com.example.app"}, "Basic"},

		{"a script", "", []string{script, own}, "Bearer"},
		{"a script, no Bearer", "basic token", []string{script, own}, "token"},
		{"a script, sessions", "basic session", []string{script, own}, "Cookie"},
		{"a script, Basic alone", "basic", []string{script, own}, "Basic"},
		{"an image", "", []string{"Sec-Fetch-Dest: image"}, "Bearer"},
		{"a worker", "", []string{"Sec-Fetch-Dest: worker"}, "Bearer"},
		{"an older script", "", []string{"X-Requested-With: XMLHttpRequest"}, "Bearer"},
		{
			"a WebSocket", "",
			[]string{"Connection: Upgrade", "Upgrade: websocket", "Origin: https://erp.example.com"},
			"Bearer",
		},
		{"a WebSocket of a program", "", []string{"Connection: Upgrade", "Upgrade: websocket"}, "Basic"},
		{"a script over plain http", "", []string{browser, page, "Accept: */*"}, "Bearer"},
		{"a script over plain http, POST", "", []string{browser, "Origin: http://erp.lan"}, "Bearer"},
		{"a script over plain http, a cookie", "", []string{browser, session}, "Bearer"},
		{"a script over plain http, its token", "", []string{browser, pair}, "Bearer"},
		{"a script over plain http that wants HTML, its token", "", []string{browser, html, token}, "Bearer"},

		{"of a page by the box", "", []string{script, own, box}, "Basic"},
		{"a style sheet of a page by the box", "", []string{"Sec-Fetch-Dest: style", own, box}, "Basic"},
		{"of a page by the box, its token", "", []string{script, own, box, pair}, "Bearer"},
		{
			"of a page by the box, an old session", "basic session",
			[]string{script, own, box + "; sid=" + deadSession},
			"Basic",
		},
		{"of a page by the box, over plain http", "", []string{browser, page, box, "Accept: text/css"}, "Basic"},
		{"of another origin", "", []string{"Sec-Fetch-Dest: image", "Sec-Fetch-Site: same-site", box}, "Bearer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			schemes := test.schemes
			if schemes != "" {
				schemes = "schemes " + schemes
			}
			address, _ := runSessions(t, schemes)
			got := testutil.Get(t, "http://"+address, test.headers...)
			var offered []string
			for _, line := range got.Header["Www-Authenticate"] {
				scheme, _, _ := strings.Cut(line, " ")
				offered = append(offered, scheme)
			}
			if got.Status != 401 || strings.Join(offered, " ") != test.want {
				t.Errorf("%d %q", got.Status, got.Header["Www-Authenticate"])
			}
		})
	}
}

// TestLoginBoxIsRemembered: a page that was opened with Basic sets the cookie by which the page's scripts and pictures
// are known, and one that was opened with a session removes it. Nothing else does.
func TestLoginBoxIsRemembered(t *testing.T) {
	const (
		navigate = "Sec-Fetch-Mode: navigate"
		html     = "Accept: text/html"
		box      = "frappe_auth_box=1"
		basic    = "Authorization: " + testutil.AliceBasic
	)
	set, removed := box+"; Path=/; HttpOnly; SameSite=Lax", box+"; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
	for _, test := range []struct {
		name, schemes string
		headers       []string
		want          string
	}{
		{"a page", "basic session token", []string{basic, navigate}, set},
		{"a page over plain http", "basic session token", []string{basic, html}, set},
		{"a page that follows", "basic session token", []string{basic, navigate, "Cookie: " + box}, ""},
		{"a page, by a session", "basic session token", []string{"Cookie: sid=" + loggedIn, navigate}, ""},
		{
			"a page, by a session after the box", "basic session token",
			[]string{"Cookie: sid=" + loggedIn + "; " + box, navigate},
			removed,
		},
		{"a script", "basic session token", []string{basic, "Sec-Fetch-Mode: cors"}, ""},
		{"curl", "basic session token", []string{basic, "Accept: */*"}, ""},
		{"a token", "basic session token", []string{tokenHeader, html}, ""},
		{"a page, Basic alone", "basic", []string{basic, navigate}, ""},
		{"a page, no Basic", "session token", []string{"Cookie: sid=" + loggedIn + "; " + box, navigate}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, _ := runSessions(t, "schemes "+test.schemes)
			got := testutil.Get(t, "http://"+address, test.headers...)
			if cookie := strings.Join(got.Header["Set-Cookie"], "|"); got.Status != 200 || cookie != test.want {
				t.Errorf("%d %q", got.Status, cookie)
			}
		})
	}
}

// TestAllowPreflight: allow_preflight lets CORS preflights pass without a credential, and no other requests.
func TestAllowPreflight(t *testing.T) {
	address, strict := testutil.FreeAddress(t), testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%[1]s {
	frappe_auth {
		%[3]s
		require user bob@example.com
		allow_preflight
	}
	respond {http.auth.user.id}
}
http://%[2]s {
	frappe_auth {
		%[3]s
	}
	respond {http.auth.user.id}
}`, address, strict, testutil.StaticSite(t)))
	origin, method := "Origin: https://app.example.com", "Access-Control-Request-Method: POST"
	for _, test := range []struct {
		name, address, method string
		headers               []string
		status                int
		body                  string
	}{
		{"a preflight", address, "OPTIONS", []string{origin, method}, 200, "Guest"},
		{"with an empty credential", address, "OPTIONS", []string{origin, method, "Authorization: "}, 200, "Guest"},
		{"without Origin", address, "OPTIONS", []string{method}, 401, ""},
		{"without a method", address, "OPTIONS", []string{origin}, 401, ""},
		{"an empty Origin", address, "OPTIONS", []string{"Origin: ", method}, 401, ""},
		{"of another method", address, "GET", []string{origin, method}, 401, ""},
		{"with a bad credential", address, "OPTIONS", []string{origin, method, "Authorization: token x:y"}, 401, ""},
		{"with a malformed credential", address, "OPTIONS", []string{origin, method, "Authorization: token"}, 401, ""},
		{"with two credentials", address, "OPTIONS", []string{origin, method, "Authorization: ", "Authorization: "}, 400, ""},
		{
			"with a good credential that a requirement refuses", address, "OPTIONS",
			[]string{origin, method, tokenHeader},
			403, "",
		},
		{
			"with a good credential", address, "OPTIONS",
			[]string{origin, method, "Authorization: " + testutil.BobPair},
			200,
			"bob@example.com",
		},
		{"not allowed", strict, "OPTIONS", []string{origin, method}, 401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := testutil.RequestOver(t, testutil.Client, test.method, "http://"+test.address, test.headers...)
			if got.Status != test.status || got.Body != test.body {
				t.Errorf("%d %q, want %d %q", got.Status, got.Body, test.status, test.body)
			}
		})
	}
}

// TestSessionChallenges: with sessions, every 401 has a challenge, and none opens a login box for a script.
func TestSessionChallenges(t *testing.T) {
	const cookie = `Cookie realm="Frappe", cookie-name="sid"`
	for _, test := range []struct {
		name, options string
		headers       []string
		want          string
	}{
		{"only sessions", "schemes session", nil, cookie},
		{"only sessions, an unknown one", "schemes session", []string{"Cookie: sid=" + deadSession}, cookie},
		{"only sessions, a header", "schemes session", []string{tokenHeader}, cookie},
		{"sessions and Basic", "schemes session basic", nil, `Basic realm="Frappe", charset="UTF-8"`},
		{"sessions and Basic, a script", "schemes basic session", []string{"Sec-Fetch-Dest: empty"}, cookie},
		{"sessions and Bearer", "schemes bearer session", nil, `Bearer realm="Frappe"`},
		{
			"an unknown session is no access token", "schemes bearer session",
			[]string{"Cookie: sid=" + deadSession},
			`Bearer realm="Frappe"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			address, _ := runSessions(t, test.options)
			got := testutil.Get(t, "http://"+address, test.headers...)
			if challenges := strings.Join(got.Header["Www-Authenticate"], "|"); got.Status != 401 || challenges != test.want {
				t.Errorf("%d %s", got.Status, challenges)
			}
		})
	}
}

// TestRFC6750Examples: the request and the challenges that RFC 6750 shows as examples.
func TestRFC6750Examples(t *testing.T) {
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth {
		backend static {
			bearer %s alice@example.com
		}
		schemes bearer
		realm example
	}
	respond {http.auth.user.id}
}`, address, testutil.Hash("mF_9.B5f-4.1JqM")))
	for _, test := range []struct {
		name, header string
		status       int
		challenge    string
	}{
		{"section 2.1", "Authorization: Bearer mF_9.B5f-4.1JqM", 200, ""},
		{"section 3, no credential", "X: y", 401, `Bearer realm="example"`},
		{
			"section 3, a bad token", "Authorization: Bearer mF_9.B5f-4.1JqN", 401,
			`Bearer realm="example", error="invalid_token"`,
		},
	} {
		if got := testutil.Get(t, "http://"+address+"/resource", test.header); got.Status != test.status ||
			got.Header.Get("Www-Authenticate") != test.challenge {
			t.Errorf("%s: %d %q", test.name, got.Status, got.Header["Www-Authenticate"])
		}
	}
}
