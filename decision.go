package frappeauth

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// decision says what happens to a request, and why. The handler, the provider, the admin API and the commands all get
// it from authenticator.decide.
type decision struct {
	*rejection // nil: the request goes to the next handler
	outcome    outcome
	scheme     frappe.Scheme // of the credential; empty if none was recognized
	key        string        // the API key that was sent, if any. A decision holds no secret: other handlers can print it
	verdict    verdict       // from a backend or the cache; zero if no well-formed credential was sent
	retryAfter time.Duration
	location   string // of the login page; empty: the browser is not redirected
	reused     bool   // the verdict is that of another handler, which has hidden the credential
}

// user is the user of a request that is let through. It is empty for a rejected request.
func (d *decision) user() string {
	if d.rejection != nil || d.verdict.grant == nil {
		return ""
	}
	return d.verdict.user
}

// backend is the name of the backend that granted a request that is let through.
func (d *decision) backend() string {
	if d.user() == "" || d.verdict.by == nil {
		return ""
	}
	return d.verdict.by.Name
}

// profile is what else is known about the user of a request that is let through.
func (d *decision) profile() *profile {
	if d.user() == "" || d.verdict.profile == nil {
		return &noProfile
	}
	return d.verdict.profile
}

// errorText returns why the request was rejected; empty if it was not.
func (d *decision) errorText() string {
	if d.rejection == nil {
		return ""
	}
	return d.reason.Error()
}

// candidate returns the API key that a rejected request sent; empty if the request was let through.
func (d *decision) candidate() string {
	if d.rejection == nil {
		return ""
	}
	return d.key
}

// redirectedTo returns the decision to send the browser to a login page instead of refusing its request.
func (d decision) redirectedTo(location string) decision {
	d.rejection, d.location = rejectToLogin, location
	return d
}

// unauthorized returns the same decision with status 401 if it is a rejection.
func (d decision) unauthorized() decision {
	if d.rejection != nil {
		unauthorized := *d.rejection
		unauthorized.status = http.StatusUnauthorized
		d.rejection = &unauthorized
	}
	return d
}

// outcome is the result of a request, for metrics, access logs and spans.
type outcome uint8

const (
	outcomeGranted outcome = iota
	outcomeAnonymous
	outcomeNoCredential
	outcomeMalformed // also: scheme not accepted, two headers, no site
	outcomeDenied
	outcomeForbidden
	outcomeThrottled
	outcomeUnknownSite
	outcomeTooEarly
	outcomeUnavailable
	outcomeClientGone
	outcomes // number of outcomes
)

var outcomeNames = [outcomes]string{
	"granted", "anonymous", "no_credential", "malformed", "denied", "forbidden", "throttled", "unknown_site", "too_early",
	"unavailable", "client_gone",
}

func (o outcome) String() string { return outcomeNames[o] }

func init() { telemetry.ExpectRequests(outcomeNames[:]...) }

// rejection is the response to a request that is not let through. Nothing in it comes from a client or a backend.
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
	rejectTwoHeaders     = &rejection{status: http.StatusBadRequest, reason: errTwoHeaders}
	rejectTooEarly       = &rejection{status: http.StatusTooEarly, reason: errTooEarly}
	rejectNoSite         = &rejection{status: http.StatusBadRequest, reason: errors.New("the request names no site")}
	rejectDenied         = &rejection{status: http.StatusUnauthorized, reason: frappe.ErrDenied, bearerError: invalidToken}
	rejectDeniedSession  = &rejection{status: http.StatusUnauthorized, reason: frappe.ErrDenied}
	rejectToLogin        = &rejection{status: http.StatusFound, reason: errToLogin}
	rejectCrossSite      = &rejection{status: http.StatusForbidden, reason: errCrossSite}
	rejectForbidden      = &rejection{status: http.StatusForbidden, reason: errForbidden}
	rejectForbiddenToken = &rejection{status: http.StatusForbidden, reason: errForbidden, bearerError: insufficientScope}
	rejectUnknownSite    = &rejection{status: http.StatusNotFound, reason: frappe.ErrUnknownSite}
	rejectThrottled      = &rejection{status: http.StatusTooManyRequests, reason: errThrottled}
	rejectUnavailable    = &rejection{status: http.StatusServiceUnavailable, reason: errUnavailable}
	rejectClientGone     = &rejection{status: statusClientGone, reason: errors.New("the client closed the connection")}
)

var (
	errTwoHeaders  = errors.New("more than one Authorization header")
	errTooEarly    = errors.New("early data may be a replay; send the request again after the handshake")
	errToLogin     = errors.New("no session, so the browser is sent to the login page")
	errCrossSite   = errors.New("another site made the browser send this request with the user's session")
	errForbidden   = errors.New("the user does not meet the requirements")
	errThrottled   = errors.New("too many denied credentials from this client")
	errUnavailable = errors.New("the credential could not be verified")
	errNotAccepted = errors.New("the scheme of the credential is not accepted here")
)

func rejectMalformed(reason error) *rejection {
	return &rejection{status: http.StatusUnauthorized, reason: reason, bearerError: invalidToken, describe: true}
}

// explained returns the same rejection with a mistake that the credential shows, so that the client can correct it.
func (r *rejection) explained(mistake string) *rejection {
	explained := *r
	explained.reason, explained.describe = fmt.Errorf("%w: %s", r.reason, mistake), true
	return &explained
}

// rejectionOf returns the rejection of a credential for which no verdict was granted. retryAfter is 0 if the client
// need not wait. left is set if the client closed the connection.
func rejectionOf(
	err error, scheme frappe.Scheme, left bool,
) (rejected *rejection, became outcome, retryAfter time.Duration) {
	throttled, isThrottled := errors.AsType[*throttledError](err)
	unavailable, isUnavailable := errors.AsType[*frappe.UnavailableError](err)
	switch {
	case errors.Is(err, frappe.ErrDenied) && scheme == frappe.SchemeSession:
		return rejectDeniedSession, outcomeDenied, 0
	case errors.Is(err, frappe.ErrDenied):
		return rejectDenied, outcomeDenied, 0
	case errors.Is(err, frappe.ErrUnknownSite):
		return rejectUnknownSite, outcomeUnknownSite, 0
	case isThrottled:
		return rejectThrottled, outcomeThrottled, throttled.wait
	case isUnavailable && unavailable.RetryAfter > 0:
		return rejectUnavailable, outcomeUnavailable, unavailable.RetryAfter
	case !isUnavailable && left:
		return rejectClientGone, outcomeClientGone, 0
	}
	return rejectUnavailable, outcomeUnavailable, defaultRetryAfter
}
