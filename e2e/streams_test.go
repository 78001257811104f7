package e2e

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestUpgradesAndStreamsPassThrough: the next handler can upgrade and stream over HTTP/1.1 and HTTP/2, as without
// frappe_auth.
func TestUpgradesAndStreamsPassThrough(t *testing.T) {
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, "first\n")
			w.(http.Flusher).Flush()
			<-r.Context().Done() // the client has read the first part by then
			return
		}
		conn, buffered, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := buffered.ReadString('\n')
		io.WriteString(conn, line)
	}))
	defer application.Close()
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`
{
	servers {
		protocols h1 h2c
	}
}
http://%s {
	frappe_auth {
		%s
	}
	reverse_proxy %s {
		flush_interval -1
	}
}`, address, testutil.StaticSite(t), strings.TrimPrefix(application.URL, "http://")))

	t.Run("upgrade", func(t *testing.T) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\nAuthorization: %s\r\n\r\n",
			address, testutil.AlicePair)
		buffered := bufio.NewReader(conn)
		resp, err := http.ReadResponse(buffered, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("%v %v", resp, err)
		}
		io.WriteString(conn, "over the upgraded connection\n")
		if line, _ := buffered.ReadString('\n'); line != "over the upgraded connection\n" {
			t.Errorf("echo is %q", line)
		}
	})
	for name, client := range map[string]*http.Client{
		"stream over HTTP/1.1": testutil.Client,
		"stream over HTTP/2":   testutil.H2CClient(),
	} {
		t.Run(name, func(t *testing.T) {
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil)
			r.Header.Set("Authorization", testutil.AlicePair)
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "first\n" {
				t.Errorf("%q %v: the first part did not come before the end", line, err)
			}
		})
	}
}

// streamSite is a double of a site that grants alice's credentials until it is told otherwise.
type streamSite struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	asked  int
}

func newStreamSite(t *testing.T) *streamSite {
	t.Helper()
	s := &streamSite{status: http.StatusOK}
	s.Server = testutil.JSONSite(t, testutil.Answers{testutil.LoggedUser: func(*http.Request) (int, string) { return s.reply() }})
	return s
}

// reply is what the site answers about alice.
func (s *streamSite) reply() (status int, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.status == http.StatusOK {
		return http.StatusOK, `{"message":"alice@example.com"}`
	}
	return s.status, `{"exc_type":"AuthenticationError"}`
}

func (s *streamSite) answer(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func (s *streamSite) timesAsked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// streamApp is an application with an event stream, a socket that echoes lines, and a gRPC method that echoes messages.
func streamApp(t *testing.T) (address string) {
	t.Helper()
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			conn, both, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			io.Copy(conn, both)
			return
		}
		if r.ProtoMajor == 2 {
			w.Header().Set("Content-Type", "application/grpc")
			w.WriteHeader(http.StatusOK)
			http.NewResponseController(w).Flush()
			buffer := make([]byte, 100)
			for {
				n, err := r.Body.Read(buffer)
				w.Write(buffer[:n])
				http.NewResponseController(w).Flush()
				if err != nil {
					return
				}
			}
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: first\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	app.Config.Protocols = new(http.Protocols)
	app.Config.Protocols.SetHTTP1(true)
	app.Config.Protocols.SetUnencryptedHTTP2(true)
	app.Start()
	t.Cleanup(app.Close)
	return app.Listener.Addr().String()
}

// streamKinds open a stream through Caddy and return its ends. Reading from it blocks until the stream ends or says
// something.
var streamKinds = map[string]func(t *testing.T, address, authorization string) (io.Reader, io.Writer){
	"event stream": func(t *testing.T, address, authorization string) (io.Reader, io.Writer) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/events", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Accept", "text/event-stream")
		resp, err := (&http.Client{Transport: new(http.Transport)}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		first := make([]byte, len("data: first\n\n"))
		if _, err := io.ReadFull(resp.Body, first); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%d %q %v", resp.StatusCode, first, err)
		}
		return resp.Body, nil
	},
	"WebSocket": func(t *testing.T, address, authorization string) (io.Reader, io.Writer) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n",
			address, authorization)
		reader := bufio.NewReader(conn)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatal(resp.Status)
		}
		return reader, conn
	},
	"gRPC": func(t *testing.T, address, authorization string) (io.Reader, io.Writer) {
		body, write := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+"/grpc", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Content-Type", "application/grpc")
		client := testutil.H2CClient()
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			write.Close()
			resp.Body.Close()
			client.CloseIdleConnections()
		})
		if resp.StatusCode != http.StatusOK {
			t.Fatal(resp.Status)
		}
		return resp.Body, write
	},
}

