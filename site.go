package frappeauth

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(new(SiteBackend))
}

// SiteBackend asks a live Frappe site over HTTP, as the credential's owner would:
// `GET /api/method/frappe.auth.get_logged_user` with the credential and nothing else of the client's request.
//
// A credential is granted only by status 200 with JSON that names a user other than Guest, and denied only by 401 or
// 403 with JSON. Anything else, such as a redirect, the HTML of something in front of Frappe, a rate limit, maintenance
// or a time-out, is no verdict.
//
// Frappe before its newest versions lets a disabled user's credential in; see refuse_disabled.
type SiteBackend struct {
	// The addresses of the site: `http://` or `https://` and a host, with a path where Frappe is mounted below one; or
	// `unix/` and the absolute path of a Unix socket. The next is asked when one cannot be reached. Global
	// placeholders such as `{env.*}` are allowed. At least one is required.
	URLs []string `json:"urls,omitempty"`

	// The name of the site, sent as X-Frappe-Site-Name, for a bench that serves several sites at one address and is
	// reached without its own nginx. Placeholders are allowed, those of the request too; the name is then part of
	// the cache key. Default: none; Frappe goes by the host name in the address.
	SiteName string `json:"site_name,omitempty"`

	// How long one verification may take, all its requests together, at most one minute. Default: `5s`.
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
	transport http.RoundTripper
	unloaded  atomic.Bool
}

// siteAddress is where a site is reached.
type siteAddress struct {
	url    url.URL
	socket string // path of a Unix socket; empty: by TCP
}

const (
	defaultSiteTimeout = caddy.Duration(5 * time.Second)
	maxSiteTimeout     = caddy.Duration(time.Minute)

	// maxBodySize is how much of an answer is read, in bytes. Frappe's longest that says something has about 4000.
	maxBodySize = 64 << 10

	// maxRetryAfter bounds what is passed on of a site's Retry-After. Frappe's rate limits are mostly by the hour.
	maxRetryAfter = 24 * time.Hour

	// defaultTransport bounds the headers of an answer as its body is bounded, and speaks HTTP/1.1: the header tables of
	// HTTP/2 would keep credentials for as long as a connection lives.
	defaultTransport = `{"protocol": "http", "max_response_header_size": 65536, "versions": ["1.1"]}`
)

// The methods of Frappe's API that are asked, as paths.
const (
	pathLoggedUser = "/api/method/frappe.auth.get_logged_user"
	pathRoles      = "/api/method/frappe.core.doctype.user.user.get_roles"
	pathUser       = "/api/resource/User/"
)

// CaddyModule returns the Caddy module information.
func (*SiteBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.backends.site",
		New: func() caddy.Module { return new(SiteBackend) },
	}
}

