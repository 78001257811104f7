package e2e

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// faultyTTL is the ttl in TestFleetFaults. Each fault lasts longer.
const faultyTTL = time.Second

// got counts the answers by what clients sent.
type got struct {
	mu      sync.Mutex
	answers map[string]map[string]int
	slowest map[string]time.Duration
}

func (g *got) add(what, answer string, took time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.answers[what] == nil {
		g.answers[what] = make(map[string]int)
	}
	g.answers[what][answer]++
	g.slowest[what] = max(g.slowest[what], took)
}

// table returns the counts in Markdown, one row for each thing that clients sent.
func (g *got) table(fault string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var rows strings.Builder
	for _, what := range slices.Sorted(maps.Keys(g.answers)) {
		var cells []string
		for _, answer := range slices.Sorted(maps.Keys(g.answers[what])) {
			cells = append(cells, fmt.Sprintf("%d × %s", g.answers[what][answer], answer))
		}
		fmt.Fprintf(&rows, "| %s | %s | %s | %s |\n", fault, what, strings.Join(cells, ", "),
			g.slowest[what].Round(time.Millisecond))
	}
	return rows.String()
}

// repeatedly calls a function until the returned function is called, which waits for the last call.
func repeatedly(every time.Duration, do func()) (stop func()) {
	end := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for tick := time.NewTicker(every); ; <-tick.C {
			select {
			case <-end:
				return
			default:
				do()
			}
		}
	})
	return func() { close(end); done.Wait() }
}

// TestFleetFaults: whatever happens to Redis under load, no good credential is refused, no answer is 5xx while the site
// is up, and a revoked credential works for no longer than the ttl. The log has the table of docs/fleet.md.
func TestFleetFaults(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 3, site.backend(), server, "100ms", func(int) string {
		return "failures 1000000 1m\ncache {\nttl " + faultyTTL.String() + "\n}"
	})
	set := func(option, value string) { server.Must("CONFIG", "SET", option, value) }
	for _, fault := range []struct {
		name string
		do   func() (mend func())
	}{
		{"well", func() func() { return func() {} }},
		{"killed", func() func() { server.Kill(); return server.Start }},
		{"restarted without its data", func() func() { server.Kill(); server.Start(); return func() {} }},
		{"flushed", func() func() { server.Must("FLUSHALL"); return func() {} }},
		{"evicts everything", func() func() {
			set("maxmemory-policy", "allkeys-lru")
			stop := repeatedly(100*time.Millisecond, func() {
				set("maxmemory", "1")
				server.Run("SET", "other", "x") // makes it evict
				set("maxmemory", "0")
			})
			return func() { stop(); set("maxmemory-policy", "noeviction") }
		}},
		{"full", func() func() { set("maxmemory", "1"); return func() { set("maxmemory", "0") } }},
		{"read-only", func() func() {
			server.Must("REPLICAOF", "127.0.0.1", "1")
			return func() { server.Must("REPLICAOF", "NO", "ONE") }
		}},
		{"slow", func() func() {
			return repeatedly(100*time.Millisecond, func() { server.Must("CLIENT", "PAUSE", "70", "ALL") })
		}},
		{"hangs", func() func() {
			server.Must("CLIENT", "PAUSE", "3000")
			return func() { testutil.Eventually(t, "it answers", func() bool { return answers(server) }) }
		}},
		{"connections cut", func() func() {
			return repeatedly(50*time.Millisecond, func() { server.Must("CLIENT", "KILL", "TYPE", "normal") })
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			shareAll(t, nodes)
			g := &got{answers: make(map[string]map[string]int), slowest: make(map[string]time.Duration)}
			l := newLoad(t, site, nodes, g, strings.ReplaceAll(fault.name, " ", "-"))
			l.know()
			stop := l.start()
			mend := fault.do()
			l.revoke()
			l.last(faultyTTL + time.Second)
			mend()
			l.last(time.Second / 2)
			stop()
			shareAll(t, nodes)
			for i, n := range nodes {
				if status, _ := n.get(t, l.known); status != 200 {
					t.Errorf("afterwards Caddy %d answers a good credential with %d", i, status)
				}
				if status, _ := n.get(t, l.revoked); status != 401 {
					t.Errorf("afterwards Caddy %d answers a revoked credential with %d", i, status)
				}
			}
			for what, answers := range g.answers {
				for answer, n := range answers {
					if !slices.Contains(allowed[what], answer) {
						t.Errorf("%s: %d × %s", what, n, answer)
					}
				}
			}
			t.Logf("\n%s", g.table(fault.name))
		})
	}
}

