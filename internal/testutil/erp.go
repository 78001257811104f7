package testutil

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// ERPUser is the user who can log in to an ERP, and ERPPassword is the user's password.
	ERPUser     = "alice@example.com"
	ERPPassword = "alices-password"
)

// ERP is a double of a Frappe site: its login page, the cookies that it sets, and what it answers about a session.
// TestERPAnswersAsFrappe compares its answers with those of real sites in testdata/login.
type ERP struct {
	*httptest.Server

	// Token, if it is set, returns the user of a request with an Authorization header.
	Token func(r *http.Request) string

	// SameSite is that of the cookies. Set it before the first request. Default: Lax, as Frappe has it.
	SameSite http.SameSite

	// Version is `15` or `17`: as 15.44.2 and 17.0.0-dev answer. Set it before the first request. Default: `15`.
	Version string

	t        testing.TB
	mu       sync.Mutex
	sessions map[string]*erpSession
	roles    []string
	down     bool
	disabled bool            // the user
	code     string          // of the second factor; empty: none is required
	asking   map[string]bool // the logins that wait for it, by tmp_id
	asked    int
}

// recorded are the versions of the recordings that the double answers as.
var recorded = map[string]string{"15": "15.44.2", "17": "17.0.0-dev"}

type erpSession struct{ user, csrf string }

// NewERP starts the double. register, if not nil, adds further paths.
func NewERP(t testing.TB, register func(e *ERP, mux *http.ServeMux)) *ERP {
	t.Helper()
	e := &ERP{
		t: t, SameSite: http.SameSiteLaxMode, Version: "15", sessions: make(map[string]*erpSession),
		roles: []string{"All", "Employee"}, asking: make(map[string]bool),
	}
	mux := http.NewServeMux()
	if register != nil {
		register(e, mux)
	}
	mux.HandleFunc("GET /login", e.loginPage)
	for _, path := range []string{"/login", "/{$}", loginMethod} {
		mux.HandleFunc("POST "+path, e.login)
	}
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<title>Home</title><h1>Home</h1>") })
	mux.HandleFunc("GET /app", e.desk)
	mux.HandleFunc("GET /me", e.account)
	mux.HandleFunc("/api/method/logout", e.logout)
	mux.HandleFunc("GET "+LoggedUser, e.loggedUser)
	mux.HandleFunc("GET /api/method/ping", func(w http.ResponseWriter, _ *http.Request) {
		AnswerJSON(w, http.StatusOK, map[string]string{"message": "pong"})
	})
	mux.HandleFunc("GET "+GetRoles, e.userRoles)
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		down := e.down
		e.mu.Unlock()
		if down {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

// LoginSite returns the double as a site of tests that can also run against a real one.
func (e *ERP) LoginSite() *LoginSite {
	return &LoginSite{
		URL: e.URL, Name: "erp.localhost", Version: recorded[e.Version],
		User: ERPUser, Password: ERPPassword, Role: "Employee",
		Sessions: e.Sessions,
		SetRole: func(has bool) {
			if e.SetRoles("All"); has {
				e.SetRoles("All", "Employee")
			}
		},
		SetEnabled: func(enabled bool) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.disabled = !enabled
		},
		RequireCode: func() {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.code = "123456"
		},
		Code: func() string {
			e.mu.Lock()
			defer e.mu.Unlock()
			return e.code
		},
	}
}

// User returns the user of the request's session, or Guest.
func (e *ERP) User(r *http.Request) string {
	if cookie, err := r.Cookie("sid"); err == nil {
		return e.UserOf(cookie.Value)
	}
	return "Guest"
}

// UserOf returns the user of a session, or Guest.
func (e *ERP) UserOf(sid string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.sessions[sid]; s != nil {
		return s.user
	}
	return "Guest"
}

// LogIn begins a session of ERPUser with that id.
func (e *ERP) LogIn(sid string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sessions[sid] = &erpSession{user: ERPUser}
}

// LogOut ends a session.
func (e *ERP) LogOut(sid string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, sid)
}

// LogOutAll ends all sessions.
func (e *ERP) LogOutAll() {
	e.mu.Lock()
	defer e.mu.Unlock()
	clear(e.sessions)
}

// Sessions returns how many sessions there are.
func (e *ERP) Sessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sessions)
}

// SetRoles sets the roles of all users.
func (e *ERP) SetRoles(roles ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.roles = roles
}

