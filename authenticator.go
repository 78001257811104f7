package frappeauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/challenge"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/resource"
	"github.com/caddy-frappe/frappe-auth/internal/streams"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// authenticator decides on requests. Each handler and provider has one, which Options.load makes; it does not change.
type authenticator struct {
	reporting
	name          string
	schemes       []frappe.Scheme // accepted
	require       []frappe.Requirement
	anonymous     bool                // a request without a credential is let through as Guest
	crossSite     *browser.Protection // nil: sessions are not accepted
	logins        logins
	challenges    challenge.Set
	resource      *protectedResource // nil: there are no metadata
	verifier      *verifier
	stopRoleCheck func()
}

// active holds the authenticators of the current configuration by their address, for the admin API.
var active = caddy.NewUsagePool()

// close stops watching for changes and releases what is shared.
func (a *authenticator) close() error {
	a.stopRoleCheck()
	_, err := active.Delete(a)
	return errors.Join(err, a.verifier.close())
}

// Destruct implements caddy.Destructor. close releases everything.
func (*authenticator) Destruct() error { return nil }

func (a *authenticator) accepts(scheme frappe.Scheme) bool {
	return slices.Contains(a.schemes, scheme)
}

// attempt is the input of a decision.
type attempt struct {
	early     bool            // the request may be a replay, and its address is not verified (RFC 8470)
	earlier   *decision       // of a handler before this one, which may have hidden the credential
	headers   []string        // the Authorization headers
	cookies   []string        // the Cookie headers with the session, if sessions are accepted
	crossSite bool            // another site may have made a browser send the request with the user's session
	repl      *caddy.Replacer // names the site, for backends that serve several
	guest     bool            // without a credential, the request is let through as Guest
	caller
}

// guest is the verdict for a request without a credential that is let through.
var guest = verdict{grant: &grant{user: frappe.Guest}}

// decideRequest decides on a request, in its own span if the request is traced. guest says whether a request without a
// credential is let through.
func (a *authenticator) decideRequest(r *http.Request, guest bool) decision {
	return a.decideWith(r, r.Header["Authorization"], a.logins.cookies(r), guest)
}

// decideWith is decideRequest with other credentials: Authorization headers, and Cookie headers with the session.
func (a *authenticator) decideWith(r *http.Request, authorization, cookies []string, guest bool) decision {
	ctx, span := telemetry.StartDecisionSpan(r.Context())
	in := a.attempt(r, authorization, cookies, guest)
	d := a.decide(ctx, &in)
	if span != nil {
		telemetry.EndDecisionSpan(span, d.traced())
	}
	return d
}

func (a *authenticator) attempt(r *http.Request, authorization, cookies []string, guest bool) attempt {
	in := attempt{
		headers: authorization,
		repl:    r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer),
		early:   headers.Early(r),
		earlier: published(r),
		guest:   guest,
		caller:  caller{client: headers.ClientIP(r)},
	}
	if a.crossSite != nil {
		scheme, host := headers.Addressed(r)
		in.cookies, in.crossSite = cookies, a.crossSite.Refuses(r, scheme, host)
	}
	return in
}

// decide turns a credential into a decision: parse, verify, then check the requirements. An Authorization header takes
// precedence over a session.
func (a *authenticator) decide(ctx context.Context, in *attempt) decision {
	switch {
	case in.early:
		return decision{rejection: rejectTooEarly, outcome: outcomeTooEarly}
	case len(in.headers) > 1:
		return decision{rejection: rejectTwoHeaders, outcome: outcomeMalformed}
	case len(in.headers) == 0 || strings.Trim(in.headers[0], " \t") == "":
		return a.decideSession(ctx, in)
	}
	credential, err := frappe.ParseCredential(in.headers[0])
	if err == nil && !a.accepts(credential.Scheme) {
		err = errNotAccepted
	}
	if err != nil && a.leavesToApplication(in.headers[0]) {
		if _, ok := frappe.ParseSession(in.cookies); ok || a.mayReuse(in) {
			return a.decideSession(ctx, in)
		}
	}
	if err != nil {
		return decision{
			rejection: rejectMalformed(err), outcome: outcomeMalformed, scheme: credential.Scheme, key: credential.Key,
		}
	}
	return a.decideCredential(ctx, in, &credential)
}

// leavesToApplication reports whether an Authorization header is of a scheme that is not accepted here. An application
// may have its own tokens beside the session.
func (a *authenticator) leavesToApplication(header string) bool {
	scheme := schemeOf(header)
	return scheme != "" && !slices.ContainsFunc(a.schemes, func(accepted frappe.Scheme) bool {
		return strings.EqualFold(scheme, string(accepted))
	})
}

