package testutil

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// The paths that backend site asks a site for, besides users' documents.
const (
	LoggedUser = "/api/method/frappe.auth.get_logged_user"
	GetRoles   = "/api/method/frappe.core.doctype.user.user.get_roles"
)

// Answers are what a double of a site answers, status and JSON, by path.
type Answers map[string]func(r *http.Request) (status int, body string)

// JSONSite is a double of a site. It fails the test when it is asked for a path that answers do not have.
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

// Always gives every request the same answer.
func Always(status int, body string) func(*http.Request) (int, string) {
	return func(*http.Request) (int, string) { return status, body }
}

// CountingSite is a double of a site that grants every credential to alice@example.com, and counts how often it is asked.
func CountingSite(t testing.TB) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	site := JSONSite(t, Answers{LoggedUser: func(*http.Request) (int, string) {
		asked.Add(1)
		return http.StatusOK, `{"message":"alice@example.com"}`
	}})
	return site.URL, asked
}

// RecordedSite is a double of a Frappe site. It knows the credentials of the recordings, and answers with recorded
// answers byte for byte.
type RecordedSite struct {
	*httptest.Server

	mu       sync.Mutex
	requests []*http.Request
}

// NewRecordedSite returns a double of one of the sites of the recordings.
func NewRecordedSite(t testing.TB, on string) *RecordedSite {
	t.Helper()
	users := make(map[string]string) // by credential, as CredentialOf has it
	for _, c := range Corpus(t) {
		if len(c.Authorization) != 1 || len(c.Headers) != 0 || c.Frappe[on].User == nil {
			continue
		}
		switch scheme, value, _ := strings.Cut(c.Authorization[0], " "); scheme {
		case "token":
			users["pair "+value] = *c.Frappe[on].User
		case "Bearer":
			users["Bearer "+value] = *c.Frappe[on].User
		}
	}
	site := new(RecordedSite)
	site.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site.mu.Lock()
		site.requests = append(site.requests, r)
		site.mu.Unlock()

		answer := Answer(t, "denied-15.http")
		if r.URL.Path != LoggedUser {
			answer = Answer(t, "unknown-site.http")
		} else if user, ok := users[CredentialOf(r)]; ok {
			body := fmt.Sprintf(`{"message":%q}`, user)
			granted, _, _ := strings.Cut(string(Answer(t, "granted.http")), "\r\n\r\n")
			answer = []byte(strings.Replace(granted, "Content-Length: 31", fmt.Sprintf("Content-Length: %d", len(body)), 1) + "\r\n\r\n" + body)
			if user == "alice@example.com" {
				answer = Answer(t, "granted.http")
			}
		}
		Reply(t, w, answer)
	}))
	t.Cleanup(site.Close)
	return site
}

// Requests returns what the site was asked.
func (s *RecordedSite) Requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// CredentialOf returns what Frappe would look up: `pair` and key and secret, or the scheme and the access token.
func CredentialOf(r *http.Request) string {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme != "Basic" {
		return scheme + " " + value
	}
	pair, _ := base64.StdEncoding.DecodeString(value)
	return "pair " + string(pair)
}

// Reply sends bytes as they are, and closes the connection.
func Reply(t testing.TB, w http.ResponseWriter, raw []byte) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_, _ = conn.Write(raw) // the client may have left
}