// SetDown makes every answer one of a proxy in front of a site that is down, or of the site again.
func (e *ERP) SetDown(down bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.down = down
}

// Asked returns how often the user of a session was asked for.
func (e *ERP) Asked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked
}

// setSession sets the cookie with the session, as Frappe does with every answer.
func (e *ERP) setSession(w http.ResponseWriter, r *http.Request, sid string) {
	e.setCookie(w, r, http.Cookie{Name: "sid", Value: sid, Expires: time.Now().Add(170 * time.Hour), MaxAge: 612000, HttpOnly: true})
}

func (e *ERP) setCookie(w http.ResponseWriter, r *http.Request, c http.Cookie) {
	c.Path, c.SameSite, c.Secure = "/", e.SameSite, r.Header.Get("X-Forwarded-Proto") == "https"
	http.SetCookie(w, &c)
}

// setCookies sets the cookies of a user. Version 17 sets those that the browser does not have.
func (e *ERP) setCookies(w http.ResponseWriter, r *http.Request, sid, user string) {
	system, name := "yes", "Alice"
	if user == "Guest" {
		system, name = "no", user
	}
	e.setSession(w, r, sid)
	for _, c := range []http.Cookie{
		{Name: "system_user", Value: system},
		{Name: "full_name", Value: name},
		{Name: "user_id", Value: url.QueryEscape(user)},
		{Name: "user_image"},
		{Name: "user_lang", Value: "en"},
	} {
		var known string
		if had, err := r.Cookie(c.Name); err == nil {
			known = had.Value
		}
		if e.Version == "15" && c.Name != "user_lang" || e.Version == "17" && known != c.Value {
			e.setCookie(w, r, c)
		}
	}
}

const loginMethod = "/api/method/login"

const erpLoginPage = `<!DOCTYPE html>
<title>Login</title>
<form class="form-login"><input id="login_email"><input id="login_password" type="password"><button class="btn-login">Login</button></form>
<script>
// It looks where the way back leads, and only then removes scripts from it, as frappe.utils.sanitise_redirect does.
const safe = way => /^([a-z]+:)?\/\//i.test(way) && new URL(way, location).hostname != location.hostname ? "" :
	way.replace(/confirm\(.*\)|alert\(.*\)|prompt\(.*\)/gi, "").replace(/javascript/gi, "");
const send = async args => {
	const answer = await fetch("/api/method/login", {method: "POST", body: new URLSearchParams(args)});
	const data = await answer.json();
	if (data.message == "Logged In") {
		window.location.href = safe(new URLSearchParams(location.search).get("redirect-to") || "") || data.home_page;
	} else if (data.verification) {
		document.body.innerHTML = '<form class="form-verify"><input id="login_token"><button id="verify_token">Verify</button></form>';
		document.querySelector(".form-verify").addEventListener("submit", event => {
			event.preventDefault();
			send({otp: document.querySelector("#login_token").value, tmp_id: data.tmp_id});
		});
	} else {
		document.title = data.message;
	}
};
document.querySelector(".form-login").addEventListener("submit", event => {
	event.preventDefault();
	send({usr: document.querySelector("#login_email").value, pwd: document.querySelector("#login_password").value});
});
</script>`

func (e *ERP) loginPage(w http.ResponseWriter, r *http.Request) {
	if e.disabledUser(r) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusExpectationFailed)
		io.WriteString(w, "<title>Server Error</title>User "+ERPUser+" is disabled. Please contact your System Manager.")
		return
	}
	if user := e.User(r); user != "Guest" {
		to, err := url.Parse(r.FormValue("redirect-to"))
		if err != nil || to.String() == "" || to.Host != "" && to.Host != r.Host {
			to = &url.URL{Path: "/app"}
		}
		if e.Version == "17" {
			if to.Scheme, to.Host = "http", r.Host; r.Header.Get("X-Forwarded-Proto") == "https" {
				to.Scheme = "https"
			}
		}
		session, err := r.Cookie("sid")
		if err != nil {
			panic(err)
		}
		e.setCookies(w, r, session.Value, user)
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	e.setCookies(w, r, "Guest", "Guest")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, erpLoginPage)
}

// disabledUser reports whether a request is refused because it has the session of a user whom a script has disabled.
// Frappe keeps such a session. 15.44.2 refuses it, and 17.0.0-dev accepts it.
func (e *ERP) disabledUser(r *http.Request) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, s := e.session(r)
	return e.disabled && s != nil && e.Version == "15"
}

