package site

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// No error here contains anything that the other side sent, since it might echo the credential.

// maxRetryAfter is the longest Retry-After that is passed on from a site. Frappe's rate limits are usually per hour.
const maxRetryAfter = 24 * time.Hour

// progress records how far a request got, because some errors do not tell.
type progress struct {
	handshake atomic.Bool // a TLS handshake has started and not finished
}

// watch returns a context for a request whose progress is recorded.
func (p *progress) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeStart: func() { p.handshake.Store(true) },
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err == nil {
				p.handshake.Store(false)
			}
		},
	})
}

// noAnswer returns the error for a request that got no answer. It names the address, the site and the likely cause.
func (c request) noAnswer(err error, p *progress) error {
	var (
		timeout net.Error
		dial    reverseproxy.DialError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		if p.handshake.Load() {
			return fmt.Errorf("%s: no answer to the TLS handshake in time; if the port is plain HTTP, write %s", c.where(),
				c.address.withScheme("http"))
		}
		return fmt.Errorf("%s: no answer in time; is the site overloaded, or the timeout too short?", c.where())
	case errors.As(err, &dial):
		return fmt.Errorf("%s: cannot connect: %w%s", c.where(), dial, c.notRunning(dial))
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", c.where(), context.Canceled)
	}
	if c.address.proxy != "" {
		return fmt.Errorf("%s: the proxy does not let the request through, or the connection broke; %s",
			c.where(), proxyAdvice)
	}
	if cause := c.tlsFault(err, p); cause != "" {
		return fmt.Errorf("%s: %s", c.where(), cause)
	}
	return fmt.Errorf("%s: the connection broke, or the answer was not HTTP", c.where())
}

// notRunning says what to do if nothing listens at the address. A DialError has no error to unwrap.
func (c request) notRunning(err reverseproxy.DialError) string {
	text := err.Error()
	switch {
	case !strings.Contains(text, syscall.ECONNREFUSED.Error()) && !strings.Contains(text, syscall.ENOENT.Error()):
		return ""
	case c.address.proxy != "":
		return "; is the proxy running? Otherwise " + proxyAdvice
	case c.address.socket != "" || Private(c.address.url.Hostname()):
		return "; is Frappe running there? Start it with `bench start`, or look at `supervisorctl status`"
	}
	return "; is Frappe running there, and is this its port?"
}

// tlsFault describes what went wrong with TLS. It returns an empty string if nothing indicates TLS.
func (c request) tlsFault(err error, p *progress) string {
	var (
		record      tls.RecordHeaderError
		certificate *tls.CertificateVerificationError
		op          *net.OpError
	)
	switch {
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return "the port does not speak TLS; write " + c.address.withScheme("http")
	case errors.As(err, &certificate):
		return "the certificate is not trusted: " + certificateFault(certificate.Err)
	case errors.As(err, &op) && op.Op == "remote error":
		return "the other side refused the TLS handshake; does it need a client certificate (tls_client_auth) or another " +
			"name (tls_server_name)?"
	case p.handshake.Load():
		return "the connection broke during the TLS handshake; if the port is plain HTTP, write " +
			c.address.withScheme("http")
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		return c.speaksTLS() // the first bytes of a TLS alert
	case c.address.url.Scheme == "http":
		return "the connection broke, or the answer was not HTTP; if the port speaks TLS, write " +
			c.address.withScheme("https")
	}
	return ""
}

func (c request) speaksTLS() string {
	return "the port speaks TLS; write " + c.address.withScheme("https")
}

// certificateFault describes what is wrong with a certificate, without the names in it.
func certificateFault(err error) string {
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &name):
		return "it is not valid for the host in the address"
	case errors.As(err, &unknown):
		return "its authority is unknown here; add the authority's certificate with tls_trust_pool in the transport"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired, or is not valid yet"
	}
	return "it cannot be verified"
}

// notFoundError is the error for status 404.
type notFoundError struct {
	error              // the site may be missing
	ifSiteExists error // the error to use if the site is known to exist
	socketIO     bool  // the answer comes from Frappe's socket.io server
	named        bool  // Frappe says that it has no site with this name
}

func (e *notFoundError) Unwrap() error { return e.error }

// noVerdictFrom returns the error for an answer whose status neither grants nor denies.
func (c request) noVerdictFrom(resp *http.Response) error {
	var body []byte
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusExpectationFailed, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		// After a read error, the part that was read is enough.
		body, _ = io.ReadAll(io.LimitReader(resp.Body, maxBodySize))
	}
	result := &frappe.UnavailableError{
		RetryAfter:         retryAfter(resp.Header.Get("Retry-After")),
		CredentialSpecific: mayConcernRequest(resp.StatusCode),
	}
	cause := c.likelyCause(resp.StatusCode)
	socketIO := looksLikeSocketIO(resp, body)
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		cause = c.redirect(resp.Header.Get("Location"))
	case c.address.url.Scheme == "http" && resp.StatusCode == http.StatusBadRequest && refusesPlainHTTP(body):
		cause, result.CredentialSpecific = c.speaksTLS(), false
	case resp.StatusCode == http.StatusExpectationFailed && installing(body):
		cause = stillInstalling
	case socketIO:
		cause = "this looks like the port of Frappe's socket.io server (9000); write the port of gunicorn (8000)"
		result.CredentialSpecific = false
	}
	result.Reason = c.noVerdict(resp.StatusCode, errors.New(cause))
	switch resp.StatusCode {
	case http.StatusNotFound:
		result.Reason = &notFoundError{
			error: result.Reason,
			ifSiteExists: c.noVerdict(resp.StatusCode,
				errors.New("the site exists, but cannot find a document that this credential or its user needs")),
			socketIO: socketIO,
			named:    c.siteName() != "" && bytes.Contains(body, []byte(">"+c.siteName()+" does not exist<")),
		}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if !fromFrappe(body) {
			return &nextAddressError{result}
		}
	}
	return result
}

