package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
	for name, client := range map[string]*http.Client{"stream over HTTP/1.1": testutil.Client,
		"stream over HTTP/2": testutil.H2CClient()} {
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
