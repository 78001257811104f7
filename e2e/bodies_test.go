package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// refusals returns sites that refuse requests, and for each of them a request with the status that it gets.
func refusals(t *testing.T, further string) (caddyfile string, cases []refusedRequest) {
	t.Helper()
	site := func(options, authorization string, status int) {
		address := testutil.FreeAddress(t)
		if !strings.Contains(options, "failures") {
			options += "failures off\n"
		}
		caddyfile += fmt.Sprintf("http://%s {\nfrappe_auth {\n%s\n}\nrespond passed\n%s\n}\n", address, options, further)
		cases = append(cases, refusedRequest{address, authorization, status})
	}
	known := "backend static {\ntoken " + testutil.AliceKey + " " + testutil.Hash(testutil.AliceSecret) +
		" alice@example.com\nbearer " +
		testutil.Hash("bob") + " bob@example.com\n}\n"
	site(known, "Authorization: token x:y\r\n", 401)
	site(known, "", 401)
	site(known, "Authorization: token\r\n", 401)
	site(known, "Authorization: token x:y\r\nAuthorization: token x:y\r\n", 400)
	site(known+"require user bob@example.com\n", "Authorization: "+testutil.AlicePair+"\r\n", 403)
	site(strings.Replace(known, testutil.AliceKey, "other", 1)+"failures 1 1h\n", "Authorization: token x:z\r\n", 429)
	site("backend site http://"+testutil.FreeAddress(t)+"\n", "Authorization: token x:y\r\n", 503)
	return caddyfile, cases
}

type refusedRequest struct {
	address, authorization string
	status                 int
}

// exhaust uses up the failures that a site with a limit of one allows.
func exhaust(t *testing.T, cases []refusedRequest) {
	t.Helper()
	for _, c := range cases {
		if c.status == 429 {
			testutil.Get(t, "http://"+c.address, "Authorization: token first:guess")
		}
	}
}

// soon is the time within which a refusal comes, even if the body does not.
const soon = 2 * time.Second

// TestRefusalDoesNotWaitForBody: over HTTP/1, each refusal comes, whatever the client announces about its body and
// however little of it arrives.
func TestRefusalDoesNotWaitForBody(t *testing.T) {
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.Header.Get("X-Status"))
		w.WriteHeader(status)
		io.WriteString(w, strings.Repeat("an error page", 1000))
	}))
	defer application.Close()
	proxied := "handle_errors {\nreverse_proxy " + strings.TrimPrefix(application.URL, "http://") +
		" {\nheader_up X-Status {err.status_code}\n}\n}"
	for name, further := range map[string]string{
		"by Caddy":              "",
		"by handle_errors":      "handle_errors {\nrespond {err.status_code}\n}",
		"by a proxied page":     proxied,
		"with access logs":      "log",
		"with logs and a proxy": "log\n" + proxied,
	} {
		t.Run(name, func(t *testing.T) {
			caddyfile, cases := refusals(t, further)
			testutil.RunCaddy(t, caddyfile)
			exhaust(t, cases)
			if further != "" {
				cases = cases[:1] // the status makes no difference here
			}
			for _, c := range cases {
				for _, sent := range []struct {
					name, framing string
					more          string // of the body, and of the next request
					closed        bool
				}{
					{"a body that was not asked for", "Expect: 100-continue\r\nContent-Length: 10\r\n", "", true},
					{"a chunked body that was not asked for", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", "", true},
					{"a large body that was not asked for", "Expect: 100-continue\r\nContent-Length: 100000000\r\n", "", true},
					{"a body that does not come", "Content-Length: 10\r\n", "", true},
					{"a body that stops coming", "Content-Length: 10\r\n", "12345", true},
					{"a large body that stops coming", "Content-Length: 100000000\r\n", strings.Repeat("x", 1<<20), true},
					{"chunks that stop coming", "Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n", true},
					{"a broken chunk", "Transfer-Encoding: chunked\r\n", "no number\r\n", true},
					{"a body", "Content-Length: 10\r\n", "1234567890", false},
					{"chunks", "Transfer-Encoding: chunked\r\n", "5\r\n12345\r\n0\r\n\r\n", false},
					{"an empty body", "Content-Length: 0\r\n", "", false},
					{"no body", "", "", false},
				} {
					t.Run(fmt.Sprintf("%d %q, %s", c.status, c.authorization, sent.name), func(t *testing.T) {
						t.Parallel()
						if strings.HasPrefix(sent.name, "a large body that stops") && strings.Contains(further, "reverse_proxy") {
							t.Skip("the wait for it cancels the context of the proxy; see mayWait")
						}
						conn, err := net.Dial("tcp", c.address)
						if err != nil {
							t.Fatal(err)
						}
						defer conn.Close()
						request := "POST / HTTP/1.1\r\nHost: " + c.address + "\r\n" + c.authorization + sent.framing + "\r\n" + sent.more
						answers := bufio.NewReader(conn)
						for range 2 {
							conn.SetDeadline(time.Now().Add(soon)) //nolint:errcheck // reading would fail
							if _, err := io.WriteString(conn, request); err != nil {
								t.Fatal(err)
							}
							resp, err := http.ReadResponse(answers, nil)
							if err != nil {
								t.Fatalf("no answer: %v", err)
							}
							if _, err := io.Copy(io.Discard, resp.Body); err != nil {
								t.Errorf("the answer breaks off: %v", err)
							}
							resp.Body.Close()
							if resp.StatusCode != c.status {
								t.Errorf("status %d", resp.StatusCode)
							}
							// Error routes do not wait for a body either, not even for one that has arrived.
							closed := sent.closed || strings.Contains(further, "handle_errors") && sent.more != ""
							if resp.Close != closed {
								t.Errorf("the connection closes: %v, want %v", resp.Close, closed)
							}
							if closed {
								break
							}
						}
					})
				}
			}
		})
	}
}