// noVerdict returns an error with the address, site and status of an answer that neither grants nor denies.
func (c request) noVerdict(status int, cause error) error {
	return fmt.Errorf("%s: status %d: %w", c.where(), status, cause)
}

// where returns the address, the site if it has its own name, and the name of a later request.
func (c request) where() string {
	where := "site " + c.address.String()
	if name := c.siteName(); name != "" {
		where += " (" + name + ")"
	}
	if c.address.proxy != "" {
		where += ", through the proxy " + c.address.proxy + " from the environment"
	}
	if c.later != "" {
		where += ": " + c.later
	}
	return where
}

// likelyCause returns the usual cause of a status that neither grants nor denies, as measured on Frappe 14 to 16.
func (c request) likelyCause(status int) string {
	switch {
	case status == http.StatusNotFound && c.siteName() != "":
		return "the bench has no such site; check site_name, the name of the site's directory in sites/"
	case status == http.StatusNotFound:
		return "the bench has no site with the name of the host in the address; add site_name, the name of the site's " +
			"directory in sites/"
	case status == http.StatusMisdirectedRequest:
		return "the server does not serve this host here; check site_name and the host in the address"
	case status == http.StatusExpectationFailed:
		return "Frappe cannot decrypt the user's stored API secret; generate new keys for the user, or restore the " +
			"encryption_key of site_config.json"
	case status == http.StatusRequestHeaderFieldsTooLarge:
		return "the credential is too long for the server in front of Frappe"
	case status == http.StatusTooManyRequests:
		return "Frappe's rate limit was reached"
	case status == http.StatusServiceUnavailable:
		return "the site is in maintenance mode, or no worker is running"
	case status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		return "the proxy in front of Frappe gets no answer; is Frappe running? Start it with `bench start`, " +
			"or look at `supervisorctl status`"
	case status >= 500:
		return "Frappe failed; its database may be down, or the site is still being installed"
	}
	return cmp.Or(c.later, "get_logged_user") + " does not answer like this; is this the address of a Frappe site?"
}

// redirect returns the cause for an address that redirects, and what to write instead.
func (c request) redirect(location string) string {
	to, err := url.Parse(location)
	switch {
	case err != nil:
	case c.address.url.Scheme == "http" && to.Scheme == "https":
		return "the site redirects to https, and redirects are not followed; write the address with https://"
	case c.address.url.Path != "" && (to.Host == "" || to.Host == c.address.url.Host):
		return "the site redirects to another page; remove the path from the address"
	}
	return "redirects are not followed; write the address that this one redirects to"
}

// refusesPlainHTTP recognizes the answers of nginx, Go (and so Caddy) and Apache to plain HTTP on a TLS port.
func refusesPlainHTTP(body []byte) bool {
	for _, text := range []string{
		"The plain HTTP request was sent to HTTPS port",
		"Client sent an HTTP request to an HTTPS server",
		"speaking plain HTTP to an SSL-enabled server port",
	} {
		if bytes.Contains(body, []byte(text)) {
			return true
		}
	}
	return false
}

const stillInstalling = "the site has no user Guest yet: it is still being installed, or its installation failed"

// installing recognizes the answer to everybody of a site whose tables are there, but whose users are not. As measured
// on 15.44.2, it has status 417, like the answer to a user whose stored secret cannot be decrypted.
func installing(body []byte) bool { return bytes.Contains(body, []byte("User Guest is disabled")) }

// looksLikeSocketIO recognizes Frappe's socket.io server. As measured, socket.io 2 and 4 answer 404 without a content
// type and without a body. With express, as in older versions of Frappe, the answer is a page that says `Cannot GET`.
func looksLikeSocketIO(resp *http.Response, body []byte) bool {
	switch resp.StatusCode {
	case http.StatusNotFound:
		return (len(body) == 0 && resp.Header.Get("Content-Type") == "" && resp.Header.Get("Server") == "") ||
			bytes.Contains(body, []byte("Cannot GET /"))
	case http.StatusBadRequest:
		return bytes.Contains(body, []byte(`"Transport unknown"`))
	}
	return false
}

// fromFrappe reports whether an error page comes from Frappe itself, as in maintenance mode.
func fromFrappe(body []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return false
	}
	return members["exc_type"] != nil || members["exception"] != nil || members["exc"] != nil
}

// mayConcernRequest reports whether a status that neither grants nor denies may be about this credential, not about the
// site. gunicorn and nginx refuse a header that is too long (400, 413, 414, 431), firewalls refuse one that looks like
// an attack (400, 401, 403, 405, 406, 451), and Frappe answers 417 for a user whose stored secret it cannot decrypt. If
// these counted against the site, one client could open its circuit breaker for everybody. All other statuses are about
// the site or the address.
func mayConcernRequest(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed,
		http.StatusNotAcceptable, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
		http.StatusExpectationFailed, http.StatusRequestHeaderFieldsTooLarge, http.StatusUnavailableForLegalReasons:
		return true
	}
	return false
}

// retryAfter parses a Retry-After of seconds or a date (RFC 9110 section 10.2.3). It returns 0 for anything else.
func retryAfter(value string) time.Duration {
	var after time.Duration
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		after = time.Duration(seconds) * time.Second
	} else if date, err := http.ParseTime(value); err == nil {
		after = time.Until(date)
	}
	return min(max(after, 0), maxRetryAfter)
}
