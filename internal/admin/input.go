package admin

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// cookiePrefix is the beginning of a line that holds a session.
const cookiePrefix = "Cookie: "

// Cookie returns the value of a line that is a whole Cookie header.
func Cookie(line string) (value string, ok bool) {
	if len(line) < len(cookiePrefix) || !strings.EqualFold(line[:len(cookiePrefix)], cookiePrefix) {
		return "", false
	}
	return line[len(cookiePrefix):], true
}

// ParseCredential parses a credential that an operator wrote: the value of an Authorization header, or a whole Cookie
// header.
func ParseCredential(line string) (frappe.Credential, error) {
	cookie, ok := Cookie(line)
	if !ok {
		return frappe.ParseCredential(line)
	}
	if session, ok := frappe.ParseSession([]string{cookie}); ok {
		return session, nil
	}
	return frappe.Credential{}, errors.New("there is no cookie `sid`, or the first one is not a session of Frappe, " +
		"which has lower-case letters and digits only; write `Cookie: sid=<session>`")
}

// TrimLineBreak returns a line without its line break.
func TrimLineBreak(line []byte) string {
	return string(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")))
}

// NewReplacer returns a replacer with the placeholders of a request for a URL. If the URL is empty, it has only those
// that do not depend on a request.
func NewReplacer(requestURL string) (*caddy.Replacer, error) {
	repl := caddy.NewReplacer()
	if requestURL == "" {
		return repl, nil
	}
	u, err := url.Parse(requestURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("not the URL of a request")
	}
	if _, err := directive.Port(u); err != nil {
		return nil, err
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, RequestURI: u.RequestURI(), Header: make(http.Header)}
	caddyhttp.PrepareRequest(r, repl, noResponse{}, new(caddyhttp.Server))
	return repl, nil
}

// noResponse stands in for the response of a request that was never sent.
type noResponse struct{ http.ResponseWriter }

// Header implements http.ResponseWriter.
func (noResponse) Header() http.Header { return http.Header{} }
