package browser_test

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/browser"
)

func login(t testing.TB, address string) *browser.Login {
	t.Helper()
	l, err := browser.ParseLogin(address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// requested returns the URL of a request as net/http reads it from the request line.
func requested(target string) (*url.URL, error) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")))
	if err != nil {
		return nil, err
	}
	return r.URL, nil
}

// TestReturnPath: redirect-to is a path on the login page's host, whatever the client asks for.
func TestReturnPath(t *testing.T) {
	l := login(t, "/login")
	long := strings.Repeat("a", 4000)
	for target, want := range map[string]string{
		"/":                               "/",
		"/bi/report.html":                 "/bi/report.html",
		"/bi/?from=2026-01&q=a%20b&x=//y": "/bi/?from=2026-01&q=a%20b&x=//y",
		"/bi?next=https://evil.example":   "/bi?next=https://evil.example",
		"/a%20b/%C3%BC":                   "/a%20b/%C3%BC",
		"/x//y":                           "/x//y",
		"/proxy/https://y":                "/proxy/https://y",
		"/?":                              "/",
		"//evil.example":                  "/",
		"///evil.example":                 "/",
		"//evil.example/%2e%2e":           "/",
		`/\evil.example`:                  "/",
		"/%5Cevil.example":                "/",
		"/%5C%5Cevil.example":             "/",
		"/%2Fevil.example":                "/",
		"/%252Fevil.example":              "/",
		"/%25252Fevil.example":            "/",
		"/%09/evil.example":               "/",
		"/%2509/evil.example":             "/",
		"/%0D%0ASet-Cookie:x":             "/",
		"/%00":                            "/",
		"/%7F":                            "/",
		"/x/..//evil.example":             "/",

		// Frappe's login page removes scripts after it has checked where the URL leads.
		"/javascript/evil.example":                 "/",
		"/JavaScript/evil.example":                 "/",
		"/javascriptjavascript/evil.example":       "/",
		"/%6Aavascript/evil.example":               "/",
		"/j&#x61;avascript/evil.example":           "/",
		"/java%20script/evil.example":              "/",
		"/alert(1)/evil.example":                   "/",
		"/prompt(?)/evil.example":                  "/",
		"/confirm(/a/b?c=)/evil.example":           "/",
		"/%3Cscript%3Ex%3C/script%3E/evil.example": "/",
		"/java<script></script>script/evil":        "/",
		"/bi/javascript/x?y=alert(1)":              "/bi/javascript/x?y=alert(1)",
		"/bi?javascript":                           "/bi?javascript",

		"/.//evil.example":               "/",
		"/%2e%2e//evil.example":          "/",
		"/x/%252e%252e//evil.example":    "/",
		"/%25252525252Fevil.example":     "/",
		"/100%25":                        "/",
		"http://evil.example":            "/",
		"http://evil.example/":           "/",
		"http://evil.example/x?y":        "/x?y",
		"http://evil.example//x.example": "/",
		"http:////evil.example":          "/",
		"/" + long:                       "/",
		"/x?" + long:                     "/x",
	} {
		u, err := requested(target)
		if err != nil {
			t.Errorf("%.60s: net/http refuses it: %v", target, err)
			continue
		}
		location, err := url.Parse(l.Location(u))
		if err != nil || location.Host != "" || location.Path != "/login" || len(location.Query()) != 1 {
			t.Errorf("%.60s: sent to %.60s, %v", target, location, err)
			continue
		}
		if got := location.Query().Get("redirect-to"); got != want {
			t.Errorf("%.60s: back to %.60q, want %.60q", target, got, want)
		}
	}
}

// TestLogin: a request for the login page is not redirected to it, and the login page keeps its own query.
func TestLogin(t *testing.T) {
	for _, test := range []struct{ name, login, target, want string }{
		{"a page", "/login", "/bi", "/login?redirect-to=%2Fbi"},
		{"the login page", "/login", "/login", ""},
		{"the login page with redirect-to", "/login", "/login?redirect-to=/bi", ""},
		{"the login page with a slash", "/login", "/login/", ""},
		{"the login page, escaped", "/login", "/%6Cogin", ""},
		{"the login page with dot segments", "/login", "//x/../login", ""},
		{"the login page with a query", "/login", "/login?x", ""},
		{"below the login page", "/login", "/login/x", "/login?redirect-to=%2Flogin%2Fx"},
		{"a login page with a query", "/login?for=bi", "/bi", "/login?for=bi&redirect-to=%2Fbi"},
		{"the home page", "/", "/", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, err := requested(test.target)
			if err != nil {
				t.Fatal(err)
			}
			if got := login(t, test.login).Location(u); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// TestParseLogin: anything but the URL of a login page is an error.
func TestParseLogin(t *testing.T) {
	for _, address := range []string{
		"", "login", "erp.example.com/login", "//erp.example.com/login", `/\erp.example.com`, `\\erp.example.com`,
		"ftp://erp.example.com/login", "https://", "https:///login", "https://u:p@erp.example.com/login", "/login#x",
		"/login?redirect-to=/x", "/lo gin", "javascript:alert(1)", "/login\n", "https://erp.example.com/login", "///login",
	} {
		if _, err := browser.ParseLogin(address); err == nil || !strings.Contains(err.Error(), "such as /login") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// FuzzReturnPath: redirect-to never leads to another host, also if the login page's script parses it as a browser does.
func FuzzReturnPath(f *testing.F) {
	for _, target := range []string{
		"/", "//evil.example", `/\evil.example`, "/%2F%5c", "/%09//x", "/x?//y", "http://evil.example//x", "/%25%32%46x",
	} {
		f.Add(target)
	}
	l := login(f, "/login")
	f.Fuzz(func(t *testing.T, target string) {
		u, err := requested(target)
		if err != nil {
			t.Skip("net/http refuses it")
		}
		location := l.Location(u)
		if location == "" {
			return
		}
		if len(location) > 4000 || !strings.HasPrefix(location, "/login?redirect-to=%2F") {
			t.Fatalf("%q: sent to %q", target, location)
		}
		parsed, err := url.Parse(location)
		if err != nil {
			t.Fatal(err)
		}
		for to := parsed.Query().Get("redirect-to"); ; {
			if leaves(to) {
				t.Fatalf("%q: back to %q", target, to)
			}
			to, _, _ = strings.Cut(to, "?")
			decoded, err := url.PathUnescape(to)
			if err != nil || decoded == to {
				return
			}
			to = decoded
		}
	})
}

// leaves reports whether a reference could lead a browser to another host (https://url.spec.whatwg.org). A browser
// drops tabs and line breaks, trims control characters and spaces, and treats a backslash as a slash.
func leaves(to string) bool {
	to = strings.NewReplacer("\t", "", "\n", "", "\r", "", `\`, "/").Replace(to)
	to = strings.TrimLeftFunc(to, func(r rune) bool { return r <= ' ' })
	return !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//")
}
