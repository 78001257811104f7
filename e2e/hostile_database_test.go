package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestHostileDatabase: `caddy run` survives whatever the address of the database answers to polls, requests and checks
// of roles. The backend is unavailable then.
func TestHostileDatabase(t *testing.T) {
	// The first nine bytes are a handshake of MariaDB that is too short.
	handshake := []byte{5, 0, 0, 0, 0x0a, '8', '.', '0', 0}
	for _, kind := range []string{"mariadb", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { listener.Close() })
			var served atomic.Int64
			go func() {
				random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same each time
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					answer := handshake
					if served.Add(1) > 3 {
						answer = make([]byte, random.IntN(200))
						for i := range answer {
							answer[i] = byte(random.Uint32())
						}
					}
					go func() {
						defer conn.Close()
						conn.Write(answer)               //nolint:errcheck // the client may be gone
						conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // as above
						io.Copy(io.Discard, conn)        //nolint:errcheck // until the client is gone
					}()
				}
			}()
			_, port, _ := net.SplitHostPort(listener.Addr().String())
			address := "127.0.0.1:" + testutil.FreePort(t)
			p := start(t, "", fmt.Sprintf(`http://%s {
	frappe_auth {
		backend database {
			db_type %s
			db_host 127.0.0.1
			db_port %s
			db_name site
			db_password secret
			encryption_key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
			poll_interval 100ms
		}
		require role Employee
		failures off
	}
	respond ok
}`, address, kind, port))
			for n := range 20 {
				if status, _ := ask(t, "GET", "http://"+address, "", fmt.Sprintf("Authorization: token key%d:secret", n)); status != 503 {
					t.Fatalf("request %d: %d, want 503", n, status)
				}
			}
			testutil.Eventually(t, "it is asked more often than one answer lasts", func() bool { return served.Load() > 5 })
			p.running()
		})
	}
}
