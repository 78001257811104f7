package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

func init() {
	caddy.RegisterModule(new(Backend))
}

// Backend asks a live Frappe site over HTTP, as the credential's owner would:
// `GET /api/method/frappe.auth.get_logged_user` with the credential and nothing else of the client's request.
//
// A credential is granted only by status 200 with JSON that names a user other than Guest, and denied only by 401 or
// 403 with JSON. Anything else, such as a redirect, the HTML of something in front of Frappe, a rate limit, maintenance
// or a time-out, is no verdict: the backend is unavailable. One refusal needs no request: a credential whose
// Authorization header is longer than gunicorn reads (8190 bytes for the whole line), or that no header can hold, never
// reaches Frappe from a client either, and is denied.
//
// With several addresses, each gets an equal share of the timeout that is left. The next one is asked when an address
// cannot be reached, does not answer in its share, or answers 502, 503 or 504 without JSON: that comes from a proxy in
// front of Frappe. Any other answer is final. The address that last answered is asked first; every 30 seconds one
// verification starts at the first address again.
//
// Frappe before its newest versions lets a disabled user's credential in; see refuse_disabled.
type Backend struct {
	// The addresses of the site: `http://` or `https://` and a host, with a path where Frappe is mounted below one; or
	// `unix/` and the absolute path of a Unix socket. Several addresses must lead to the same site. Global
	// placeholders such as `{env.*}` are allowed; an empty or unknown one is an error. At least one is required.
	URLs []string `json:"urls,omitempty"`

	// The name of the site, sent as Host and as X-Frappe-Site-Name, for a bench that serves several sites at one
	// address. TLS goes by the host in the address. Placeholders are allowed, those of the request too: the name is
	// then lower-cased, loses its port and one dot at the end, and is part of the cache key. A request that gives no
	// valid name gets 400, one that names a site the bench does not have gets 404. An empty or unknown global
	// placeholder such as `{env.*}` is an error. Default: none; Frappe goes by the host in the address.
	SiteName string `json:"site_name,omitempty"`

	// How long one verification may take, all its requests to all addresses together: 1 millisecond to 1 minute.
	// Default: `5s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Also asks for the user's roles, in one more request. Required for a requirement of a role. Default: false.
	Roles bool `json:"roles,omitempty"`

	// Also asks whether the user is enabled, in one more request, which tells the full name too. Only Frappe's newest
	// versions refuse disabled users by themselves. Default: false.
	RefuseDisabled bool `json:"refuse_disabled,omitempty"`

	// How the site is reached: TLS, custom CA, client certificate, keep-alive. Default: `http` with its defaults, but for
	// HTTP/1.1 only and headers of an answer of 64 KiB at most.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	addresses []siteAddress
	failover  failover
	transport http.RoundTripper
	logger    *zap.Logger
	unloaded  atomic.Bool
}

const (
	defaultSiteTimeout = caddy.Duration(5 * time.Second)
	minSiteTimeout     = caddy.Duration(time.Millisecond)
	maxSiteTimeout     = caddy.Duration(time.Minute)

	// defaultTransport bounds the headers of an answer as its body is bounded, and speaks HTTP/1.1: the header tables of
	// HTTP/2 would keep credentials for as long as a connection lives.
	defaultTransport = `{"protocol": "http", "max_response_header_size": 65536, "versions": ["1.1"]}`
)

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.backends.site",
		New: func() caddy.Module { return new(Backend) },
	}
}

// Provision checks the configuration and loads the transport.
func (s *Backend) Provision(ctx caddy.Context) error {
	s.logger = ctx.Logger()
	if err := s.expandPlaceholders(); err != nil {
		return err
	}
	if s.Timeout == 0 {
		s.Timeout = defaultSiteTimeout
	}
	if err := s.Validate(); err != nil {
		return err
	}
	for _, address := range s.URLs {
		parsed, err := parseSiteAddress(address)
		if err != nil {
			return err
		}
		s.addresses = append(s.addresses, parsed)
	}
	return s.loadTransport(ctx)
}

