package site_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// verdictOf is how a verification came out, in one word or the user.
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

// bearer is any access token.
func bearer(site string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeBearer, Token: "x", Site: site}
}

// TestRecordedAnswers: each whole answer of a real Frappe gives the right verdict on an access token, and on a session where
// that differs.
func TestRecordedAnswers(t *testing.T) {
	want := map[string]string{
		"granted.http":                      "alice@example.com",
		"session-granted.http":              "Administrator",
		"expired-session-beside-token.http": "alice@example.com",
		"denied-14.http":                    "denied",
		"denied-15.http":                    "denied",
		"guest-15.http":                     "denied",
		"session-unknown.http":              "denied",
		"session-logged-out.http":           "denied",
		"session-restricted-ip.http":        "denied",
		"session-disabled.http":             "unavailable for this credential",
		"bad-base64-15.http":                "unavailable for this credential",
		"database-down.http":                "unavailable",
		"maintenance.http":                  "unavailable",
		"rate-limited.http":                 "unavailable",
		"unknown-site.http":                 "unavailable",

		// Those of 16.4.1. It lets a session of a user go on whom a script disabled.
		"granted-16.http":                      "alice@example.com",
		"session-granted-16.http":              "Administrator",
		"session-disabled-16.http":             "eve@example.com",
		"expired-session-beside-token-16.http": "alice@example.com",
		"denied-16.http":                       "denied",
		"denied-bearer-16.http":                "denied",
		"guest-16.http":                        "denied",
		"session-unknown-16.http":              "denied",
		"session-logged-out-16.http":           "denied",
		"session-restricted-ip-16.http":        "denied",
		"bad-base64-16.http":                   "unavailable for this credential",
		"maintenance-16.http":                  "unavailable",
		"unknown-site-16.http":                 "unavailable",

		// Answers of other methods.
		"introspect_token-16.http": "unavailable",
		"openid_profile-16.http":   "unavailable",
		"roles-16.http":            "unavailable",
		"user-16.http":             "unavailable",

		"introspect_token.http": "unavailable",
		"openid_profile.http":   "unavailable",
		"roles.http":            "unavailable",
		"user.http":             "unavailable",
	}
	ofSession := map[string]string{
		"expired-session-beside-token.http":    "denied", // whoever it names is not the session's user
		"expired-session-beside-token-16.http": "denied",
		"session-disabled.http":                "denied",
	}
	files, err := filepath.Glob(testutil.Path(t, "testdata/answers/*.http"))
	if err != nil || len(files) != len(want) {
		t.Errorf("%d recordings, %d expectations: %v", len(files), len(want), err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { testutil.Reply(t, w, testutil.Answer(t, name)) }))
			defer double.Close()
			site := mustLoadSite(t, map[string]any{"urls": []string{double.URL}})
			id, err := site.Verify(t.Context(), bearer(""))
			if got := verdictOf(id, err); got != want[name] {
				t.Errorf("%s, want %q: %v", got, want[name], err)
			}
			id, err = site.Verify(t.Context(), recordedSession)
			if got := verdictOf(id, err); got != cmp.Or(ofSession[name], want[name]) {
				t.Errorf("session: %s, want %q: %v", got, cmp.Or(ofSession[name], want[name]), err)
			}
		})
	}
}

// TestUnknownSite: a tenant that the bench does not have is told from a credential that cannot be looked up, and from a
// site_name that is wrong.
func TestUnknownSite(t *testing.T) {
	html := func(w http.ResponseWriter) { testutil.Reply(t, w, testutil.Answer(t, "unknown-site.http")) } // names nosuch.example
	json404 := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(404)
		io.WriteString(w, `{"exc_type":"DoesNotExistError"}`)
	}
	denies := func(w http.ResponseWriter) { testutil.Reply(t, w, testutil.Answer(t, "denied-15.http")) }
	failing := func(w http.ResponseWriter) { testutil.Reply(t, w, nil) }
	for _, test := range []struct {
		name, siteName, tenant string
		answer, guest          func(w http.ResponseWriter)
		want, cause            string
	}{
		{"tenant that Frappe names", "{http.request.host}", "nosuch.example", html, nil, "unknown site", ""},
		{"tenant", "{http.request.host}", "a.example", html, html, "unknown site", ""},
		{"tenant, with a page of something in front", "{http.request.host}", "a.example", func(w http.ResponseWriter) { http.Error(w, "404 page not found", 404) }, html, "unknown site", ""},
		{"tenant, in JSON", "{http.request.host}", "a.example", json404, json404, "unknown site", ""},
		{"credential without its document", "{http.request.host}", "a.example", json404, denies, "unavailable for this credential", "status 404: the site exists"},
		{"credential that a firewall takes for an attack", "{http.request.host}", "a.example", html, denies, "unavailable for this credential", "status 404: the site exists"},
		{"the guest gets no answer", "{http.request.host}", "a.example", html, failing, "unavailable", "the connection broke"},
		{"socket.io, whatever the tenant", "{http.request.host}", "a.example", socketIO, socketIO, "unavailable", "socket.io"},
		{"fixed name", "erp.localhost", "", html, html, "unavailable", "(erp.localhost): status 404: the bench has no such site; check site_name"},
		{"no name", "", "", html, html, "unavailable", "status 404: the bench has no site with the name of the host in the address; add site_name"},
		{"no name, one credential", "", "", json404, denies, "unavailable for this credential", "status 404: the site exists"},
	} {
		t.Run(test.name, func(t *testing.T) {
			double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header["Authorization"] == nil {
					if test.guest == nil {
						t.Error("asked again although Frappe named the site")
						return
					}
					test.guest(w)
					return
				}
				test.answer(w)
			}))
			defer double.Close()
			site := mustLoadSite(t, map[string]any{"urls": []string{double.URL}, "site_name": test.siteName})
			id, err := site.Verify(t.Context(), bearer(test.tenant))
			if got := verdictOf(id, err); got != test.want || !strings.Contains(err.Error(), test.cause) {
				t.Errorf("%s, want %s with %q: %v", got, test.want, test.cause, err)
			}
		})
	}
}

