package e2e

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestHostileRedis: whatever answers in place of Redis, to a store and to a feed, Caddy lives and asks its site.
func TestHostileRedis(t *testing.T) {
	const login = "%2\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n"
	const heard = ">3\r\n$9\r\nsubscribe\r\n$6\r\nevents\r\n:1\r\n"
	zeros := strings.Repeat("0", 40)
	var connections []*atomic.Int64
	var site strings.Builder
	backend, address := siteDouble(t), testutil.FreeAddress(t)
	for _, answer := range []string{
		"$-5\r\n", "*-5\r\n", "=-7\r\n", ">-3\r\n", "$" + zeros + "9999999999\r\n", "*" + zeros + "9999999999\r\n",
		strings.Repeat("*1\r\n", 2_000_000), "+" + strings.Repeat("A", 1<<24), strings.Repeat("+OK\r\n", 100), heard + heard, "-QUEUED\r\n",
		"-MOVED\r\n", "*1\r\n+x\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n",
	} {
		for _, first := range []string{"", login} {
			for _, sentinel := range []string{"", "?master_set=main"} {
				listening, ended := answering(t, first, answer)
				url := "redis://" + listening + sentinel
				fmt.Fprintf(&site, "handle /%d {\nfrappe_auth {\nbackend site %s\nshare redis %s {\nsecret %s\n}\nfeed frappe_events %s\n}\nrespond ok\n}\n",
					len(connections), backend, url, fleetSecret, url)
				connections = append(connections, ended)
			}
		}
	}
	p := start(t, "", "http://"+address+" {\n"+site.String()+"}")
	for i, ended := range connections {
		testutil.Eventually(t, "a store and a feed have given up some connections", func() bool { return ended.Load() > 3 })
		status, body := ask(t, http.MethodGet, fmt.Sprintf("http://%s/%d", address, i), "", "Authorization: Bearer good-token")
		if status != http.StatusOK {
			t.Errorf("%d: %d %s", i, status, body)
		}
	}
	if logged := p.logged(); strings.Contains(logged, "goroutine ") {
		t.Error("a panic was logged")
	}
}

// answering listens, and answers what comes first on a connection with one text, and the rest with another one. It
// counts the connections that have ended.
func answering(t *testing.T, first, then string) (address string, ended *atomic.Int64) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	ended = new(atomic.Int64)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer ended.Add(1)
				defer conn.Close()
				buffer := make([]byte, 4096)
				for answer := first; ; answer = then {
					if answer != "" || answer == then {
						if _, err := conn.Read(buffer); err != nil {
							return
						}
					}
					if _, err := conn.Write([]byte(answer)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return listener.Addr().String(), ended
}
