package browser_test

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/browser"
)

// request returns a request with headers, each as `Name: value`.
func request(method, target string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, target, http.NoBody)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// TestNavigation: what browsers send to show a page, new and old ones, and what others send.
func TestNavigation(t *testing.T) {
	const html = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, test := range []struct {
		name, method string
		headers      []string
		want         bool
	}{
		{"Chromium opens a page", "GET", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: none", "Sec-Fetch-User: ?1"}, true},
		{"Chromium opens a frame", "GET", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", "Sec-Fetch-Site: same-origin"}, true},
		{"HEAD", "HEAD", []string{"Sec-Fetch-Mode: navigate"}, true},
		{"a form is sent", "POST", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, false},
		{"fetch", "GET", []string{"Accept: */*", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, false},
		{"fetch that asks for HTML", "GET", []string{html, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, false},
		{"an image", "GET", []string{"Accept: image/*", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, false},
		{"Firefox opens a WebSocket", "GET", []string{"Sec-Fetch-Mode: websocket", "Upgrade: websocket"}, false},
		{"an old browser opens a WebSocket", "GET", []string{html, "Upgrade: websocket"}, false},
		{"metadata without a mode", "GET", []string{html, "Sec-Fetch-Dest: document"}, false},
		{"an empty mode", "GET", []string{html, "Sec-Fetch-Mode: "}, false},
		{"an old browser", "GET", []string{html}, true},
		{"an old browser that only reads HTML", "GET", []string{"Accept: text/HTML ; charset=utf-8"}, true},
		{"an old browser in two headers", "GET", []string{"Accept: application/json", "Accept: text/html;q=0.3"}, true},
		{"an old browser sends a form", "POST", []string{html}, false},
		{"a script of an old browser", "GET", []string{html, "X-Requested-With: XMLHttpRequest"}, false},
		{"HTML is refused", "GET", []string{"Accept: text/html;q=0, application/json"}, false},
		{"HTML with a broken weight", "GET", []string{"Accept: text/html;q=x"}, false},
		{"curl", "GET", []string{"Accept: */*"}, false},
		{"anything of text", "GET", []string{"Accept: text/*"}, false},
		{"no Accept", "GET", nil, false},
		{"JSON", "GET", []string{"Accept: application/json"}, false},
		{"a name that contains it", "GET", []string{"Accept: text/html5, x/text/html"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := browser.Navigation(request(test.method, "/", test.headers...)); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// TestProtection: the matrix of method, site and origin.
func TestProtection(t *testing.T) {
	const (
		own, trusted, other = "Origin: https://erp.example.com", "Origin: https://app.example.com", "Origin: https://evil.example.net"
		upgrade             = "Upgrade: websocket"
	)
	p, err := browser.NewProtection([]string{"https://app.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		headers []string
		safe    bool // whether a safe method is refused
		unsafe  bool // whether any other is
	}{
		{"no browser", nil, false, false},
		{"the same origin", []string{"Sec-Fetch-Site: same-origin", own}, false, false},
		{"typed by the user", []string{"Sec-Fetch-Site: none"}, false, false},
		{"another site", []string{"Sec-Fetch-Site: cross-site", other}, false, true},
		{"another site, without Origin", []string{"Sec-Fetch-Site: cross-site"}, false, true},
		{"another site that calls itself ours", []string{"Sec-Fetch-Site: cross-site", own}, false, true},
		{"a sibling", []string{"Sec-Fetch-Site: same-site", "Origin: https://x.example.com"}, false, true},
		{"a trusted sibling", []string{"Sec-Fetch-Site: same-site", trusted}, false, false},
		{"a trusted site", []string{"Sec-Fetch-Site: cross-site", trusted}, false, false},
		{"an unknown word", []string{"Sec-Fetch-Site: new-word", other}, false, true},
		{"an old browser, the same origin", []string{own}, false, false},
		{"an old browser, another site", []string{other}, false, true},
		{"an old browser, a trusted site", []string{trusted}, false, false},
		{"an old browser, a sandboxed frame", []string{"Origin: null"}, false, true},
		{"an old browser, another port", []string{own + ":8443"}, false, true},
		{"a WebSocket", []string{upgrade, own}, false, false},
		{"a WebSocket of another site", []string{upgrade, other}, true, true},
		{"a WebSocket of a trusted site", []string{upgrade, trusted}, false, false},
		{"a WebSocket of another site, with metadata", []string{upgrade, other, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: websocket"}, true, true},
		{"a WebSocket of a sandboxed frame", []string{upgrade, "Origin: null"}, true, true},
	} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "PURGE", "get"} {
			want := test.unsafe
			if method == "GET" || method == "HEAD" || method == "OPTIONS" {
				want = test.safe
			}
			t.Run(test.name+" "+method, func(t *testing.T) {
				r := request("GET", "https://erp.example.com/", test.headers...)
				r.Method = method
				if got := p.Refuses(r, r.Host); got != want {
					t.Errorf("got %t", got)
				}
				if r.Method != method {
					t.Error("the request was changed")
				}
			})
		}
	}
}

// TestCheckOrigin: an origin is written as browsers send it, or it would never match.
func TestCheckOrigin(t *testing.T) {
	for origin, wrong := range map[string]string{
		"https://app.example.com":        "",
		"http://localhost:3000":          "",
		"https://[2001:db8::1]:8443":     "",
		"https://app.example.com:443":    "write https://app.example.com",
		"http://app.example.com:80":      "write http://app.example.com",
		"https://app.example.com:0443":   "write https://app.example.com",
		"http://[::1]:08080":             "write http://[::1]:8080",
		"https://app.example.com:65536":  "a port is a number from 1 to 65535",
		"https://app.example.com:0":      "a port is a number from 1 to 65535",
		"https://app.example.com:":       "a port is a number from 1 to 65535",
		"https://App.example.com":        "write https://app.example.com",
		"https://app.example.com/":       "write https://app.example.com",
		"https://app.example.com/x?y#z":  "write https://app.example.com",
		"https://user@app.example.com":   "write https://app.example.com",
		"https://bücher.example.com":     "in ASCII",
		"app.example.com":                "is not an origin",
		"ftp://app.example.com":          "is not an origin",
		"https://":                       "is not an origin",
		"null":                           "is not an origin",
		"*":                              "is not an origin",
		"https://*.example.com":          "names one host",
		"https://app.example.com\x00.ex": "is not an origin",
	} {
		err := browser.CheckOrigin(origin)
		if wrong == "" && err != nil || wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("%q: %v", origin, err)
		}
	}
}

func newReader(s string) *bufio.Reader { return bufio.NewReader(strings.NewReader(s)) }