// schemeOf returns the scheme of an Authorization header. It ends where a scheme ends (RFC 9110 section 11.1), so that
// a header with the wrong character after an accepted scheme is malformed, and not of another scheme.
func schemeOf(header string) string {
	header = strings.TrimLeft(header, " \t")
	if end := strings.IndexFunc(header, func(r rune) bool { return !httpguts.IsTokenRune(r) }); end >= 0 {
		header = header[:end]
	}
	return header
}

// decideSession decides on a request without an Authorization header that is accepted here.
func (a *authenticator) decideSession(ctx context.Context, in *attempt) decision {
	credential, ok := frappe.ParseSession(in.cookies)
	switch {
	case ok && in.crossSite:
		return decision{rejection: rejectCrossSite, outcome: outcomeForbidden, scheme: credential.Scheme}
	case ok:
		return a.decideCredential(ctx, in, &credential)
	case a.mayReuse(in):
		return a.reuse(in.earlier)
	case in.guest:
		return decision{verdict: guest, outcome: outcomeAnonymous}
	}
	return decision{rejection: rejectNoCredential, outcome: outcomeNoCredential}
}

// mayReuse reports whether the verdict of a handler before this one holds here too. That handler has hidden the
// credential, and has the same backends.
func (a *authenticator) mayReuse(in *attempt) bool {
	d := in.earlier
	return d != nil && d.rejection == nil && d.verdict.grant != nil && a.accepts(d.scheme) &&
		slices.Contains(a.verifier.state.backends, d.verdict.by) && (d.scheme != frappe.SchemeSession || !in.crossSite)
}

// reuse decides with the verdict of a handler before this one.
func (a *authenticator) reuse(earlier *decision) decision {
	d := decision{scheme: earlier.scheme, key: earlier.key, verdict: earlier.verdict, reused: true}
	d.rejection, d.outcome = a.judge(d.verdict.grant, d.scheme)
	return d
}

// decideCredential decides on a well-formed credential of an accepted scheme.
func (a *authenticator) decideCredential(ctx context.Context, in *attempt, credential *frappe.Credential) decision {
	d := decision{scheme: credential.Scheme, key: credential.Key}
	sites, err := a.verifier.sites(in.repl)
	if err != nil {
		d.rejection, d.outcome = rejectNoSite, outcomeMalformed
		return d
	}
	d.verdict = a.verifier.verify(ctx, in.caller, sites, credential)
	if err := d.verdict.err; err != nil {
		d.rejection, d.outcome, d.retryAfter = rejectionOf(err, d.scheme, ctx.Err() != nil)
		if mistake := credential.Mistake(); mistake != "" && d.outcome == outcomeDenied {
			d.rejection = d.explained(mistake)
		}
		return d
	}
	d.rejection, d.outcome = a.judge(d.verdict.grant, d.scheme)
	return d
}

// judge checks the requirements: on every request, whether the verdict is cached or not.
func (a *authenticator) judge(g *grant, scheme frappe.Scheme) (*rejection, outcome) {
	if len(a.require) == 0 {
		return nil, outcomeGranted
	}
	id := g.identity()
	for i := range a.require {
		switch {
		case a.require[i].MetBy(&id, scheme):
		case scheme == frappe.SchemeBearer:
			return rejectForbiddenToken, outcomeForbidden
		default:
			return rejectForbidden, outcomeForbidden
		}
	}
	return nil, outcomeGranted
}

// errAnotherUser says that a credential no longer belongs to the user who opened a stream.
var errAnotherUser = errors.New("the credential now belongs to another user")

// follow returns a context for a request that may open a stream. It ends when the grant that let the request through is
// revoked and not confirmed again, when the credential expires, or when it can no longer be confirmed. The caller must
// call done when the request is over.
func (a *authenticator) follow(r *http.Request, d *decision) (ctx context.Context, done func()) {
	var credential frappe.Credential
	switch {
	case d.scheme == "", d.reused: // Guest has no credential; the handler that has hidden it follows the request
		return r.Context(), func() {}
	case d.scheme == frappe.SchemeSession:
		credential, _ = frappe.ParseSession(a.logins.cookies(r))
	default:
		credential, _ = frappe.ParseCredential(r.Header.Get("Authorization")) // it was parsed for the decision
	}
	sites, err := a.verifier.sites(r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer))
	if err != nil {
		return r.Context(), func() {} // cannot happen: the decision needed them
	}
	f := &followed{authenticator: a, credential: credential, sites: sites, client: headers.ClientIP(r)}
	if r.ProtoMajor > 1 {
		f.body = r.Body
	}
	f.grant.Store(d.verdict.grant)
	return a.verifier.state.streams.Open(r.Context(), f, a.verifier.term(d.verdict.grant), f.ended)
}

