package frappeauth_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
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
)

// TestSiteFaults: whatever is wrong with the site, nobody is let in, nobody is told that the credential is bad, and
// nothing is cached. The log says which site, what it answered and why that may be.
func TestSiteFaults(t *testing.T) {
	const header = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
	hang := make(chan struct{})
	defer close(hang)
	endless := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"message":"`)
		for range 10_000 {
			if _, err := io.WriteString(w, strings.Repeat("a", 1024)); err != nil {
				return
			}
		}
	}
	var bomb bytes.Buffer
	zipped := gzip.NewWriter(&bomb)
	io.WriteString(zipped, `{"message":"`+strings.Repeat("a", 10<<20)+`"}`)
	zipped.Close()
	raw := func(answer string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { reply(t, w, []byte(answer)) }
	}
	recorded := func(name string) func(http.ResponseWriter) { return raw(string(answerOf(t, name))) }

	for _, test := range []struct {
		name   string
		answer func(http.ResponseWriter) // nil: nothing listens
		cause  string
		retry  string
	}{
		{name: "refused connection", cause: "cannot connect"},
		{"no answer", func(http.ResponseWriter) { <-hang }, "no answer in time", ""},
		{"closed without an answer", raw(""), "the connection broke", ""},
		{"not HTTP", raw("SSH-2.0-OpenSSH_9.2\r\n"), "the answer was not HTTP", ""},
		{"reset within the body", raw(header + "Content-Length: 31\r\n\r\n{\"message\":\"ali"), "the connection broke", ""},
		{"endless body", endless, "longer than 64 KiB", ""},
		{"zipped bomb", raw(header + "Content-Encoding: gzip\r\n\r\n" + bomb.String()), "longer than 64 KiB", ""},
		{"endless header", raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n{}"), "the connection broke", ""},
		{"200 with HTML", raw("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>alice</p>"), "status 200: the answer is not JSON", ""},
		{"200 with JSON of another type", raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n{\"message\":\"alice@example.com\"}"), "is not JSON", ""},
		{"200 with broken JSON", raw(header + "\r\n{\"message\":\"alice@example.com\""), "is not a JSON object", ""},
		{"200 with two JSON objects", raw(header + "\r\n{\"message\":\"alice@example.com\"}{}"), "is not a JSON object", ""},
		{"200 with a list", raw(header + "\r\n[]"), "is not a JSON object", ""},
		{"200 with null", raw(header + "\r\nnull"), "is not a JSON object", ""},
		{"message is a number", raw(header + "\r\n{\"message\":1}"), "the answer's message is missing", ""},
		{"message is null", raw(header + "\r\n{\"message\":null}"), "the answer's message is missing", ""},
		{"message is a list", raw(header + "\r\n{\"message\":[\"alice@example.com\"]}"), "the answer's message is missing", ""},
		{"message is an object", raw(header + "\r\n{\"message\":{\"user\":\"alice@example.com\"}}"), "the answer's message is missing", ""},
		{"message is empty", raw(header + "\r\n{\"message\":\"\"}"), "names no valid Frappe user", ""},
		{"message has a line break", raw(header + "\r\n{\"message\":\"alice\\r\\nX-Role: admin\"}"), "names no valid Frappe user", ""},
		{"message in another case", raw(header + "\r\n{\"Message\":\"alice@example.com\"}"), "the answer's message is missing", ""},
		{"302", raw("HTTP/1.1 302 Found\r\nLocation: /login\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), "status 302: redirects are not followed", ""},
		{"400", recorded("bad-base64-15.http"), "status 400", ""},
		{"404 with HTML", recorded("unknown-site.http"), "status 404: the bench has no site with the name of the host in the address; add site_name", ""},
		{"401 with HTML", raw("HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>no</p>"), "status 401: the answer is not JSON", ""},
		{"403 with HTML", raw("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>no</p>"), "status 403: the answer is not JSON", ""},
		{"401 with broken JSON", raw("HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{"), "status 401", ""},
		{"429", recorded("rate-limited.http"), "status 429: Frappe's rate limit was reached", "2363"},
		{"500", recorded("database-down.http"), "status 500: Frappe failed; its database may be down", ""},
		{"503", recorded("maintenance.http"), "status 503: the site is in maintenance mode", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked atomic.Int64
			url := "http://" + freeAddress(t)
			if test.answer != nil {
				site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					asked.Add(1)
					test.answer(w)
				}))
				defer site.CloseClientConnections()
				url = site.URL
			}
			address := freeAddress(t)
			c := runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s {\ntimeout 1s\n}\n}\nrespond {http.auth.user.id}\n}", address, url))
			for range 2 {
				got := get(t, "http://"+address, "Authorization: "+aliceToken)
				if got.status != 503 || got.header["Www-Authenticate"] != nil {
					t.Fatalf("status %d with challenges %q, want 503 without", got.status, got.header["Www-Authenticate"])
				}
				if retry := got.header.Get("Retry-After"); retry == "" || (test.retry != "" && retry != test.retry) {
					t.Errorf("Retry-After is %q", retry)
				}
			}
			if n := asked.Load(); test.answer != nil && n < 2 {
				t.Errorf("the site was asked %d times for two requests: something was cached", n)
			}
			line := c.logged("the credential could not be verified")
			if !strings.Contains(line, url) || !strings.Contains(line, test.cause) || !strings.Contains(line, `"level":"warn"`) {
				t.Errorf("log line lacks %q or %q: %s", url, test.cause, line)
			}
			if strings.Contains(c.logs(), aliceSecret) || strings.Contains(c.logs(), aliceBasic[6:]) {
				t.Error("a secret was logged")
			}
		})
	}
}

