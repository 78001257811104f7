package webhook_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/internal/webhook"
)

// TestRecordedDeliveries: deliveries of Frappe 15.44.2, signed with `s3cret`, say what has changed. A receiver with
// another secret refuses them.
func TestRecordedDeliveries(t *testing.T) {
	for _, test := range []struct {
		file string
		want frappe.Change
	}{
		{"user-on_update.http", frappe.Change{User: "bob@example.com"}},
		{"oauth-bearer-token-on_update.http", frappe.Change{Token: "2d6f2973a9c21c820d549cdb01d1b3"}},
	} {
		t.Run(test.file, func(t *testing.T) {
			raw, err := os.ReadFile("../../testdata/webhook/" + test.file)
			if err != nil {
				t.Fatal(err)
			}
			for secret, accepted := range map[string]bool{"s3cret": true, "s3cre": false} {
				r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
				if err != nil {
					t.Fatal(err)
				}
				receiver := &webhook.Receiver{Secret: secret}
				changes, refusal := receiver.Receive(httptest.NewRecorder(), r)
				switch {
				case accepted && (refusal != nil || !reflect.DeepEqual(changes, []frappe.Change{test.want})):
					t.Errorf("%+v %+v, want %+v", changes, refusal, test.want)
				case !accepted && (len(changes) > 0 || refusal == nil || refusal.Outcome != webhook.BadSignature):
					t.Errorf("secret %s: %+v %+v", secret, changes, refusal)
				}
			}
		})
	}
}

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

// TestSlowBody: a delivery whose body does not arrive within 10 seconds is refused.
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
		const begun = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
		go io.WriteString(client, begun) //nolint:errcheck // the response is checked
		resp, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusRequestTimeout ||
			!strings.Contains(string(body), `"error":"the body did not arrive within 10s"`) || !resp.Close {
			t.Errorf("%d %q, close %t", resp.StatusCode, body, resp.Close)
		}
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it took %s", took)
		}
		client.Close()
		server.Close()
	})
}
