package site_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/caddy-frappe/frappe-auth" // the handler that the backend is for
	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/site"
)

// TestConcurrentRequestsAskSiteOnce: a thousand concurrent requests with one new credential ask the site once.
func TestConcurrentRequestsAskSiteOnce(t *testing.T) {
	const clients = 1000
	var asked, sent atomic.Int64
	allSent := make(chan struct{})
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: func(*http.Request) (int, string) {
			asked.Add(1)
			<-allSent
			return 200, `{"message":"alice@example.com"}`
		},
	})
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond {http.auth.user.id}\n}", address, site.URL))
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: &countingTransport{transport, func() {
		if sent.Add(1) == clients {
			close(allSent)
		}
	}}}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if got := testutil.RequestOver(t, client, http.MethodGet, "http://"+address,
				"Authorization: "+testutil.AlicePair); got.Body != "alice@example.com" {
				t.Errorf("%d %q", got.Status, got.Body)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the site was asked %d times", n)
	}
}

// countingTransport calls written whenever it has sent a request.
type countingTransport struct {
	*http.Transport
	written func()
}

func (c *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.Transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { c.written() },
	})))
}

// loadSite loads a backend site from its JSON, without a server.
func loadSite(t testing.TB, config map[string]any) (*site.Backend, error) {
	t.Helper()
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID("http.frappe_auth.backends.site", raw)
	if err != nil {
		return nil, err
	}
	return module.(*site.Backend), nil
}

func mustLoadSite(t testing.TB, config map[string]any) *site.Backend {
	t.Helper()
	site, err := loadSite(t, config)
	if err != nil {
		t.Fatal(err)
	}
	return site
}

// TestMain fails the test run if a secret was logged anywhere in it.
func TestMain(m *testing.M) { os.Exit(testutil.Main(m)) }

// TestSiteNames: all spellings of a host are one tenant, and an invalid site name is refused.
func TestSiteNames(t *testing.T) {
	for _, test := range []struct{ template, host, want string }{
		{"{http.request.host}", "erp.example.com", "erp.example.com"},
		{"{http.request.host}", "ERP.Example.COM", "erp.example.com"},
		{"{http.request.host}", "erp.example.com.", "erp.example.com"},
		{"{http.request.host}", "ERP.example.com.:8080", "erp.example.com"},
		{"{http.request.host}:8080", "erp.example.com", "erp.example.com"},
		{"{http.request.host}", "erp.example.com..", ""},
		{"{http.request.host}", ".", ""},
		{"{http.request.host}", "", ""},
		{"{http.request.host}", "erp:", "erp"},
		{"{http.request.host}", "[::1]:80", ""},
		{"{http.request.host}", "a/../b", ""},
		{"{http.request.host}", "\u212aey.example", ""}, // strings.ToLower makes a k of the Kelvin sign
		{"{http.request.host}", "{env.HOME}", ""},
		{"tenant-{http.request.host}", "", ""},
		{"tenant-{http.request.host}", "A", "tenant-a"},
		{"{http.request.host}{no.such.placeholder}", "a", ""},
	} {
		t.Run(test.template+" "+test.host, func(t *testing.T) {
			site := mustLoadSite(t, map[string]any{"urls": []string{"http://127.0.0.1:8000"}, "site_name": test.template})
			if !site.ResolvesSites() {
				t.Error("does not resolve sites")
			}
			repl := caddy.NewReplacer()
			repl.Set("http.request.host", test.host)
			got, err := site.Site(repl)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("%q %v, want %q", got, err, test.want)
			}
		})
	}
}

// TestTenants: one address serves several sites, and a credential of one is not accepted for another.
func TestTenants(t *testing.T) {
	var mu sync.Mutex
	asked := make(map[string]int)
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: func(r *http.Request) (int, string) {
			mu.Lock()
			defer mu.Unlock()
			tenant := r.Header.Get("X-Frappe-Site-Name")
			if r.Host != tenant {
				t.Errorf("asked with Host %q about %q", r.Host, tenant)
			}
			asked[tenant]++
			if tenant == "one.example" {
				return 200, `{"message":"alice@example.com"}`
			}
			return 401, `{}`
		},
	})
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t,
		fmt.Sprintf("http://:%s {\nbind 127.0.0.1\nfrappe_auth {\nbackend site %s {\nsite_name "+
			"{http.request.host}\n}\n}\nrespond {http.auth.user.id}\n}",
			testutil.PortOf(address), site.URL))
	for _, test := range []struct {
		host   string
		status int
	}{
		{"one.example", 200},
		{"two.example", 401},
		{"one.example", 200},
		{"two.example", 401},
		{"ONE.example", 200},
		{"one.Example.", 200},
		{"Two.Example.", 401},
		{"one.example..", 400},
		{"..", 400},
		{"-x", 400},
		{".hidden", 400},
		{"a..b", 400},
		{"[::1]", 400},
		{strings.Repeat("a", 256), 400},
	} {
		if got := testutil.Get(t, "http://"+address, "Host: "+test.host, "Authorization: "+testutil.AlicePair,
			"X-Frappe-Site-Name: one.example"); got.Status != test.status {
			t.Errorf("%s: status %d, want %d", test.host, got.Status, test.status)
		}
	}
	if len(asked) != 2 || asked["one.example"] != 1 || asked["two.example"] != 1 {
		t.Errorf("asked %v, want each of the two sites once", asked)
	}
}

// TestSiteFingerprintFromManyGoroutines: concurrent calls do not disturb each other.
func TestSiteFingerprintFromManyGoroutines(t *testing.T) {
	site := mustLoadSite(t,
		map[string]any{"urls": []string{"http://a", "http://b", "http://c"}, "site_name": "erp.localhost"})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got := site.Fingerprint(); got != "http://a http://b http://c erp.localhost" {
				t.Error(got)
			}
		})
	}
	wg.Wait()
}

// TestSiteAddresses: TLS with a trusted and an unknown authority, a client certificate, a Unix socket, and a second
// address if the first cannot be reached.
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
		{
			"client certificate", secure.URL + " {\n" + trust + "tls_client_auth " + certificate + " " + key + "\n}\n}", 200,
			"by Acme Co",
		},
		{"Unix socket", "unix/" + socket + " {\nsite_name erp.localhost\n}", 200, "by socket"},
		{"Unix socket without a site name", "unix/" + socket, 200, "alice@example.com"},
		{"second address", "http://" + testutil.FreeAddress(t) + " " + plain.URL, 200, "alice@example.com"},
		{"second address after a missing Unix socket", "unix/" + socket + "x " + plain.URL, 200, "alice@example.com"},
		{"a path where Frappe is mounted", plain.URL + "/erp%20x", 200, "alice@example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t,
				fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s\n}\nrespond {http.auth.user.id}\n}", address,
					test.backend))
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

// verdictOf returns the user that a verification granted, or describes its error.
func verdictOf(id frappe.Identity, err error) string {
	var unavailable *frappe.UnavailableError
	switch {
	case err == nil:
		return id.User
	case errors.Is(err, frappe.ErrDenied):
		return "denied"
	case errors.Is(err, frappe.ErrUnknownSite):
		return "unknown site"
	case errors.As(err, &unavailable) && unavailable.CredentialSpecific:
		return "unavailable for this credential"
	}
	return "unavailable"
}

// bearer returns an access token for a site.
func bearer(site string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeBearer, Token: "x", Site: site}
}