// jsonSite is a double that answers by path.
func jsonSite(t *testing.T, answers map[string]func(r *http.Request) (int, string)) *httptest.Server {
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

func always(status int, body string) func(*http.Request) (int, string) {
	return func(*http.Request) (int, string) { return status, body }
}

const (
	loggedUser = "/api/method/frappe.auth.get_logged_user"
	getRoles   = "/api/method/frappe.core.doctype.user.user.get_roles"
)

// TestSiteVerdicts: what the site says of a credential and its owner.
func TestSiteVerdicts(t *testing.T) {
	alice, roles, user := parsedAnswer(t, "granted.http").body, parsedAnswer(t, "roles.http").body, parsedAnswer(t, "user.http").body
	const odd = "o'brien+api@example.com"
	for _, test := range []struct {
		name    string
		options string
		answers map[string]func(*http.Request) (int, string)
		status  int
		body    string
	}{
		{
			"granted", "",
			map[string]func(*http.Request) (int, string){loggedUser: always(200, alice)},
			200, "alice@example.com||",
		},
		{
			"Guest is a refusal", "",
			map[string]func(*http.Request) (int, string){loggedUser: always(200, `{"message":"Guest"}`)},
			401, "",
		},
		{
			"denied by 14", "",
			map[string]func(*http.Request) (int, string){loggedUser: always(401, parsedAnswer(t, "denied-14.http").body)},
			401, "",
		},
		{
			"denied by 15", "",
			map[string]func(*http.Request) (int, string){loggedUser: always(401, parsedAnswer(t, "denied-15.http").body)},
			401, "",
		},
		{
			"served as Guest by 15", "",
			map[string]func(*http.Request) (int, string){loggedUser: always(403, parsedAnswer(t, "guest-15.http").body)},
			401, "",
		},
		{
			"roles", "roles",
			map[string]func(*http.Request) (int, string){loggedUser: always(200, alice), getRoles: always(200, roles)},
			200, "alice@example.com|System Manager,Report Manager,All,Guest,Desk User|",
		},
		{
			"roles of a user with quote and plus", "roles",
			map[string]func(*http.Request) (int, string){
				loggedUser: always(200, fmt.Sprintf(`{"message":%q}`, odd)),
				getRoles: func(r *http.Request) (int, string) {
					if r.URL.Query().Get("uid") != odd || strings.Contains(r.URL.RawQuery, "+") {
						t.Errorf("asked for the roles of %q by %s", r.URL.Query().Get("uid"), r.URL.RawQuery)
					}
					return 200, `{"message":[]}`
				},
			},
			200, odd + "||",
		},
		{
			"credential ends between two questions", "roles",
			map[string]func(*http.Request) (int, string){loggedUser: always(200, alice), getRoles: always(401, `{}`)},
			401, "",
		},
		{
			"user may not ask for roles", "roles",
			map[string]func(*http.Request) (int, string){loggedUser: always(200, alice), getRoles: always(403, `{}`)},
			503, "",
		},
		{
			"enabled", "refuse_disabled",
			map[string]func(*http.Request) (int, string){loggedUser: always(200, alice), "/api/resource/User/alice@example.com": always(200, user)},
			200, "alice@example.com||Alice",
		},
		{
			"disabled", "refuse_disabled",
			map[string]func(*http.Request) (int, string){
				loggedUser:                             always(200, alice),
				"/api/resource/User/alice@example.com": always(200, strings.Replace(user, `"enabled":1`, `"enabled":0`, 1)),
			},
			401, "",
		},
		{
			"does not say whether enabled", "refuse_disabled",
			map[string]func(*http.Request) (int, string){
				loggedUser:                             always(200, alice),
				"/api/resource/User/alice@example.com": always(200, strings.Replace(user, `"enabled":1,`, "", 1)),
			},
			503, "",
		},
		{
			"somebody else's document", "refuse_disabled",
			map[string]func(*http.Request) (int, string){
				loggedUser:                             always(200, alice),
				"/api/resource/User/alice@example.com": always(200, strings.Replace(user, `"name":"alice@`, `"name":"bob@`, 1)),
			},
			503, "",
		},
		{
			"document of a user with slash and percent", "refuse_disabled",
			map[string]func(*http.Request) (int, string){
				loggedUser: always(200, `{"message":"a/b%2F?c"}`),
				"/api/resource/User/a/b%2F?c": func(r *http.Request) (int, string) {
					if r.URL.EscapedPath() != "/api/resource/User/a%2Fb%252F%3Fc" {
						t.Errorf("asked for %s", r.URL.EscapedPath())
					}
					return 200, `{"data":{"name":"a/b%2F?c","enabled":1}}`
				},
			},
			200, "a/b%2F?c||",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := jsonSite(t, test.answers)
			address := freeAddress(t)
			runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s/ {\n%s\n}\n}\nrespond {http.auth.user.id}|{http.auth.user.roles}|{http.auth.user.full_name}\n}",
				address, site.URL, test.options))
			got := get(t, "http://"+address, "Authorization: "+aliceToken)
			if got.status != test.status || (test.body != "" && got.body != test.body) {
				t.Errorf("%d %q, want %d %q", got.status, got.body, test.status, test.body)
			}
		})
	}
}