func (s *Backend) loadTransport(ctx caddy.Context) error {
	if s.TransportRaw == nil {
		s.TransportRaw = json.RawMessage(defaultTransport)
	}
	module, err := ctx.LoadModule(s, "TransportRaw")
	if err != nil {
		return fmt.Errorf("loading transport: %w", err)
	}
	transport, ok := module.(http.RoundTripper)
	if !ok {
		return fmt.Errorf("transport: module %T cannot carry HTTP requests", module)
	}
	if t, ok := transport.(reverseproxy.TLSTransport); ok && t.TLSEnabled() {
		for _, a := range s.addresses {
			if a.url.Scheme == "http" {
				return fmt.Errorf("address %s is plain HTTP but the transport has TLS: write https://", a.url.String())
			}
		}
	}
	s.transport = transport
	return nil
}

// Validate reports what is wrong with the configuration. Placeholders are taken for right.
func (s *Backend) Validate() error {
	if len(s.URLs) == 0 {
		return errors.New("the address of the Frappe site is required, such as https://erp.example.com")
	}
	for _, address := range s.URLs {
		if strings.Contains(address, "{") {
			continue
		}
		if _, err := parseSiteAddress(address); err != nil {
			return err
		}
	}
	if s.SiteName != "" && !validSiteTemplate(s.SiteName) {
		return fmt.Errorf("site_name: %q is no name of a site; use the name of its directory in sites/", s.SiteName)
	}
	switch {
	case s.Timeout > 0 && s.Timeout < minSiteTimeout:
		return fmt.Errorf("timeout: %s is too short; write a duration with its unit, such as \"5s\" "+
			"(in JSON, a bare number counts nanoseconds)", time.Duration(s.Timeout))
	case s.Timeout < 0 || s.Timeout > maxSiteTimeout:
		return fmt.Errorf("timeout: %s is not between 0 and %s", time.Duration(s.Timeout), time.Duration(maxSiteTimeout))
	}
	return nil
}

// String names the site: its addresses, and its name where it has one.
func (s *Backend) String() string {
	text := strings.Join(s.URLs, " ")
	if s.SiteName != "" {
		text += " (" + s.SiteName + ")"
	}
	return text
}

// Fingerprint implements Fingerprinter: addresses and name may come from placeholders.
func (s *Backend) Fingerprint() string { return strings.Join(s.URLs, " ") + " " + s.SiteName }

// ReportsRoles implements RoleReporter.
func (s *Backend) ReportsRoles() bool { return s.Roles }

// ResolvesSites implements frappe.SiteResolver: the backend does where the site's name depends on the request.
func (s *Backend) ResolvesSites() bool { return strings.Contains(s.SiteName, "{") }

// Site implements SiteResolver. All spellings of a host are one tenant.
func (s *Backend) Site(repl *caddy.Replacer) (string, error) {
	name, err := repl.ReplaceOrErr(s.SiteName, true, true)
	if err != nil {
		return "", err
	}
	if name = withoutPort(name); !validSiteName(name) {
		return "", errors.New("not the name of a site")
	}
	return strings.ToLower(name), nil
}

// Verify implements Backend.
func (s *Backend) Verify(ctx context.Context, c frappe.Credential) (frappe.Identity, error) {
	if (c.Site != "" || s.ResolvesSites()) && !validSiteName(c.Site) {
		return frappe.Identity{}, frappe.ErrUnknownSite
	}
	authorization, ok := authorizationOf(c)
	if !ok {
		return frappe.Identity{}, frappe.ErrDenied
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	defer s.closeIfUnloaded()
	return s.askInTurn(ctx, request{backend: s, authorization: authorization, site: c.Site})
}

// Cleanup says that the configuration was unloaded. Verifications under way go on.
func (s *Backend) Cleanup() error {
	s.unloaded.Store(true)
	return nil
}

// closeIfUnloaded closes the connection of a verification that outlived the configuration. Those that were idle when
// it was unloaded, the transport has closed itself.
func (s *Backend) closeIfUnloaded() {
	if cleaner, ok := s.transport.(caddy.CleanerUpper); ok && s.unloaded.Load() {
		_ = cleaner.Cleanup() // nobody is left to tell
	}
}

// Interface guards
var (
	_ frappe.Backend       = (*Backend)(nil)
	_ frappe.SiteResolver  = (*Backend)(nil)
	_ frappe.Fingerprinter = (*Backend)(nil)
	_ frappe.RoleReporter  = (*Backend)(nil)
	_ caddy.Provisioner    = (*Backend)(nil)
	_ caddy.CleanerUpper   = (*Backend)(nil)
)
