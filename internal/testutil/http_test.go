package testutil_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// resetting resets the first connections, as the kernel does with connections in the queue of a listener that closes.
type resetting struct {
	*net.TCPListener
	resets int
}

func (l *resetting) Accept() (net.Conn, error) {
	for {
		conn, err := l.AcceptTCP()
		if err != nil || l.resets == 0 {
			return conn, err
		}
		l.resets--
		conn.SetLinger(0) //nolint:errcheck // it is closed
		conn.Close()
	}
}

// TestAcrossReloads: a request whose connection was reset is sent again with its body, up to five times in all. A
// request whose response breaks off is not.
func TestAcrossReloads(t *testing.T) {
	for _, test := range []struct {
		name    string
		resets  int
		body    string
		handled int64
		fails   bool
	}{
		{name: "no reset", handled: 1},
		{name: "a reset", resets: 1, handled: 1},
		{name: "a reset of a request with a body", resets: 1, body: "body", handled: 1},
		{name: "five resets", resets: 5, fails: true},
		{name: "an answer that breaks off", body: "break off", handled: 1, fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var handled atomic.Int64
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handled.Add(1)
				body := make([]byte, len(test.body))
				r.Body.Read(body) //nolint:errcheck // it is compared
				if string(body) != test.body {
					t.Errorf("the body is %q", body)
				}
				if test.fails {
					w.Header().Set("Content-Length", "10")
					w.(http.Flusher).Flush() //nolint:forcetypeassert // the server's
					panic(http.ErrAbortHandler)
				}
			}))
			server.Listener = &resetting{server.Listener.(*net.TCPListener), test.resets} //nolint:forcetypeassert // httptest's
			server.Start()
			defer server.Close()
			client := &http.Client{Transport: &testutil.AcrossReloads{Transport: new(http.Transport)}}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := client.Do(r)
			if err == nil {
				_, err = resp.Body.Read(make([]byte, 1))
				resp.Body.Close()
				if !test.fails {
					err = nil // the end of an empty answer
				}
			}
			if (err != nil) != test.fails || handled.Load() != test.handled {
				t.Errorf("handled %d times, %v", handled.Load(), err)
			}
		})
	}
}
