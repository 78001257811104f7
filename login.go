package frappeauth

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/relay"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// LoginOptions lets users of other hosts log in on the ERP's host.
type LoginOptions struct {
	// Where a browser is sent whose user is not logged in. It gets status 302 instead of 401.
	//
	// A path is Frappe's login page on the host of the request. It gets the query parameter `redirect-to` with the path
	// and query of the request, to which Frappe's login page returns. That is always a path; one that a browser could take
	// for something else becomes `/`. If one of Caddy's trusted_proxies asks whether a request may pass, as with nginx's
	// auth_request, it is the path and query in its X-Forwarded-Uri, X-Original-Uri or X-Original-Url.
	//
	// The URL of another host, such as `https://erp.example.com`, is the host of the ERP. There, Caddy has a handler with
	// login_for and the same login_secret. The browser comes back with the session of the user, which from then on is the
	// cookie `__Host-frappe_auth` here, sealed and bound to this host (`frappe_auth` over plain http). The cookie `sid`
	// then does not count. The handler answers at `/.frappe-auth/callback` and `/.frappe-auth/logout`, whatever its
	// matcher matches.
	//
	// Only navigations are redirected: GET or HEAD with `Sec-Fetch-Mode: navigate`, or from an older browser, which sends
	// no such header, with an Accept header that names `text/html`. Scripts and other clients get 401. A request with an
	// Authorization header is never redirected, nor is a request for the login page itself, nor one with a session that
	// Frappe's login page on this host accepts but that is refused here, which a cookie remembers for 10 seconds. Only
	// with the scheme `session`. Default: no redirect.
	Login string `json:"login,omitempty"`

	// On the ERP's host: the hosts that may log in here, such as `grafana.example.com`, `app.example.com:8443` or
	// `*.apps.example.com`, where `*` is one label. A host without a port has the default port. Login must be the path of
	// the login page. The handler answers at `/.frappe-auth/login` and `/.frappe-auth/logout`, whatever its matcher
	// matches. If Frappe answers a logout that passes, the results on that session are dropped at once. Default: none.
	LoginFor []string `json:"login_for,omitempty"`

	// What tickets and cookies are sealed with: at least 32 bytes, the same on the ERP's host and on the others. It may
	// contain placeholders such as `{env.*}`. Required with login_for and with a login on another host.
	LoginSecret string `json:"login_secret,omitempty"`

	// The secrets before it, 3 at most, under which tickets and cookies are still accepted. Default: none.
	OldLoginSecrets []string `json:"old_login_secrets,omitempty"`
}

// The paths that the handler answers at.
const (
	pathLogin    = "/.frappe-auth/login"
	pathCallback = "/.frappe-auth/callback"
	pathLogout   = "/.frappe-auth/logout"
)

// logins are what the options say about the login.
type logins struct {
	*browser.Login             // the login page on the host of the request; nil: there is none
	erp            string      // the origin of the ERP's host, where browsers log in; empty: they do not
	hosts          relay.Hosts // that may log in here
	keys           *relay.Keys // nil: there is neither erp nor hosts
}

// relayed reports whether sessions come from the ERP's host, and not with the cookie `sid`.
func (l *logins) relayed() bool { return l.erp != "" }

// otherHost reports whether an address is that of another host.
func otherHost(address string) bool {
	return !strings.HasPrefix(address, "/") && strings.Contains(address, "://")
}

// secrets are all the secrets, the new one first.
func (o *LoginOptions) secrets() []string {
	return append([]string{o.LoginSecret}, o.OldLoginSecrets...)
}

// checkLogin returns an optionError for the first option of the login that is wrong.
func (h *Handler) checkLogin() error {
	for _, fault := range []error{
		wrong("login", h.checkLoginPage()),
		wrong("login_for", h.checkLoginFor()),
		wrong("login_secret", h.checkLoginSecret()),
	} {
		if fault != nil {
			return fault
		}
	}
	return nil
}

func (h *Handler) checkLoginPage() (err error) {
	switch {
	case h.Login == "":
		return nil
	case otherHost(h.Login):
		_, err = relay.ParseERP(h.Login)
	default:
		_, err = browser.ParseLogin(h.Login)
	}
	switch {
	case err != nil:
		return fmt.Errorf("login: %w", err)
	case !h.accepts(frappe.SchemeSession):
		return errors.New("login: sessions are not accepted, so a login would not help; add session to schemes")
	case otherHost(h.Login) && h.LoginSecret == "":
		return fmt.Errorf("login: the session of a login at %s comes to this host only with login_secret; write "+
			"login_secret {env.FRAPPE_LOGIN_SECRET} here and on that host, with the same 32 bytes or more", h.Login)
	}
	return nil
}

func (h *Handler) checkLoginFor() error {
	if len(h.LoginFor) == 0 {
		return nil
	}
	for _, host := range h.LoginFor {
		if err := relay.CheckHost(host); err != nil {
			return fmt.Errorf("login_for: %w", err)
		}
	}
	switch {
	case !h.accepts(frappe.SchemeSession):
		return errors.New("login_for: sessions are not accepted, so nobody can log in here; add session to schemes")
	case h.Login == "" || otherHost(h.Login):
		return errors.New("login_for: the hosts log in on the ERP's host, by its login page; write login /login beside it")
	case h.LoginSecret == "":
		return errors.New("login_for: tickets are sealed with login_secret; write login_secret {env.FRAPPE_LOGIN_SECRET} " +
			"here and on these hosts, with the same 32 bytes or more")
	}
	return nil
}

