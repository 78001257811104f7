package clients

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
)

// extendedConnect is the value of GODEBUG with which Go's HTTP/2 accepts WebSockets (RFC 8441). Go reads it when a program
// starts.
const extendedConnect = "http2xconnect=1"

// inOwnProcess runs a test in a process of its own, with WebSockets over HTTP/2. It returns true in that process.
func inOwnProcess(t *testing.T) bool {
	t.Helper()
	if strings.Contains(os.Getenv("GODEBUG"), extendedConnect) {
		return true
	}
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), "GODEBUG="+strings.Trim(os.Getenv("GODEBUG")+","+extendedConnect, ","))
	out, err := command.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()+" "):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()+" "):
		t.Errorf("the test did not run: %s", out)
	}
	return false
}

// overHTTP2 returns a client that sends WebSockets over HTTP/2 to a port of this machine.
func overHTTP2(port string) *http.Client {
	//nolint:staticcheck // http.Transport refuses the header :protocol
	return &http.Client{Transport: &http2.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		DialTLSContext: func(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
			conn, err := dialOnly(port)(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return tls.Client(conn, config), nil
		},
	}}
}

// TestExtendedConnect: a WebSocket over HTTP/2 is judged as one over HTTP/1.1, although it is no upgrade and its method is
// CONNECT.
func TestExtendedConnect(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	w := start(t, "schemes basic bearer token session\ntrusted_origins https://app.example.com:PORT")
	w.erp.LogIn("abc")
	client := overHTTP2(w.port)
	defer client.CloseIdleConnections()
	own, sibling, evil := "https://erp.example.com:"+w.port, "https://sibling.example.com:"+w.port, "https://evil.example.net"
	for _, test := range []struct {
		name, cookie, origin, site string
		status                     int
	}{
		{"the same origin", "sid=abc", own, "", 200},
		{"the same origin, with metadata", "sid=abc", own, "same-origin", 200},
		{"a trusted origin", "sid=abc", "https://app.example.com:" + w.port, "same-site", 200},
		{"another site", "sid=abc", evil, "", 403},
		{"another site, with metadata", "sid=abc", evil, "cross-site", 403},
		{"a sibling", "sid=abc", sibling, "same-site", 403},
		{"a sandboxed frame", "sid=abc", "null", "", 403},
		{"no credential", "a=b", own, "", 401},
		{"an unknown session", "sid=def", own, "same-origin", 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			body, end := io.Pipe()
			defer end.Close()
			r, err := http.NewRequestWithContext(ctx, http.MethodConnect, w.bi("socket"), body)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{
				":protocol": {"websocket"}, "Cookie": {test.cookie}, "Origin": {test.origin}, "Sec-Websocket-Version": {"13"},
			}
			if test.site != "" {
				r.Header.Set("Sec-Fetch-Site", test.site)
			}
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != test.status || strings.Contains(strings.Join(resp.Header["Www-Authenticate"], "|"), "Basic") {
				t.Errorf("got %d with %q, want %d", resp.StatusCode, resp.Header["Www-Authenticate"], test.status)
			}
			if test.status != http.StatusOK || resp.StatusCode != http.StatusOK {
				return
			}
			frame := make([]byte, 2+len(alice)) // a short text, which is not masked
			if _, err := io.ReadFull(resp.Body, frame); err != nil || string(frame[2:]) != alice {
				t.Errorf("the dashboard said %q, %v", frame, err)
			}
		})
	}
}

// TestExtendedConnectEnds: a WebSocket over HTTP/2 or HTTP/3 ends when its session does.
func TestExtendedConnectEnds(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	for name, open := range map[string]func(t *testing.T, port string, r *http.Request) *http.Response{
		"HTTP/2": func(t *testing.T, port string, r *http.Request) *http.Response {
			client := overHTTP2(port)
			t.Cleanup(client.CloseIdleConnections)
			body, end := io.Pipe()
			t.Cleanup(func() { end.Close() })
			r.Body = body
			r.Header.Set(":protocol", "websocket")
			resp, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		},
		"HTTP/3": func(t *testing.T, port string, r *http.Request) *http.Response {
			config := &tls.Config{InsecureSkipVerify: true, ServerName: r.URL.Hostname(), NextProtos: []string{http3.NextProtoH3}}
			conn, err := quic.DialAddr(r.Context(), net.JoinHostPort("127.0.0.1", port), config, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
			stream, err := new(http3.Transport).NewClientConn(conn).OpenRequestStream(r.Context())
			if err != nil {
				t.Fatal(err)
			}
			r.Proto = "websocket"
			if err := stream.SendRequestHeader(r); err != nil {
				t.Fatal(err)
			}
			resp, err := stream.ReadResponse()
			if err != nil {
				t.Fatal(err)
			}
			resp.Body = stream
			return resp
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, "schemes session\ncache {\nttl 1s\n}")
			w.erp.LogIn("abc")
			r, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, w.bi("socket?stay"), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{
				"Cookie": {"sid=abc"}, "Origin": {"https://erp.example.com:" + w.port}, "Sec-Websocket-Version": {"13"},
			}
			resp := open(t, w.port, r)
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Fatal(resp.Status)
			}
			frame := make([]byte, 2+len(alice))
			if _, err := io.ReadFull(resp.Body, frame); err != nil || string(frame[2:]) != alice {
				t.Fatalf("the dashboard said %q, %v", frame, err)
			}
			w.erp.LogOut("abc")
			if rest, err := io.ReadAll(resp.Body); len(rest) > 0 {
				t.Errorf("the dashboard said %q, %v", rest, err)
			}
			if !strings.Contains(w.caddy.Logs(), "ended a stream") {
				t.Error("it ended by itself")
			}
		})
	}
}

// TestExtendedConnectInChromium: Chromium opens a WebSocket over the HTTP/2 connection that it has.
func TestExtendedConnectInChromium(t *testing.T) {
	if !inOwnProcess(t) {
		return
	}
	w, b := start(t, everyScheme), newTab(t)
	b.open(w.bi(""))
	w.logIn(b)
	if said := b.does(`socket("/bi/socket?own")`); said != "said "+alice {
		t.Errorf("the dashboard's page: %s", said)
	}
	b.open(w.url("sibling.example.com", "/"))
	if said := b.does(`socket("` + w.socket("?sibling") + `")`); said != "failed" {
		t.Errorf("a sibling: %s", said)
	}
	for uri, want := range map[string]int{"socket?own": http.StatusOK /* an upgrade has 101 */, "socket?sibling": http.StatusForbidden} {
		if status, challenges := w.answered(uri); status != want || challenges != "" {
			t.Errorf("%s: Caddy answered %d %s, want %d", uri, status, challenges, want)
		}
	}
}
