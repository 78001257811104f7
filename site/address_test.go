package site_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestSiteConfiguration: what would go wrong later is an error when the configuration is loaded, and says what to write.
func TestSiteConfiguration(t *testing.T) {
	t.Setenv("FRAPPE_AUTH_TEST_SITE", "erp.localhost")
	t.Setenv("FRAPPE_AUTH_TEST_EMPTY", "")
	t.Setenv("FRAPPE_AUTH_TEST_URL", "http://127.0.0.1:8000")
	t.Setenv("FRAPPE_AUTH_TEST_PASSWORD", "alice:61066224add85e6")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const url = "http://127.0.0.1:8000"
	for _, test := range []struct {
		name   string
		urls   []string
		more   map[string]any
		fails  string // "": loads
		unlike string // not in the error
	}{
		{name: "site name of the environment", urls: []string{url}, more: map[string]any{"site_name": "{env.FRAPPE_AUTH_TEST_SITE}"}},
		{name: "site name of the environment and the request", urls: []string{url}, more: map[string]any{"site_name": "{env.FRAPPE_AUTH_TEST_SITE}.{http.request.host}"}},
		{name: "placeholder of another module", urls: []string{url}, more: map[string]any{"site_name": "{tenant}.example"}},
		{name: "address of the environment", urls: []string{"{env.FRAPPE_AUTH_TEST_URL}"}},
		{name: "path below which Frappe is mounted", urls: []string{"https://example.com/erp"}},
		{name: "path with api in it", urls: []string{"https://example.com/api/erp", "https://example.com/apis", "https://example.com/erp/api.v1"}},
		{name: "comma in a path", urls: []string{"https://example.com/a,b"}},
		{name: "Unix socket", urls: []string{"unix//run/frappe.sock"}},
		{name: "timeout of a millisecond", urls: []string{url}, more: map[string]any{"timeout": "1ms"}},

		{name: "unset", urls: []string{url}, more: map[string]any{"site_name": "{env.FRAPPE_AUTH_TEST_NOT_SET}"}, fails: "site_name {env.FRAPPE_AUTH_TEST_NOT_SET}: the placeholder {env.FRAPPE_AUTH_TEST_NOT_SET} is empty or unknown"},
		{name: "empty", urls: []string{url}, more: map[string]any{"site_name": "{env.FRAPPE_AUTH_TEST_EMPTY}"}, fails: "the placeholder {env.FRAPPE_AUTH_TEST_EMPTY} is empty"},
		{name: "unset beside a name", urls: []string{url}, more: map[string]any{"site_name": "erp{env.FRAPPE_AUTH_TEST_NOT_SET}"}, fails: "the placeholder {env.FRAPPE_AUTH_TEST_NOT_SET} is empty"},
		{name: "unset beside one of the request", urls: []string{url}, more: map[string]any{"site_name": "{env.FRAPPE_AUTH_TEST_NOT_SET}.{http.request.host}"}, fails: "the placeholder {env.FRAPPE_AUTH_TEST_NOT_SET} is empty"},
		{name: "file that is not there", urls: []string{url}, more: map[string]any{"site_name": "{file./nonexistent}"}, fails: "the placeholder {file./nonexistent} is empty"},
		{name: "empty file", urls: []string{url}, more: map[string]any{"site_name": "{file." + empty + "}"}, fails: "is empty or unknown"},
		{name: "unknown", urls: []string{url}, more: map[string]any{"site_name": "{system.hostnam}"}, fails: "the placeholder {system.hostnam} is empty or unknown"},
		{name: "unset address", urls: []string{url, "{env.FRAPPE_AUTH_TEST_NOT_SET}"}, fails: "the placeholder {env.FRAPPE_AUTH_TEST_NOT_SET} is empty"},
		{name: "unset host of an address", urls: []string{"http://{env.FRAPPE_AUTH_TEST_NOT_SET}:8000"}, fails: "the placeholder {env.FRAPPE_AUTH_TEST_NOT_SET} is empty"},
		{name: "address of the request", urls: []string{"http://{http.request.host}:8000"}, fails: "an address cannot depend on the request"},
		{name: "brace that is not closed", urls: []string{url}, more: map[string]any{"site_name": "{http.request.host"}, fails: "is not a valid site name"},
		{name: "can never be a name", urls: []string{url}, more: map[string]any{"site_name": "sites/{http.request.host}"}, fails: "is not a valid site name"},
		{name: "dot at the end", urls: []string{url}, more: map[string]any{"site_name": "erp.localhost."}, fails: "is not a valid site name"},

		{name: "api", urls: []string{"https://erp.example.com/api"}, fails: "remove /api and everything after it; write https://erp.example.com"},
		{name: "api and a slash", urls: []string{"https://erp.example.com/api/"}, fails: "remove /api"},
		{name: "method", urls: []string{"https://erp.example.com/api/method/frappe.auth.get_logged_user"}, fails: "remove /api"},
		{name: "version 2 of the API", urls: []string{"https://erp.example.com/api/v2/method/ping"}, fails: "remove /api"},
		{name: "method below a mount", urls: []string{"https://example.com/erp/api/method/ping"}, fails: "write https://example.com/erp"},
		{name: "method of the environment", urls: []string{"{env.FRAPPE_AUTH_TEST_URL}/api/method"}, fails: "remove /api"},
		{name: "comma", urls: []string{"https://a.example,https://b.example"}, fails: "separate addresses by a space"},
		{name: "comma and Unix socket", urls: []string{"https://a.example/x,unix//run/b"}, fails: "separate addresses by a space"},
		{name: "comma after Unix socket", urls: []string{"unix//run/a, http://b"}, fails: "separate addresses by a space"},
		{name: "comma at the end", urls: []string{"https://a.example,", "https://b.example"}, fails: "separate addresses by a space"},
		{name: "comma of hosts", urls: []string{"https://a.example,b.example"}, fails: "separate addresses by a space"},
		{name: "password", urls: []string{"https://{env.FRAPPE_AUTH_TEST_PASSWORD}@a.example"}, fails: "contains a user name", unlike: "61066224add85e6"},
		{name: "password without a scheme", urls: []string{"{env.FRAPPE_AUTH_TEST_PASSWORD}@a.example"}, fails: "write http:// or https://", unlike: "61066224add85e6"},
		{name: "comma and password", urls: []string{"https://{env.FRAPPE_AUTH_TEST_PASSWORD}@a,https://b"}, fails: "separate addresses by a space", unlike: "61066224add85e6"},

		{name: "bare number as timeout", urls: []string{url}, more: map[string]any{"timeout": 5}, fails: `timeout: 5ns is shorter than a millisecond; a bare number in JSON is nanoseconds, so write a text such as "60s"`},
		{name: "larger bare number as timeout", urls: []string{url}, more: map[string]any{"timeout": 5000}, fails: `write a text such as "60s"`},
		{name: "negative timeout", urls: []string{url}, more: map[string]any{"timeout": -1}, fails: "timeout"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := map[string]any{"urls": test.urls}
			maps.Copy(config, test.more)
			_, err := loadSite(t, config)
			switch {
			case test.fails == "" && err != nil:
				t.Error(err)
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)):
				t.Errorf("error %v, want %q", err, test.fails)
			case test.unlike != "" && strings.Contains(err.Error(), test.unlike):
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

// TestUnsetSiteNameInCaddyfile: Caddy does not start, and says which placeholder it is.
func TestUnsetSiteNameInCaddyfile(t *testing.T) {
	c := testutil.RunCaddy(t, "http://"+testutil.FreeAddress(t)+" {\nrespond ok\n}")
	err := c.TryLoad(fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site http://127.0.0.1:8000 {\nsite_name {env.FRAPPE_AUTH_TEST_NOT_SET}\n}\n}\n}", testutil.FreeAddress(t)))
	if err == nil || !strings.Contains(err.Error(), "{env.FRAPPE_AUTH_TEST_NOT_SET}") {
		t.Errorf("error %v", err)
	}
}

// TestSiteAddresses: TLS with the right and the wrong authority, a client certificate, a Unix socket, and a second
// address for when the first cannot be reached.
func TestSiteAddresses(t *testing.T) {
	granted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user := "alice@example.com"
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			user = "by " + r.TLS.PeerCertificates[0].Subject.Organization[0]
		}
		if r.Host == "erp.localhost" {
			user = "by socket"
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"message":%q}`, user)
	})
	secure := httptest.NewUnstartedServer(granted)
	secure.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(granted)
	defer plain.Close()

	dir := t.TempDir()
	certificate := filepath.Join(dir, "certificate.pem")
	key := filepath.Join(dir, "key.pem")
	writePEM(t, certificate, "CERTIFICATE", secure.Certificate().Raw)
	writeKey(t, key, secure.TLS.Certificates[0])

	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	onSocket := &http.Server{Handler: granted, ReadHeaderTimeout: time.Second}
	go onSocket.Serve(listener) //nolint:errcheck // ends with Shutdown
	defer onSocket.Shutdown(context.Background())

	trust := "transport http {\ntls_trust_pool file " + certificate + "\n"
	for _, test := range []struct {
		name, backend string
		status        int
		body          string
	}{
		{"authority is not trusted", secure.URL, 503, ""},
		{"authority is trusted", secure.URL + " {\n" + trust + "}\n}", 200, "alice@example.com"},
		{"client certificate", secure.URL + " {\n" + trust + "tls_client_auth " + certificate + " " + key + "\n}\n}", 200, "by Acme Co"},
		{"Unix socket", "unix/" + socket + " {\nsite_name erp.localhost\n}", 200, "by socket"},
		{"Unix socket without a site name", "unix/" + socket, 200, "alice@example.com"},
		{"second address", "http://" + testutil.FreeAddress(t) + " " + plain.URL, 200, "alice@example.com"},
		{"second address after a Unix socket that is not there", "unix/" + socket + "x " + plain.URL, 200, "alice@example.com"},
		{"a path below which Frappe is mounted", plain.URL + "/erp%20x", 200, "alice@example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s\n}\nrespond {http.auth.user.id}\n}", address, test.backend))
			got := testutil.Get(t, "http://"+address, "Authorization: "+testutil.AlicePair)
			if got.Status != test.status || (test.body != "" && got.Body != test.body) {
				t.Errorf("%d %q, want %d %q", got.Status, got.Body, test.status, test.body)
			}
		})
	}
}

func writeKey(t *testing.T, name string, certificate tls.Certificate) {
	t.Helper()
	raw, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, name, "PRIVATE KEY", raw)
}

func writePEM(t *testing.T, name, kind string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: raw}), 0o600); err != nil {
		t.Fatal(err)
	}
}
