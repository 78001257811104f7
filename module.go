// Package frappeauth protects what Caddy serves with the API keys and OAuth tokens of a Frappe or ERPNext site.
package frappeauth

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/internal/drain"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler lets a request pass if its Authorization header holds a credential of a Frappe or ERPNext site: an API key
// and secret (`token <api_key>:<api_secret>` or `Basic`) or an OAuth access token (`Bearer`).
//
// A request without a credential, or with a bad one, ends with status 401 and the challenges of the accepted schemes,
// without that of `Basic` where a browser's script sent the request, since it would open the browser's login box;
// one whose user does not meet a requirement with 403; one with two Authorization headers with 400; one of a client
// that failed too often with 429 and Retry-After. If no backend could tell whether the credential is good, the
// status is 503 with Retry-After: never 401, and never from the cache. All of these can be handled with
// `handle_errors`.
//
// A refusal does not wait for the request's body: one that was not asked for (`Expect: 100-continue`) is not read, and any
// other is discarded, 16 MiB of it at most and for 5 seconds at most, while it keeps coming. Where it does not end by then,
// the connection is closed after the response. The routes of `handle_errors` see a request without a body.
//
// Placeholders, all of them set on every request that reaches the handler:
//
// Placeholder | Description
// ------------|---------------
// `{http.auth.user.id}` | The user as Frappe spells it, or `Guest` for an anonymous request
// `{http.auth.user.scheme}` | `token`, `basic` or `bearer`
// `{http.auth.user.full_name}` | The full name, where the backend knows it
// `{http.auth.user.roles}` | The roles, joined by commas, where the backend knows them
// `{http.auth.user.scopes}` | The scopes of an access token, joined by spaces, where the backend knows them
// `{http.auth.user.backend}` | The name of the backend that granted
// `{http.auth.user.json}` | All of these as one JSON object with the keys id, scheme, full_name, roles, scopes and backend, the roles and scopes as lists, in ASCII only: safe in a header, whatever characters a name holds
// `{http.auth.frappe.cache}` | `hit` if the verdict came from the cache, `miss` if a backend was asked, `stale` if all were unavailable
// `{http.auth.frappe.error}` | Why the request was refused, in words; empty if it was not
//
// On a refused request `{http.auth.user.*}` are empty, and `{http.auth.candidate.id}` is the API key that was claimed,
// if any. In every placeholder but the JSON, control characters of a name are spaces.
//
// Events of Caddy's `events` app: `frappe_auth.denied` and `frappe_auth.throttled` with `client_ip` and `scheme`;
// `frappe_auth.unavailable` when a backend becomes unavailable and `frappe_auth.recovered` when it is available again, with
// `backend` and `site`.
//
// With the global option `metrics` there are metrics `caddy_frappe_auth_*`; with `tracing` before this handler, a span
// around each verification and each call of a backend; and access logs have `user_id`, and `frappe_auth` with `scheme`,
// `backend`, `cache` and `outcome`.
type Handler struct {
	Options

	// Which requests need a credential: those that one of the matcher sets matches. Any other request goes on without an
	// identity: the user header is removed from it and the placeholders are empty, unless another `frappe_auth` that
	// matched it has set them. It is not counted in the metrics, and it keeps its Authorization header. This is where the
	// Caddyfile's matcher goes; matchers of the route around the handler keep the handler from running at all, and so do
	// `handle` blocks that it is not in. Default: all requests.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// Lets requests without a credential pass as the user Guest, with every other `{http.auth.user.*}` empty. A
	// bad credential is still refused, and so is Guest by a requirement (with status 401). Default: false.
	Anonymous bool `json:"anonymous,omitempty"`

	// Lets CORS preflight requests without a credential pass as the user Guest: requests with the method OPTIONS and the
	// headers Origin and Access-Control-Request-Method. Browsers never send a credential with them, so requirements do not
	// apply. A preflight that does have a credential is judged like any other request. Default: false.
	AllowPreflight bool `json:"allow_preflight,omitempty"`

	// Removes the Authorization header before the next handler. Default: false.
	HideCredentials bool `json:"hide_credentials,omitempty"`

	// The name of a request header that tells the next handler the user. Any header of the client's that an upstream
	// could take for it is removed first: in any case, with `_` or `.` for `-`, named in the client's Connection header,
	// or sent as a trailer. It cannot be a header that frames or routes the message or holds a credential, such as
	// Connection, Host or Content-Length. Default: no header.
	UserHeader string `json:"user_header,omitempty"`

	matchers      caddyhttp.MatcherSets
	userHeaderVar string
	bodies        *drain.Drain
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.frappe_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision loads the matchers and the backends.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := h.validate(); err != nil {
		return err
	}
	h.UserHeader = http.CanonicalHeaderKey(h.UserHeader)
	h.userHeaderVar = userHeaderVar(h.UserHeader)
	h.bodies = new(drain.Drain)
	if len(h.MatcherSetsRaw) > 0 {
		sets, err := ctx.LoadModule(h, "MatcherSetsRaw")
		if err != nil {
			return fmt.Errorf("loading matchers: %w", err)
		}
		if err := h.matchers.FromInterface(sets); err != nil {
			return fmt.Errorf("loading matchers: %w", err)
		}
	}
	return h.provision(ctx)
}

