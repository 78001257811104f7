package browser_test

import (
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/browser"
)

// TestProtection: every method, from the same origin, from trusted origins and from others.
func TestProtection(t *testing.T) {
	const (
		own, trusted, other = "Origin: https://erp.example.com", "Origin: https://app.example.com",
			"Origin: https://evil.example.net"
		upgrade = "Upgrade: websocket"
	)
	p, err := browser.NewProtection([]string{"https://app.example.com", "capacitor://localhost"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		headers []string
		safe    bool // whether a safe method is refused
		unsafe  bool // whether any other method is refused
	}{
		{"no browser", nil, false, false},
		{"the same origin", []string{"Sec-Fetch-Site: same-origin", own}, false, false},
		{"the user typed the URL", []string{"Sec-Fetch-Site: none"}, false, false},
		{"another site", []string{"Sec-Fetch-Site: cross-site", other}, false, true},
		{"another site, without Origin", []string{"Sec-Fetch-Site: cross-site"}, false, true},
		{"another site that sends our Origin", []string{"Sec-Fetch-Site: cross-site", own}, false, true},
		{"a sibling", []string{"Sec-Fetch-Site: same-site", "Origin: https://x.example.com"}, false, true},
		{"a trusted sibling", []string{"Sec-Fetch-Site: same-site", trusted}, false, false},
		{"a trusted site", []string{"Sec-Fetch-Site: cross-site", trusted}, false, false},
		{"an unknown word", []string{"Sec-Fetch-Site: new-word", other}, false, true},
		{"an old browser, the same origin", []string{own}, false, false},
		{"an old browser, another site", []string{other}, false, true},
		{"an old browser, a trusted site", []string{trusted}, false, false},
		{"an old browser, a sandboxed frame", []string{"Origin: null"}, false, true},
		{"an old browser, another port", []string{own + ":8443"}, false, false},
		{"an old browser, another scheme", []string{"Origin: http://erp.example.com"}, false, true},
		{"an old browser, an application", []string{"Origin: capacitor://erp.example.com"}, false, true},
		{"an old browser, a trusted application", []string{"Origin: capacitor://localhost"}, false, false},
		{"a trusted application", []string{"Sec-Fetch-Site: cross-site", "Origin: capacitor://localhost"}, false, false},
		{"another port", []string{"Sec-Fetch-Site: same-site", own + ":8443"}, false, true},
		{"a WebSocket", []string{upgrade, own}, false, false},
		{"a WebSocket of another site", []string{upgrade, other}, true, true},
		{"a WebSocket of a trusted site", []string{upgrade, trusted}, false, false},
		{
			"a WebSocket of another site, with metadata",
			[]string{upgrade, other, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: websocket"},
			true, true,
		},
		{"a WebSocket, asked about without Upgrade", []string{"Sec-Websocket-Version: 13", other}, true, true},
		{"a proxy asks about a change", []string{"X-Forwarded-Method: POST", other}, true, true},
		{"an ingress asks about a change", []string{"X-Original-Method: DELETE", other}, true, true},
		{"a proxy asks about a page", []string{"X-Forwarded-Method: GET", other}, false, true},
		{"two methods", []string{"X-Forwarded-Method: GET", "X-Forwarded-Method: PUT", other}, true, true},
		{"a proxy asks about a change of the same origin", []string{"X-Forwarded-Method: POST", own}, false, false},
		{"a WebSocket of a sandboxed frame", []string{upgrade, "Origin: null"}, true, true},
	} {
		for _, method := range []string{
			"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "PURGE", "get",
		} {
			want := test.unsafe
			if method == "GET" || method == "HEAD" || method == "OPTIONS" {
				want = test.safe
			}
			t.Run(test.name+" "+method, func(t *testing.T) {
				r := request("GET", "https://erp.example.com/", test.headers...)
				r.Method = method
				if got := p.Refuses(r, "https", r.Host); got != want {
					t.Errorf("got %t", got)
				}
				if r.Method != method {
					t.Error("the request was changed")
				}
			})
		}
	}
}

// TestSameSite: without fetch metadata, the host counts and not its port. What may be https behind a proxy is trusted
// with http, but not the other way round.
func TestSameSite(t *testing.T) {
	p := new(browser.Protection)
	for _, test := range []struct {
		origin, scheme, host string
		want                 bool // whether it is the same site
	}{
		{"http://erp.lan:8080", "http", "erp.lan", true},
		{"http://erp.lan", "http", "erp.lan:8080", true},
		{"http://erp.lan:8080", "http", "ERP.lan:80", true},
		{"http://[fd00::1]:8080", "http", "[fd00::1]", true},
		{"https://erp.lan", "http", "erp.lan", true},
		{"https://erp.lan:8443", "https", "erp.lan", true},
		{"http://erp.lan", "https", "erp.lan", false},
		{"http://erp.lan:443", "https", "erp.lan", false},
		{"http://x.erp.lan", "http", "erp.lan", false},
		{"http://erp.lan.evil.example", "http", "erp.lan", false},
		{"ionic://erp.lan", "http", "erp.lan", false},
		{"null", "http", "", false},
		{"http://", "http", "", false},
		{"http://%zz", "http", "erp.lan", false},
	} {
		r := request("POST", "/", "Origin: "+test.origin)
		if got := !p.Refuses(r, test.scheme, test.host); got != test.want {
			t.Errorf("%s to %s://%s: got %t", test.origin, test.scheme, test.host, got)
		}
	}
}

// TestCheckOrigin: an origin must be written as browsers send it, because it would not match otherwise.
func TestCheckOrigin(t *testing.T) {
	for origin, wrong := range map[string]string{
		"https://app.example.com":        "",
		"http://localhost:3000":          "",
		"https://[2001:db8::1]:8443":     "",
		"capacitor://localhost":          "",
		"ionic://localhost":              "",
		"tauri://localhost":              "",
		"chrome-extension://abcdefghijk": "",
		"moz-extension://0b5c-4f":        "",
		"app://Notes":                    "",
		"capacitor://localhost/":         "write capacitor://localhost",
		"Capacitor://localhost":          "write capacitor://localhost",
		"chrome-extension://*":           "names one host",
		"capacitor://":                   "is not an origin",
		"file:///index.html":             "is not an origin",
		"file://server/share":            "is not an origin",
		"wss://app.example.com":          "is not an origin",
		"javascript:alert(1)":            "is not an origin",
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