// TestOneCredentialDoesNotOpenTheBreaker: a user who may not ask for roles does not shut the site off for others.
func TestOneCredentialDoesNotOpenTheBreaker(t *testing.T) {
	site := jsonSite(t, map[string]func(*http.Request) (int, string){
		loggedUser: func(r *http.Request) (int, string) { return 200, fmt.Sprintf(`{"message":%q}`, credentialOf(r)) },
		getRoles: func(r *http.Request) (int, string) {
			switch credentialOf(r) {
			case "Bearer limited":
				return 403, `{}`
			case "Bearer oddly-named":
				return 404, `{}`
			}
			return 200, `{"message":[]}`
		},
	})
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s {\nroles\n}\n}\nrespond {http.auth.user.id}\n}", address, site.URL))
	for i := range 20 {
		if got := get(t, "http://"+address, "Authorization: Bearer "+[]string{"limited", "oddly-named"}[i%2]); got.status != 503 {
			t.Fatalf("status %d", got.status)
		}
	}
	if got := get(t, "http://"+address, "Authorization: Bearer other"); got.status != 200 {
		t.Errorf("another credential gets %d", got.status)
	}
}

// TestOneRequestDoesNotOpenTheBreaker: what something before Frappe refuses because of the credential itself does not shut
// the site off for others; what concerns the site does.
func TestOneRequestDoesNotOpenTheBreaker(t *testing.T) {
	html := func(status int) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			io.WriteString(w, "<h1>No</h1>")
		}
	}
	for _, test := range []struct {
		name          string
		authorization string // that something before Frappe refuses
		answer        func(w http.ResponseWriter)
		others        int // what other credentials then get
	}{
		{"a pair that is longer than nginx takes", "token k:" + strings.Repeat("x", 7000), html(400), 200},
		{"a token that is", "Bearer " + strings.Repeat("x", 8160), html(400), 200},
		{"with the status of RFC 6585", "Bearer " + strings.Repeat("x", 8160), html(431), 200},
		{"for a firewall, an attack", "Bearer 'or'1'='1", html(403), 200},
		{"for a firewall, not acceptable", "Bearer <script>", html(406), 200},
		{"no site", "Bearer x", html(404), 503},
		{"a site that fails", "Bearer x", html(500), 503},
		{"another site", "Bearer x", html(200), 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if credentialOf(r) != "Bearer good" {
					test.answer(w)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"message":"alice@example.com"}`)
			}))
			defer site.Close()
			address := freeAddress(t)
			runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond ok\n}", address, site.URL))
			for i := range 10 {
				authorization := test.authorization
				if test.others == 503 {
					authorization += fmt.Sprint(i) // one credential alone says nothing of the site
				}
				if got := get(t, "http://"+address, "Authorization: "+authorization); got.status != 503 {
					t.Fatalf("status %d", got.status)
				}
			}
			if got := get(t, "http://"+address, "Authorization: Bearer good"); got.status != test.others {
				t.Errorf("another credential gets %d, want %d", got.status, test.others)
			}
		})
	}
}

// TestWhiteSpaceAtTheEndIsNotLost: over HTTP/2 it is part of an access token, which HTTP/1.1 to the site cannot carry; the
// site must not be asked about the token without it.
func TestWhiteSpaceAtTheEndIsNotLost(t *testing.T) {
	var asked atomic.Int64
	site := jsonSite(t, map[string]func(*http.Request) (int, string){
		loggedUser: func(*http.Request) (int, string) {
			asked.Add(1)
			return 200, `{"message":"alice@example.com"}`
		},
	})
	address := freeAddress(t)
	runCaddy(t, corpusCaddyfile(address, "backend site "+site.URL))
	for _, test := range []struct {
		name, authorization string
		status              int
	}{
		{"tab after an access token", aliceBearer + "\t", 401},
		{"tabs after an access token", aliceBearer + "\t\t", 401},
		{"space after an access token", aliceBearer + " ", 401},
		{"tab after a secret, which travels as base64", aliceToken + "\t", 200},
		{"none", aliceBearer, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := asked.Load()
			got := requestOver(t, h2cClient(), http.MethodGet, "http://"+address, "Authorization: "+test.authorization)
			if got.status != test.status || (asked.Load() > before) != (test.status == 200) {
				t.Errorf("status %d, want %d; asked %d times", got.status, test.status, asked.Load()-before)
			}
		})
	}
}

// TestTenants: one address, many sites; a credential of one is none of another's.
func TestTenants(t *testing.T) {
	var mu sync.Mutex
	asked := make(map[string]int)
	site := jsonSite(t, map[string]func(*http.Request) (int, string){
		loggedUser: func(r *http.Request) (int, string) {
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
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf("http://:%s {\nbind 127.0.0.1\nfrappe_auth {\nbackend site %s {\nsite_name {http.request.host}\n}\n}\nrespond {http.auth.user.id}\n}",
		portOf(address), site.URL))
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
		if got := get(t, "http://"+address, "Host: "+test.host, "Authorization: "+aliceToken, "X-Frappe-Site-Name: one.example"); got.status != test.status {
			t.Errorf("%s: status %d, want %d", test.host, got.status, test.status)
		}
	}
	if len(asked) != 2 || asked["one.example"] != 1 || asked["two.example"] != 1 {
		t.Errorf("asked %v, want each of the two sites once", asked)
	}
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
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
		{"second address", "http://" + freeAddress(t) + " " + plain.URL, 200, "alice@example.com"},
		{"second address after a Unix socket that is not there", "unix/" + socket + "x " + plain.URL, 200, "alice@example.com"},
		{"a path below which Frappe is mounted", plain.URL + "/erp%20x", 200, "alice@example.com"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := freeAddress(t)
			runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s\n}\nrespond {http.auth.user.id}\n}", address, test.backend))
			got := get(t, "http://"+address, "Authorization: "+aliceToken)
			if got.status != test.status || (test.body != "" && got.body != test.body) {
				t.Errorf("%d %q, want %d %q", got.status, got.body, test.status, test.body)
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

// TestOneQuestionForAThousand: a thousand simultaneous requests with one new credential ask the site once.
func TestOneQuestionForAThousand(t *testing.T) {
	const clients = 1000
	var asked, sent atomic.Int64
	everybodySent := make(chan struct{})
	site := jsonSite(t, map[string]func(*http.Request) (int, string){
		loggedUser: func(*http.Request) (int, string) {
			asked.Add(1)
			<-everybodySent
			return 200, `{"message":"alice@example.com"}`
		},
	})
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond {http.auth.user.id}\n}", address, site.URL))
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: &countingTransport{transport, func() {
		if sent.Add(1) == clients {
			close(everybodySent)
		}
	}}}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if got := requestOver(t, client, http.MethodGet, "http://"+address, "Authorization: "+aliceToken); got.body != "alice@example.com" {
				t.Errorf("%d %q", got.status, got.body)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the site was asked %d times", n)
	}
}

// countingTransport says when a request has been written.
type countingTransport struct {
	*http.Transport
	written func()
}

func (c *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.Transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { c.written() },
	})))
}
