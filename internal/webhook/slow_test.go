package webhook_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/internal/webhook"
)

// pipeListener accepts one connection.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (l pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l pipeListener) Close() error {
	close(l.closed)
	return nil
}

func (pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// TestSlowBody: a body that does not come is not waited for longer than 10 seconds.
func TestSlowBody(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		receiver := &webhook.Receiver{Secret: "s3cret"}
		listener := pipeListener{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			changes, refusal := receiver.Receive(w, r)
			if refusal == nil {
				t.Errorf("accepted: %v", changes)
				return
			}
			if err := refusal.Write(w); err != nil {
				t.Error(err)
			}
		})}
		go server.Serve(listener) //nolint:errcheck // it is closed
		client, conn := net.Pipe()
		listener.conns <- conn

		began := time.Now()
		go io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{") //nolint:errcheck // the answer shows
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(body), `"error":"the body did not arrive within 10s"`) || !resp.Close {
			t.Errorf("%d %q, close %t", resp.StatusCode, body, resp.Close)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it took %s", took)
		}
		client.Close()
		server.Close()
	})
}