// TestRefusalEndsStalledConnection: a client that neither sends its body nor disconnects loses the connection.
func TestRefusalEndsStalledConnection(t *testing.T) {
	caddyfile, cases := refusals(t, "")
	testutil.RunCaddy(t, caddyfile)
	for name, framing := range map[string]string{
		"not asked for": "Expect: 100-continue\r\nContent-Length: 10\r\n",
		"does not come": "Content-Length: 10\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", cases[0].address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(3 * soon)) //nolint:errcheck // reading would fail
			fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\n%s\r\n", cases[0].address, framing)
			if all, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(all), "HTTP/1.1 401 ") {
				t.Errorf("%q %v", all, err)
			}
		})
	}
}

// TestRefusalDoesNotWaitForBodyOverHTTP2: over HTTP/2, each refusal comes, too, and the connection stays open.
func TestRefusalDoesNotWaitForBodyOverHTTP2(t *testing.T) {
	caddyfile, cases := refusals(t, "")
	testutil.RunCaddy(t, "{\nservers {\nprotocols h1 h2c\n}\n}\n"+caddyfile)
	exhaust(t, cases)
	client := testutil.H2CClient()
	client.Timeout = soon
	for _, c := range cases {
		for _, sent := range []struct {
			name string
			body func() io.Reader
		}{
			{"a body", func() io.Reader { return strings.NewReader("1234567890") }},
			{"a large body", func() io.Reader { return strings.NewReader(strings.Repeat("x", 10<<20)) }},
			{"a body larger than is taken", func() io.Reader { return strings.NewReader(strings.Repeat("x", 20<<20)) }},
			{"a body that does not come", func() io.Reader { body, _ := io.Pipe(); return body }},
		} {
			t.Run(fmt.Sprintf("%d %q, %s", c.status, c.authorization, sent.name), func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+c.address, sent.body())
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.SplitSeq(strings.TrimSuffix(c.authorization, "\r\n"), "\r\n") {
					if name, value, ok := strings.Cut(line, ": "); ok {
						r.Header.Add(name, value)
					}
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != c.status || resp.ProtoMajor != 2 {
					t.Errorf("%s", resp.Status)
				}
			})
		}
	}
}

// TestErrorRoutesSeeNoBody: an application behind handle_errors gets the request without its body, not with half of it.
func TestErrorRoutesSeeNoBody(t *testing.T) {
	type received struct {
		length int64
		body   string
		expect string
	}
	seen := make(chan received, 1)
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		seen <- received{r.ContentLength, string(body), r.Header.Get("Expect")}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer application.Close()
	caddyfile, cases := refusals(t, "handle_errors {\nreverse_proxy "+strings.TrimPrefix(application.URL, "http://")+"\n}")
	testutil.RunCaddy(t, caddyfile)
	for name, body := range map[string]string{
		"length":        "Content-Length: 10\r\n\r\n1234567890",
		"chunked":       "Transfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n5\r\n12345\r\n0\r\nX-Checksum: 1\r\n\r\n",
		"not asked for": "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n",
		"does not come": "Content-Length: 10\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			got := testutil.RawRequest(t, cases[0].address, "POST / HTTP/1.1\r\nHost: "+cases[0].address+"\r\n"+body)
			if got.Status != http.StatusUnauthorized {
				t.Fatalf("status %d", got.Status)
			}
			if at := <-seen; at != (received{}) {
				t.Errorf("the application gets %+v", at)
			}
		})
	}
}

