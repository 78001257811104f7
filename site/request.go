package site

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// maxBodySize is how much of an answer is read, in bytes. Frappe's longest useful answer has about 4000.
	maxBodySize = 64 << 10

	// maxAuthorizationSize is the longest value of an Authorization header that gunicorn reads. Its limit of 8190 bytes
	// (limit_request_field_size) applies to the whole line; it answers 431 to a longer one.
	maxAuthorizationSize = 8190 - len("Authorization: \r\n")
)

// request is one verification at one address.
type request struct {
	backend    *Backend
	address    *siteAddress
	credential credential
	site       string // from the client's request; empty: use the backend's site_name
	later      string // the name of a request after get_logged_user
}

// credential is the header that carries a credential to Frappe. Without a header, which is the zero value, Frappe sees
// a guest.
type credential struct{ header, value string }

// session reports whether the credential is a session.
func (c credential) session() bool { return c.header == "Cookie" }

// carry returns the header that carries a credential to Frappe. ok is false if no header can carry it. Frappe then
// never sees such a credential from a client either, and never grants it.
func carry(c frappe.Credential) (carried credential, ok bool) {
	if c.Scheme == frappe.SchemeSession {
		return credential{"Cookie", frappe.SessionCookie + "=" + c.Session}, frappe.ValidSession(c.Session)
	}
	value, ok := authorizationOf(c)
	return credential{"Authorization", value}, ok
}

// authorizationOf returns the value of the Authorization header that carries an API key or access token.
func authorizationOf(c frappe.Credential) (value string, ok bool) {
	if c.Bearer() {
		token, carried := headerText(c.Token)
		return fits("Bearer "+token, carried)
	}
	pair := c.Key + ":" + c.Secret
	// Basic carries any bytes, but is a third longer.
	if value, ok := fits("Basic "+base64.StdEncoding.EncodeToString([]byte(pair)), true); ok {
		return value, true
	}
	pair, carried := headerText(pair)
	return fits("token "+pair, carried)
}

func fits(value string, carried bool) (string, bool) {
	if !carried || len(value) > maxAuthorizationSize || !httpguts.ValidHeaderFieldValue(value) {
		return "", false
	}
	return value, true
}

// headerText encodes text as the bytes that Frappe decodes to that text (Latin-1). ok is false for text with a space,
// where Frappe splits the header, or with a trailing tab, which servers strip.
func headerText(text string) (value string, ok bool) {
	if strings.HasSuffix(text, "\t") ||
		strings.ContainsFunc(text, func(r rune) bool { return r == ' ' || r > unicode.MaxLatin1 }) {
		return "", false
	}
	return frappe.ToLatin1(text), true
}

// siteAnswer is a JSON object that came with a status that interpreted accepts.
type siteAnswer struct {
	status int
	header http.Header
	body   map[string]json.RawMessage
}

// member decodes a member of the object. Unlike struct tags, it matches names case-sensitively.
func (a siteAnswer) member(name string, into any) error {
	raw, ok := a.body[name]
	if !ok || string(raw) == "null" || json.Unmarshal(raw, into) != nil {
		return fmt.Errorf("the answer's %s is missing or does not have Frappe's form; is this the address of a Frappe site?",
			name)
	}
	return nil
}

// get sends a GET request. The caller interprets the answer. No error is a verdict.
func (c request) get(ctx context.Context, path, query string) (siteAnswer, error) {
	var progress progress
	resp, err := c.backend.transport.RoundTrip(c.httpRequest(progress.watch(ctx), path, query))
	if err != nil {
		return siteAnswer{}, &nextAddressError{c.noAnswer(err, &progress)}
	}
	defer resp.Body.Close()

	if !c.interpreted(resp.StatusCode) {
		return siteAnswer{}, c.noVerdictFrom(resp)
	}
	if media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return siteAnswer{}, &frappe.UnavailableError{
			Reason: c.noVerdict(resp.StatusCode,
				errors.New("the answer is not JSON, so it comes from something in front of Frappe")),
			CredentialSpecific: mayConcernRequest(resp.StatusCode),
		}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBodySize+1))
	if err != nil {
		return siteAnswer{}, &nextAddressError{c.noAnswer(err, &progress)}
	}
	if len(body) > maxBodySize {
		return siteAnswer{}, c.noVerdict(resp.StatusCode, errors.New("the answer is longer than 64 KiB"))
	}
	a := siteAnswer{status: resp.StatusCode, header: resp.Header}
	if json.Unmarshal(body, &a.body) != nil || a.body == nil {
		return siteAnswer{}, c.noVerdict(resp.StatusCode, errors.New("the answer claims to be JSON but is not a JSON object"))
	}
	return a, nil
}

