package clients

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const (
	alice    = "alice@example.com"
	password = "alices-password"
)

// erp is a double of a Frappe site: its login page, the cookies that it sets, and what it answers about a session. All of
// it is as Frappe 15.44.2 answers.
type erp struct {
	*httptest.Server

	oauth    *oauth        // nil where a test needs no access tokens
	sameSite http.SameSite // Lax, as Frappe has it, unless a test sets another before the first request

	mu       sync.Mutex
	sessions map[string]string // the user, by sid
}

func newERP(t *testing.T) *erp {
	t.Helper()
	return newERPWith(t, nil)
}

func newERPWith(t *testing.T, o *oauth) *erp {
	t.Helper()
	e := &erp{oauth: o, sameSite: http.SameSiteLaxMode, sessions: make(map[string]string)}
	mux := http.NewServeMux()
	if o != nil {
		o.erp = e
		o.register(mux)
	}
	mux.HandleFunc("GET /login", e.loginPage)
	mux.HandleFunc("POST /login", e.login)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<title>Home</title><h1>Home</h1>") })
	mux.HandleFunc("GET /app", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<title>Desk</title>") })
	mux.HandleFunc("/api/method/logout", e.logout)
	mux.HandleFunc("GET "+testutil.LoggedUser, e.loggedUser)
	e.Server = httptest.NewServer(mux)
	t.Cleanup(e.Close)
	return e
}

// user returns the user of the request's session, or Guest.
func (e *erp) user(r *http.Request) string {
	cookie, err := r.Cookie("sid")
	if err != nil {
		return "Guest"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if user := e.sessions[cookie.Value]; user != "" {
		return user
	}
	return "Guest"
}

// setCookies sets the cookies that Frappe sets with every answer.
func (e *erp) setCookies(w http.ResponseWriter, r *http.Request, sid, user string) {
	system := "yes"
	if user == "Guest" {
		system = "no"
	}
	set := func(c http.Cookie) {
		c.Path, c.SameSite, c.Secure = "/", e.sameSite, r.Header.Get("X-Forwarded-Proto") == "https"
		http.SetCookie(w, &c)
	}
	set(http.Cookie{Name: "sid", Value: sid, Expires: time.Now().Add(170 * time.Hour), MaxAge: 612000, HttpOnly: true})
	set(http.Cookie{Name: "system_user", Value: system})
	set(http.Cookie{Name: "full_name", Value: user})
	set(http.Cookie{Name: "user_id", Value: user})
	set(http.Cookie{Name: "user_image"})
}

const loginPage = `<!DOCTYPE html>
<title>Login</title>
<form class="form-login"><input id="login_email"><input id="login_password" type="password"><button class="btn-login">Login</button></form>
<script>
// It looks where the way back leads, and only then removes scripts from it, as frappe.utils.sanitise_redirect does.
const safe = way => /^([a-z]+:)?\/\//i.test(way) && new URL(way, location).hostname != location.hostname ? "" :
	way.replace(/confirm\(.*\)|alert\(.*\)|prompt\(.*\)/gi, "").replace(/javascript/gi, "");
document.querySelector(".form-login").addEventListener("submit", async event => {
	event.preventDefault();
	const args = {cmd: "login", usr: document.querySelector("#login_email").value, pwd: document.querySelector("#login_password").value};
	const answer = await fetch("/login", {method: "POST", body: new URLSearchParams(args)});
	const data = await answer.json();
	if (data.message == "Logged In") {
		window.location.href = safe(new URLSearchParams(location.search).get("redirect-to") || "") || data.home_page;
	} else {
		document.title = data.message;
	}
});
</script>`

func (e *erp) loginPage(w http.ResponseWriter, r *http.Request) {
	if user := e.user(r); user != "Guest" {
		to, err := url.Parse(r.FormValue("redirect-to"))
		if err != nil || to.String() == "" || to.Host != "" && to.Host != r.Host {
			to = &url.URL{Path: "/app"}
		}
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	e.setCookies(w, r, "Guest", "Guest")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	io.WriteString(w, loginPage)
}

func (e *erp) login(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("cmd") != "login" || r.PostFormValue("usr") != alice || r.PostFormValue("pwd") != password {
		answer(w, http.StatusUnauthorized, map[string]string{"message": "Invalid login credentials", "exc_type": "AuthenticationError"})
		return
	}
	sid := random()
	e.mu.Lock()
	e.sessions[sid] = alice
	e.mu.Unlock()
	e.setCookies(w, r, sid, alice)
	answer(w, http.StatusOK, map[string]string{"message": "Logged In", "home_page": "/app", "full_name": "Alice"})
}

func (e *erp) logout(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie("sid"); err == nil {
		e.mu.Lock()
		delete(e.sessions, cookie.Value)
		e.mu.Unlock()
	}
	e.setCookies(w, r, "Guest", "Guest")
	for _, name := range []string{"user_image", "user_id", "system_user", "sid", "full_name"} {
		http.SetCookie(w, &http.Cookie{Name: name, Path: "/", Expires: time.Now().Add(-24 * time.Hour)})
	}
	answer(w, http.StatusOK, map[string]string{"message": "No App", "home_page": "/login", "full_name": "Guest"})
}

func (e *erp) loggedUser(w http.ResponseWriter, r *http.Request) {
	user, status := e.user(r), http.StatusForbidden
	if r.Header.Get("Authorization") != "" {
		status = http.StatusUnauthorized
		if e.oauth != nil {
			user = e.oauth.user(r)
		}
	}
	if user == "Guest" {
		e.setCookies(w, r, "Guest", "Guest")
		answer(w, status, map[string]string{"exc_type": "PermissionError"})
		return
	}
	answer(w, http.StatusOK, map[string]string{"message": user})
}

// random returns a random session, code or token.
func random() string {
	raw := make([]byte, 28)
	rand.Read(raw)
	return hex.EncodeToString(raw)
}

// answer sends JSON as Frappe does.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	raw, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(w, "%s", raw)
}
