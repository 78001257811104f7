package clients

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// halfHandshake is a client's socket that lets no handshake complete before the request is answered. It keeps back what
// the server sends until the request is on its way, and then what the client sends.
type halfHandshake struct {
	net.PacketConn

	wrote  atomic.Bool   // the request
	writes atomic.Int32  // since then
	sent   chan struct{} // closed when it is on its way
	once   sync.Once
}

func newHalfHandshake(socket net.PacketConn) *halfHandshake {
	return &halfHandshake{PacketConn: socket, sent: make(chan struct{})}
}

// written is called when the request is written. Its last frames leave a moment later.
func (h *halfHandshake) written(httptrace.WroteRequestInfo) { h.wrote.Store(true) }

// end lets everything pass.
func (h *halfHandshake) end() { h.once.Do(func() { close(h.sent) }) }

// ReadFrom implements net.PacketConn.
func (h *halfHandshake) ReadFrom(p []byte) (n int, from net.Addr, err error) {
	<-h.sent
	return h.PacketConn.ReadFrom(p)
}

// WriteTo implements net.PacketConn.
func (h *halfHandshake) WriteTo(p []byte, to net.Addr) (n int, err error) {
	select {
	case <-h.sent:
		return len(p), nil // and never arrives
	default:
	}
	if h.wrote.Load() && h.writes.Add(1) == 3 { // the client sends again what is not answered
		defer h.end()
	}
	return h.PacketConn.WriteTo(p, to)
}

// TestEarlyData: a request in TLS early data gets 425, asks no backend and counts as no failure: it may be a replay, and
// its address is not verified. The same request after the handshake is answered.
func TestEarlyData(t *testing.T) {
	site, asked := testutil.CountingSite(t)
	_, port, _ := runCaddy(t, fmt.Sprintf(`https://localhost:PORT {
	frappe_auth %s {
		failures 1 1h
	}
	respond "{http.auth.user.id}"
}`, site), "localhost")
	cache := tls.NewLRUClientSessionCache(1)
	ask := func(method, credential string) (status int, err error) {
		socket, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		defer socket.Close()
		ctx := t.Context()
		if method == http3.MethodGet0RTT {
			half := newHalfHandshake(socket)
			socket = half
			defer half.end()
			ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: half.written})
		}
		over := &quic.Transport{Conn: socket}
		defer over.Close()
		transport := &http3.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: cache},
			Dial: func(ctx context.Context, address string, t *tls.Config, q *quic.Config) (*quic.Conn, error) {
				to, err := net.ResolveUDPAddr("udp", address)
				if err != nil {
					return nil, err
				}
				q.HandshakeIdleTimeout = time.Second
				return over.DialEarly(ctx, to, t, q)
			},
		}
		defer transport.Close()
		r, err := http.NewRequestWithContext(ctx, method, "https://localhost:"+port, http.NoBody)
		if err != nil {
			return 0, err
		}
		r.Header.Set("Authorization", credential)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	const good = "token 2c6245becaa0961:61066224add85e6"
	testutil.Eventually(t, "the client has a ticket", func() bool {
		status, err := ask(http.MethodGet, good)
		return err == nil && status == http.StatusOK
	})
	before := asked.Load()
	for i := range 3 {
		testutil.Eventually(t, "early data is answered", func() bool {
			status, err := ask(http3.MethodGet0RTT, fmt.Sprintf("token guess%d:x", i))
			if err == nil && status != http.StatusTooEarly {
				t.Fatalf("early data: %d", status)
			}
			return err == nil
		})
	}
	if asked.Load() != before {
		t.Error("a backend was asked for early data")
	}
	if status, err := ask(http.MethodGet, good); err != nil || status != http.StatusOK {
		t.Errorf("after the handshake: %d, %v", status, err)
	}
}
