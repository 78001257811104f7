package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestRefusalsAreNotStored: no cache may keep a refusal or a redirect, since the next request may have a good
// credential.
func TestRefusalsAreNotStored(t *testing.T) {
	const navigate = "Sec-Fetch-Mode: navigate"
	address, site := runSessions(t, "schemes basic token session\nlogin /login\nfailures 5 1h\n"+
		"require user Administrator")
	for _, test := range []struct {
		name    string
		headers []string
		status  int
	}{
		{"no credential", nil, 401},
		{"a page without a session", []string{navigate}, 302},
		{"a page with a session that has ended", []string{navigate, "Cookie: sid=" + deadSession}, 302},
		{"a requirement", []string{tokenHeader}, 403},
		{"another site", []string{"Cookie: sid=" + loggedIn, "Origin: https://evil.example", "Upgrade: websocket"}, 403},
		{"two headers", []string{tokenHeader, tokenHeader}, 400},
		{"malformed", []string{"Authorization: token"}, 401},
		{"unavailable", []string{"Authorization: token x:unavailable"}, 503},
	} {
		site.Maintenance.Store(test.status == 503)
		got := testutil.Get(t, "http://"+address, test.headers...)
		if control := got.Header["Cache-Control"]; got.Status != test.status || strings.Join(control, "|") != "no-store" {
			t.Errorf("%s: %d %q", test.name, got.Status, control)
		}
	}
	site.Maintenance.Store(false)
	for i := 0; ; i++ {
		got := testutil.Get(t, "http://"+address, fmt.Sprintf("Authorization: token guess%d:x", i))
		if got.Status == http.StatusUnauthorized && i < 10 {
			continue
		}
		if got.Status != http.StatusTooManyRequests || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %q", got.Status, got.Header)
		}
		return
	}
}

// TestPrivateAnswers: an answer to a request with a session is for its user only, unless the application says that it
// may be shared. Answers to other requests stay as they are.
func TestPrivateAnswers(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/flushed":
			http.NewResponseController(w).Flush()
		case "/hints":
			w.Header().Set("Link", "</style.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/unchanged":
			w.WriteHeader(http.StatusNotModified)
			return
		default:
			w.Header()["Cache-Control"] = r.URL.Query()["say"]
		}
		io.WriteString(w, "secret")
	}))
	defer app.Close()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "report.txt"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	address, site := testutil.FreeAddress(t), testutil.NewRecordedSite(t, testutil.OnMariaDB)
	testutil.RunCaddy(t, fmt.Sprintf(`{
	servers {
		protocols h1 h2c
	}
}
http://%s {
	frappe_auth {
		backend site %s
		schemes token session
		anonymous
	}
	handle_path /files/* {
		root %q
		file_server
	}
	handle /empty {
		vars x y
	}
	handle /error {
		error 418
	}
	handle {
		reverse_proxy %s
	}
	handle_errors {
		respond "an error"
	}
}`, address, site.URL, root, app.URL))
	session := "Cookie: sid=" + loggedIn
	for _, test := range []struct {
		name, path, header string
		want               string
	}{
		{"nothing said", "/", session, "private"},
		{"an age", "/?say=max-age=60", session, "max-age=60, private"},
		{"to ask again", "/?say=no-cache", session, "no-cache, private"},
		{"public", "/?say=public,+max-age=60", session, "public, max-age=60"},
		{"an age for shared caches", "/?say=max-age=1&say=S-MaxAge=60", session, "max-age=1, S-MaxAge=60"},
		{"private", "/?say=private=%22x%22", session, `private="x"`},
		{"not at all", "/?say=no-store", session, "no-store"},
		{"a word that contains it", "/?say=not-public", session, "not-public, private"},
		{"a file", "/files/report.txt", session, "private"},
		{"flushed before it is written", "/flushed", session, "private"},
		{"after early hints", "/hints", session, "private"},
		{"an error of the application", "/missing", session, "private"},
		{"not modified", "/unchanged", session, "private"},
		{"an error of Caddy", "/error", session, "private"},
		{"a file that is missing", "/files/x", session, "private"},
		{"empty", "/empty", session, "private"},
		{"an API key", "/", tokenHeader, ""},
		{"an API key beside the session", "/", tokenHeader + "\n" + session, ""},
		{"nobody", "/", "X: y", ""},
	} {
		for protocol, client := range map[string]*http.Client{"HTTP/1.1": testutil.Client, "HTTP/2": testutil.H2CClient()} {
			got := testutil.RequestOver(t, client, http.MethodGet, "http://"+address+test.path,
				strings.Split(test.header, "\n")...)
			if control := strings.Join(got.Header["Cache-Control"], ", "); control != test.want {
				t.Errorf("%s, %s: %d %q, want %q", protocol, test.name, got.Status, control, test.want)
			}
		}
	}
}