// interpreted reports whether the caller of get interprets an answer with this status.
func (c request) interpreted(status int) bool {
	switch status {
	case http.StatusOK, http.StatusUnauthorized, http.StatusForbidden:
		return true
	case http.StatusExpectationFailed:
		return c.credential.session() || c.later != ""
	case http.StatusNotFound:
		return c.later != ""
	}
	return false
}

// httpRequest builds an HTTP request from the credential alone. Another cookie would override an API key or access
// token, and other headers could make Frappe look the key up elsewhere.
func (c request) httpRequest(ctx context.Context, path, query string) *http.Request {
	u := c.address.url
	u.RawPath = u.EscapedPath() + path // path is already escaped
	u.Path, _ = url.PathUnescape(u.RawPath)
	u.RawQuery = query

	// Transports expand placeholders in their own configuration with the request's replacer. This new one has none of the
	// client's placeholders.
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	host := u.Host // TLS uses the host of the URL, not the Host header
	if c.address.socket != "" {
		host = "localhost"
		ctx = context.WithValue(ctx, dialInfoKey, reverseproxy.DialInfo{Network: "unix", Address: c.address.socket})
	}
	header := http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {"caddy-frappe-auth"},
	}
	if c.credential.header != "" {
		header[c.credential.header] = []string{c.credential.value}
	}
	if name := c.siteName(); name != "" {
		// gunicorn selects the site by X-Frappe-Site-Name; the nginx of bench and of frappe_docker selects it by Host.
		host = name
		header["X-Frappe-Site-Name"] = []string{name}
	}
	propagateTrace(ctx, header)
	req := &http.Request{
		Method:     http.MethodGet,
		URL:        &u,
		Host:       host,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     header,
	}
	return req.WithContext(ctx)
}

// dialInfoKey is the context key where Caddy's transports look for a Unix socket to dial (reverseproxy.GetDialInfo).
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"

// siteName returns the site name to send.
func (c request) siteName() string {
	if c.site != "" {
		return c.site
	}
	return c.backend.SiteName
}

// propagateTrace adds the trace of this request to the header (W3C Trace Context). It sends only the IDs, because the
// client controls tracestate and baggage.
func propagateTrace(ctx context.Context, header http.Header) {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return
	}
	ctx = trace.ContextWithSpanContext(ctx, span.WithTraceState(trace.TraceState{}))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
}

// checkSession returns ErrDenied if an answer says that the session has ended, whichever user it names. An app of the
// site may authenticate the request by something other than its session, such as its address.
func (c request) checkSession(a siteAnswer) error {
	if a.body["session_expired"] != nil {
		return frappe.ErrDenied
	}
	if a.status != http.StatusExpectationFailed {
		return nil
	}
	// As measured on 15.44.2, this is how Frappe refuses the session of a user who was disabled without a logout, by a
	// script or with `bench disable-user`.
	var exception string
	cause := "this answer is not Frappe's, but may come from one of its apps; see the Error Log of the site"
	switch {
	case installing(a.body["_server_messages"]):
		cause = stillInstalling
	case a.member("exc_type", &exception) == nil && exception == "ValidationError":
		return frappe.ErrDenied
	}
	return &frappe.UnavailableError{Reason: c.noVerdict(a.status, errors.New(cause)), CredentialSpecific: true}
}