// answers reports whether a Redis answers promptly.
func answers(server *testutil.RedisServer) bool {
	conn, err := net.DialTimeout("unix", server.Socket, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	n, _ := conn.Read(make([]byte, 1))
	return n > 0
}

// load is the requests during one fault.
type load struct {
	t     *testing.T
	site  *fleetSite
	nodes []*node
	got   *got

	name, known, revoked string
	mu                   sync.Mutex
	told, refused        time.Time // when the first Caddy knew of the revocation, and when the site began to refuse
}

func newLoad(t *testing.T, site *fleetSite, nodes []*node, g *got, name string) *load {
	return &load{
		t: t, site: site, nodes: nodes, got: g, name: name, known: goodPair("known-" + name),
		revoked: goodPair("revoked-" + name),
	}
}

// know makes all Caddys know the credentials.
func (l *load) know() {
	for _, n := range l.nodes {
		n.get(l.t, l.known)
		n.get(l.t, l.revoked)
	}
}

// last waits while requests are sent.
func (l *load) last(d time.Duration) {
	select {
	case <-time.After(d):
	case <-l.t.Context().Done():
	}
}

// revoke revokes a credential at the site and tells one Caddy.
func (l *load) revoke() {
	l.site.revoke(l.revoked)
	l.mu.Lock()
	l.refused = time.Now()
	l.mu.Unlock()
	key := "revoked-" + l.name
	status, _ := l.nodes[0].deliver(l.t, key+"@example.com", key)
	l.got.add("webhook", fmt.Sprint(status), time.Since(l.refused))
	l.mu.Lock()
	l.told = time.Now()
	l.mu.Unlock()
}

// start sends requests until the returned function is called.
func (l *load) start() (stop func()) {
	var stops []func()
	for i, n := range l.nodes {
		for j := range 2 {
			var sent int
			stops = append(stops, repeatedly(5*time.Millisecond, func() {
				sent++
				id := fmt.Sprintf("%s-%d-%d-%d", l.name, i, j, sent)
				switch sent % 8 {
				case 0, 2:
					l.send(n, "revoked", l.revoked)
				case 1, 5:
					l.send(n, "new", goodPair("new-"+id))
				case 3:
					l.send(n, "bad", badPair("bad-"+id))
				default:
					l.send(n, "known", l.known)
				}
			}))
		}
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// allowed are the answers that clients may get, by what they sent.
var allowed = map[string][]string{
	"known":                              {"200"},
	"new":                                {"200"},
	"bad":                                {"401"},
	"revoked, at the Caddy that is told": {"401"},
	"revoked, at any other":              {"200", "401"},
	"webhook":                            {"204", "503"},
}

// send sends one request.
func (l *load) send(n *node, what, credential string) {
	l.mu.Lock()
	told, refused := l.told, l.refused
	l.mu.Unlock()
	if what == "revoked" && (refused.IsZero() || n == l.nodes[0] && told.IsZero()) {
		return // any answer is right by now
	}
	began := time.Now()
	status, _, err := n.request(l.t, credential)
	answer := fmt.Sprint(status)
	switch {
	case err != nil:
		answer = err.Error()
	case what != "revoked":
	case n == l.nodes[0]:
		what = "revoked, at the Caddy that is told"
	default:
		what = "revoked, at any other"
		if late := began.Sub(refused) - faultyTTL; late > 0 && status == http.StatusOK {
			answer = "200 after ttl"
		}
	}
	l.got.add(what, answer, time.Since(began))
}
