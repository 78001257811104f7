package site_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	_ "github.com/caddy-frappe/frappe-auth" // the handler that the backend is for
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestCredentialSpecificStatuses: statuses that may be about one credential must not open the circuit breaker.
func TestCredentialSpecificStatuses(t *testing.T) {
	for status, credentialSpecific := range map[int]bool{
		400: true, 401: true, 403: true, 405: true, 406: true, 413: true, 414: true, 417: true, 431: true, 451: true,
		200: false, 204: false, 302: false, 402: false, 404: false, 407: false, 408: false, 410: false, 421: false,
		429: false,
		500: false, 502: false, 503: false, 504: false,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				w.WriteHeader(status)
			}))
			defer double.Close()
			site := mustLoadSite(t, map[string]any{"urls": []string{double.URL}})
			id, err := site.Verify(t.Context(), bearer(""))
			if got := verdictOf(id, err); strings.HasSuffix(got, "for this credential") != credentialSpecific ||
				!strings.HasPrefix(got, "unavailable") {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
}

// TestSiteMessages: the errors for common mistakes in setting up a site say what to write instead, and contain nothing
// that the other side sent.
func TestSiteMessages(t *testing.T) {
	const sent = "sent-by-the-other-side"
	answer := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Sent", sent)
			w.Header()["Content-Type"] = []string{contentType}
			w.WriteHeader(status)
			io.WriteString(w, body+sent)
		}
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, to+"/"+sent, http.StatusMovedPermanently)
		}
	}
	// raw starts a server that reads once from a connection, writes the reply, and closes it.
	raw := func(t *testing.T, reply string) string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				conn.Read(make([]byte, 4096))
				io.WriteString(conn, reply)
				conn.Close()
			}
		}()
		return listener.Addr().String()
	}
	plain := func(h http.HandlerFunc) func(*testing.T) string {
		return func(t *testing.T) string {
			server := httptest.NewServer(h)
			t.Cleanup(server.Close)
			return server.Listener.Addr().String()
		}
	}
	secure := func(t *testing.T) string {
		server := httptest.NewTLSServer(answer(200, "text/html", ""))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	hang := func(t *testing.T) string {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { listener.Close() })
		return listener.Addr().String()
	}
	rawly := func(reply string) func(*testing.T) string {
		return func(t *testing.T) string { return raw(t, reply) }
	}
	for _, test := range []struct {
		name, scheme string
		server       func(*testing.T) string
		want         string // ADDRESS stands for host and port
	}{
		{
			"https to a plain port", "https", plain(answer(200, "text/html", "")),
			"the port does not speak TLS; write http://ADDRESS",
		},
		{
			"https to a port that is not HTTP", "https", rawly("SSH-2.0-" + sent + "\r\n"),
			"the port does not speak TLS; write http://ADDRESS",
		},
		{
			"https to a port that closes", "https", rawly(""),
			"the connection broke during the TLS handshake; if the port is plain HTTP, write http://ADDRESS",
		},
		{
			"https to a port that waits for more", "https", hang,
			"no answer to the TLS handshake in time; if the port is plain HTTP, write http://ADDRESS",
		},
		{
			"https to a port that alerts", "https", rawly("\x15\x03\x03\x00\x02\x02\x28"),
			"refused the TLS handshake; does it need a client certificate",
		},
		{
			"https to an unknown authority", "https", secure,
			"the certificate is not trusted: its authority is unknown here; add the authority's certificate with tls_trust_pool",
		},
		{"http to a TLS port of Go", "http", secure, "the port speaks TLS; write https://ADDRESS"},
		{
			"http to a TLS port of nginx", "http",
			plain(answer(400, "text/html", "<center>The plain HTTP request was sent to HTTPS port</center>")),
			"the port speaks TLS; write https://ADDRESS",
		},
		{
			"http to a TLS port that alerts", "http", rawly("\x15\x03\x01\x00\x02\x02\x46" + sent),
			"the port speaks TLS; write https://ADDRESS",
		},
		{"http to a TLS port that closes", "http", rawly(""), "if the port speaks TLS, write https://ADDRESS"},
		{
			"socket.io", "http", plain(func(w http.ResponseWriter, _ *http.Request) { socketIO(w) }),
			"this looks like the port of Frappe's socket.io server (9000); write the port of gunicorn (8000)",
		},
		{
			"socket.io of older versions", "http",
			plain(answer(404, "text/html", "<pre>Cannot GET /api/method/frappe.auth.get_logged_user</pre>")), "socket.io",
		},
		{
			"transport of socket.io", "http", plain(answer(400, "application/json", `{"code":0,"message":"Transport unknown"}`)),
			"socket.io",
		},
		{
			"redirect to TLS", "http", plain(redirect("https://erp.example.com")),
			"the site redirects to https, and redirects are not followed; write the address with https://",
		},
		{
			"other redirect", "http", plain(redirect("http://login.example.com")),
			"redirects are not followed; write the address that this one redirects to",
		},
		{
			"404 without site_name", "http", plain(answer(404, "text/html", "")),
			"add site_name, the name of the site's directory in sites/",
		},
		{
			"417", "http", plain(answer(417, "application/json", "{}")),
			"Frappe cannot decrypt the user's stored API secret; generate new keys",
		},
		{
			"417 of a site that is being installed", "http",
			plain(answer(417, "application/json", `{"_server_messages":"[\"{\\\"message\\\": \\\"User Guest is disabled.`)),
			"the site has no user Guest yet: it is still being installed",
		},
		{"421", "http", plain(answer(421, "text/html", "")), "the server does not serve this host here; check site_name"},
		{"431", "http", plain(answer(431, "text/html", "")), "the credential is too long for the server in front of Frappe"},
		{"502", "http", plain(answer(502, "text/html", "")), "the proxy in front of Frappe gets no answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := test.server(t)
			timeout := "1m" // on a busy machine, anything may take long
			if strings.Contains(test.want, "in time") {
				timeout = "1s"
			}
			site := mustLoadSite(t, map[string]any{"urls": []string{test.scheme + "://" + address}, "timeout": timeout})
			id, err := site.Verify(t.Context(), bearer(""))
			if got := verdictOf(id, err); !strings.HasPrefix(got, "unavailable") {
				t.Fatalf("%s: %v", got, err)
			}
			if want := strings.ReplaceAll(test.want, "ADDRESS", address); !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
			if strings.Contains(err.Error(), sent) {
				t.Errorf("the error contains what the other side sent: %v", err)
			}
		})
	}
}