// followed is the grant of a stream.
type followed struct {
	*authenticator
	credential frappe.Credential
	sites      []string
	client     string
	body       io.Closer // of a request over HTTP/2 or 3: reverse_proxy waits for its end, even if the context has ended
	grant      atomic.Pointer[grant]
}

// Revoked implements streams.Grant.
func (f *followed) Revoked() bool { return f.verifier.state.cache.Revoked(f.grant.Load()) }

// Confirm implements streams.Grant.
func (f *followed) Confirm() (streams.Term, error) {
	known := f.grant.Load()
	found := f.verifier.confirm(&f.credential, f.sites, known)
	if found.err != nil {
		rejected, _, _ := rejectionOf(found.err, f.credential.Scheme, false)
		return streams.Term{}, rejected.reason
	}
	if found.user != known.user {
		return streams.Term{}, errAnotherUser
	}
	if rejected, _ := f.judge(found.grant, f.credential.Scheme); rejected != nil {
		return streams.Term{}, rejected.reason
	}
	f.grant.Store(found.grant)
	return f.verifier.term(found.grant), nil
}

// ended reports that the stream was ended.
func (f *followed) ended(reason error) {
	telemetry.CountEndedStream()
	f.logger.Info("ended a stream", zap.String("client_ip", f.client), zap.NamedError("reason", reason))
	if f.body != nil {
		_ = f.body.Close() // the request ends anyway
	}
}

// challenge sets the header fields of a rejection.
func (a *authenticator) challenge(w http.ResponseWriter, r *http.Request, d *decision) {
	token := sentToken(r)
	details := challenge.Bearer{ResourceMetadata: a.resource.metadataURL(r)}
	if token {
		details.Error = d.bearerError
	}
	if d.describe {
		details.Description = d.reason.Error()
	}
	to := challenge.Client{Basic: browser.MayAsk(r, token), SentToken: token, Cookie: a.logins.cookieName(r)}
	if lines := a.challenges.Lines(d.status, to, details); len(lines) > 0 {
		w.Header()["Www-Authenticate"] = lines
		if a.resource != nil && r.Header.Get("Origin") != "" { // a script of another origin needs the challenge
			w.Header().Add("Access-Control-Expose-Headers", "WWW-Authenticate")
		}
	}
	if d.retryAfter > 0 {
		seconds := int64((d.retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
}

// sentToken reports whether the request has a credential other than a Basic one.
func sentToken(r *http.Request) bool {
	header := r.Header.Get("Authorization")
	return strings.Trim(header, " \t") != "" && !strings.EqualFold(schemeOf(header), string(frappe.SchemeBasic))
}

// notePage lets challenge know by what the user opened a page, when the browser requests what belongs to the page.
func (a *authenticator) notePage(w http.ResponseWriter, r *http.Request, d *decision) {
	if !a.accepts(frappe.SchemeBasic) || len(a.schemes) == 1 { // challenge needs to know nothing
		return
	}
	if d.scheme == frappe.SchemeBasic || d.scheme == frappe.SchemeSession {
		browser.NotePage(w, r, d.scheme == frappe.SchemeBasic)
	}
}

// protectedResource is what OAuth clients are told about what is protected. Nil: nothing.
type protectedResource struct {
	identifier string // URL; empty: the scheme and the host of the request
	servers    []string
	scopes     []string
	review     *Review
}

// of returns the URL of the resource. It is empty if only the request could tell it, and names no host.
func (p *protectedResource) of(r *http.Request) string {
	switch {
	case p == nil:
		return ""
	case p.identifier != "":
		return p.identifier
	}
	scheme, host := headers.Addressed(r)
	if host == "" {
		return ""
	}
	return (&url.URL{Scheme: scheme, Host: host}).String()
}

// metadataURL returns the URL of the metadata. It is empty if there are none.
func (p *protectedResource) metadataURL(r *http.Request) string {
	switch identifier := p.of(r); {
	case identifier == "":
		return ""
	case p.review.describedBelow(identifier):
		return resource.BelowURL(identifier)
	default:
		return resource.MetadataURL(identifier)
	}
}

// metadata returns the metadata if the request is for them.
func (p *protectedResource) metadata(r *http.Request) (m resource.Metadata, ok bool) {
	identifier := p.of(r)
	if identifier == "" || !resource.Serves(identifier, headers.OriginalURL(r).Path) {
		return m, false
	}
	return resource.Metadata{
		Resource:               identifier,
		AuthorizationServers:   p.servers,
		ScopesSupported:        p.scopes,
		BearerMethodsSupported: []string{"header"}, // Frappe reads no other
	}, true
}
