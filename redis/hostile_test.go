package redis

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// hostileServer answers what comes first on each connection with one text, and everything else with another one; again
// and again if it is endless.
type hostileServer struct {
	address     string
	first, then string
	endless     bool
	connections atomic.Int64 // that have ended
	sent        atomic.Int64 // bytes of then, at most, on a connection
}

func startHostile(t testing.TB, first, then string, endless bool) *hostileServer {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &hostileServer{address: listener.Addr().String(), first: first, then: then, endless: endless}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	return s
}

func (s *hostileServer) serve(conn net.Conn) {
	defer s.connections.Add(1)
	defer conn.Close()
	buffer := make([]byte, 4096)
	if s.first != "" {
		if _, err := conn.Read(buffer); err != nil {
			return
		}
		if _, err := io.WriteString(conn, s.first); err != nil {
			return
		}
	}
	if _, err := conn.Read(buffer); err != nil {
		return
	}
	for sent := int64(0); ; {
		n, err := io.WriteString(conn, s.then)
		if sent += int64(n); sent > s.sent.Load() {
			s.sent.Store(sent)
		}
		if err != nil {
			return
		}
		if !s.endless {
			if _, err := conn.Read(buffer); err != nil {
				return
			}
		}
	}
}

const (
	loggedIn = "%3\r\n$5\r\nproto\r\n:3\r\n$7\r\nversion\r\n$5\r\n7.0.0\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n"
	heard    = ">3\r\n$9\r\nsubscribe\r\n$6\r\nevents\r\n:1\r\n"
)

// TestHostileServers: whatever a server answers, a store and a feed report that it cannot be used, and the process
// lives.
func TestHostileServers(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		endless      bool
	}{
		{"a negative value", "$-5\r\n", false},
		{"a negative list", "*-5\r\n", false},
		{"a negative text", "=-7\r\n", false},
		{"a negative message", ">-3\r\n", false},
		{"a negative map", "%-1\r\n", false},
		{"zeros and a huge value", "$" + strings.Repeat("0", 40) + "9223372036854775807\r\n", false},
		{"zeros and a huge list", "*" + strings.Repeat("0", 40) + "9223372036854775807\r\n", false},
		{"a huge value", "$1000000000000\r\n", false},
		{"lists in lists", strings.Repeat("*1\r\n", 2_000_000), false},
		{"a status without an end", strings.Repeat("A", 1<<16), true},
		{"an error without an end", "-" + strings.Repeat("A", 1<<16), true},
		{"answers without an end", strings.Repeat("+OK\r\n", 1<<12), true},
		{"answers that nobody asked for", "+OK\r\n+OK\r\n+OK\r\n+OK\r\n", false},
		{"a subscription that nobody asked for", heard + heard, false},
		{"the end of a subscription", heard + ">3\r\n$11\r\nunsubscribe\r\n$6\r\nevents\r\n:0\r\n", false},
		{"a transaction", "-QUEUED\r\n", false},
		{"attributes without an end", strings.Repeat("|1\r\n+a\r\n+b\r\n", 1<<10), true},
		{"messages without an end", strings.Repeat(">3\r\n$7\r\nmessage\r\n$6\r\nevents\r\n$2\r\n{}\r\n", 1<<10), true},
		{"a part of a value", "$?\r\n;-1\r\n", false},
		{"a redirection without a host", "-MOVED\r\n", false},
		{"a redirection to nowhere", "-MOVED 1 \r\n", false},
		{"a short name of a primary", "*1\r\n$9\r\n127.0.0.1\r\n", false},
		{"an empty list", "*0\r\n", false},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", false},
		{"MariaDB", "\x05\x00\x00\x00\x0a8.0\x00", false},
		{"nothing", "", false},
	} {
		for first, when := range map[string]string{"": "at once", loggedIn: "after the login"} {
			for _, sentinel := range []string{"", "?master_set=main"} {
				t.Run(test.name+" "+when+sentinel, func(t *testing.T) {
					t.Parallel()
					server := startHostile(t, first, test.answer, test.endless)
					url := "redis://" + server.address + sentinel
					s, f := open(t, &Store{URL: url}), openFeed(t, &FrappeEvents{URL: url})
					if err := promptly(t, get(s)); err == nil {
						t.Error("the store works")
					}
					for _, findings := range [][]frappe.Finding{s.CheckHealth(soon(t)), f.CheckHealth(soon(t))} {
						trouble := false
						for _, found := range findings {
							trouble = trouble || found.Result != frappe.ResultOK
						}
						if !trouble {
							t.Errorf("doctor finds nothing: %v", findings)
						}
					}
					testutil.Eventually(t, "connections are given up", func() bool { return server.connections.Load() > 3 })
					if sent := server.sent.Load(); sent > 256<<20 {
						t.Errorf("it took %d bytes", sent)
					}
				})
			}
		}
	}
}