func (e *ERP) login(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != loginMethod && (e.Version == "17" || r.PostFormValue("cmd") != "login") {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	refuse := func(message string) {
		AnswerJSON(w, http.StatusUnauthorized, map[string]string{"message": message, "exc_type": "AuthenticationError"})
	}
	e.mu.Lock()
	asked, code, disabled := e.asking[r.PostFormValue("tmp_id")], e.code, e.disabled
	e.mu.Unlock()
	switch right := r.PostFormValue("usr") == ERPUser && r.PostFormValue("pwd") == ERPPassword; {
	case asked && r.PostFormValue("otp") != code:
		refuse("Incorrect Verification code")
		return
	case !asked && !right:
		refuse("Invalid login credentials")
		return
	case disabled:
		refuse("User disabled or missing")
		return
	case !asked && code != "":
		id := RandomID()[:8]
		e.mu.Lock()
		e.asking[id] = true
		e.mu.Unlock()
		e.setSession(w, r, "Administrator") // Frappe does so, and has no such session
		AnswerJSON(w, http.StatusOK, map[string]any{
			"verification": map[string]any{"method": "OTP App", "setup": true}, "tmp_id": id,
		})
		return
	}
	sid, home := RandomID(), "/app"
	if e.Version == "17" {
		home = "desk"
	}
	e.LogIn(sid)
	e.setCookies(w, r, sid, ERPUser)
	AnswerJSON(w, http.StatusOK, map[string]string{"message": "Logged In", "home_page": home, "full_name": "Alice"})
}

// session returns the session of a request, or nil. The caller must hold the mutex.
func (e *ERP) session(r *http.Request) (sid string, s *erpSession) {
	if cookie, err := r.Cookie("sid"); err == nil {
		sid = cookie.Value
	}
	return sid, e.sessions[sid]
}

// desk is the page after which a session has a CSRF token.
func (e *ERP) desk(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, s := e.session(r); s != nil && s.csrf == "" {
		s.csrf = RandomID()
	}
	io.WriteString(w, "<title>Desk</title><h1>Desk</h1>")
}

// account is a page with the session's CSRF token, or None.
func (e *ERP) account(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	token := "None"
	if _, s := e.session(r); s != nil && s.csrf != "" {
		token = s.csrf
	}
	io.WriteString(w, `<title>Account</title><script>frappe.csrf_token = "`+token+`";</script>`)
}

func (e *ERP) logout(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	sid, s := e.session(r)
	answer := "logout"
	switch {
	case r.Method == http.MethodGet && e.Version == "17":
		answer = "logout, GET"
	case r.Method == http.MethodPost && s != nil && s.csrf != "" && r.Header.Get("X-Frappe-Csrf-Token") != s.csrf:
		answer = "logout, after Desk"
	default:
		delete(e.sessions, sid)
	}
	e.mu.Unlock()
	Reply(e.t, w, []byte(strings.ReplaceAll(LoginAnswer(e.t, recorded[e.Version], answer), RecordedSession, sid)))
}

func (e *ERP) loggedUser(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	e.asked++
	e.mu.Unlock()
	if e.disabledUser(r) {
		Reply(e.t, w, []byte(LoginAnswer(e.t, recorded["15"], "session of a disabled user")))
		return
	}
	user, status := e.User(r), http.StatusForbidden
	if r.Header.Get("Authorization") != "" {
		status = http.StatusUnauthorized
		if e.Token != nil {
			user = e.Token(r)
		}
	}
	if user == "Guest" {
		e.setCookies(w, r, "Guest", "Guest")
		AnswerJSON(w, status, map[string]string{"exc_type": "PermissionError"})
		return
	}
	if session, err := r.Cookie("sid"); err == nil {
		e.setCookies(w, r, session.Value, user)
	}
	AnswerJSON(w, http.StatusOK, map[string]string{"message": user})
}

func (e *ERP) userRoles(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	AnswerJSON(w, http.StatusOK, map[string]any{"message": e.roles})
}

// RandomID returns a random text in the form of a session id.
func RandomID() string {
	raw := make([]byte, 28)
	rand.Read(raw)
	return hex.EncodeToString(raw)
}

// AnswerJSON sends JSON as Frappe does.
func AnswerJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	w.Write(raw)
}
