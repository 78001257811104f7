package frappeauth

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/admin"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/challenge"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// decision says what happens to a request, and why. The handler, the provider, the admin API and the command all get it
// from decide.
type decision struct {
	*rejection // nil: the request goes on
	outcome    outcome
	scheme     frappe.Scheme // of the credential; empty if none was recognized
	key        string        // the API key that was sent, if any. A decision holds no secret: other handlers can print it
	verdict    verdict       // from a backend or the cache; zero if no well-formed credential was sent
	retryAfter time.Duration
	location   string // of the login page; empty: none
}

// user is the user of a request that goes on. It is empty for a rejected request.
func (d *decision) user() string {
	if d.rejection != nil || d.verdict.grant == nil {
		return ""
	}
	return d.verdict.user
}

// backend is the name of the backend that granted a request that goes on.
func (d *decision) backend() string {
	if d.user() == "" || d.verdict.by == nil {
		return ""
	}
	return d.verdict.by.Name
}

// detail is what else is known about the user of a request that goes on.
func (d *decision) detail() *detail {
	if d.user() == "" || d.verdict.detail == nil {
		return &noDetail
	}
	return d.verdict.detail
}

// noDetail is the detail of users of whom only the name is known.
var noDetail detail

// rejection is the response to a request that does not go on. Nothing in it comes from a client or a backend.
type rejection struct {
	status      int
	reason      error
	bearerError string // error code in the Bearer challenge, RFC 6750 section 3.1; empty: none
	describe    bool   // send the reason as error_description, because it says what is wrong with the header
}

const (
	// statusClientGone is the status that Caddy's reverse_proxy uses when the client closed the connection.
	statusClientGone = 499

	// defaultRetryAfter is the Retry-After of a 503 if no backend said when to try again.
	defaultRetryAfter = 5 * time.Second

	invalidToken      = "invalid_token"
	insufficientScope = "insufficient_scope"
)

// All rejections, except for malformed headers: their reasons come from ParseCredential.
var (
	rejectNoCredential   = &rejection{status: http.StatusUnauthorized, reason: errors.New("no credential")}
	rejectTwoHeaders     = &rejection{status: http.StatusBadRequest, reason: errors.New("more than one Authorization header")}
	rejectNoSite         = &rejection{status: http.StatusBadRequest, reason: errors.New("the request names no site")}
	rejectDenied         = &rejection{status: http.StatusUnauthorized, reason: frappe.ErrDenied, bearerError: invalidToken}
	rejectDeniedSession  = &rejection{status: http.StatusUnauthorized, reason: frappe.ErrDenied}
	rejectToLogin        = &rejection{status: http.StatusFound, reason: errors.New("no session, so the browser is sent to the login page")}
	rejectCrossSite      = &rejection{status: http.StatusForbidden, reason: errors.New("another site made the browser send this request with the user's session")}
	rejectForbidden      = &rejection{status: http.StatusForbidden, reason: errForbidden}
	rejectForbiddenToken = &rejection{status: http.StatusForbidden, reason: errForbidden, bearerError: insufficientScope}
	rejectUnknownSite    = &rejection{status: http.StatusNotFound, reason: frappe.ErrUnknownSite}
	rejectThrottled      = &rejection{status: http.StatusTooManyRequests, reason: errors.New("too many denied credentials from this client")}
	rejectUnavailable    = &rejection{status: http.StatusServiceUnavailable, reason: errors.New("the credential could not be verified")}
	rejectClientGone     = &rejection{status: statusClientGone, reason: errors.New("the client went away")}
)

func rejectMalformed(reason error) *rejection {
	return &rejection{status: http.StatusUnauthorized, reason: reason, bearerError: invalidToken, describe: true}
}

var (
	errForbidden   = errors.New("the user does not meet the requirements")
	errNotAccepted = errors.New("the scheme of the credential is not accepted here")
)

// guest is the verdict for a request without a credential that may go on.
var guest = verdict{grant: &grant{user: frappe.Guest}}

// attempt is the input of a decision.
type attempt struct {
	headers   []string        // the Authorization headers
	cookies   []string        // the Cookie headers, if sessions are accepted
	crossSite bool            // another site may have made a browser send the request, so a session is no consent
	repl      *caddy.Replacer // names the site, for backends that serve several
	guest     bool            // without a credential, the request goes on as Guest
	caller
}

// decideRequest decides on a request, in its own span if the request is traced.
func (o *Options) decideRequest(r *http.Request, guest bool) decision {
	ctx, span := telemetry.StartDecisionSpan(r.Context())
	a := attempt{
		headers: r.Header["Authorization"],
		repl:    r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer),
		guest:   guest,
		caller:  caller{client: headers.ClientIP(r)},
	}
	if o.crossSite != nil {
		_, host := headers.Addressed(r)
		a.cookies, a.crossSite = r.Header["Cookie"], o.crossSite.Refuses(r, host)
	}
	d := o.decide(ctx, &a)
	if span != nil {
		telemetry.EndDecisionSpan(span, d.traced())
	}
	return d
}

