package frappeauth

import (
	"context"
	"crypto/subtle"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/relay"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// toLogin returns the decision to send the browser to log in, if the request is a navigation without a session.
func (h *Handler) toLogin(r *http.Request, d decision) decision {
	denied := d.rejection == rejectDeniedSession
	if d.rejection != rejectNoCredential && !denied || r.Header["Authorization"] != nil || !browser.Navigation(r) {
		return d
	}
	target := headers.AskedURL(r)
	switch {
	case h.auth.logins.relayed():
		if _, ok := originOf(r); !ok {
			return d
		}
		return h.ifAvailable(r, d.redirectedTo(h.auth.logins.erp+pathLogin))
	case h.auth.logins.Login == nil, denied && browser.WasSent(r, target):
		return d
	}
	if location := h.auth.logins.Location(target); location != "" {
		return d.redirectedTo(location)
	}
	return d
}

// probe is a session that does not exist.
var probe = []string{frappe.SessionCookie + "=" + strings.Repeat("0", 56)}

// ifAvailable returns a decision to send a browser to log in, unless the site is unavailable: the login page would not
// work either. It asks about a session that does not exist, as often as about any other that is denied.
func (h *Handler) ifAvailable(r *http.Request, d decision) decision {
	in := h.auth.attempt(r, nil, probe, false)
	in.crossSite, in.uncharged = false, true
	if found := h.auth.decide(r.Context(), &in); found.rejection != rejectDeniedSession {
		found.scheme = "" // the client has sent nothing
		return found
	}
	return d
}

// sendToLogin answers with a redirect to the login page, or to the ERP's host.
func (h *Handler) sendToLogin(w http.ResponseWriter, r *http.Request, d *decision) {
	location, denied := d.location, d.outcome == outcomeDenied
	switch {
	case h.auth.logins.relayed():
		location = h.begin(w, r, requestURI(r), false)
		if origin, ok := originOf(r); ok && denied {
			relay.RemoveSession(w, origin)
		}
	case denied:
		browser.NoteSent(w, headers.AskedURL(r))
	}
	w.Header().Set("Location", location)
	w.WriteHeader(d.status)
}

// requestURI returns the path and query of the page that the client asked for, byte for byte.
func requestURI(r *http.Request) string {
	asked := headers.AskedURL(r)
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if ok && asked == original.URL && strings.HasPrefix(original.RequestURI, "/") {
		return original.RequestURI
	}
	if uri := asked.RequestURI(); strings.HasPrefix(uri, "/") { // the request line has a whole URL, or a proxy asks
		return uri
	}
	return "/"
}

// begin begins a login and returns where to send the browser. All logins of a browser share one cookie.
func (h *Handler) begin(w http.ResponseWriter, r *http.Request, back string, again bool) (location string) {
	origin, _ := originOf(r)
	bound := relay.NewBrowser()
	if known := hiddenCookies(r).Browsers(origin); len(known) > 0 {
		bound = known[0]
	}
	relay.SetHeaders(w.Header())
	relay.SetBrowser(w, origin, bound)
	state := relay.State{Origin: origin, Back: back, Browser: bound, Again: again, Began: h.auth.verifier.now()}
	return h.auth.logins.erp + pathLogin + "?state=" + h.auth.logins.keys.SealState(state)
}

// serveLogin answers the requests for the paths of the login. served is false for any other request.
func (h *Handler) serveLogin(w http.ResponseWriter, r *http.Request) (served bool, err error) {
	if h.auth.logins.keys == nil {
		return false, nil
	}
	asked := headers.AskedURL(r)
	logout := headers.OriginalURL(r).Path == pathLogout // a proxy that asks would take the page's 200 for a grant
	serve := h.serveLogout
	switch {
	case asked.Path == pathLogin && !h.auth.logins.relayed():
		serve = h.serveTicket
	case asked.Path == pathCallback && h.auth.logins.relayed():
		serve = h.serveCallback
	case !logout:
		return false, nil
	}
	h.auth.publishNobody(r)
	h.bodies.End(w, r)
	relay.SetHeaders(w.Header())
	post := r.Method == http.MethodPost && logout
	if !post && r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		return true, caddyhttp.Error(http.StatusMethodNotAllowed, nil)
	}
	return true, serve(w, r, asked.Query())
}

