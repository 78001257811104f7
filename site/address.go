package site

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// siteAddress is one address of a site.
type siteAddress struct {
	url    url.URL
	socket string // path of a Unix socket; empty: use TCP
	proxy  string // host of the proxy that the environment names; empty: none is used, or the transport names it
}

// String returns the address as written in the configuration.
func (a *siteAddress) String() string {
	if a.socket != "" {
		return "unix/" + a.socket
	}
	return a.url.String()
}

// withScheme returns what to write to reach the same port with another scheme.
func (a *siteAddress) withScheme(scheme string) string {
	if a.socket != "" {
		return map[string]string{"http": "the transport without tls", "https": "tls in the transport"}[scheme]
	}
	u := a.url
	if u.Port() == "" {
		u.Host += map[string]string{"http": ":80", "https": ":443"}[u.Scheme]
	}
	u.Scheme = scheme
	return u.String()
}

// expandPlaceholders replaces the global placeholders in addresses and site name. A missing value is an error: with an
// empty site_name, another site of the bench would verify the credentials.
func (s *Backend) expandPlaceholders() error {
	for i, address := range s.URLs {
		expanded, err := expandGlobal(address, false)
		if err != nil {
			return fmt.Errorf("address %s: %w", withoutUser(address), err)
		}
		s.URLs[i] = expanded
	}
	name, err := expandGlobal(s.SiteName, true)
	if err != nil {
		return fmt.Errorf("site_name %s: %w", s.SiteName, err)
	}
	s.SiteName = name
	return nil
}

// expandGlobal replaces global placeholders. Other placeholders are kept if perRequest is set, and an error otherwise.
func expandGlobal(text string, perRequest bool) (string, error) {
	return caddy.NewReplacer().ReplaceFunc(text, func(name string, value any) (any, error) {
		switch {
		case caddy.ToString(value) != "":
			return value, nil
		case directive.IsGlobalPlaceholder(name):
			return nil, directive.MissingPlaceholder(name)
		case !perRequest:
			return nil, fmt.Errorf("the placeholder {%s} is unknown here; an address cannot depend on the request", name)
		}
		return "{" + name + "}", nil
	})
}

// parseSiteAddress parses an address. For common mistakes, the error says what to write instead.
func parseSiteAddress(address string) (siteAddress, error) {
	if joined(address) {
		return wrongAddress(address, "separate addresses with spaces, not commas (in JSON, write one string for each)")
	}
	if socket, ok := strings.CutPrefix(address, "unix/"); ok {
		if !strings.HasPrefix(socket, "/") {
			return wrongAddress(address, "write unix/ and an absolute path, such as unix//run/frappe.sock")
		}
		// The transport keeps separate connections for each host.
		return siteAddress{url: url.URL{Host: socket}, socket: socket}, nil // the transport sets the scheme
	}
	u, err := url.Parse(address)
	if err != nil {
		return siteAddress{}, errors.New("the address of the site is not a valid URL; write it as https://erp.example.com")
	}
	_, portErr := directive.Port(u)
	switch {
	case u.User != nil:
		return siteAddress{}, errors.New("the address of the site contains a user name; remove it: " +
			"each client's own credential is sent to the site")
	case (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return wrongAddress(address, "write http:// or https:// and a host, such as https://erp.example.com")
	case portErr != nil:
		return wrongAddress(address, portErr.Error())
	}
	if mount, page, found := beforePage(u.Path); found {
		base := url.URL{Scheme: u.Scheme, Host: u.Host, Path: mount}
		return wrongAddress(address, "remove /"+page+" and everything after it; write "+base.String())
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return wrongAddress(address, "remove what follows the path")
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return siteAddress{url: *u}, nil
}

// wrongAddress returns an error about an address. advice says what to write instead.
func wrongAddress(address, advice string) (siteAddress, error) {
	return siteAddress{}, fmt.Errorf("address %s: %s", withoutUser(address), advice)
}

// joined reports whether the text is several addresses, separated by commas.
func joined(address string) bool {
	_, rest, found := strings.Cut(address, ",")
	for ; found; _, rest, found = strings.Cut(rest, ",") {
		rest = strings.TrimSpace(rest)
		for _, begin := range []string{"http://", "https://", "unix/"} {
			if strings.HasPrefix(rest, begin) {
				return true
			}
		}
	}
	if u, err := url.Parse(address); err == nil {
		return strings.Contains(u.Host, ",")
	}
	return false
}

// withoutUser returns the address for an error message. It hides an address with a user name, which may contain a
// password.
func withoutUser(address string) string {
	if strings.Contains(address, "@") {
		return "with a user name"
	}
	return address
}

// pages are the paths of Frappe that people copy from a browser or from the documentation, each with what may follow
// it. A site can be mounted below any other path.
var pages = map[string][]string{
	"api":   {"", "method", "resource", "v1", "v2"},
	"app":   {"", "build", "home", "query-report", "setup-wizard", "user", "website", "workspace"},
	"apps":  {""},
	"desk":  {"", "build", "home", "query-report", "setup-wizard", "user", "website", "workspace"},
	"login": {""},
	"me":    {""},
}

// beforePage returns the part of a path before one of Frappe's pages, and the first part of the page. found is false if
// the path is not one of a page.
func beforePage(path string) (mount, page string, found bool) {
	segments := append(strings.Split(strings.Trim(path, "/"), "/"), "")
	for i, segment := range segments[:len(segments)-1] {
		if following, ok := pages[segment]; ok && slices.Contains(following, strings.ToLower(segments[i+1])) {
			return strings.TrimRight("/"+strings.Join(segments[:i], "/"), "/"), segment, true
		}
	}
	return "", "", false
}

// validSiteName reports whether a site can have this name. Frappe uses it as the name of a directory, and it may come
// from the client.
func validSiteName(name string) bool {
	if name == "" || len(name) > 255 || name[0] == '.' || name[0] == '-' || name[len(name)-1] == '.' ||
		strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}

// validSiteTemplate reports whether site_name can be a valid site name once its placeholders have values.
func validSiteTemplate(name string) bool {
	if strings.Contains(name, "{") {
		name = withoutPort(caddy.NewEmptyReplacer().ReplaceAll(name, "a"))
	}
	return validSiteName(name)
}

// withoutPort removes the port of a host and one trailing dot.
func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.Trim(host[i+1:], "0123456789") == "" {
		host = host[:i]
	}
	return strings.TrimSuffix(host, ".")
}
