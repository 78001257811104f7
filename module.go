// Package frappeauth is a Caddy module that protects sites with the API keys and OAuth tokens of a Frappe or ERPNext
// site.
//
// Handler is the directive `frappe_auth`, and Options is what it shares with Provider, the form for Caddy's
// `authentication` handler. Webhook is the directive `frappe_auth_webhook`, which drops cached verdicts when Frappe
// announces a change. AdminAPI adds endpoints to Caddy's admin API. All of them are registered with Caddy when this
// package is imported; build Caddy with it, and configure it in a Caddyfile or in JSON.
//
// The backends `site` and `static` come with this package. `database`, the shared store and Frappe's change feed are in
// packages of their own, because they bring drivers. To write a backend, see package frappe.
package frappeauth

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/drain"
	"github.com/caddy-frappe/frappe-auth/internal/resource"
	"github.com/caddy-frappe/frappe-auth/internal/streams"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler lets a request pass if its Authorization header carries a valid credential of a Frappe or ERPNext site: an
// API key and secret (`token <api_key>:<api_secret>` or `Basic`), or an OAuth access token (`Bearer`). With the scheme
// `session`, the cookie `sid` of a user who is logged in to Frappe counts too.
//
// A request without a credential, or with a bad one, gets status 401 and the challenge that helps its client (see
// schemes). A user who does not
// meet a requirement gets 403. So does a request that another site made a browser send with a session, if it may change
// something. Two Authorization headers get 400. A client that failed too often gets 429 with
// Retry-After. If no backend could verify the credential, the status is 503 with Retry-After; such a result is never a
// 401 and never cached. You can handle all of these with `handle_errors`.
//
// A refusal does not wait for the request's body. If the client asked first (`Expect: 100-continue`), the body is not
// read. Any other body is discarded, up to 16 MiB and for up to 5 seconds, as long as it keeps coming. If it has not
// ended by then, the connection is closed after the response. The routes of `handle_errors` see a request without a
// body.
//
// All of these placeholders are set on every request that reaches the handler:
//
// Placeholder | Description
// ------------|---------------
// `{http.auth.user.id}` | The user as Frappe spells it, or `Guest` for an anonymous request
// `{http.auth.user.path}` | The user as one segment of a path, such as a folder's name: every character but letters, digits and `@.+-_=~` is percent-encoded, and so is a dot at the start or the end
// `{http.auth.user.scheme}` | `token`, `basic`, `bearer` or `session`
// `{http.auth.user.full_name}` | The full name; empty if the backend does not know it
// `{http.auth.user.roles}` | The roles, joined by commas; empty if the backend does not know them
// `{http.auth.user.scopes}` | The scopes of an access token, joined by spaces; empty if the backend does not know them
// `{http.auth.user.backend}` | The name of the backend that granted the credential
// `{http.auth.user.json}` | All of these as one JSON object with the keys id, scheme, full_name, roles, scopes and backend, the roles and scopes as lists. It is pure ASCII, so it is safe in a header whatever a name contains. It has at most 4 KiB: where it would be longer, the roles are left out (`null`), and then the scopes and the full name, which is logged once
// `{http.auth.frappe.cache}` | `hit` if the verdict came from the cache, `shared` if it came from another Caddy through the store of `share`, `miss` if a backend was asked, `stale` if the backends were unavailable and an expired verdict was served
// `{http.auth.frappe.error}` | Why the request was refused, in words; empty if it was not refused
//
// On a refused request, all `{http.auth.user.*}` are empty, and `{http.auth.candidate.id}` is the API key that the
// client sent, if any. Control characters in a name become spaces, except in `{http.auth.user.json}`, which escapes
// them.
//
// The handler emits these events through Caddy's `events` app: `frappe_auth.denied` and `frappe_auth.throttled`, with
// `client_ip` and `scheme`; `frappe_auth.unavailable` when a backend becomes unavailable and `frappe_auth.recovered`
// when it is available again, with `backend` and `site`.
//
// The global option `metrics` adds the metrics `caddy_frappe_auth_*`. With `tracing` before this handler, each decision
// and each backend call gets a span. Access logs contain `user_id`, and `frappe_auth` with `scheme`, `backend`, `cache`
// and `outcome`.
type Handler struct {
	Options
	LoginOptions

	// The requests that need a credential: those that match at least one of the matcher sets. Any other request goes on
	// without an identity: the user header is removed and the placeholders are empty, unless another `frappe_auth` that
	// matched the request has set them. Such a request is not counted in the metrics, and it keeps its Authorization
	// header. The Caddyfile's matcher goes here. In contrast, a matcher on a surrounding route, or a `handle` block that
	// does not contain the handler, keeps the handler from running at all, so a forged user header is then not removed.
	// Default: all requests.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// Lets requests without a credential pass as the user Guest, with all other `{http.auth.user.*}` empty. A bad
	// credential is still refused. If there is a requirement, Guest does not meet it and gets status 401. Default: false.
	Anonymous bool `json:"anonymous,omitempty"`

	// Lets CORS preflight requests without a credential pass as the user Guest. A preflight request has the method
	// OPTIONS and the headers Origin and Access-Control-Request-Method. Browsers never send a credential with it, so
	// requirements do not apply. A preflight request that does carry a credential is checked like any other request.
	// Default: false.
	AllowPreflight bool `json:"allow_preflight,omitempty"`

	// Removes the Authorization header before the request goes to the next handler, or to the routes of `handle_errors`;
	// with the scheme `session` also the cookie `sid`, but no other. Another `frappe_auth` with the same backends, further
	// on the way of the request, uses the verdict of this one. Beside a session that counts, the header stays, since it is
	// the application's. Default: false.
	HideCredentials bool `json:"hide_credentials,omitempty"`

	// The name of a request header that tells the next handler who the user is. Anything from the client that an upstream
	// could take for this header is removed first: headers with the name in any case, or with `_` or `.` in place of `-`,
	// the name in the client's Connection header, and trailers. It must not be a header that frames or routes the message
	// or holds a credential, such as Connection, Host or Content-Length. Default: no header.
	UserHeader string `json:"user_header,omitempty"`

	// Describes what is protected to OAuth clients, such as MCP clients, which learn from it where to get an access token.
	// Only with the scheme `bearer`. Default: no description.
	ProtectedResource *ProtectedResource `json:"protected_resource,omitempty"`

	configured
	matchers   caddyhttp.MatcherSets
	auth       *authenticator
	userHeader userHeader
	bodies     *drain.Drain
	logouts    chan struct{} // holds an element for each session that is being ended
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.frappe_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// UnmarshalJSON rejects unknown fields, as Caddy does, and says what to write instead.
func (h *Handler) UnmarshalJSON(raw []byte) error {
	type plain Handler
	return directive.DecodeJSON(raw, (*plain)(h), "frappe_auth", otherOptions)
}

// Provision applies the defaults, checks the options, and loads the matchers and the backends.
func (h *Handler) Provision(ctx caddy.Context) (err error) {
	if err = h.keep(h); err != nil {
		return err
	}
	h.setDefaults()
	if err := h.check(); err != nil {
		return err
	}
	h.userHeader = newUserHeader(h.UserHeader)
	h.bodies = new(drain.Drain)
	h.logouts = make(chan struct{}, maxLogouts)
	if err := h.loadMatchers(ctx); err != nil {
		return err
	}
	logins, err := h.LoginOptions.logins()
	if err != nil {
		return err
	}
	h.auth, err = h.load(ctx, h.ProtectedResource, h.Anonymous && len(h.Require) == 0, logins)
	return err
}

// check returns an optionError for the first option that is wrong. The defaults must be set.
func (h *Handler) check() error {
	if err := h.Options.check(); err != nil {
		return err
	}
	for _, fault := range []error{
		wrong("user_header", checkUserHeader(h.UserHeader)),
		h.LoginOptions.check(h.accepts(frappe.SchemeSession)),
		wrong("protected_resource", h.checkProtectedResource()),
	} {
		if fault != nil {
			return fault
		}
	}
	return nil
}

func (h *Handler) checkProtectedResource() error {
	switch {
	case h.ProtectedResource == nil:
		return nil
	case !h.accepts(frappe.SchemeBearer):
		return errors.New("protected_resource: access tokens are not accepted; add bearer to schemes")
	}
	return h.ProtectedResource.check()
}

func (h *Handler) loadMatchers(ctx caddy.Context) error {
	if len(h.MatcherSetsRaw) == 0 {
		return nil
	}
	sets, err := ctx.LoadModule(h, "MatcherSetsRaw")
	if err == nil {
		err = h.matchers.FromInterface(sets)
	}
	if err != nil {
		return fmt.Errorf("loading matchers: %w", err)
	}
	return nil
}

// Cleanup stops watching the backends for changes.
func (h *Handler) Cleanup() error {
	if h.auth == nil {
		return nil // provisioning failed
	}
	return h.auth.close()
}

// ServeHTTP passes the request on if its credential is good. It removes forged user headers on every path.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if served, err := h.serveMetadata(w, r); served {
		return err
	}
	h.auth.logins.hideCookies(r)
	if served, err := h.serveLogin(w, r); served {
		return err
	}
	w = h.watchLogout(w, r)
	if matched, err := h.matches(r); !matched {
		h.userHeader.scrubUnlessSet(r)
		h.auth.publishNobody(r)
		if err != nil {
			return err
		}
		return next.ServeHTTP(w, r)
	}
	h.userHeader.scrub(r)
	d := h.decide(r)
	h.auth.publish(r, &d)
	h.auth.observe(r, &d)
	if d.rejection != nil {
		return h.reject(w, r, &d)
	}
	h.auth.notePage(w, r, &d)
	if streams.Is(r) {
		ctx, done := h.auth.follow(r, &d)
		defer done()
		r = r.WithContext(ctx)
	}
	h.userHeader.set(r, d.user())
	h.hideCredentials(r, &d)
	if d.scheme == frappe.SchemeSession {
		return servePrivate(w, r, next)
	}
	return next.ServeHTTP(w, r)
}

