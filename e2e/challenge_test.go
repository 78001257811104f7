package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestChallengesForScripts: a script in a browser gets a challenge, but none that opens the browser's login box.
func TestChallengesForScripts(t *testing.T) {
	every, basicOnly, basicLast := testutil.FreeAddress(t), testutil.FreeAddress(t), testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf("http://%[1]s {\nfrappe_auth {\n%[4]s\n}\n}\nhttp://%[2]s {\nfrappe_auth {\n%[4]s\n"+
		"schemes basic\n}\n}\nhttp://%[3]s {\nfrappe_auth {\n%[4]s\nschemes token basic\n}\n}",
		every, basicOnly, basicLast, testutil.StaticSite(t)))
	for _, test := range []struct {
		name, address, header, schemes string
	}{
		{"no browser", every, "", "Basic Bearer token"},
		{"a page", every, "Sec-Fetch-Dest: document", "Basic Bearer token"},
		{"a frame", every, "Sec-Fetch-Dest: iframe", "Basic Bearer token"},
		{"an old frame", every, "Sec-Fetch-Dest: frame", "Basic Bearer token"},
		{"a script's request", every, "Sec-Fetch-Dest: empty", "Bearer token"},
		{"an image", every, "Sec-Fetch-Dest: image", "Bearer token"},
		{"a worker", every, "Sec-Fetch-Dest: worker", "Bearer token"},
		{"an older script's request", every, "X-Requested-With: XMLHttpRequest", "Bearer token"},
		{"a WebSocket of Chromium", every, "Connection: Upgrade\nUpgrade: websocket\nOrigin: https://erp.example.com",
			"Bearer token"},
		{"a WebSocket of a program", every, "Connection: Upgrade\nUpgrade: websocket", "Basic Bearer token"},
		{"an Android web view", every, "X-Requested-With: com.example.app", "Basic Bearer token"},
		{"as configured", basicLast, "", "token Basic"},
		{"as configured, to a script", basicLast, "Sec-Fetch-Dest: empty", "token"},
		{"Basic alone", basicOnly, "", "Basic"},
		{"Basic alone, to a script", basicOnly, "Sec-Fetch-Dest: empty", "Basic"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, authorization := range []string{"", "token x:y", "token"} {
				headers := []string{"Authorization: " + authorization}
				if test.header != "" {
					headers = append(headers, strings.Split(test.header, "\n")...)
				}
				got := testutil.Get(t, "http://"+test.address, headers...)
				var schemes []string
				for _, line := range got.Header["Www-Authenticate"] {
					scheme, _, _ := strings.Cut(line, " ")
					schemes = append(schemes, scheme)
				}
				if got.Status != 401 || strings.Join(schemes, " ") != test.schemes {
					t.Errorf("%q: %d %q, want %q", authorization, got.Status, schemes, test.schemes)
				}
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
		{"with a good credential that a requirement refuses", address, "OPTIONS",
			[]string{origin, method, "Authorization: " + testutil.AlicePair}, 403, ""},
		{"with a good credential", address, "OPTIONS", []string{origin, method, "Authorization: " + testutil.BobPair}, 200,
			"bob@example.com"},
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
		{"an unknown session is no access token", "schemes bearer session", []string{"Cookie: sid=" + deadSession},
			`Bearer realm="Frappe"`},
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
		{"section 3, a bad token", "Authorization: Bearer mF_9.B5f-4.1JqN", 401,
			`Bearer realm="example", error="invalid_token"`},
	} {
		if got := testutil.Get(t, "http://"+address+"/resource", test.header); got.Status != test.status ||
			got.Header.Get("Www-Authenticate") != test.challenge {
			t.Errorf("%s: %d %q", test.name, got.Status, got.Header["Www-Authenticate"])
		}
	}
}