// TestStreamsEndWithTheirGrant: a stream of any kind ends when its credential is no longer good, and only then.
func TestStreamsEndWithTheirGrant(t *testing.T) {
	app := streamApp(t)
	expiring := func(in time.Duration) string {
		encode := base64.RawURLEncoding.EncodeToString
		return "Bearer " + encode([]byte("{}")) + "." + encode(fmt.Appendf(nil, `{"exp":%d}`, time.Now().Add(in).Unix())) + ".x"
	}
	for _, test := range []struct {
		name, options string
		authorization func() string
		then          func(t *testing.T, s *streamSite, c *testutil.Caddy, config, url string)
		ends          bool
	}{
		{
			name: "revoked by a webhook",
			then: func(t *testing.T, s *streamSite, _ *testutil.Caddy, _, url string) {
				s.answer(http.StatusUnauthorized)
				revokeAlice(t, url)
			},
			ends: true,
		},
		{
			name: "the user was saved, and may still log in",
			then: func(t *testing.T, s *streamSite, _ *testutil.Caddy, _, url string) {
				asked := s.timesAsked()
				revokeAlice(t, url)
				testutil.Eventually(t, "the credential is confirmed", func() bool { return s.timesAsked() > asked })
			},
		},
		{
			name: "revoked while the site is down",
			then: func(t *testing.T, s *streamSite, _ *testutil.Caddy, _, url string) {
				s.answer(http.StatusServiceUnavailable)
				revokeAlice(t, url)
			},
			ends: true,
		},
		{
			name: "revoked after a reload",
			then: func(t *testing.T, s *streamSite, c *testutil.Caddy, config, url string) {
				c.Load(strings.Replace(config, "frappe_auth http", "frappe_auth /other* http", 1))
				s.answer(http.StatusUnauthorized)
				revokeAlice(t, url)
			},
			ends: true,
		},
		{
			name: "denied when its ttl is over", options: "cache {\nttl 1s\n}",
			then: func(_ *testing.T, s *streamSite, _ *testutil.Caddy, _, _ string) { s.answer(http.StatusUnauthorized) },
			ends: true,
		},
		{
			name: "not confirmed when its ttl is over", options: "cache {\nttl 1s\n}",
			then: func(_ *testing.T, s *streamSite, _ *testutil.Caddy, _, _ string) {
				s.answer(http.StatusServiceUnavailable)
			},
			ends: true,
		},
		{
			name: "confirmed each time", options: "cache {\nttl 1s\n}",
			then: func(t *testing.T, s *streamSite, _ *testutil.Caddy, _, _ string) {
				testutil.Eventually(t, "the credential is confirmed", func() bool { return s.timesAsked() > 3 })
			},
		},
		{
			name: "in an outage that may be served stale", options: "cache {\nttl 1s\nstale_if_error 1h\n}",
			then: func(t *testing.T, s *streamSite, c *testutil.Caddy, _, _ string) {
				s.answer(http.StatusServiceUnavailable)
				testutil.Eventually(t, "the site was asked in vain", func() bool {
					return strings.Contains(c.Logs(), "the credential could not be verified")
				})
			},
		},
		{
			name: "expired", authorization: func() string { return expiring(2 * time.Second) },
			then: func(*testing.T, *streamSite, *testutil.Caddy, string, string) {},
			ends: true,
		},
	} {
		for kind, open := range streamKinds {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				site, address := newStreamSite(t), testutil.FreeAddress(t)
				config := fmt.Sprintf(`{
	grace_period 1s
	servers {
		protocols h1 h2c
	}
}
http://%s {
	frappe_auth_webhook /hook s3cret
	frappe_auth %s {
		%s
	}
	@grpc header Content-Type application/grpc
	reverse_proxy @grpc h2c://%s
	reverse_proxy %[4]s {
		stream_close_delay 1h
	}
}`, address, site.URL, test.options, app)
				c := testutil.RunCaddy(t, config)
				authorization := "token 2c6245becaa0961:61066224add85e6"
				if test.authorization != nil {
					authorization = test.authorization()
				}
				reader, writer := open(t, address, authorization)
				test.then(t, site, c, config, "http://"+address)
				if test.ends {
					if rest, err := io.ReadAll(io.LimitReader(reader, 100)); len(rest) > 0 {
						t.Errorf("read %q, %v", rest, err)
					}
					return
				}
				if writer == nil {
					return
				}
				fmt.Fprint(writer, "still here\n")
				echo := make([]byte, len("still here\n"))
				if _, err := io.ReadFull(reader, echo); err != nil || string(echo) != "still here\n" {
					t.Errorf("read %q, %v", echo, err)
				}
				if strings.Contains(c.Logs(), "ended a stream") {
					t.Error("the stream was ended")
				}
			})
		}
	}
}

// revokeAlice delivers a webhook of Frappe about the user.
func revokeAlice(t *testing.T, url string) {
	t.Helper()
	body := `{"doctype":"User","name":"alice@example.com","api_key":"2c6245becaa0961"}`
	if got := deliver(t, url+"/hook", []byte(body), sign(body)); got.Status != http.StatusNoContent {
		t.Fatalf("%d %s", got.Status, got.Body)
	}
}