// Provision checks the configuration and loads the transport.
func (s *SiteBackend) Provision(ctx caddy.Context) error {
	repl := caddy.NewReplacer()
	for i, address := range s.URLs {
		expanded, err := repl.ReplaceOrErr(address, true, true)
		if err != nil {
			return fmt.Errorf("address %s: %w", address, err)
		}
		s.URLs[i] = expanded
	}
	s.SiteName = repl.ReplaceKnown(s.SiteName, "")
	if s.Timeout == 0 {
		s.Timeout = defaultSiteTimeout
	}
	if err := s.check(); err != nil {
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

func (s *SiteBackend) loadTransport(ctx caddy.Context) error {
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

// check reports what is wrong with the configuration. Placeholders are taken for right.
func (s *SiteBackend) check() error {
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
	if s.SiteName != "" && !strings.Contains(s.SiteName, "{") && !validSiteName(s.SiteName) {
		return fmt.Errorf("site_name: %q is no name of a site; use the name of its directory in sites/", s.SiteName)
	}
	if s.Timeout < 0 || s.Timeout > maxSiteTimeout {
		return fmt.Errorf("timeout: %s is not between 0 and %s", time.Duration(s.Timeout), time.Duration(maxSiteTimeout))
	}
	return nil
}

func parseSiteAddress(address string) (siteAddress, error) {
	if socket, ok := strings.CutPrefix(address, "unix/"); ok {
		if !strings.HasPrefix(socket, "/") {
			return siteAddress{}, fmt.Errorf("address %s: write unix/ and an absolute path, such as unix//run/frappe.sock", address)
		}
		// The transport keeps connections apart by host.
		return siteAddress{url: url.URL{Host: socket}, socket: socket}, nil // its scheme is the transport's to set
	}
	u, err := url.Parse(address)
	switch {
	case err != nil:
		return siteAddress{}, errors.New("the address of the site is no URL; write it as https://erp.example.com")
	case u.User != nil:
		return siteAddress{}, errors.New("the address of the site holds a user name; the site is asked with each client's own credential")
	case (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "":
		return siteAddress{}, fmt.Errorf("address %s: write http:// or https:// and a host, such as https://erp.example.com", address)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return siteAddress{}, fmt.Errorf("address %s: leave out what follows the path", address)
	}
	u.Path, u.RawPath = strings.TrimRight(u.Path, "/"), strings.TrimRight(u.RawPath, "/")
	return siteAddress{url: *u}, nil
}

// validSiteName reports whether the name can be that of a site: Frappe makes the name of a directory of it, and the
// client may have a say in it.
func validSiteName(name string) bool {
	if name == "" || len(name) > 255 || name[0] == '.' || name[0] == '-' || strings.Contains(name, "..") {
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

// String names the site: its addresses, and its name where it has one.
func (s *SiteBackend) String() string {
	text := strings.Join(s.URLs, " ")
	if s.SiteName != "" {
		text += " (" + s.SiteName + ")"
	}
	return text
}

// Fingerprint implements Fingerprinter: addresses and name may come from placeholders.
func (s *SiteBackend) Fingerprint() string { return strings.Join(append(s.URLs, s.SiteName), " ") }

// ReportsRoles implements RoleReporter.
func (s *SiteBackend) ReportsRoles() bool { return s.Roles }

// Tenanted implements Tenanted: it does where the site's name depends on the request.
func (s *SiteBackend) Tenanted() bool { return strings.Contains(s.SiteName, "{") }

// Site implements Tenanted.
func (s *SiteBackend) Site(repl *caddy.Replacer) (string, error) {
	name := repl.ReplaceAll(s.SiteName, "")
	if !validSiteName(name) {
		return "", errors.New("not the name of a site")
	}
	return name, nil
}

// Verify implements Backend.
func (s *SiteBackend) Verify(ctx context.Context, c Credential) (Identity, error) {
	if strings.HasSuffix(c.Token, "\t") {
		// It reaches us over HTTP/2. On the way to the site it would be lost, and another token be judged.
		return Identity{}, ErrDenied
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	defer s.closeIfUnloaded()
	var (
		id  Identity
		err error
	)
	for i := range s.addresses {
		q := question{backend: s, address: &s.addresses[i], cred: c}
		id, err = q.identity(ctx)
		if _, ok := errors.AsType[*unreachableError](err); !ok {
			break
		}
	}
	return id, err
}

// Cleanup says that the configuration was unloaded. Verifications under way go on.
func (s *SiteBackend) Cleanup() error {
	s.unloaded.Store(true)
	return nil
}

// closeIfUnloaded closes the connection of a verification that outlived the configuration. Those that were idle when
// it was unloaded, the transport has closed itself.
func (s *SiteBackend) closeIfUnloaded() {
	if cleaner, ok := s.transport.(caddy.CleanerUpper); ok && s.unloaded.Load() {
		_ = cleaner.Cleanup() // nobody is left to tell
	}
}

// question is one verification at one address.
type question struct {
	backend *SiteBackend
	address *siteAddress
	cred    Credential
}

// identity asks all that is to be known of the credential's owner.
func (q question) identity(ctx context.Context) (Identity, error) {
	user, err := q.loggedUser(ctx)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{User: user}
	if q.backend.Roles {
		if id.Roles, err = q.roles(ctx, user); err != nil {
			return Identity{}, onlyThis(err)
		}
	}
	if q.backend.RefuseDisabled {
		if id.FullName, err = q.enabledUser(ctx, user); err != nil {
			return Identity{}, onlyThis(err)
		}
	}
	return id, nil
}

// onlyThis says of an answer to a further question that is no verdict that it concerns this user alone: the site has
// just answered the first. Users have a say in their names, which are part of what is asked.
func onlyThis(err error) error {
	var (
		unreachable *unreachableError
		unavailable *UnavailableError
	)
	switch {
	case errors.Is(err, ErrDenied), errors.As(err, &unreachable):
		return err
	case errors.As(err, &unavailable):
		return &UnavailableError{Reason: unavailable.Reason, RetryAfter: unavailable.RetryAfter, OnlyThis: true}
	}
	return &UnavailableError{Reason: err, OnlyThis: true}
}

// loggedUser is the verdict: the user whose credential it is.
func (q question) loggedUser(ctx context.Context) (string, error) {
	a, err := q.get(ctx, pathLoggedUser, "")
	if err != nil {
		return "", err
	}
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		return "", ErrDenied
	}
	var user string
	if err := a.member("message", &user); err != nil {
		return "", q.noVerdict(a.status, err)
	}
	switch {
	case user == Guest:
		return "", ErrDenied
	case !validUser(user):
		return "", q.noVerdict(a.status, errors.New("the answer names no user of Frappe's"))
	}
	return user, nil
}

// roles are the roles of the credential's owner.
func (q question) roles(ctx context.Context, user string) ([]string, error) {
	a, err := q.get(ctx, pathRoles, url.Values{"uid": {user}}.Encode())
	if err != nil {
		return nil, err
	}
	if err := q.stillGranted(a); err != nil {
		return nil, err
	}
	var roles []string
	if err := a.member("message", &roles); err != nil {
		return nil, q.noVerdict(a.status, err)
	}
	return roles, nil
}

// enabledUser is the full name of the credential's owner, or ErrDenied if the user is disabled.
func (q question) enabledUser(ctx context.Context, user string) (string, error) {
	a, err := q.get(ctx, pathUser+url.PathEscape(user), "")
	if err != nil {
		return "", err
	}
	if err := q.stillGranted(a); err != nil {
		return "", err
	}
	var doc struct {
		Name     string `json:"name"`
		Enabled  *int   `json:"enabled"`
		FullName string `json:"full_name"`
	}
	if err := a.member("data", &doc); err != nil {
		return "", q.noVerdict(a.status, err)
	}
	switch {
	case doc.Name != user || doc.Enabled == nil:
		return "", q.noVerdict(a.status, errors.New("the answer does not say whether the user is enabled"))
	case *doc.Enabled != 1:
		return "", ErrDenied
	}
	return doc.FullName, nil
}

// stillGranted takes a refusal of a further question for what it is: 401 says that the credential has ended since it
// was granted, 403 that its owner may not ask, which says nothing of the credential.
func (q question) stillGranted(a siteAnswer) error {
	switch a.status {
	case http.StatusUnauthorized:
		return ErrDenied
	case http.StatusForbidden:
		return q.noVerdict(a.status, errors.New("the user is not permitted to read the user's own roles or document"))
	}
	return nil
}

// siteAnswer is a JSON object that Frappe answered with status 200, 401 or 403.
type siteAnswer struct {
	status int
	body   map[string]json.RawMessage
}

// member decodes a member of the object. Names are compared exactly, which struct tags would not do.
func (a siteAnswer) member(name string, into any) error {
	raw, ok := a.body[name]
	if !ok || string(raw) == "null" || json.Unmarshal(raw, into) != nil {
		return fmt.Errorf("the answer's %s is missing or not as Frappe's; is this the address of a Frappe site?", name)
	}
	return nil
}

// unreachableError is a failure that another address of the site may not share.
type unreachableError struct{ error }

func (e *unreachableError) Unwrap() error { return e.error }

// get asks with the credential. Its answer is a verdict or an identity, its error never is.
func (q question) get(ctx context.Context, path, query string) (siteAnswer, error) {
	resp, err := q.backend.transport.RoundTrip(q.request(ctx, path, query))
	if err != nil {
		return siteAnswer{}, &unreachableError{q.noAnswer(err)}
	}
	defer resp.Body.Close()

	switch resp.StatusCode {
	case http.StatusOK, http.StatusUnauthorized, http.StatusForbidden:
	default:
		return siteAnswer{}, &UnavailableError{
			Reason:     q.noVerdict(resp.StatusCode, errors.New(likelyCause(resp.StatusCode))),
			RetryAfter: retryAfter(resp.Header.Get("Retry-After")),
			OnlyThis:   mayConcernRequest(resp.StatusCode),
		}
	}

	if media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return siteAnswer{}, &UnavailableError{
			Reason: q.noVerdict(resp.StatusCode,
				errors.New("the answer is not JSON, so it is not Frappe's but of something in front of it")),
			OnlyThis: mayConcernRequest(resp.StatusCode),
		}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBodySize+1))
	if err != nil {
		return siteAnswer{}, &unreachableError{q.noAnswer(err)}
	}
	if len(body) > maxBodySize {
		return siteAnswer{}, q.noVerdict(resp.StatusCode, errors.New("the answer is longer than 64 KiB"))
	}
	a := siteAnswer{status: resp.StatusCode}
	if json.Unmarshal(body, &a.body) != nil || a.body == nil {
		return siteAnswer{}, q.noVerdict(resp.StatusCode, errors.New("the answer says it is JSON but is no JSON object"))
	}
	return a, nil
}

// request is made from nothing but the credential: a cookie would beat it, and other headers make Frappe look the key
// up elsewhere.
func (q question) request(ctx context.Context, path, query string) *http.Request {
	u := q.address.url
	u.RawPath = u.EscapedPath() + path // the path is escaped already
	u.Path, _ = url.PathUnescape(u.RawPath)
	u.RawQuery = query

	// Transports expand placeholders of their own configuration, from the request's replacer; this one has none of the
	// client's.
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	host := u.Host
	if q.address.socket != "" {
		host = "localhost"
		if q.siteName() != "" {
			host = q.siteName()
		}
		ctx = context.WithValue(ctx, dialInfoKey, reverseproxy.DialInfo{Network: "unix", Address: q.address.socket})
	}
	req := &http.Request{
		Method:     http.MethodGet,
		URL:        &u,
		Host:       host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header: http.Header{
			"Accept":     {"application/json"},
			"User-Agent": {"caddy-frappe-auth"},
		},
	}
	if q.cred != (Credential{}) {
		req.Header["Authorization"] = []string{q.authorization()}
	}
	if name := q.siteName(); name != "" {
		req.Header["X-Frappe-Site-Name"] = []string{name}
	}
	passTraceOn(ctx, req.Header)
	return req.WithContext(ctx)
}

// dialInfoKey is where Caddy's transports look for a Unix socket to dial (reverseproxy.GetDialInfo).
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"

// authorization carries a pair as Basic, which holds any bytes.
func (q question) authorization() string {
	if q.cred.Bearer() {
		return "Bearer " + toLatin1(q.cred.Token)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(q.cred.Key+":"+q.cred.Secret))
}

func (q question) siteName() string {
	if q.cred.Site != "" {
		return q.cred.Site
	}
	return q.backend.SiteName
}

// noVerdict names address, site and status of an answer that is no verdict.
func (q question) noVerdict(status int, cause error) error {
	return fmt.Errorf("%s: status %d: %w", q.where(), status, cause)
}

// noAnswer names address and site of a request without an answer. Of the cause it shows what cannot hold anything
// that the other side sent: that might echo the credential.
func (q question) noAnswer(err error) error {
	var (
		timeout     net.Error
		dial        reverseproxy.DialError
		certificate *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%s: no answer in time; is the site overloaded, or the timeout too short?", q.where())
	case errors.As(err, &dial):
		return fmt.Errorf("%s: cannot connect: %w", q.where(), dial)
	case errors.As(err, &certificate):
		return fmt.Errorf("%s: the certificate is not trusted: %w", q.where(), certificate)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", q.where(), context.Canceled)
	}
	return fmt.Errorf("%s: the connection broke, or the answer was not HTTP", q.where())
}

// where names the address, and the site if it has a name of its own.
func (q question) where() string {
	where := "site " + q.address.url.String()
	if q.address.socket != "" {
		where = "site unix/" + q.address.socket
	}
	if name := q.siteName(); name != "" {
		where += " (" + name + ")"
	}
	return where
}

// likelyCause is what mostly stands behind a status that is no verdict, as measured on Frappe 14 to 16.
func likelyCause(status int) string {
	switch {
	case status == http.StatusNotFound:
		return "no such site; check site_name, or else the host name in the address"
	case status == http.StatusTooManyRequests:
		return "Frappe's rate limit was reached"
	case status == http.StatusServiceUnavailable:
		return "maintenance mode, or no worker is up"
	case status >= 300 && status < 400:
		return "redirects are not followed; give the address it leads to"
	case status >= 500:
		return "Frappe failed; its database may be down"
	}
	return "not an answer of get_logged_user; is this the address of a Frappe site?"
}

// mayConcernRequest reports whether a status that is no verdict may be about the request rather than the site: what stands
// before Frappe refuses a header that is too long for it (gunicorn takes 8190 bytes, and a pair grows as Basic), or that
// looks like an attack. A client could otherwise have the site left alone for all.
func mayConcernRequest(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotAcceptable,
		http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong, http.StatusRequestHeaderFieldsTooLarge:
		return true
	}
	return false
}

// retryAfter reads seconds or a date (RFC 9110 section 10.2.3); 0 for anything else.
func retryAfter(value string) time.Duration {
	var after time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		after = time.Until(date)
	}
	return min(max(after, 0), maxRetryAfter)
}

// Interface guards
var (
	_ Backend            = (*SiteBackend)(nil)
	_ Tenanted           = (*SiteBackend)(nil)
	_ Fingerprinter      = (*SiteBackend)(nil)
	_ RoleReporter       = (*SiteBackend)(nil)
	_ caddy.Provisioner  = (*SiteBackend)(nil)
	_ caddy.CleanerUpper = (*SiteBackend)(nil)
)