// serveTicket sends a browser whose user is logged in here back to the host that has begun a login, with a ticket.
func (h *Handler) serveTicket(w http.ResponseWriter, r *http.Request, query url.Values) error {
	sealed := query.Get("state")
	state, ok := h.auth.logins.keys.OpenState(sealed)
	scheme, _ := headers.Addressed(r)
	switch {
	case !ok:
		return relay.Page{
			Status: http.StatusBadRequest, Title: "This login cannot go on",
			Text: "The address is not complete, or the site that you came from has another login_secret. Open that site again.",
		}.Serve(w)
	case !h.auth.logins.hosts.Allow(state.Origin, scheme):
		return relay.Page{
			Status: http.StatusForbidden, Title: "This login cannot go on",
			Text: state.Origin + " may not log in here. Its host must be in login_for, and it must use https if this site does.",
		}.Serve(w)
	}
	in := h.auth.attempt(r, nil, r.Header["Cookie"], false)
	if state.Again { // the result in the cache may be older than what the other host knows
		in.trace = func(step) {}
	}
	d := h.auth.decide(r.Context(), &in)
	session, ok := frappe.ParseSession(in.cookies)
	if d.rejection == nil && !ok { // a handler before this one has hidden the session
		d = decision{rejection: rejectNoCredential, outcome: outcomeNoCredential}
	}
	if d.rejection == rejectNoCredential || d.rejection == rejectDeniedSession {
		if d = h.toLogin(r, d); d.location != "" {
			d = h.ifAvailable(r, d)
		}
	}
	if d.rejection != nil {
		return h.refuse(w, r, &d)
	}
	h.auth.publish(r, &d)
	h.auth.observe(r, &d)
	ticket := h.auth.logins.keys.SealTicket(state, sealed, session.Session, h.auth.verifier.now())
	return redirect(w, state.Origin+pathCallback+"?state="+sealed+"&ticket="+ticket)
}

// serveCallback lets a browser that comes back with a ticket keep its session here.
func (h *Handler) serveCallback(w http.ResponseWriter, r *http.Request, query url.Values) error {
	origin, named := originOf(r)
	sealed, now := query.Get("state"), h.auth.verifier.now()
	state, ok := h.auth.logins.keys.OpenState(sealed)
	if !ok || !named || state.Origin != origin {
		state = relay.State{Back: "/", Again: true}
	}
	bound := hiddenCookies(r).Browsers(origin)
	mine := slices.ContainsFunc(bound, func(value string) bool {
		return subtle.ConstantTimeCompare([]byte(value), []byte(state.Browser)) == 1
	})
	inTime := now.Sub(state.Began).Abs() <= relay.MaxLogin
	if session, ok := h.auth.logins.keys.OpenTicket(sealed, query.Get("ticket"), now); ok && mine && inTime {
		d := h.auth.decideWith(r, nil, []string{frappe.SessionCookie + "=" + session}, false)
		switch {
		case d.rejection == nil, d.outcome == outcomeForbidden: // who lacks a role is logged in, too
		case d.rejection == rejectDeniedSession && !state.Again && browser.Navigation(r):
			return h.beginAgain(w, r, state.Back)
		default:
			return h.refuse(w, r, &d)
		}
		h.auth.logins.keys.SetSession(w, origin, session, now)
		relay.RemoveBrowser(w, origin)
		return redirect(w, origin+state.Back)
	}
	d := h.auth.decideWith(r, nil, h.auth.logins.cookies(r), false)
	switch {
	case d.rejection == nil || d.outcome == outcomeForbidden: // another login of this browser was faster
		return redirect(w, origin+state.Back)
	case d.rejection != rejectNoCredential && d.rejection != rejectDeniedSession:
		return h.refuse(w, r, &d)
	case !state.Again && (len(bound) > 0 || !inTime) && browser.Navigation(r):
		return h.beginAgain(w, r, state.Back)
	}
	return relay.Page{
		Status: http.StatusBadRequest, Title: "You are not logged in yet",
		Text: "This login was not begun in this browser, or the browser does not keep cookies of this site, or the clocks " +
			"of the two servers differ by more than a minute.",
		Link: origin + state.Back, LinkText: "Log in",
	}.Serve(w)
}

// beginAgain begins a login in place of one that could not be finished.
func (h *Handler) beginAgain(w http.ResponseWriter, r *http.Request, back string) error {
	return redirect(w, h.begin(w, r, back, true))
}

// redirect answers with a redirect to a whole URL, so that no path can make it lead to another host.
func redirect(w http.ResponseWriter, to string) error {
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusFound)
	return nil
}

// refuse is reject for a decision that was not published yet.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, d *decision) error {
	h.auth.publish(r, d)
	h.auth.observe(r, d)
	return h.reject(w, r, d)
}

// siteDown is the page for a user who would be sent to log in while the site is unavailable.
var siteDown = relay.Page{
	Status: http.StatusServiceUnavailable, Title: "You cannot log in now",
	Text: "The ERP does not answer. Try again in a moment.",
}

const logoutText = "This ends your session in the ERP, and on every site that you have opened with it."