// decide turns a credential into a decision: parse, verify, then check the requirements. An Authorization header counts
// before a session.
func (o *Options) decide(ctx context.Context, a *attempt) decision {
	switch {
	case len(a.headers) > 1:
		return decision{rejection: rejectTwoHeaders, outcome: outcomeMalformed}
	case len(a.headers) == 0 || strings.Trim(a.headers[0], " \t") == "":
		return o.decideSession(ctx, a)
	}
	credential, err := frappe.ParseCredential(a.headers[0])
	if err == nil && !o.accepts(credential.Scheme) {
		err = errNotAccepted
	}
	if err != nil {
		return decision{rejection: rejectMalformed(err), outcome: outcomeMalformed, scheme: credential.Scheme, key: credential.Key}
	}
	return o.decideCredential(ctx, a, credential)
}

// decideWritten decides on a credential that an operator wrote, as admin.ParseCredential reads it.
func (o *Options) decideWritten(ctx context.Context, line string, a *attempt) decision {
	cookie, ok := admin.Cookie(line)
	a.guest = o.guests
	switch {
	case !ok:
		a.headers = []string{line}
	case !o.accepts(frappe.SchemeSession) && a.guest: // a request's cookies are not looked at
		return decision{verdict: guest, outcome: outcomeAnonymous}
	case !o.accepts(frappe.SchemeSession):
		return decision{rejection: rejectMalformed(errNotAccepted), outcome: outcomeMalformed}
	default:
		a.cookies = []string{cookie}
	}
	return o.decide(ctx, a)
}

// decideSession decides on a request without an Authorization header.
func (o *Options) decideSession(ctx context.Context, a *attempt) decision {
	credential, ok := frappe.ParseSession(a.cookies)
	switch {
	case ok && a.crossSite:
		return decision{rejection: rejectCrossSite, outcome: outcomeForbidden, scheme: credential.Scheme}
	case ok:
		return o.decideCredential(ctx, a, credential)
	case a.guest:
		return decision{verdict: guest, outcome: outcomeAnonymous}
	}
	return decision{rejection: rejectNoCredential, outcome: outcomeNoCredential}
}

// decideCredential decides on a well-formed credential of an accepted scheme.
func (o *Options) decideCredential(ctx context.Context, a *attempt, credential frappe.Credential) decision {
	sites, err := o.verifier.sites(a.repl)
	if err != nil {
		return decision{rejection: rejectNoSite, outcome: outcomeMalformed, scheme: credential.Scheme, key: credential.Key}
	}
	d := decision{scheme: credential.Scheme, key: credential.Key, verdict: o.verifier.verify(ctx, a.caller, sites, &credential)}
	d.rejection, d.outcome, d.retryAfter = o.judge(ctx, &d.verdict, credential.Scheme)
	return d
}

// judge turns a verdict into a rejection, or nil if the request goes on. Requirements are checked here, on every request,
// whether the verdict is cached or not.
func (o *Options) judge(ctx context.Context, verdict *verdict, scheme frappe.Scheme) (*rejection, outcome, time.Duration) {
	err := verdict.err
	if err == nil {
		switch {
		case o.meetsRequirements(verdict.grant, scheme):
			return nil, outcomeGranted, 0
		case scheme == frappe.SchemeBearer:
			return rejectForbiddenToken, outcomeForbidden, 0
		}
		return rejectForbidden, outcomeForbidden, 0
	}
	throttled, tooOften := errors.AsType[*throttledError](err)
	unavailable, _ := errors.AsType[*frappe.UnavailableError](err)
	switch {
	case errors.Is(err, frappe.ErrDenied) && scheme == frappe.SchemeSession:
		return rejectDeniedSession, outcomeDenied, 0
	case errors.Is(err, frappe.ErrDenied):
		return rejectDenied, outcomeDenied, 0
	case errors.Is(err, frappe.ErrUnknownSite):
		return rejectUnknownSite, outcomeUnknownSite, 0
	case tooOften:
		return rejectThrottled, outcomeThrottled, throttled.wait
	case unavailable != nil && unavailable.RetryAfter > 0:
		return rejectUnavailable, outcomeUnavailable, unavailable.RetryAfter
	case unavailable == nil && ctx.Err() != nil:
		return rejectClientGone, outcomeClientGone, 0
	}
	return rejectUnavailable, outcomeUnavailable, defaultRetryAfter
}

func (o *Options) meetsRequirements(g *grant, scheme frappe.Scheme) bool {
	if len(o.Require) == 0 {
		return true
	}
	id := g.identity()
	for i := range o.Require {
		if !o.Require[i].MetBy(&id, scheme) {
			return false
		}
	}
	return true
}

// identity returns the part of an identity that requirements are about.
func (g *grant) identity() frappe.Identity {
	id := frappe.Identity{User: g.user}
	if g.detail != nil {
		id.Roles, id.Scopes, id.Client = g.detail.roles, strings.Fields(g.detail.scopes), g.detail.client
	}
	return id
}

// challenge sets the header fields of a rejection.
func (o *Options) challenge(w http.ResponseWriter, r *http.Request, d *decision) {
	details := challenge.Bearer{Error: d.bearerError}
	if d.describe {
		details.Description = d.reason.Error()
	}
	if o.resource != nil {
		details.ResourceMetadata = o.resource.metadataURL(r)
	}
	if challenges := o.challenges.Lines(d.status, browser.FromScript(r), details); len(challenges) > 0 {
		w.Header()["Www-Authenticate"] = challenges
		if o.resource != nil && r.Header.Get("Origin") != "" { // a script of another origin needs the challenge
			w.Header().Add("Access-Control-Expose-Headers", "WWW-Authenticate")
		}
	}
	if d.retryAfter > 0 {
		seconds := int64((d.retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
}
