package browser

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Login is a login page that reads the page to return to from the query parameter redirect-to, as Frappe's does.
type Login struct {
	url *url.URL
}

// maxRedirectTo is the longest escaped redirect-to. gunicorn reads request lines of up to 4094 bytes.
const maxRedirectTo = 3072

// returnParameter is the query parameter that Frappe's login page reads.
const returnParameter = "redirect-to"

// ParseLogin returns the login page with a path on the host of the request.
func ParseLogin(address string) (*Login, error) {
	const write = "write the path of the login page, such as /login"
	u, err := url.Parse(address)
	switch {
	case err == nil && u.Host != "":
		return nil, fmt.Errorf("%q names a host without a scheme; write the path of the login page on this host, such as "+
			"/login, or the URL of another host, such as https://erp.example.com", address)
	case err != nil || !visible(address) || strings.Contains(address, `\`) || !strings.HasPrefix(address, "/") ||
		strings.HasPrefix(address, "//"):
		return nil, fmt.Errorf("%q is not a path; %s", address, write)
	case u.Fragment != "" || u.Query().Has(returnParameter):
		return nil, errors.New("the path of the login page must have no fragment and no redirect-to; " + write)
	}
	return &Login{url: u}, nil
}

// Location returns the URL to redirect a browser to that asked for target, the URL as it was sent. It is empty if
// target is the login page.
func (l *Login) Location(target *url.URL) string {
	if path.Clean("/"+target.Path) == path.Clean("/"+l.url.Path) {
		return ""
	}
	location := *l.url
	if location.RawQuery != "" {
		location.RawQuery += "&"
	}
	location.RawQuery += returnParameter + "=" + url.QueryEscape(returnTo(target))
	return location.String()
}

// returnTo returns the path and query of a URL, to which the login page will send the browser. They always lead to a
// page on the login page's host: a path that a browser, or a page that decodes it once more, could interpret
// differently becomes `/`.
func returnTo(target *url.URL) string {
	to := target.EscapedPath()
	if !plainPath(to) {
		return "/"
	}
	if target.RawQuery == "" {
		return to
	}
	if whole := to + "?" + target.RawQuery; len(url.QueryEscape(whole)) <= maxRedirectTo && visible(whole) {
		if before, _, _ := strings.Cut(withoutScripts(whole), "?"); !plain(before) {
			return "/"
		}
		return whole
	}
	return to
}

// maxDecodings is how often plainPath decodes a path.
const maxDecodings = 4

// plainPath reports whether a path begins with exactly one slash, however often it is decoded, and has no backslashes,
// no control characters and no dot segments, which browsers resolve before they send a path.
func plainPath(to string) bool {
	if len(url.QueryEscape(to)) > maxRedirectTo {
		return false
	}
	for range maxDecodings {
		if !plain(to) || !plain(withoutScripts(to)) {
			return false
		}
		decoded, err := url.PathUnescape(to)
		if err != nil || decoded == to {
			return err == nil
		}
		to = decoded
	}
	return false
}

// plain is plainPath without decoding.
func plain(to string) bool {
	if !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.Contains(to, `\`) ||
		strings.ContainsFunc(to, control) {
		return false
	}
	return !slices.ContainsFunc(strings.Split(to, "/"),
		func(segment string) bool { return segment == "." || segment == ".." })
}

func control(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// sentCookie returns the name of the cookie that marks a browser that was sent from a page to the login page a moment
// ago although it has a session.
func sentCookie(target *url.URL) string {
	sum := fnv.New32a()
	_, _ = io.WriteString(sum, returnTo(target)) // a hash takes everything
	return fmt.Sprintf("frappe_auth_login_%08x", sum.Sum32())
}

// NoteSent is for a browser that is sent from target to the login page, and has a session that was denied. If the login
// page accepts that session, it sends the browser back at once, and WasSent detects this.
func NoteSent(w http.ResponseWriter, target *url.URL) {
	//nolint:gosec // not Secure: it holds no secret, and must also come back over plain HTTP behind a proxy
	http.SetCookie(w, &http.Cookie{
		Name: sentCookie(target), Value: "1", Path: "/", MaxAge: 10, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// WasSent reports whether the browser was sent from target to the login page a moment ago although it has a session.
func WasSent(r *http.Request, target *url.URL) bool {
	_, err := r.Cookie(sentCookie(target))
	return err == nil
}

// scripts match what Frappe's login page removes from redirect-to, after it has checked that this leads to its own host
// (frappe.utils.sanitise_redirect of 15.44.2). When `javascript` is removed, /javascript/evil.example.net becomes the
// URL of another site.
var scripts = []*regexp.Regexp{
	regexp.MustCompile(`(?is)<script\b.*?</script>`),
	regexp.MustCompile(`(?i)(?:confirm|alert|prompt)\(.*\)`),
	regexp.MustCompile(`(?i)` + strings.Join(strings.Split("javascript", ""), `[\s\pZ]*(?:&#x.{1,7})?`)),
}

// withoutScripts returns redirect-to as Frappe's login page changes it.
func withoutScripts(to string) string {
	for _, script := range scripts {
		to = script.ReplaceAllString(to, "")
	}
	return to
}