// TestOneCredentialDoesNotOpenTheBreaker: a user who may not read their roles does not shut the site off for others.
func TestOneCredentialDoesNotOpenTheBreaker(t *testing.T) {
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: func(r *http.Request) (int, string) {
			return 200, fmt.Sprintf(`{"message":%q}`, testutil.CredentialOf(r))
		},
		testutil.GetRoles: func(r *http.Request) (int, string) {
			switch testutil.CredentialOf(r) {
			case "Bearer limited":
				return 403, `{}`
			case "Bearer oddly-named":
				return 404, `{}`
			}
			return 200, `{"message":[]}`
		},
		testutil.HasRole: testutil.Always(403, `{}`),
	})
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t,
		fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s {\nroles\n}\n}\nrespond {http.auth.user.id}\n}", address,
			site.URL))
	for i := range 20 {
		if got := testutil.Get(t, "http://"+address,
			"Authorization: Bearer "+[]string{"limited", "oddly-named"}[i%2]); got.Status != 503 {
			t.Fatalf("status %d", got.Status)
		}
	}
	if got := testutil.Get(t, "http://"+address, "Authorization: Bearer other"); got.Status != 200 {
		t.Errorf("another credential gets %d", got.Status)
	}
}

// TestOneRequestDoesNotOpenTheBreaker: a credential that a proxy in front of Frappe refuses does not shut the site off
// for others. Failures of the site do.
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
		authorization string // refused by a proxy in front of Frappe
		answer        func(w http.ResponseWriter)
		others        int // the status that other credentials then get
	}{
		{"a pair too long for nginx", "token k:" + strings.Repeat("x", 7000), html(400), 200},
		{"a token too long for nginx", "Bearer " + strings.Repeat("x", 8160), html(400), 200},
		{"a token too long, with the status of RFC 6585", "Bearer " + strings.Repeat("x", 8160), html(431), 200},
		{"an attack, to a firewall", "Bearer 'or'1'='1", html(403), 200},
		{"not acceptable, to a firewall", "Bearer <script>", html(406), 200},
		{"no site", "Bearer x", html(404), 503},
		{"a site that fails", "Bearer x", html(500), 503},
		{"another site", "Bearer x", html(200), 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if testutil.CredentialOf(r) != "Bearer good" {
					test.answer(w)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"message":"alice@example.com"}`)
			}))
			defer site.Close()
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond ok\n}", address, site.URL))
			for i := range 10 {
				authorization := test.authorization
				if test.others == 503 {
					authorization += fmt.Sprint(i) // one credential alone says nothing about the site
				}
				if got := testutil.Get(t, "http://"+address, "Authorization: "+authorization); got.Status != 503 {
					t.Fatalf("status %d", got.Status)
				}
			}
			if got := testutil.Get(t, "http://"+address, "Authorization: Bearer good"); got.Status != test.others {
				t.Errorf("another credential gets %d, want %d", got.Status, test.others)
			}
		})
	}
}

// TestSessionAndProxies: an answer that does not come from Frappe is not a verdict on a session.
func TestSessionAndProxies(t *testing.T) {
	for _, test := range []struct {
		status int
		want   string
	}{
		{200, "unavailable"},
		{302, "unavailable"},
		{401, "unavailable for this credential"},
		{403, "unavailable for this credential"},
		{417, "unavailable for this credential"},
		{502, "unavailable"},
	} {
		double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Location", "/login")
			w.WriteHeader(test.status)
			io.WriteString(w, "<p>Administrator</p>")
		}))
		defer double.Close()
		id, err := mustLoadSite(t, map[string]any{"urls": []string{double.URL}}).Verify(t.Context(), recordedSession)
		if got := verdictOf(id, err); got != test.want {
			t.Errorf("%d: %s, want %s: %v", test.status, got, test.want, err)
		}
	}
}

// TestSiteFaults: if the site fails in any way, nobody gets in, nobody is told that the credential is bad, and nothing
// is cached. The log names the site, its answer and the likely cause.
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
		return func(w http.ResponseWriter) { testutil.Reply(t, w, []byte(answer)) }
	}
	recorded := func(name string) func(http.ResponseWriter) { return raw(string(testutil.Answer(t, name))) }

	for _, test := range []struct {
		name   string
		answer func(http.ResponseWriter) // nil: nothing listens
		cause  string
		retry  string
	}{
		{name: "connection refused", cause: "cannot connect"},
		{"no answer", func(http.ResponseWriter) { <-hang }, "no answer in time", ""},
		{"closed without an answer", raw(""), "the connection broke", ""},
		{"not HTTP", raw("SSH-2.0-OpenSSH_9.2\r\n"), "the answer was not HTTP", ""},
		{"reset within the body", raw(header + "Content-Length: 31\r\n\r\n{\"message\":\"ali"), "the connection broke", ""},
		{"endless body", endless, "longer than 64 KiB", ""},
		{"zipped bomb", raw(header + "Content-Encoding: gzip\r\n\r\n" + bomb.String()), "longer than 64 KiB", ""},
		{
			"endless header", raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n{}"), "the connection broke",
			"",
		},
		{
			"200 with HTML", raw("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>alice</p>"),
			"status 200: the answer is not JSON", "",
		},
		{
			"200 with JSON of another type",
			raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n{\"message\":\"alice@example.com\"}"),
			"is not JSON", "",
		},
		{"200 with broken JSON", raw(header + "\r\n{\"message\":\"alice@example.com\""), "is not a JSON object", ""},
		{"200 with two JSON objects", raw(header + "\r\n{\"message\":\"alice@example.com\"}{}"), "is not a JSON object", ""},
		{"200 with a list", raw(header + "\r\n[]"), "is not a JSON object", ""},
		{"200 with null", raw(header + "\r\nnull"), "is not a JSON object", ""},
		{"message is a number", raw(header + "\r\n{\"message\":1}"), "the answer's message is missing", ""},
		{"message is null", raw(header + "\r\n{\"message\":null}"), "the answer's message is missing", ""},
		{
			"message is a list", raw(header + "\r\n{\"message\":[\"alice@example.com\"]}"), "the answer's message is missing",
			"",
		},
		{
			"message is an object", raw(header + "\r\n{\"message\":{\"user\":\"alice@example.com\"}}"),
			"the answer's message is missing", "",
		},
		{"message is empty", raw(header + "\r\n{\"message\":\"\"}"), "does not name a valid Frappe user", ""},
		{
			"message has a line break", raw(header + "\r\n{\"message\":\"alice\\r\\nX-Role: admin\"}"),
			"does not name a valid Frappe user", "",
		},
		{
			"message in another case", raw(header + "\r\n{\"Message\":\"alice@example.com\"}"),
			"the answer's message is missing", "",
		},
		{
			"302", raw("HTTP/1.1 302 Found\r\nLocation: /login\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
			"status 302: redirects are not followed", "",
		},
		{"400", recorded("bad-base64-15.http"), "status 400", ""},
		{
			"404 with HTML", recorded("unknown-site.http"),
			"status 404: the bench has no site with the name of the host in the address; add site_name", "",
		},
		{
			"401 with HTML", raw("HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>no</p>"),
			"status 401: the answer is not JSON", "",
		},
		{
			"403 with HTML", raw("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>no</p>"),
			"status 403: the answer is not JSON", "",
		},
		{
			"401 with broken JSON",
			raw("HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{"), "status 401", "",
		},
		{"429", recorded("rate-limited.http"), "status 429: Frappe's rate limit was reached", "2363"},
		{"500", recorded("database-down.http"), "status 500: Frappe failed; its database may be down", ""},
		{"503", recorded("maintenance.http"), "status 503: the site is in maintenance mode", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked atomic.Int64
			url := "http://" + testutil.FreeAddress(t)
			if test.answer != nil {
				site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					asked.Add(1)
					test.answer(w)
				}))
				defer site.CloseClientConnections()
				url = site.URL
			}
			address := testutil.FreeAddress(t)
			c := testutil.RunCaddy(t,
				fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s {\ntimeout 1s\n}\n}\nrespond {http.auth.user.id}\n}",
					address, url))
			for range 2 {
				got := testutil.Get(t, "http://"+address, "Authorization: "+testutil.AlicePair)
				if got.Status != 503 || got.Header["Www-Authenticate"] != nil {
					t.Fatalf("status %d with challenges %q, want 503 without", got.Status, got.Header["Www-Authenticate"])
				}
				if retry := got.Header.Get("Retry-After"); retry == "" || (test.retry != "" && retry != test.retry) {
					t.Errorf("Retry-After is %q", retry)
				}
			}
			if n := asked.Load(); test.answer != nil && n < 2 {
				t.Errorf("the site was asked %d times for two requests, so something was cached", n)
			}
			line := c.Logged("the credential could not be verified")
			if !strings.Contains(line, url) || !strings.Contains(line, test.cause) || !strings.Contains(line, `"level":"warn"`) {
				t.Errorf("log line lacks %q or %q: %s", url, test.cause, line)
			}
			if strings.Contains(c.Logs(), testutil.AliceSecret) || strings.Contains(c.Logs(), testutil.AliceBasic[6:]) {
				t.Error("a secret was logged")
			}
		})
	}
}