// hideCredentials removes the credential, if the option is set.
func (h *Handler) hideCredentials(r *http.Request, d *decision) {
	if h.HideCredentials {
		removeCredentials(r.Header, d, h.accepts(frappe.SchemeSession) && !h.auth.logins.relayed())
	}
}

// servePrivate calls the next handler, and keeps shared caches from storing its answer, or the page of its error.
func servePrivate(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	private := browser.NewPrivateWriter(w)
	err := next.ServeHTTP(private, r)
	private.Finish()
	return err
}

// serveMetadata answers a request for the description of the protected resource. served is false for any other request.
func (h *Handler) serveMetadata(w http.ResponseWriter, r *http.Request) (served bool, err error) {
	metadata, ok := h.auth.resource.metadata(r)
	if !ok {
		return false, nil
	}
	h.auth.publishNobody(r)
	h.bodies.End(w, r)
	return true, resource.Serve(w, r, metadata)
}

// matches reports whether the request needs a credential.
func (h *Handler) matches(r *http.Request) (bool, error) {
	if len(h.matchers) == 0 {
		return true, nil
	}
	matched, err := h.matchers.AnyMatchWithError(r)
	return matched && err == nil, err
}

// decide decides on the request.
func (h *Handler) decide(r *http.Request) decision {
	guest := h.auth.anonymous || h.AllowPreflight && browser.Preflight(r)
	return h.toLogin(r, h.auth.decideRequest(r, guest))
}

// reject ends a request, or sends the browser to the login page. The client gets Caddy's error response, or the one
// that handle_errors writes.
func (h *Handler) reject(w http.ResponseWriter, r *http.Request, d *decision) error {
	h.auth.challenge(w, r, d)
	w.Header().Set("Cache-Control", "no-store") // the next request may have a good credential
	h.bodies.End(w, r)
	h.hideCredentials(r, d) // from the routes of handle_errors
	switch {
	case d.location != "":
		h.sendToLogin(w, r, d)
		return nil
	case d.status == http.StatusServiceUnavailable && d.scheme == "" && h.auth.logins.keys != nil:
		return siteDown.Serve(w)
	}
	// caddyhttp.Error would look up where in the code it was called, which takes as long as verifying the credential.
	return caddyhttp.Error(d.status, caddyhttp.HandlerError{Err: d.reason, Trace: "frappe_auth"})
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