// socketIO answers as socket.io 2 and 4 do, of Frappe's port 9000.
func socketIO(w http.ResponseWriter) {
	w.Header()["Content-Type"] = nil
	w.WriteHeader(http.StatusNotFound)
}

// TestStatusesOfOneCredential: which statuses may be about a credential, and must not open the circuit breaker.
func TestStatusesOfOneCredential(t *testing.T) {
	for status, credentialSpecific := range map[int]bool{
		400: true, 401: true, 403: true, 405: true, 406: true, 413: true, 414: true, 417: true, 431: true, 451: true,
		200: false, 204: false, 302: false, 402: false, 404: false, 407: false, 408: false, 410: false, 421: false, 429: false,
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
			if got := verdictOf(id, err); strings.HasSuffix(got, "for this credential") != credentialSpecific || !strings.HasPrefix(got, "unavailable") {
				t.Errorf("%s: %v", got, err)
			}
		})
	}
}

// TestSiteMessages: what goes wrong when a site is set up is told with what to write instead, and without anything that the
// other side sent.
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
	// raw is a server that writes bytes when a connection has sent some, and closes it.
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
		{"https to a plain port", "https", plain(answer(200, "text/html", "")), "the port does not speak TLS; write http://ADDRESS"},
		{"https to a port that is no HTTP", "https", rawly("SSH-2.0-" + sent + "\r\n"), "the port does not speak TLS; write http://ADDRESS"},
		{"https to a port that closes", "https", rawly(""), "the connection broke during the TLS handshake; if the port is plain HTTP, write http://ADDRESS"},
		{"https to a port that waits for more", "https", hang, "no answer to the TLS handshake in time; if the port is plain HTTP, write http://ADDRESS"},
		{"https to a port that alerts", "https", rawly("\x15\x03\x03\x00\x02\x02\x28"), "refused the TLS handshake; does it need a client certificate"},
		{"https to an unknown authority", "https", secure, "the certificate is not trusted: its authority is unknown here; add the authority's certificate with tls_trust_pool"},
		{"http to a TLS port of Go", "http", secure, "the port speaks TLS; write https://ADDRESS"},
		{"http to a TLS port of nginx", "http", plain(answer(400, "text/html", "<center>The plain HTTP request was sent to HTTPS port</center>")), "the port speaks TLS; write https://ADDRESS"},
		{"http to a TLS port that alerts", "http", rawly("\x15\x03\x01\x00\x02\x02\x46" + sent), "the port speaks TLS; write https://ADDRESS"},
		{"http to a TLS port that closes", "http", rawly(""), "if the port speaks TLS, write https://ADDRESS"},
		{"socket.io", "http", plain(func(w http.ResponseWriter, _ *http.Request) { socketIO(w) }), "this looks like the port of Frappe's socket.io server (9000); write the port of gunicorn (8000)"},
		{"socket.io of older versions", "http", plain(answer(404, "text/html", "<pre>Cannot GET /api/method/frappe.auth.get_logged_user</pre>")), "socket.io"},
		{"transport of socket.io", "http", plain(answer(400, "application/json", `{"code":0,"message":"Transport unknown"}`)), "socket.io"},
		{"redirect to TLS", "http", plain(redirect("https://erp.example.com")), "the site redirects to https, and redirects are not followed; write the address with https://"},
		{"other redirect", "http", plain(redirect("http://login.example.com")), "redirects are not followed; write the address that this one redirects to"},
		{"404 without site_name", "http", plain(answer(404, "text/html", "")), "add site_name, the name of the site's directory in sites/"},
		{"417", "http", plain(answer(417, "application/json", "{}")), "Frappe cannot decrypt the user's stored API secret; generate new keys"},
		{"421", "http", plain(answer(421, "text/html", "")), "the server does not serve this host here; check site_name"},
		{"431", "http", plain(answer(431, "text/html", "")), "the credential is too long for the server in front of Frappe"},
		{"502", "http", plain(answer(502, "text/html", "")), "the proxy in front of Frappe gets no answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			address := test.server(t)
			site := mustLoadSite(t, map[string]any{"urls": []string{test.scheme + "://" + address}, "timeout": "1s"})
			id, err := site.Verify(t.Context(), bearer(""))
			if got := verdictOf(id, err); !strings.HasPrefix(got, "unavailable") {
				t.Fatalf("%s: %v", got, err)
			}
			if want := strings.ReplaceAll(test.want, "ADDRESS", address); !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
			if strings.Contains(err.Error(), sent) {
				t.Errorf("the error holds what the other side sent: %v", err)
			}
		})
	}
}