// serveLogout logs a user out. It begins no login.
func (h *Handler) serveLogout(w http.ResponseWriter, r *http.Request, _ url.Values) error {
	if r.Method != http.MethodPost {
		return relay.Page{Status: http.StatusOK, Title: "Log out", Text: logoutText, Button: "Log out"}.Serve(w)
	}
	cookies := h.auth.logins.cookies(r)
	scheme, host := headers.Addressed(r)
	if h.auth.crossSite.Refuses(r, scheme, host) {
		return h.refuse(w, r, &decision{rejection: rejectCrossSite, outcome: outcomeForbidden})
	}
	out := relay.Page{Status: http.StatusOK, Title: "You are logged out", Link: "/", LinkText: "Log in again"}
	if session, ok := frappe.ParseSession(cookies); ok {
		ended, err := h.endSession(r, cookies, &session)
		switch {
		case err != nil:
			h.auth.logger.Warn("a session could not be ended", zap.Error(err))
			return relay.Page{
				Status: http.StatusServiceUnavailable, Title: "You are still logged in",
				Text: "The ERP does not answer. Try again in a moment. " + logoutText, Button: "Log out",
			}.Serve(w)
		case !ended:
			out.Text = "You are still logged in to the ERP. Log out there, too."
			out.Link, out.LinkText = h.auth.logins.erp+"/", "To the ERP"
		}
	}
	if origin, ok := originOf(r); ok {
		relay.RemoveSession(w, origin)
		relay.RemoveBrowser(w, origin)
	}
	if !h.auth.logins.relayed() {
		//nolint:gosec // it removes Frappe's cookie
		http.SetCookie(w, &http.Cookie{Name: frappe.SessionCookie, Path: "/", MaxAge: -1, HttpOnly: true})
	}
	return out.Serve(w)
}

// maxLogouts is how many sessions a handler ends at once.
const maxLogouts = 4

// endSession ends a session in Frappe, and drops what is known about it, here and at other Caddys. ended is false if no
// backend can end sessions.
func (h *Handler) endSession(r *http.Request, cookies []string, session *frappe.Credential) (ended bool, err error) {
	select {
	case h.logouts <- struct{}{}:
		defer func() { <-h.logouts }()
	case <-r.Context().Done():
		return false, r.Context().Err()
	}
	d := h.auth.decideWith(r, nil, cookies, false) // within all limits
	switch {
	case d.rejection == rejectDeniedSession:
		return true, nil
	case d.rejection != nil && d.outcome != outcomeForbidden:
		return false, d.reason
	}
	if ended, err = h.auth.verifier.endSession(r, *session); err != nil || !ended {
		return false, err
	}
	_, err = revoke(r.Context(), "", []frappe.Change{{Session: session.Session}}, telemetry.SourceLogout)
	if err != nil { // they are told once they can be
		h.auth.logger.Warn("a logout reaches other Caddys late", zap.Error(err))
	}
	return true, nil
}

// endSession ends a session at the first backend that can.
func (v *verifier) endSession(r *http.Request, session frappe.Credential) (ended bool, err error) {
	sites, err := v.sites(r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer))
	if err != nil {
		return false, err
	}
	for i, b := range v.backends {
		if ender, ok := b.Backend.(frappe.SessionEnder); ok {
			session.Site = siteOf(sites, i)
			err := ender.EndSession(context.WithoutCancel(r.Context()), session)
			return err == nil, err
		}
	}
	return false, nil
}

// isLogout reports whether Frappe takes a request for a logout: by the name of the method in the path or in cmd.
func isLogout(target *url.URL) bool {
	method := target.Query().Get("cmd")
	if strings.Contains(target.Path, "/method/") {
		method = path.Base(target.Path)
	}
	method = method[strings.LastIndexByte(method, '.')+1:]
	return method == "logout" || method == "web_logout"
}

// watchLogout returns a writer for the answer to a request. If the request is a logout of Frappe on this host, and
// Frappe does not refuse it, then what is known about its session is dropped, here and at other Caddys.
func (h *Handler) watchLogout(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	if h.auth.logins.Login == nil || !isLogout(headers.OriginalURL(r)) {
		return w
	}
	session, ok := frappe.ParseSession(r.Header["Cookie"])
	if !ok {
		return w
	}
	// A revocation costs more than a request. So it must be of a session that exists.
	in := h.auth.attempt(r, nil, r.Header["Cookie"], false)
	in.crossSite = false
	if h.auth.decide(r.Context(), &in).verdict.grant == nil {
		return w
	}
	return &logoutWriter{&caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, func() {
		for _, s := range statesOf("") {
			s.drop(frappe.Change{Session: session.Session})
		}
		telemetry.CountRevocation(telemetry.SourceLogout)
	}}
}

// logoutWriter calls a function before a good answer.
type logoutWriter struct {
	*caddyhttp.ResponseWriterWrapper
	ended func()
}

// WriteHeader implements http.ResponseWriter.
func (w *logoutWriter) WriteHeader(status int) {
	if status >= http.StatusOK && status < http.StatusBadRequest {
		w.ended()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}
