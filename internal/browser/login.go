package browser

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// Login is a login page that takes the way back in the query parameter redirect-to, as Frappe's does.
type Login struct {
	url *url.URL
}

// maxRedirectTo is the longest way back, escaped. gunicorn reads request lines of up to 4094 bytes.
const maxRedirectTo = 3072

// returnParameter is the query parameter that Frappe's login page reads.
const returnParameter = "redirect-to"

// ParseLogin returns the login page with that URL, or with that path on the host of the request.
func ParseLogin(address string) (*Login, error) {
	const write = "write the URL of the login page, such as https://erp.example.com/login, or its path, such as /login"
	u, err := url.Parse(address)
	if err != nil || !visible(address) || strings.Contains(address, `\`) {
		return nil, fmt.Errorf("%q is not a URL; %s", address, write)
	}
	_, portErr := directive.Port(u)
	switch {
	case portErr != nil:
		return nil, fmt.Errorf("%q: %w; %s", address, portErr, write)
	case u.Scheme == "" && (u.Host != "" || !strings.HasPrefix(address, "/")), u.Scheme != "" && (u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == ""):
		return nil, fmt.Errorf("%q has no scheme http or https; %s", address, write)
	case u.User != nil || u.Fragment != "" || u.Query().Has(returnParameter):
		return nil, errors.New("the URL of the login page must have no user, no fragment and no redirect-to; " + write)
	}
	return &Login{url: u}, nil
}

// Location returns where to send a browser that asked a host for target, the URL that it sent. It is empty if that is the
// login page itself.
func (l *Login) Location(host string, target *url.URL) string {
	if l.is(host, target) {
		return ""
	}
	location := *l.url
	if location.RawQuery != "" {
		location.RawQuery += "&"
	}
	location.RawQuery += returnParameter + "=" + url.QueryEscape(returnTo(target))
	return location.String()
}

// is reports whether target is the login page. It compares hosts without their ports, which proxies may change.
func (l *Login) is(host string, target *url.URL) bool {
	if l.url.Host != "" && !strings.EqualFold(l.url.Hostname(), (&url.URL{Host: host}).Hostname()) {
		return false
	}
	return path.Clean("/"+target.Path) == path.Clean("/"+l.url.Path)
}

// returnTo returns path and query of a URL, for a login page that sends the browser to wherever they lead. They always
// lead to a page of the login page's host: a path that a browser, or a page that decodes it once more, could take for
// something else becomes `/`.
func returnTo(target *url.URL) string {
	way := target.EscapedPath()
	if !plainPath(way) {
		return "/"
	}
	if target.RawQuery == "" {
		return way
	}
	if whole := way + "?" + target.RawQuery; len(url.QueryEscape(whole)) <= maxRedirectTo && visible(whole) {
		if before, _, _ := strings.Cut(withoutScripts(whole), "?"); !plain(before) {
			return "/"
		}
		return whole
	}
	return way
}

// maxDecodings is how often plainPath looks below an escaped percent sign.
const maxDecodings = 4

// plainPath reports whether a path begins with exactly one slash, however often it is decoded, and has no backslashes, no
// control characters and no dot segments, which browsers resolve before they send a path.
func plainPath(way string) bool {
	if len(url.QueryEscape(way)) > maxRedirectTo {
		return false
	}
	for range maxDecodings {
		if !plain(way) || !plain(withoutScripts(way)) {
			return false
		}
		decoded, err := url.PathUnescape(way)
		if err != nil || decoded == way {
			return err == nil
		}
		way = decoded
	}
	return false
}

// plain is plainPath for a path that is not decoded.
func plain(way string) bool {
	if !strings.HasPrefix(way, "/") || strings.HasPrefix(way, "//") || strings.Contains(way, `\`) || strings.ContainsFunc(way, control) {
		return false
	}
	return !slices.ContainsFunc(strings.Split(way, "/"), func(segment string) bool { return segment == "." || segment == ".." })
}

func control(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// sentCookie tells that a browser was sent to the login page a moment ago although it has a session.
const sentCookie = "frappe_auth_login"

// Redirect sends the browser to a location. session says that it has a session, which was denied: if the login page takes that
// session for good, it sends the browser back at once, and WasSent then tells.
func Redirect(w http.ResponseWriter, location string, session bool) {
	if session {
		//nolint:gosec // without Secure: it holds nothing, and must come back over plain HTTP behind a proxy, too
		http.SetCookie(w, &http.Cookie{Name: sentCookie, Value: "1", Path: "/", MaxAge: 10, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
	w.Header().Set("Location", location)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusFound)
}

// WasSent reports whether the browser was sent to the login page a moment ago although it has a session.
func WasSent(r *http.Request) bool {
	_, err := r.Cookie(sentCookie)
	return err == nil
}