// Cleanup ends the watch of the backends.
func (h *Handler) Cleanup() error { return h.cleanup() }

// validate reports what is wrong with the options.
func (h *Handler) validate() error {
	if h.UserHeader != "" {
		if err := checkUserHeader(h.UserHeader); err != nil {
			return err
		}
	}
	return h.Options.validate()
}

// ServeHTTP passes the request on if its credential is good.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if matched, err := h.matches(r); !matched {
		h.removeIdentity(r)
		if err != nil {
			return err
		}
		return next.ServeHTTP(w, r)
	}
	if h.UserHeader != "" {
		h.scrub(r)
	}
	d := h.decideRequest(r, h.guestMayPass(r))
	publish(r, &d)
	h.observe(r, &d)
	if d.rejection != nil {
		return h.reject(w, r, &d)
	}
	if h.UserHeader != "" {
		h.setUserHeader(r, d.user())
	}
	if h.HideCredentials {
		r.Header.Del("Authorization")
	}
	return next.ServeHTTP(w, r)
}

// matches reports whether the request needs a credential.
func (h *Handler) matches(r *http.Request) (bool, error) {
	if len(h.matchers) == 0 {
		return true, nil
	}
	matched, err := h.matchers.AnyMatchWithError(r)
	return matched && err == nil, err
}

// removeIdentity prepares a request that needs no credential here: it carries no identity, but the one that another
// frappe_auth found.
func (h *Handler) removeIdentity(r *http.Request) {
	if h.UserHeader != "" && caddyhttp.GetVar(r.Context(), h.userHeaderVar) == nil {
		h.scrub(r)
	}
	publishNobody(r)
}

// guestMayPass reports whether the request goes on as Guest if it has no credential.
func (h *Handler) guestMayPass(r *http.Request) bool {
	return h.Anonymous && len(h.Require) == 0 || h.AllowPreflight && isPreflight(r)
}

// isPreflight reports whether a browser asks whether it may send a request of another origin
// (https://fetch.spec.whatwg.org/#cors-preflight-request).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// decideRequest decides on a request, in a span of its own where the request is traced.
func (o *Options) decideRequest(r *http.Request, guest bool) decision {
	ctx, span := startDecision(r.Context())
	d := o.decide(ctx, &attempt{
		headers: r.Header["Authorization"],
		repl:    r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer),
		guest:   guest,
		client:  clientIP(r),
	})
	if span != nil {
		endDecision(span, &d)
	}
	return d
}

// clientIP is the client's address as Caddy knows it: a trusted proxy's word counts, another header's does not.
func clientIP(r *http.Request) string {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return address
}

// reject ends a request. What the client gets is Caddy's error response, or that of handle_errors.
func (h *Handler) reject(w http.ResponseWriter, r *http.Request, d *decision) error {
	h.challenge(w, r, d)
	h.bodies.End(w, r)
	// To look up where in the code this is would take as long as to verify the credential.
	return caddyhttp.Error(d.status, caddyhttp.HandlerError{Err: d.reason, Trace: "frappe_auth"})
}

// challenge sets the header fields of a rejection.
func (o *Options) challenge(w http.ResponseWriter, r *http.Request, d *decision) {
	if challenges := o.challengesFor(r, d.rejection); len(challenges) > 0 {
		w.Header()["Www-Authenticate"] = challenges
	}
	if d.retryAfter > 0 {
		seconds := int64((d.retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