// TestWebhookRefusalDoesNotWaitForBody: the webhook refuses a request at once if it cannot be a delivery.
func TestWebhookRefusalDoesNotWaitForBody(t *testing.T) {
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, "http://"+address+" {\nfrappe_auth_webhook s3cret\n}")
	for _, test := range []struct {
		name, request string
		status        int
	}{
		{"a body that was not asked for", "PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 10\r\n", 405},
		{"a body that does not come", "PUT / HTTP/1.1\r\nContent-Length: 10\r\n", 405},
		{"a delivery that is too large", "POST / HTTP/1.1\r\nContent-Length: 100000000\r\n", 413},
	} {
		t.Run(test.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(soon)) //nolint:errcheck // reading would fail
			fmt.Fprintf(conn, "%sHost: %s\r\n\r\n", test.request, address)
			if test.status == 413 {
				io.WriteString(conn, strings.Repeat("x", 128<<10)) //nolint:errcheck // reading would fail
			}
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != test.status {
				t.Errorf("%s", resp.Status)
			}
		})
	}
}

// TestRefusedUploads: curl and Python's requests see the status of a refusal, whatever the size of the body that they
// send.
func TestRefusedUploads(t *testing.T) {
	testutil.RequireCommand(t, "curl", "curl", "--version")
	plain, secure, page := testutil.FreeAddress(t), "localhost:"+testutil.FreePort(t), "localhost:"+testutil.FreePort(t)
	data := t.TempDir()
	site := "frappe_auth {\n" + alice + "failures off\n}\nrespond passed\n"
	start(t, "skip_install_trust\nauto_https disable_redirects\nservers {\nprotocols h1 h2\n}",
		fmt.Sprintf("http://%s {\n%s}\nhttps://%s {\ntls internal\n%s}\nhttps://%s {\ntls internal\n%shandle_errors {\n"+
			"respond {err.status_code}\n}\n}",
			plain, site, secure, site, page, site), "XDG_DATA_HOME="+data)
	body := func(size int) string {
		file := filepath.Join(data, fmt.Sprint(size))
		if err := os.WriteFile(file, bytes.Repeat([]byte("x"), size), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for _, test := range []struct {
		name  string
		tries int
		args  []string
		not   string // what must not be in the transcript
	}{
		{"curl asks before it sends", 3, []string{"http://" + plain, "--data-binary", "@" + body(10<<20)}, "100 Continue"},
		{
			"curl asks before it sends little", 3,
			[]string{"http://" + plain, "-H", "Expect: 100-continue", "-d", "body"},
			"100 Continue",
		},
		{"curl asks before it sends over TLS", 3, []string{
			"https://" + secure, "--http1.1", "--data-binary",
			"@" + body(10<<20),
		}, "100 Continue"},
		{"curl does not ask", 5, []string{"http://" + plain, "-H", "Expect:", "--data-binary", "@" + body(10<<20)}, ""},
		{"curl does not ask over TLS", 5, []string{
			"https://" + secure, "--http1.1", "-H", "Expect:", "--data-binary",
			"@" + body(10<<20),
		}, ""},
		{"curl sends little over HTTP/2", 60, []string{"https://" + secure, "--http2", "-d", "body"}, ""},
		{"curl sends much over HTTP/2", 10, []string{"https://" + secure, "--http2", "--data-binary", "@" + body(1<<20)}, ""},
		{"an error page over HTTP/2", 20, []string{"https://" + page, "--http2", "-d", "body"}, ""},
		{"an error page over HTTP/1", 5, []string{"https://" + page, "--http1.1", "-d", "body"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			failed := 0
			for range test.tries {
				args := append([]string{
					"-v", "-k", "-s", "--max-time", "20", "--expect100-timeout", "20", "-H", "Authorization: token guess:guess",
					"-o", os.DevNull, "-w", "status %{http_code}\n",
				}, test.args...)
				out, err := exec.CommandContext(t.Context(), "curl", args...).CombinedOutput()
				if err != nil || !bytes.Contains(out, []byte("status 401")) ||
					(test.not != "" && bytes.Contains(out, []byte(test.not))) {
					if failed++; failed == 1 {
						t.Errorf("%v\n%s", err, out)
					}
				}
			}
			if failed > 0 {
				t.Errorf("%d of %d tries failed", failed, test.tries)
			}
		})
	}

	t.Run("requests", func(t *testing.T) {
		testutil.RequireCommand(t, "python3-requests", pythonPath(), "-c", "import requests")
		root := filepath.Join(data, "caddy", "pki", "authorities", "local", "root.crt")
		for _, url := range []string{"http://" + plain, "https://" + secure, "https://" + page} {
			for _, size := range []int{0, 10, 100 << 10, 1 << 20, 10 << 20} {
				out, err := exec.CommandContext(t.Context(), pythonPath(), "bodies_client.py", url, fmt.Sprint(size),
					root).CombinedOutput()
				if err != nil || strings.TrimSpace(string(out)) != "401 401 401" {
					t.Errorf("%d bytes to %s: %v\n%s", size, url, err, out)
				}
			}
		}
	})
}
