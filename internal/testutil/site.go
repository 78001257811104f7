package testutil

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// The paths that the site backend requests, besides documents of users.
const (
	LoggedUser = "/api/method/frappe.auth.get_logged_user"
	GetRoles   = "/api/method/frappe.core.doctype.user.user.get_roles"
	HasRole    = "/api/resource/Has Role"
	RoleList   = "/api/resource/Role"
	UserList   = "/api/resource/User"
)

// Answers maps the paths of a site double to functions that return a status and JSON.
type Answers map[string]func(r *http.Request) (status int, body string)

// JSONSite starts a double of a site. A request for any other path fails the test.
func JSONSite(t testing.TB, answers Answers) *httptest.Server {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			t.Errorf("unexpected request for %s", r.URL)
			w.WriteHeader(http.StatusNotFound)
			return
		}
		status, body := answer(r)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(site.Close)
	return site
}

// Always returns an answer that is the same for every request.
func Always(status int, body string) func(*http.Request) (int, string) {
	return func(*http.Request) (int, string) { return status, body }
}

// CountingSite starts a double of a site that grants every credential as alice@example.com, and counts the requests.
func CountingSite(t testing.TB) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	site := JSONSite(t, Answers{LoggedUser: func(*http.Request) (int, string) {
		asked.Add(1)
		return http.StatusOK, `{"message":"alice@example.com"}`
	}})
	return site.URL, asked
}

// RecordedSite is a double of a Frappe site. It knows the credentials of the corpus and RecordedSession, and returns
// recorded answers byte for byte.
type RecordedSite struct {
	*httptest.Server

	// LoggedOut is set once RecordedSession has ended.
	LoggedOut atomic.Bool

	// Maintenance puts the site into maintenance mode.
	Maintenance atomic.Bool

	on       string            // the recorded site
	users    map[string]string // by credential, as returned by CredentialOf
	mu       sync.Mutex
	requests []*http.Request
}

// NewRecordedSite starts a double of one of the recorded sites.
func NewRecordedSite(t testing.TB, on string) *RecordedSite {
	t.Helper()
	site := &RecordedSite{on: on, users: make(map[string]string)}
	for _, c := range Corpus(t) {
		if len(c.Authorization) != 1 || len(c.Headers) != 0 || c.Frappe[on].User == nil {
			continue
		}
		switch scheme, value, _ := strings.Cut(c.Authorization[0], " "); scheme {
		case "token":
			site.users["pair "+value] = *c.Frappe[on].User
		case "Bearer":
			site.users["Bearer "+value] = *c.Frappe[on].User
		}
	}
	site.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site.mu.Lock()
		site.requests = append(site.requests, r)
		site.mu.Unlock()
		Reply(t, w, site.answer(t, r))
	}))
	t.Cleanup(site.Close)
	return site
}

// recorded returns the recorded answer of the site's version of Frappe.
func (s *RecordedSite) recorded(t testing.TB, name string) []byte { return Answer(t, s.file(name)) }

// file returns the file name of an answer.
func (s *RecordedSite) file(name string) string {
	switch s.on {
	case Version16:
		return name + "-16.http"
	case Version17:
		return name + "-17.http"
	}
	if name == "denied" || name == "guest" {
		return name + "-15.http"
	}
	return name + ".http"
}

// answer decides as Frappe does: a bad header is refused, and a session takes precedence over a good header.
func (s *RecordedSite) answer(t testing.TB, r *http.Request) []byte {
	var session string
	if cookie, err := r.Cookie("sid"); err == nil && cookie.Value != "Guest" {
		session = cookie.Value
	}
	user := s.users[CredentialOf(r)]
	switch {
	case s.Maintenance.Load():
		return s.recorded(t, "maintenance")
	case r.URL.Path != LoggedUser && r.URL.Path != GetRoles:
		return s.recorded(t, "unknown-site")
	case r.Header["Authorization"] != nil && user == "":
		return s.recorded(t, "denied")
	case session == "" && user == "":
		return s.recorded(t, "guest")
	case session == RecordedSession && s.LoggedOut.Load() && user == "":
		return s.recorded(t, "session-logged-out")
	case session == RecordedSession && !s.LoggedOut.Load():
		return s.granted(t, r, "session-granted", "Administrator")
	case session == "":
		return s.granted(t, r, "granted", user)
	case user == "":
		return s.recorded(t, "session-unknown")
	}
	return s.granted(t, r, "expired-session-beside-token", user)
}

// granted returns a recorded answer, changed to name another user if needed.
func (s *RecordedSite) granted(t testing.TB, r *http.Request, name, user string) []byte {
	if r.URL.Path == GetRoles {
		return s.recorded(t, "roles")
	}
	var body map[string]any
	if err := json.Unmarshal([]byte(ParsedAnswer(t, s.file(name)).Body), &body); err != nil {
		t.Error(err)
	}
	if body["message"] == user {
		return s.recorded(t, name)
	}
	body["message"] = user
	changed, err := json.Marshal(body)
	if err != nil {
		t.Error(err)
	}
	head, was, _ := strings.Cut(string(s.recorded(t, name)), "\r\n\r\n")
	length := "\r\nContent-Length: "
	return []byte(strings.Replace(head, length+strconv.Itoa(len(was)), length+strconv.Itoa(len(changed)), 1) + "\r\n\r\n" +
		string(changed))
}

// Requests returns the requests that the site received.
func (s *RecordedSite) Requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Asked returns how often the site was asked for the user of a credential.
func (s *RecordedSite) Asked() (times int) {
	for _, r := range s.Requests() {
		if r.URL.Path == LoggedUser {
			times++
		}
	}
	return times
}

// CredentialOf returns the credential that Frappe would look up: `pair` with key and secret, or the scheme and access
// token.
func CredentialOf(r *http.Request) string {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme != "Basic" {
		return scheme + " " + value
	}
	pair, _ := base64.StdEncoding.DecodeString(value)
	return "pair " + string(pair)
}

// Reply sends bytes unchanged and closes the connection. It only replaces `Connection: keep-alive` by `close`, because
// a proxy would otherwise send its next request into the closing connection, and answer 502.
func Reply(t testing.TB, w http.ResponseWriter, raw []byte) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	raw = bytes.Replace(raw, []byte("\r\nConnection: keep-alive\r\n"), []byte("\r\nConnection: close\r\n"), 1)
	_, _ = conn.Write(raw) // the client may have left
}
