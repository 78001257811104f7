package browser_test

import (
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

// TestNavigation: requests of new and old browsers to show a page, and other requests.
func TestNavigation(t *testing.T) {
	const html = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	for _, test := range []struct {
		name, method string
		headers      []string
		want         bool
	}{
		{
			"Chromium opens a page", "GET",
			[]string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Sec-Fetch-Site: none", "Sec-Fetch-User: ?1"},
			true,
		},
		{
			"Chromium opens a frame", "GET",
			[]string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe", "Sec-Fetch-Site: same-origin"},
			true,
		},
		{"HEAD", "HEAD", []string{"Sec-Fetch-Mode: navigate"}, true},
		{"a form is sent", "POST", []string{html, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"}, false},
		{"fetch", "GET", []string{"Accept: */*", "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, false},
		{"fetch that asks for HTML", "GET", []string{html, "Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty"}, false},
		{"an image", "GET", []string{"Accept: image/*", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image"}, false},
		{"Firefox opens a WebSocket", "GET", []string{"Sec-Fetch-Mode: websocket", "Upgrade: websocket"}, false},
		{"an old browser opens a WebSocket", "GET", []string{html, "Upgrade: websocket"}, false},
		{"metadata without a mode", "GET", []string{html, "Sec-Fetch-Dest: document"}, false},
		{"an empty mode", "GET", []string{html, "Sec-Fetch-Mode: "}, false},
		{
			"a worker of Firefox passes on a page", "GET",
			[]string{html, "Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty", "Upgrade-Insecure-Requests: 1"},
			true,
		},
		{
			"a script that asks its own site for HTML", "GET",
			[]string{html, "Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: empty"},
			false,
		},
		{"an old browser", "GET", []string{html}, true},
		{"an old browser that only reads HTML", "GET", []string{"Accept: text/HTML ; charset=utf-8"}, true},
		{"an old browser in two headers", "GET", []string{"Accept: application/json", "Accept: text/html;q=0.3"}, true},
		{"an old browser sends a form", "POST", []string{html}, false},
		{"a script of an old browser", "GET", []string{html, "X-Requested-With: XMLHttpRequest"}, false},
		{"HTML is refused", "GET", []string{"Accept: text/html;q=0, application/json"}, false},
		{"HTML with a broken weight", "GET", []string{"Accept: text/html;q=x"}, false},
		{"curl", "GET", []string{"Accept: */*"}, false},
		{"any text", "GET", []string{"Accept: text/*"}, false},
		{"no Accept", "GET", nil, false},
		{"JSON", "GET", []string{"Accept: application/json"}, false},
		{"a type that contains text/html", "GET", []string{"Accept: text/html5, x/text/html"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := browser.Navigation(request(test.method, "/", test.headers...)); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}
