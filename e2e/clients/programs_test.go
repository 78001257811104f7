package clients

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// sent are the credentials that every client sends: two good ones, a bad one, and one to which the ERP says that it is in
// maintenance.
var sent = []string{"token key:secret", "Bearer access-token", "token key:wrong", "Bearer maintenance"}

const notVerified = "the credential could not be verified"

// api is Caddy with the recipe for clients of Frappe's API, in front of an ERP that knows the credentials of sent.
type api struct {
	t     *testing.T
	url   string
	root  string // file of the certificate that the server's certificate is checked with
	caddy *testutil.Caddy
}

// protocol returns the protocol of the first request that the access log has.
func (a *api) protocol() string {
	a.t.Helper()
	var line struct{ Request struct{ Proto string } }
	if err := json.Unmarshal([]byte(a.caddy.Logged("handled request")), &line); err != nil {
		a.t.Fatal(err)
	}
	return line.Request.Proto
}

func startAPI(t *testing.T) *api {
	t.Helper()
	erp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch testutil.CredentialOf(r) {
		case "token key:secret", "pair key:secret", "Bearer access-token":
			answer(w, http.StatusOK, map[string]string{"message": alice})
		case "Bearer maintenance":
			answer(w, http.StatusServiceUnavailable, map[string]string{"exc_type": "SessionStopped"})
		default:
			answer(w, http.StatusUnauthorized, map[string]string{"exc_type": "AuthenticationError"})
		}
	}))
	t.Cleanup(erp.Close)
	caddyfile := strings.NewReplacer(
		"api.example.com {", "localhost {\nlog",
		"frappe_auth https://erp.example.com", "frappe_auth "+erp.URL,
		"reverse_proxy localhost:9000", "reverse_proxy "+erp.URL,
	).Replace(recipes(t, "Errors as Frappe answers them"))
	caddy, port, storage := runCaddy(t, caddyfile, "localhost")
	root := filepath.Join(storage, "pki/authorities/local/root.crt")
	return &api{t: t, url: "https://localhost:" + port, root: root, caddy: caddy}
}

// runs a program, and returns what it prints.
func (a *api) runs(program string, args ...string) []byte {
	a.t.Helper()
	command := exec.CommandContext(a.t.Context(), program, args...)
	command.Env = append(os.Environ(), "REQUESTS_CA_BUNDLE="+a.root, "NODE_EXTRA_CA_CERTS="+a.root)
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		a.t.Fatalf("%s: %v\n%s%s", program, err, out, stderr.String())
	}
	return out
}

// told checks what a client says to each credential of sent.
func told(t *testing.T, client string, got []string, refused, unavailable string) {
	t.Helper()
	want := []string{"200 " + alice, "200 " + alice, refused, unavailable}
	if !slices.Equal(got, want) {
		t.Errorf("%s says\n%s\nwant\n%s", client, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// python is Debian's, for which its packages are.
const python = "/usr/bin/python3"

func TestRequests(t *testing.T) {
	testutil.RequireCommand(t, "python3-requests", python, "-c", "import requests")
	a := startAPI(t)
	var got []string
	if err := json.Unmarshal(a.runs(python, append([]string{"requests_client.py", a.url}, sent...)...), &got); err != nil {
		t.Fatal(err)
	}
	at := " for url: " + a.url + "/api/method/frappe.auth.get_logged_user"
	told(t, "requests", got,
		"401 Client Error: Unauthorized"+at+": frappe.exceptions.AuthenticationError: credential denied",
		"503 Server Error: Service Unavailable"+at+": frappe.exceptions.SessionStopped: "+notVerified)
}

// javaScript returns the directory of the scripts with the packages that they need, and node.
func javaScript(t *testing.T) (dir, node string) {
	t.Helper()
	node = testutil.RequireProgram(t, "nodejs", "node")
	testutil.RequireProgram(t, "npm", "npm")
	dir, err := packages()
	if err != nil {
		message := fmt.Sprintf("the npm registry has to be reached once: npm ci: %v", err)
		if os.Getenv("CI") == "true" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	return dir, node
}

// packages copies the directory javascript and installs its packages, once for all tests, which takes seconds. TestMain
// removes the directory.
var packages = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "frappe-auth-javascript"); err != nil {
		return "", err
	}
	cleanUp = func() { os.RemoveAll(dir) }
	if err := os.CopyFS(dir, os.DirFS("javascript")); err != nil {
		return "", err
	}
	install := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
})

// cleanUp removes what packages made.
var cleanUp = func() {}

func TestMain(m *testing.M) {
	code := m.Run()
	cleanUp()
	os.Exit(code)
}

func TestJavaScript(t *testing.T) {
	dir, node := javaScript(t)
	a := startAPI(t)
	var got map[string][]string
	if err := json.Unmarshal(a.runs(node, append([]string{filepath.Join(dir, "client.js"), a.url}, sent...)...), &got); err != nil {
		t.Fatal(err)
	}
	told(t, "axios", got["axios"],
		"Request failed with status code 401: frappe.exceptions.AuthenticationError: credential denied",
		"Request failed with status code 503: frappe.exceptions.SessionStopped: "+notVerified)
	told(t, "frappe-js-sdk", got["frappe-js-sdk"],
		"401 Unauthorized: frappe.exceptions.AuthenticationError: credential denied",
		"503 Service Unavailable: frappe.exceptions.SessionStopped: "+notVerified)
}

func TestCurl(t *testing.T) {
	curl := testutil.RequireProgram(t, "curl", "curl")
	for _, test := range []struct{ option, protocol string }{{"--http1.1", "HTTP/1.1"}, {"--http2", "HTTP/2.0"}} {
		t.Run(test.protocol, func(t *testing.T) {
			a := startAPI(t)
			var got []string
			for _, header := range sent {
				command := exec.CommandContext(t.Context(), curl, test.option, "-sS", "--fail-with-body", "--cacert", a.root, "-H", "Authorization: "+header, a.url+"/x")
				var stderr strings.Builder
				command.Stderr = &stderr
				body, err := command.Output()
				if err == nil {
					stderr.WriteString("200")
				}
				got = append(got, strings.TrimSpace(stderr.String())+" "+saidIn(body))
			}
			told(t, "curl", got,
				"curl: (22) The requested URL returned error: 401 frappe.exceptions.AuthenticationError: credential denied",
				"curl: (22) The requested URL returned error: 503 frappe.exceptions.SessionStopped: "+notVerified)
			if got := a.protocol(); got != test.protocol {
				t.Errorf("it spoke %s", got)
			}
		})
	}
}

// TestHTTP3 has the client of quic-go, since curl seldom speaks HTTP/3.
func TestHTTP3(t *testing.T) {
	a := startAPI(t)
	raw, err := os.ReadFile(a.root)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(raw)
	transport := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.Close()
	client := &http.Client{Transport: transport, Timeout: 20 * time.Second}
	var got []string
	for _, header := range sent {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.url+"/x", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", header)
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		got = append(got, fmt.Sprintf("%d %s", resp.StatusCode, saidIn(body)))
	}
	told(t, "HTTP/3", got,
		"401 frappe.exceptions.AuthenticationError: credential denied",
		"503 frappe.exceptions.SessionStopped: "+notVerified)
	if got := a.protocol(); got != "HTTP/3.0" {
		t.Errorf("it spoke %s", got)
	}
}

// saidIn returns the user or the reason in an answer.
func saidIn(body []byte) string {
	var said struct{ Message, Exception string }
	if err := json.Unmarshal(body, &said); err != nil {
		return string(body)
	}
	return said.Message + said.Exception
}
