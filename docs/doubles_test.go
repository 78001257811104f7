package docs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// recipe is a Caddyfile of a page that runs in this process, in front of doubles.
type recipe struct {
	*testutil.Caddy

	t       *testing.T
	address string
	files   string // in place of /srv and /var/log/caddy
	asked   *atomic.Int64
	passed  int // requests that were let in
	refused int
}

// run runs a Caddyfile of a page. It replaces only names, addresses and paths of the outside, by those of doubles.
func run(t *testing.T, text string) *recipe {
	t.Helper()
	r := &recipe{
		Caddy: testutil.RunCaddy(t, ""), t: t,
		address: testutil.FreeAddress(t), files: t.TempDir(), asked: new(atomic.Int64),
	}
	site, bench := benchDouble(t, r.asked, true), benchDouble(t, r.asked, false)
	for name, content := range map[string]string{
		"files/report.txt": "report", "alice@example.com/report.txt": "of alice", "files/monitor/status.txt": "status",
		"two.erp.example.com/report.txt": "of two", "app/index.php": "", "files/index.html": "index",
	} {
		file := filepath.Join(r.files, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	siteAddress := regexp.MustCompile(`(?m)^(\S+\.example\.com) \{$`)
	text = siteAddress.ReplaceAllString(text, "http://$1:"+testutil.PortOf(r.address)+" {")
	text = strings.NewReplacer(
		"https://erp.example.com", site,
		"http://127.0.0.1:8000", "http://"+bench, "127.0.0.1:8080", bench,
		"localhost:9000", applicationDouble(t), "localhost:3000", applicationDouble(t), "localhost:9001", phpDouble(t),
		"http://:8180", "http://:"+testutil.PortOf(r.address), "/srv", r.files, "/var/log/caddy", r.files,
		"\ttls internal\n", "",
	).Replace(text)
	r.configure(text)
	return r
}

// configure loads a Caddyfile, with all its sites on this machine only.
func (r *recipe) configure(text string) {
	r.t.Helper()
	text, isOptions := strings.CutPrefix(text, "{\n")
	if !isOptions {
		text = "}\n" + text
	}
	r.Load("{\ndefault_bind 127.0.0.1\n" + text)
}

// expect sends a request, as `Name: value` headers and others, and compares status and body. A body of "…" is any.
func (r *recipe) expect(method, url string, status int, body string, headers ...string) testutil.Response {
	r.t.Helper()
	host, path, _ := strings.Cut(url, "/")
	headers = append(headers, "Host: "+host)
	got := testutil.RequestOver(r.t, testutil.Client, method, "http://"+r.address+"/"+path, headers...)
	if got.Status != status || body != "…" && got.Body != body {
		r.t.Errorf("%s %s with %q: %d %q, want %d %q", method, url, headers, got.Status, got.Body, status, body)
	}
	if status < 400 {
		r.passed++
	} else {
		r.refused++
	}
	return got
}

func (r *recipe) get(url string, status int, body string, headers ...string) testutil.Response {
	r.t.Helper()
	return r.expect(http.MethodGet, url, status, body, headers...)
}

// Headers of requests.
const (
	byAlice     = "Authorization: " + testutil.AlicePair
	byBob       = "Authorization: " + testutil.BobPair
	wrongSecret = "Authorization: token 2c6245becaa0961:wrong"
)

// benchDouble returns the address of a bench with the sites erp.example.com and two.erp.example.com, behind its nginx.
// Each site knows alice and bob, and alice's session. With onlyOne, all requests are for the first site; otherwise a
// request that names neither site gets 404.
func benchDouble(t *testing.T, asked *atomic.Int64, onlyOne bool) string {
	t.Helper()
	users := map[string]string{
		"pair " + testutil.AliceKey + ":" + testutil.AliceSecret: "alice@example.com",
		testutil.AliceBearer: "alice@example.com",
		strings.Replace(testutil.BobPair, "token", "pair", 1): "bob@example.com",
	}
	bench := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := strings.Cut(r.Host, ":")
		if named := r.Header.Get("X-Frappe-Site-Name"); named != "" {
			host = named
		}
		user := users[strings.Replace(testutil.CredentialOf(r), "token ", "pair ", 1)]
		session, _ := r.Cookie("sid")
		isSession := session != nil && strings.HasPrefix(r.URL.Path, "/api/")
		if isSession && session.Value == testutil.RecordedSession {
			user = "alice@example.com"
		}
		w.Header().Set("Content-Type", "application/json")
		switch {
		case !onlyOne && host != "erp.example.com" && host != "two.erp.example.com":
			testutil.Reply(t, w, testutil.Answer(t, "unknown-site.http"))
		case strings.HasPrefix(r.URL.Path, "/assets/"), strings.HasPrefix(r.URL.Path, "/files/"),
			strings.HasPrefix(r.URL.Path, "/socket.io/"):
			fmt.Fprint(w, "nginx of "+host)
		case r.Header.Get("Authorization") == "" && !isSession:
			fmt.Fprint(w, "page of "+host)
		case user == "" && isSession:
			asked.Add(1)
			testutil.Reply(t, w, testutil.Answer(t, "session-unknown.http"))
		case user == "":
			asked.Add(1)
			testutil.Reply(t, w, testutil.Answer(t, "denied-15.http"))
		case strings.HasSuffix(r.URL.Path, ".get_roles"):
			roles := []string{"All"}
			if user == "alice@example.com" {
				roles = append(roles, "Report Manager", "Employee")
			}
			json.NewEncoder(w).Encode(map[string]any{"message": roles}) //nolint:errcheck // a client may have left
		default:
			asked.Add(1)
			fmt.Fprintf(w, `{"message":%q}`, user)
		}
	}))
	t.Cleanup(bench.Close)
	if onlyOne {
		return bench.URL
	}
	return strings.TrimPrefix(bench.URL, "http://")
}

// tellRequest answers with what an application learns of a request.
func tellRequest(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Headers", "Authorization")
		w.WriteHeader(http.StatusNoContent)
		return
	}
	fmt.Fprintf(w, "%s by %q", r.URL.RequestURI(), r.Header.Get("X-Frappe-User"))
}

func applicationDouble(t *testing.T) string {
	t.Helper()
	application := httptest.NewServer(http.HandlerFunc(tellRequest))
	t.Cleanup(application.Close)
	return strings.TrimPrefix(application.URL, "http://")
}

// phpDouble is an application that is reached by FastCGI.
func phpDouble(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go fcgi.Serve(listener, http.HandlerFunc(tellRequest)) //nolint:errcheck // it ends with the listener
	return listener.Addr().String()
}

// tokensBackend knows two access tokens with their scopes and clients, which no site tells.
type tokensBackend struct{}

func init() { caddy.RegisterModule(tokensBackend{}) }

// CaddyModule returns the Caddy module information.
func (tokensBackend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.backends.test_tokens",
		New: func() caddy.Module { return new(tokensBackend) },
	}
}

// UnmarshalCaddyfile takes no arguments.
func (tokensBackend) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// Verify implements frappe.Backend.
func (tokensBackend) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	switch c.Token {
	case "all-of-mcp":
		return frappe.Identity{User: "alice@example.com", Scopes: []string{"all", "openid"}, Client: "mcp"}, nil
	case "openid-of-other":
		return frappe.Identity{User: "alice@example.com", Scopes: []string{"openid"}, Client: "other"}, nil
	}
	return frappe.Identity{}, frappe.ErrDenied
}

// ReportsTokens implements frappe.TokenReporter.
func (tokensBackend) ReportsTokens() bool { return true }
