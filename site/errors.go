package site

import (
	"bytes"
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
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// No text here holds anything that the other side sent: it might echo the credential.

// maxRetryAfter bounds what is passed on of a site's Retry-After. Frappe's rate limits are mostly by the hour.
const maxRetryAfter = 24 * time.Hour

// progress is how far a request came, where its error alone does not say.
type progress struct {
	handshake atomic.Bool // TLS has begun and has not ended
}

// watch makes a context for the request.
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

// noAnswer names address and site of a request without an answer, and the likely cause.
func (c request) noAnswer(err error, p *progress) error {
	var (
		timeout net.Error
		dial    reverseproxy.DialError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		if p.handshake.Load() {
			return fmt.Errorf("%s: no answer to the TLS handshake in time; if the port is plain HTTP, write %s", c.where(), c.address.withScheme("http"))
		}
		return fmt.Errorf("%s: no answer in time; is the site overloaded, or the timeout too short?", c.where())
	case errors.As(err, &dial):
		return fmt.Errorf("%s: cannot connect: %w", c.where(), dial)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: %w", c.where(), context.Canceled)
	}
	if cause := c.tlsFault(err, p); cause != "" {
		return fmt.Errorf("%s: %s", c.where(), cause)
	}
	return fmt.Errorf("%s: the connection broke, or the answer was not HTTP", c.where())
}

// tlsFault is what went wrong with TLS; empty if nothing points to it.
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
		return "the other side refused TLS with an alert; does it want a client certificate (tls_client_auth) or another name (tls_server_name)?"
	case p.handshake.Load():
		return "the connection broke in the TLS handshake; if the port is plain HTTP, write " + c.address.withScheme("http")
	case strings.Contains(err.Error(), `malformed HTTP response "\x15\x03`):
		return c.speaksTLS() // the first bytes of a TLS alert
	case c.address.url.Scheme == "http":
		return "the connection broke, or the answer was not HTTP; if the port speaks TLS, write " + c.address.withScheme("https")
	}
	return ""
}

func (c request) speaksTLS() string {
	return "the port speaks TLS; write " + c.address.withScheme("https")
}

// certificateFault says what is wrong with a certificate, without the names in it.
func certificateFault(err error) string {
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &name):
		return "it is not for the host in the address"
	case errors.As(err, &unknown):
		return "its authority is unknown here; name the authority's certificate with tls_trust_pool in the transport"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "it has expired, or is not valid yet"
	}
	return "it does not verify"
}

// notFoundError is status 404.
type notFoundError struct {
	error          // about the site
	onlyThis error // about the request, where the site is known to be there
	socketIO bool  // of Frappe's socket.io server
	named    bool  // Frappe says that it has no site of this name
}

func (e *notFoundError) Unwrap() error { return e.error }

// noVerdictFrom is the error for an answer with a status that is neither a grant nor a denial.
func (c request) noVerdictFrom(resp *http.Response) error {
	var body []byte
	switch resp.StatusCode {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		// What comes before an error tells enough.
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
	case socketIO:
		cause = "this looks like the port of Frappe's socket.io server (9000); write that of gunicorn (8000)"
		result.CredentialSpecific = false
	}
	result.Reason = c.noVerdict(resp.StatusCode, errors.New(cause))
	switch resp.StatusCode {
	case http.StatusNotFound:
		result.Reason = &notFoundError{
			error:    result.Reason,
			onlyThis: c.noVerdict(resp.StatusCode, errors.New("the site is there, but does not find what this credential or its user needs")),
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

// noVerdict names address, site and status of an answer that is no verdict.
func (c request) noVerdict(status int, cause error) error {
	return fmt.Errorf("%s: status %d: %w", c.where(), status, cause)
}

// where names the address, and the site if it has a name of its own.
func (c request) where() string {
	where := "site " + c.address.String()
	if name := c.siteName(); name != "" {
		where += " (" + name + ")"
	}
	return where
}

// likelyCause is what mostly stands behind a status that is no verdict, as measured on Frappe 14 to 16.
func (c request) likelyCause(status int) string {
	switch {
	case status == http.StatusNotFound && c.siteName() != "":
		return "the bench has no such site; check site_name, the name of the site's directory in sites/"
	case status == http.StatusNotFound:
		return "the bench has no site named as the host in the address; add site_name, the name of the site's directory in sites/"
	case status == http.StatusMisdirectedRequest:
		return "the server does not serve this host here; check site_name and the host in the address"
	case status == http.StatusExpectationFailed:
		return "Frappe cannot decrypt the user's stored API secret; generate new keys for the user, or restore the encryption_key of site_config.json"
	case status == http.StatusRequestHeaderFieldsTooLarge:
		return "the credential is longer than what stands before Frappe reads"
	case status == http.StatusTooManyRequests:
		return "Frappe's rate limit was reached"
	case status == http.StatusServiceUnavailable:
		return "maintenance mode, or no worker is up"
	case status == http.StatusBadGateway, status == http.StatusGatewayTimeout:
		return "the proxy before Frappe gets no answer; is Frappe up?"
	case status >= 500:
		return "Frappe failed; its database may be down"
	}
	return "not an answer of get_logged_user; is this the address of a Frappe site?"
}

// redirect says what to write in place of an address that redirects.
func (c request) redirect(location string) string {
	if to, err := url.Parse(location); err == nil && c.address.url.Scheme == "http" && to.Scheme == "https" {
		return "the site redirects to https, and redirects are not followed; write the address with https://"
	}
	return "redirects are not followed; write the address that it leads to"
}

// refusesPlainHTTP recognizes how nginx, Go (and so Caddy) and Apache answer plain HTTP on a port for TLS.
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

// looksLikeSocketIO recognizes Frappe's socket.io server. Measured: socket.io 2 and 4 answer 404 with neither a type nor a
// body; with express, as older versions of Frappe, a page that says `Cannot GET`.
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

// fromFrappe reports whether an error is Frappe's own, such as that of maintenance mode.
func fromFrappe(body []byte) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return false
	}
	return members["exc_type"] != nil || members["exception"] != nil || members["exc"] != nil
}

// mayConcernRequest reports whether a status that is no verdict may be about this credential rather than the site. gunicorn and
// nginx refuse a header that is too long for them (400, 413, 414, 431), firewalls one that looks like an attack (400, 401,
// 403, 405, 406, 451), and Frappe answers 417 for a user whose stored secret it cannot decrypt. A client could otherwise
// open the circuit breaker for everybody. The others are about the site or the address.
func mayConcernRequest(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusMethodNotAllowed,
		http.StatusNotAcceptable, http.StatusRequestEntityTooLarge, http.StatusRequestURITooLong,
		http.StatusExpectationFailed, http.StatusRequestHeaderFieldsTooLarge, http.StatusUnavailableForLegalReasons:
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