// TestNamedServers: which other servers a Sentinel or a node of a Cluster may send Caddy to.
func TestNamedServers(t *testing.T) {
	for _, test := range []struct {
		name, host, port string
		local            bool
		want             string // empty: refused
	}{
		{"a host", "redis-1.internal", "6379", false, "redis-1.internal:6379"},
		{"an address", "10.0.0.5", "6379", false, "10.0.0.5:6379"},
		{"an IPv6 address", "2001:db8::5", "6379", false, "[2001:db8::5]:6379"},
		{"itself", "", "7000", false, "asked.internal:7000"},
		{"a node without a name", "?", "7000", false, "asked.internal:7000"},
		{"its own machine", "127.0.0.1", "6379", false, ""},
		{"its own machine by name", "LocalHost", "6379", false, ""},
		{"its own machine, IPv6", "::1", "6379", false, ""},
		{"its own machine, IPv6 for IPv4", "::ffff:127.0.0.1", "6379", false, ""},
		{"every address", "0.0.0.0", "6379", false, ""},
		{"many machines", "224.0.0.1", "6379", false, ""},
		{"this machine", "127.0.0.1", "6379", true, "127.0.0.1:6379"},
		{"this machine by name", "localhost", "6379", true, "localhost:6379"},
		{"no port", "h", "", false, ""},
		{"port 0", "h", "0", false, ""},
		{"a high port", "h", "65536", false, ""},
		{"a long name", strings.Repeat("h", 300), "6379", false, ""},
		{"a name with a space", "a b", "6379", false, ""},
		{"a name with a line", "a\r\nb", "6379", false, ""},
		{"a path", "a/b", "6379", false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := &link{where: "asked.internal:6379"}
			l.local.Store(test.local)
			if got, err := l.named(test.host, test.port); got != test.want || err == nil && test.want == "" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	for moved, want := range map[string]string{
		"MOVED 1 10.0.0.5:6379": "10.0.0.5:6379", "MOVED 1 :7000": "asked.internal:7000", "MOVED 1 2001:db8::5:6379": "[2001:db8::5]:6379",
		"MOVED 1 h": "", "MOVED": "", "MOVED 1": "", "MOVED 1 h:1 x": "",
	} {
		if got, err := (&link{where: "asked.internal:6379"}).nodeOf(moved); got != want || err == nil && want == "" {
			t.Errorf("%s: %q, %v", moved, got, err)
		}
	}
}

// TestRedirections: a node that sends Caddy back and forth costs few connections.
func TestRedirections(t *testing.T) {
	server := startHostile(t, loggedIn, "-MOVED 1 "+testutil.FreeAddress(t)+"\r\n", false)
	s := open(t, &Store{URL: "redis://" + server.address})
	for range 50 {
		_ = promptly(t, get(s))
	}
	if n := server.connections.Load(); n > 20 {
		t.Errorf("%d connections", n)
	}
}
