package browser

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// Protection detects requests that another site made a browser send. The zero value trusts no other origin.
type Protection struct {
	net http.CrossOriginProtection
}

// NewProtection returns a Protection that does not refuse requests from the trusted origins.
func NewProtection(trusted []string) (*Protection, error) {
	p := new(Protection)
	for _, origin := range trusted {
		if err := CheckOrigin(origin); err != nil {
			return nil, err
		}
		if err := p.net.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// Refuses reports whether the request may change something and comes from another site. Opening a WebSocket counts as a
// change although its method is GET, because messages follow without another request. host is the host that the client
// asked for.
func (p *Protection) Refuses(r *http.Request, host string) bool {
	checked := &http.Request{Method: r.Method, URL: r.URL, Host: host, Header: r.Header}
	if r.Header.Get("Upgrade") != "" { // over HTTP/2 and 3 it is the method CONNECT
		checked.Method = http.MethodPost
	}
	return p.net.Check(checked) != nil
}

// CheckOrigin returns an error if a browser would never send this as an origin.
func CheckOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return fmt.Errorf("%q is not an origin; write a scheme and a host, such as https://app.example.com", origin)
	}
	if strings.Contains(u.Hostname(), "*") {
		return fmt.Errorf("%q: an origin names one host; write each of them, such as https://app.example.com", origin)
	}
	number, err := directive.Port(u)
	if err != nil {
		return fmt.Errorf("%q: %w; write one such as https://app.example.com:8443", origin, err)
	}
	host := strings.ToLower(u.Hostname())
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
