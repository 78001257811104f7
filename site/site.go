// Package site is the backend that verifies credentials by asking a live Frappe site over HTTP.
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

	lru "github.com/hashicorp/golang-lru/v2"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() {
	caddy.RegisterModule(new(Backend))
}

// Backend verifies a credential by asking a live Frappe site over HTTP, as the owner of the credential would: `GET
// /api/method/frappe.auth.get_logged_user`. It sends the credential and nothing else from the client's request.
//
// A credential is granted only if the answer is status 200 with JSON that names a user other than Guest. It is denied
// only if the answer is 401 or 403 with JSON. Any other answer means that the backend is unavailable: a redirect, HTML
// from something in front of Frappe, a rate limit, maintenance mode, or a timeout. One kind of credential is denied
// without asking: one whose Authorization header gunicorn would not read (more than 8190 bytes for the whole line), or
// that no header can carry. Frappe would never see it from a client either.
//
// A session is sent as the only cookie, `sid`. Frappe counts this as use of the session, and extends it as after any
// other request. Cookies that the site sets are dropped. A session is also denied if the answer says `session_expired`,
// or is 417 with a ValidationError, which is how Frappe refuses the session of a disabled user.
//
// If there are several addresses, each gets an equal share of the remaining time. The next address is asked if one
// cannot be reached, does not answer in its share of the time, or answers 502, 503 or 504 without Frappe's JSON, as a
// proxy in front of Frappe does. Any other answer is final. The address that answered last is asked first. Every 30
// seconds, one verification tries the first address again.
//
// Not every version of Frappe refuses the credentials of a disabled user; see refuse_disabled.
type Backend struct {
	// The addresses of the site: `http://` or `https://` and a host, followed by a path if Frappe is mounted below one;
	// or `unix/` and the absolute path of a Unix socket. All of them must lead to the same site. Global placeholders such
	// as `{env.*}` are allowed; an empty or unknown one is an error. At least one address is required.
	URLs []string `json:"urls,omitempty"`

	// The name of the site, for a bench that serves several sites at one address. It is sent as Host and as
	// X-Frappe-Site-Name. TLS still uses the host in the address. Placeholders are allowed, including those of the
	// request: the name is then lower-cased, loses its port and one trailing dot, and is part of the cache key. A request
	// that yields no valid name gets 400, and one that names a site that the bench does not have gets 404. An empty or
	// unknown global placeholder such as `{env.*}` is an error. Default: none; Frappe uses the host in the address.
	SiteName string `json:"site_name,omitempty"`

	// How long one verification may take, including all its requests to all addresses: 1 millisecond to 1 minute. If it
	// takes longer, the backend is unavailable. Default: `5s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// Also asks for the user's roles, with one more request, or two on Frappe 17. You need this to require a role; without
	// it, such a requirement is an error when the configuration is loaded. Default: false.
	Roles bool `json:"roles,omitempty"`

	// Also asks whether the user is enabled, with one more request that returns the full name too. Frappe 15 and older
	// accept the keys and tokens of a disabled user. 16.4.1 accepts the tokens, and the sessions of a user whom a script
	// disabled.
	// Default: false.
	RefuseDisabled bool `json:"refuse_disabled,omitempty"`

	// The transport to the site, for TLS, a custom CA, a client certificate or keep-alive: any transport of Caddy's
	// `reverse_proxy`. Default: `http` with its defaults, except that it uses HTTP/1.1 only and accepts at most 64 KiB of
	// response headers.
	//
	// If the environment names a proxy (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), Caddy's transport uses it. It would read what
	// is sent to an `http` address, so that is an error, unless the transport names the proxy (`network_proxy url`) or
	// none (`network_proxy none`). For an `https` address, the log says that the proxy is used.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	addresses []siteAddress
	failover  failover
	transport http.RoundTripper
	logger    *zap.Logger
	unloaded  atomic.Bool

	sitesWithoutGetRoles *lru.Cache[string, struct{}] // by name
}

const (
	defaultSiteTimeout = caddy.Duration(5 * time.Second)
	maxSiteTimeout     = caddy.Duration(time.Minute)

	// defaultTransport limits the headers of an answer, as the body is limited. It uses HTTP/1.1 because the header
	// tables of HTTP/2 would keep credentials in memory for as long as a connection lives.
	defaultTransport = `{"protocol": "http", "max_response_header_size": 65536, "versions": ["1.1"]}`
)

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.backends.site",
		New: func() caddy.Module { return new(Backend) },
	}
}

