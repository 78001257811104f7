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
	// maxBodySize is how much of an answer is read, in bytes. Frappe's longest that says something has about 4000.
	maxBodySize = 64 << 10

	// maxAuthorizationSize is the longest value of an Authorization header that gunicorn reads: its limit of 8190 bytes
	// (limit_request_field_size) counts the whole line. It answers 431 to a longer one.
	maxAuthorizationSize = 8190 - len("Authorization: \r\n")
)

// siteCall is one verification at one address.
type request struct {
	backend       *Backend
	address       *siteAddress
	authorization string // empty: no credential, so that Frappe sees a guest
	site          string // named by the client's request; empty: the backend's site_name
}

// authorizationOf is the header that carries a credential to Frappe. Not ok: there is none, so Frappe never sees such a
// credential from a client either, and never grants it.
func authorizationOf(c frappe.Credential) (value string, ok bool) {
	if c.Bearer() {
		token, carried := headerText(c.Token)
		return fits("Bearer "+token, carried)
	}
	pair := c.Key + ":" + c.Secret
	// Basic holds any bytes, but a third more of them.
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

// headerText puts text into the bytes that Frappe reads as that text: Latin-1, without a space, at which it splits, and
// without the white space at the end that is lost on the way.
func headerText(text string) (value string, ok bool) {
	if strings.HasSuffix(text, "\t") || strings.ContainsFunc(text, func(r rune) bool { return r == ' ' || r > unicode.MaxLatin1 }) {
		return "", false
	}
	return frappe.ToLatin1(text), true
}

// siteAnswer is a JSON object that was answered with status 200, 401 or 403.
type siteAnswer struct {
	status int
	header http.Header
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

// get sends a GET. What it returns is for the caller to judge; its error is never a verdict.
func (c request) get(ctx context.Context, path, query string) (siteAnswer, error) {
	var progress progress
	resp, err := c.backend.transport.RoundTrip(c.request(progress.watch(ctx), path, query))
	if err != nil {
		return siteAnswer{}, &nextAddressError{c.noAnswer(err, &progress)}
	}
	defer resp.Body.Close()

	switch resp.StatusCode {
	case http.StatusOK, http.StatusUnauthorized, http.StatusForbidden:
	default:
		return siteAnswer{}, c.noVerdictFrom(resp)
	}
	if media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return siteAnswer{}, &frappe.UnavailableError{
			Reason: c.noVerdict(resp.StatusCode,
				errors.New("the answer is not JSON, so it is not Frappe's but of something in front of it")),
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
		return siteAnswer{}, c.noVerdict(resp.StatusCode, errors.New("the answer says it is JSON but is no JSON object"))
	}
	return a, nil
}

// request is made from nothing but the credential: a cookie would beat it, and other headers make Frappe look the key
// up elsewhere.
func (c request) request(ctx context.Context, path, query string) *http.Request {
	u := c.address.url
	u.RawPath = u.EscapedPath() + path // the path is escaped already
	u.Path, _ = url.PathUnescape(u.RawPath)
	u.RawQuery = query

	// Transports expand placeholders of their own configuration, from the request's replacer; this one has none of the
	// client's.
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	host := u.Host // TLS goes by the URL, whatever the Host header says
	if c.address.socket != "" {
		host = "localhost"
		ctx = context.WithValue(ctx, dialInfoKey, reverseproxy.DialInfo{Network: "unix", Address: c.address.socket})
	}
	header := http.Header{
		"Accept":     {"application/json"},
		"User-Agent": {"caddy-frappe-auth"},
	}
	if c.authorization != "" {
		header["Authorization"] = []string{c.authorization}
	}
	if name := c.siteName(); name != "" {
		// gunicorn picks the site by X-Frappe-Site-Name, the nginx of bench and of frappe_docker by Host.
		host = name
		header["X-Frappe-Site-Name"] = []string{name}
	}
	passTraceOn(ctx, header)
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

// dialInfoKey is where Caddy's transports look for a Unix socket to dial (reverseproxy.GetDialInfo).
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"

// siteName is the name that is sent.
func (c request) siteName() string {
	if c.site != "" {
		return c.site
	}
	return c.backend.SiteName
}

// passTraceOn tells who is asked which trace the question belongs to (W3C Trace Context), by numbers alone: in tracestate
// and baggage the client has a say.
func passTraceOn(ctx context.Context, header http.Header) {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return
	}
	ctx = trace.ContextWithSpanContext(ctx, span.WithTraceState(trace.TraceState{}))
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
}