func (h *Handler) checkLoginSecret() error {
	if h.LoginSecret != "" && len(h.LoginFor) == 0 && !otherHost(h.Login) {
		return errors.New("login_secret: nothing is sealed here; on the ERP's host also write login_for <host>..., " +
			"and on another host login https://erp.example.com")
	}
	if len(h.OldLoginSecrets) >= relay.MaxSecrets {
		return fmt.Errorf("login_secret: %d old secrets are too many; give the new one and up to %d old ones",
			len(h.OldLoginSecrets), relay.MaxSecrets-1)
	}
	for i, secret := range h.secrets() {
		if strings.Contains(secret, "{") || secret == "" && i == 0 {
			continue
		}
		if err := relay.CheckSecret(secret); err != nil {
			return fmt.Errorf("login_secret: %w", err)
		}
	}
	return nil
}

// logins returns what the options say. They are checked.
func (o *LoginOptions) logins() (l logins, err error) {
	if o.Login == "" {
		return l, nil
	}
	if l.hosts = o.LoginFor; !otherHost(o.Login) {
		l.Login, err = browser.ParseLogin(o.Login)
	} else {
		l.erp, err = relay.ParseERP(o.Login)
	}
	if err != nil || o.LoginSecret == "" {
		return l, err
	}
	secrets := o.secrets()
	for i := range secrets {
		if secrets[i], err = directive.Expand("login_secret", secrets[i]); err != nil {
			return l, err
		}
		secrets[i] = strings.TrimRight(secrets[i], "\r\n") // of a file
	}
	if l.keys, err = relay.NewKeys(secrets); err != nil {
		return l, fmt.Errorf("login_secret: %w", err)
	}
	return l, nil
}

// loginCookiesVar is the request variable with the cookies that hideCookies has removed.
const loginCookiesVar = "frappe_auth.login_cookies"

// hideCookies removes the cookies of logins from the request, so that no application sees them.
func (l *logins) hideCookies(r *http.Request) {
	if l.keys == nil {
		return
	}
	if found := relay.TakeCookies(r); found != nil {
		caddyhttp.SetVar(r.Context(), loginCookiesVar, found)
	}
}

// hiddenCookies returns what hideCookies has removed, here or in a handler before this one.
func hiddenCookies(r *http.Request) relay.Cookies {
	found, _ := caddyhttp.GetVar(r.Context(), loginCookiesVar).(relay.Cookies)
	return found
}

// cookies returns the Cookie headers with the session. A session from the ERP's host becomes one.
func (l *logins) cookies(r *http.Request) []string {
	if !l.relayed() {
		return r.Header["Cookie"]
	}
	hidden := hiddenCookies(r)
	if len(hidden) == 0 {
		return nil
	}
	scheme, host := headers.Addressed(r)
	session, ok := hidden.Session(l.keys, scheme, host)
	if !ok {
		return nil
	}
	return []string{frappe.SessionCookie + "=" + session}
}

func originOf(r *http.Request) (origin string, ok bool) { return relay.Origin(headers.Addressed(r)) }

// cookieName returns the name of the cookie with the session.
func (l *logins) cookieName(r *http.Request) string {
	if !l.relayed() {
		return frappe.SessionCookie
	}
	origin, _ := originOf(r)
	return relay.SessionCookieName(origin)
}

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

// maxLoginAnswer is how long the ERP's host may take to answer doctor.
const maxLoginAnswer = 10 * time.Second

// checkRelay asks the ERP's host whether it answers logins there and shares the secret. where begins with the host
// whose users log in, if it is known.
func (l *logins) checkRelay(ctx context.Context, where string, now time.Time) []frappe.Finding {
	if !l.relayed() {
		return nil
	}
	const name = "login"
	scheme, _, _ := strings.Cut(l.erp, "://")
	host, _, _ := strings.Cut(where, " ")
	origin, known := relay.Origin(scheme, host)
	state := relay.State{Origin: origin, Back: "/", Browser: relay.NewBrowser(), Began: now}
	status, err := l.askRelay(ctx, l.keys.SealState(state))
	if err != nil {
		return []frappe.Finding{frappe.Warning(name, "%s does not answer: %v", l.erp, err).
			Advise("start the Caddy of that host, and run doctor again")}
	}
	broken, err := l.askRelay(ctx, "")
	switch {
	case err != nil, broken != http.StatusBadRequest:
		finding := frappe.Trouble(name, "%s%s answers with status %d, so it is not frappe_auth", l.erp, pathLogin, status)
		return []frappe.Finding{finding.Advise("on that host, write frappe_auth " + pathLogin +
			" with login, login_for and login_secret, outside of other handle blocks")}
	case status == http.StatusBadRequest:
		return []frappe.Finding{frappe.Trouble(name, "%s has another login_secret", l.erp).
			Advise("write the same on both hosts, the new one first")}
	case status == http.StatusForbidden && known:
		return []frappe.Finding{frappe.Warning(name, "%s lets nobody log in for %s", l.erp, origin).
			Advise("add the host to login_for there, with its port if it has one of its own")}
	}
	return []frappe.Finding{frappe.OK(name, "%s answers and shares login_secret", l.erp)}
}

// askRelay returns the status of an answer of the ERP's host to a program, which begins no login.
func (l *logins) askRelay(ctx context.Context, state string) (status int, err error) {
	ctx, cancel := context.WithTimeout(ctx, maxLoginAnswer)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.erp+pathLogin+"?state="+state, http.NoBody)
	if err != nil {
		return 0, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