// UnmarshalJSON rejects unknown fields, as Caddy does, and says what to write instead.
func (s *Backend) UnmarshalJSON(raw []byte) error {
	type plain Backend
	return directive.DecodeJSON(raw, (*plain)(s), "backend site", s.block().Instead)
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
	if s.Roles {
		s.sitesWithoutGetRoles, _ = lru.New[string, struct{}](maxSitesWithoutGetRoles) // fails only for a size below 1
	}
	return s.loadTransport(ctx)
}

func (s *Backend) loadTransport(ctx caddy.Context) error {
	if s.TransportRaw == nil {
		s.TransportRaw = json.RawMessage(defaultTransport)
	}
	if err := s.findProxies(); err != nil {
		return err
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
				return fmt.Errorf("address %s is plain HTTP but the transport uses TLS; write https://", a.url.String())
			}
		}
	}
	if t, ok := transport.(*reverseproxy.HTTPTransport); ok && t.Transport != nil && t.Transport.Proxy != nil {
		t.Transport.Proxy = exceptSockets(t.Transport.Proxy)
	}
	s.transport = transport
	return nil
}

// Validate returns an error if the configuration is wrong. It accepts any placeholder.
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
		return fmt.Errorf("site_name: %q is not a valid site name; write the name of the site's directory in sites/",
			s.SiteName)
	}
	if err := directive.CheckDuration("timeout", s.Timeout); err != nil {
		return err
	}
	if s.Timeout < 0 || s.Timeout > maxSiteTimeout {
		return fmt.Errorf("timeout: %s is not between 0 and %s", time.Duration(s.Timeout), time.Duration(maxSiteTimeout))
	}
	return nil
}

// String returns the addresses of the site, and its name if it has one.
func (s *Backend) String() string {
	text := strings.Join(s.URLs, " ")
	if s.SiteName != "" {
		text += " (" + s.SiteName + ")"
	}
	return text
}

// Fingerprint implements frappe.Fingerprinter: addresses and name may come from placeholders.
func (s *Backend) Fingerprint() string { return strings.Join(s.URLs, " ") + " " + s.SiteName }

// ReportsRoles implements frappe.RoleReporter.
func (s *Backend) ReportsRoles() bool { return s.Roles }

// ResolvesSites implements frappe.SiteResolver. It is true if site_name depends on the request.
func (s *Backend) ResolvesSites() bool { return strings.Contains(s.SiteName, "{") }

// Site implements frappe.SiteResolver. It returns the same name for all spellings of a host.
func (s *Backend) Site(repl *caddy.Replacer) (string, error) {
	name, err := repl.ReplaceOrErr(s.SiteName, true, true)
	if err != nil {
		return "", err
	}
	if name = withoutPort(name); !validSiteName(name) {
		return "", errors.New("not a valid site name")
	}
	return strings.ToLower(name), nil
}

// Verify implements frappe.Backend.
func (s *Backend) Verify(ctx context.Context, c frappe.Credential) (frappe.Identity, error) {
	if (c.Site != "" || s.ResolvesSites()) && !validSiteName(c.Site) {
		return frappe.Identity{}, frappe.ErrUnknownSite
	}
	carried, ok := carry(c)
	if !ok {
		return frappe.Identity{}, frappe.ErrDenied
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	defer s.closeIfUnloaded()
	return s.askAddresses(ctx, request{backend: s, credential: carried, site: c.Site}, request.identity)
}

// Cleanup marks the configuration as unloaded. It does not stop verifications in flight.
func (s *Backend) Cleanup() error {
	s.unloaded.Store(true)
	return nil
}

// closeIfUnloaded closes the connection of a verification that outlived the configuration. The transport itself has
// closed the connections that were idle at that time.
func (s *Backend) closeIfUnloaded() {
	if cleaner, ok := s.transport.(caddy.CleanerUpper); ok && s.unloaded.Load() {
		_ = cleaner.Cleanup() // too late to report an error
	}
}

// EnableSessions implements frappe.SessionVerifier. A site can always verify sessions.
func (s *Backend) EnableSessions() error { return nil }

// ReportsTokens implements frappe.TokenReporter. A site does not tell the scopes and the client of an access token.
func (s *Backend) ReportsTokens() bool { return false }

// Interface guards
var (
	_ frappe.SessionVerifier = (*Backend)(nil)
	_ frappe.TokenReporter   = (*Backend)(nil)
	_ frappe.Backend         = (*Backend)(nil)
	_ frappe.SiteResolver    = (*Backend)(nil)
	_ frappe.Fingerprinter   = (*Backend)(nil)
	_ frappe.RoleReporter    = (*Backend)(nil)
	_ caddy.Provisioner      = (*Backend)(nil)
	_ caddy.CleanerUpper     = (*Backend)(nil)
)
