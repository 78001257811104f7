package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/relay"
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

// check returns an optionError for the first option that is wrong. sessions says whether they are accepted.
func (o *LoginOptions) check(sessions bool) error {
	for _, fault := range []error{
		wrong("login", o.checkPage(sessions)),
		wrong("login_for", o.checkHosts(sessions)),
		wrong("login_secret", o.checkSecrets()),
	} {
		if fault != nil {
			return fault
		}
	}
	return nil
}

func (o *LoginOptions) checkPage(sessions bool) (err error) {
	switch {
	case o.Login == "":
		return nil
	case otherHost(o.Login):
		_, err = relay.ParseERP(o.Login)
	default:
		_, err = browser.ParseLogin(o.Login)
	}
	switch {
	case err != nil:
		return fmt.Errorf("login: %w", err)
	case !sessions:
		return errors.New("login: sessions are not accepted, so a login would not help; add session to schemes")
	case otherHost(o.Login) && o.LoginSecret == "":
		return fmt.Errorf("login: the session of a login at %s comes to this host only with login_secret; write "+
			"login_secret {env.FRAPPE_LOGIN_SECRET} here and on that host, with the same 32 bytes or more", o.Login)
	}
	return nil
}

func (o *LoginOptions) checkHosts(sessions bool) error {
	if len(o.LoginFor) == 0 {
		return nil
	}
	for _, host := range o.LoginFor {
		if err := relay.CheckHost(host); err != nil {
			return fmt.Errorf("login_for: %w", err)
		}
	}
	switch {
	case !sessions:
		return errors.New("login_for: sessions are not accepted, so nobody can log in here; add session to schemes")
	case o.Login == "" || otherHost(o.Login):
		return errors.New("login_for: the hosts log in on the ERP's host, by its login page; write login /login beside it")
	case o.LoginSecret == "":
		return errors.New("login_for: tickets are sealed with login_secret; write login_secret {env.FRAPPE_LOGIN_SECRET} " +
			"here and on these hosts, with the same 32 bytes or more")
	}
	return nil
}

func (o *LoginOptions) checkSecrets() error {
	if o.LoginSecret != "" && len(o.LoginFor) == 0 && !otherHost(o.Login) {
		return errors.New("login_secret: nothing is sealed here; on the ERP's host also write login_for <host>..., " +
			"and on another host login https://erp.example.com")
	}
	if len(o.OldLoginSecrets) >= relay.MaxSecrets {
		return fmt.Errorf("login_secret: %d old secrets are too many; give the new one and up to %d old ones",
			len(o.OldLoginSecrets), relay.MaxSecrets-1)
	}
	for i, secret := range o.secrets() {
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
