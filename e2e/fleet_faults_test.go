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
	exposed time.Duration // the longest after a revocation that it was granted
}

func (g *got) expose(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.exposed = max(g.exposed, d)
}

// check fails the test if there was an answer that no client may get.
func (g *got) check(t *testing.T) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for what, answers := range g.answers {
		for answer, n := range answers {
			if !slices.Contains(allowed[what], answer) {
				t.Errorf("%s: %d × %s", what, n, answer)
			}
		}
	}
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
			l := newLoad(t, site, nodes, fault.name, faultyTTL)
			g := l.got
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
			g.check(t)
			t.Logf("\n%s", g.table(fault.name))
		})
	}
}

// TestFleetBehindAProxy: a network that hangs, or cuts all connections, makes no request wait long and no credential
// wrong, and the others refuse what was revoked meanwhile soon after it is well, long before ttl. The log has what
// docs/fleet.md says of it.
func TestFleetBehindAProxy(t *testing.T) {
	const ttl, soon = time.Hour, 3 * time.Second
	site, server := newFleetSite(t), testutil.StartRedis(t)
	network := newProxy(t, server.Address)
	reached := *server
	reached.Address = network.address
	nodes := startFleet(t, 3, site.backend(), &reached, "100ms", func(int) string {
		return "failures 1000000 1m\ncache {\nttl " + ttl.String() + "\n}"
	})
	cutting := func() func() { return repeatedly(50*time.Millisecond, network.cut) }
	hanging := func() func() { network.hang(true); return func() { network.hang(false) } }
	for _, fault := range []struct {
		name  string
		do    func() (mend func())
		lasts time.Duration
	}{
		{"hangs for 1 s", hanging, time.Second},
		{"hangs for 3 s", hanging, 3 * time.Second},
		{"cuts every 50 ms", cutting, 3 * time.Second},
		{"cuts and refuses", func() func() { network.refuse(true); network.cut(); return func() { network.refuse(false) } }, 3 * time.Second},
	} {
		t.Run(fault.name, func(t *testing.T) {
			shareAll(t, nodes)
			l := newLoad(t, site, nodes, fault.name, ttl)
			g := l.got
			l.know()
			stop := l.start()
			began, mend := time.Now(), fault.do()
			var webhook sync.WaitGroup
			webhook.Go(l.revoke)
			l.last(fault.lasts)
			mend()
			took := time.Since(began)
			webhook.Wait()
			l.last(soon + time.Second)
			stop()
			g.check(t)
			if g.exposed > took+soon {
				t.Errorf("a revoked credential is granted %s after the network is well", g.exposed-took)
			}
			t.Logf("\n%s%s: granted for %s after the revocation, of which %s after the network was well", g.table(fault.name),
				fault.name, g.exposed.Round(time.Millisecond), max(0, g.exposed-took).Round(time.Millisecond))
		})
	}
}

// proxy is the network between Caddys and a Redis.
type proxy struct {
	address string

	mu      sync.Mutex
	conns   map[net.Conn]bool
	flows   chan struct{} // closed: it does not hang
	refuses bool
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: listener.Addr().String(), conns: make(map[net.Conn]bool), flows: make(chan struct{})}
	close(p.flows)
	t.Cleanup(func() {
		listener.Close()
		p.hang(false)
		p.cut()
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to)
			p.mu.Lock()
			if err != nil || p.refuses {
				client.Close()
				if err == nil {
					server.Close()
				}
			} else {
				p.conns[client], p.conns[server] = true, true
				go p.pass(client, server)
				go p.pass(server, client)
			}
			p.mu.Unlock()
		}
	}()
	return p
}

// pass passes on what comes from one side, unless the network hangs.
func (p *proxy) pass(from, to net.Conn) {
	defer func() {
		from.Close()
		to.Close()
		p.mu.Lock()
		delete(p.conns, from)
		p.mu.Unlock()
	}()
	for buffer := make([]byte, 1<<16); ; {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		flows := p.flows
		p.mu.Unlock()
		<-flows
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// cut ends all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
}

func (p *proxy) hang(hangs bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flows:
		if hangs {
			p.flows = make(chan struct{})
		}
	default:
		if !hangs {
			close(p.flows)
		}
	}
}

func (p *proxy) refuse(refuses bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = refuses
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
	ttl   time.Duration

	name, known, revoked string
	mu                   sync.Mutex
	told, refused        time.Time // when the first Caddy knew of the revocation, and when the site began to refuse
}

func newLoad(t *testing.T, site *fleetSite, nodes []*node, name string, ttl time.Duration) *load {
	name = strings.ReplaceAll(name, " ", "-")
	return &load{
		t: t, site: site, nodes: nodes, ttl: ttl,
		got:  &got{answers: make(map[string]map[string]int), slowest: make(map[string]time.Duration)},
		name: name, known: goodPair("known-" + name), revoked: goodPair("revoked-" + name),
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
		if status != http.StatusOK {
			break
		}
		l.got.expose(began.Sub(refused))
		if began.Sub(refused) > l.ttl {
			answer = "200 after ttl"
		}
	}
	l.got.add(what, answer, time.Since(began))
}
