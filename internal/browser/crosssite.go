package browser

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// Protection detects requests that another site made a browser send. The zero value trusts no other origin.
type Protection struct {
	trusted []string
}

// NewProtection returns a Protection that does not refuse requests from the trusted origins.
func NewProtection(trusted []string) (*Protection, error) {
	for _, origin := range trusted {
		if err := CheckOrigin(origin); err != nil {
			return nil, err
		}
	}
	return &Protection{trusted: trusted}, nil
}

// Refuses reports whether the request may change something and comes from another site. scheme and host are those that
// the client asked for.
//
// It works like http.CrossOriginProtection, unless Sec-Fetch-Site is missing, as with old browsers and over plain http.
// Then the scheme counts, but the port does not, because cookies ignore ports and proxies change them.
func (p *Protection) Refuses(r *http.Request, scheme, host string) bool {
	if !mayChange(r) {
		return false
	}
	origin := r.Header.Get("Origin")
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return false
	case "":
		if origin == "" || sameSite(origin, scheme, host) {
			return false
		}
	}
	return !slices.Contains(p.trusted, origin)
}

// mayChange reports whether the request may change something. Opening a WebSocket counts as a change although its
// method is GET, because messages follow without another request. A proxy that asks whether a request may pass does so
// with GET, and sends the method of that request in a header. Anybody may send this header, as it only makes the check
// stricter.
func mayChange(r *http.Request) bool {
	if upgrades(r) || !safe(r.Method) {
		return true
	}
	for _, name := range []string{"X-Forwarded-Method", "X-Original-Method"} {
		for _, method := range r.Header[name] {
			if !safe(method) {
				return true
			}
		}
	}
	return false
}

func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// sameSite reports whether an origin has a scheme and a host, whatever its port. An https origin also matches http,
// because a proxy may have ended TLS, but an http origin does not match https.
func sameSite(origin, scheme, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" && (u.Scheme != "http" || scheme != "http") {
		return false
	}
	asked := (&url.URL{Host: host}).Hostname()
	return asked != "" && strings.EqualFold(u.Hostname(), asked)
}

// withoutPages are schemes of URLs that have a host but cannot be the origin of a page.
var withoutPages = []string{"file", "ftp", "ws", "wss"}

// CheckOrigin returns an error if a browser would never send this as an origin. Besides http and https there are the
// schemes of applications with a web view and of browser extensions, such as capacitor://localhost.
func CheckOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Hostname() == "" || u.Scheme == "" || slices.Contains(withoutPages, u.Scheme) {
		return fmt.Errorf("%q is not an origin; write a scheme and a host, such as https://app.example.com", origin)
	}
	if strings.Contains(u.Hostname(), "*") {
		return fmt.Errorf("%q: an origin names one host; write each of them, such as https://app.example.com", origin)
	}
	number, err := directive.Port(u)
	if err != nil {
		return fmt.Errorf("%q: %w; write one such as https://app.example.com:8443", origin, err)
	}
	host := u.Hostname()
	if u.Scheme == "http" || u.Scheme == "https" { // of other schemes, browsers keep capitals
		host = strings.ToLower(host)
	}
	for _, r := range host {
		if r > '~' {
			return fmt.Errorf("%q: browsers send such a host name in ASCII; write it in the form xn--…", origin)
		}
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if number != 0 && (u.Scheme != "https" || number != 443) && (u.Scheme != "http" || number != 80) {
		host = fmt.Sprintf("%s:%d", host, number)
	}
	if sent := u.Scheme + "://" + host; sent != origin {
		return fmt.Errorf("%q is not written as browsers send it; write %s", origin, sent)
	}
	return nil
}
