package e2e

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// fleetSite is a double of a site that grants the credentials of goodPair, goodToken and goodSession until they are
// revoked.
type fleetSite struct {
	*httptest.Server

	down atomic.Bool

	mu      sync.Mutex
	asked   map[string]int  // by credential, in the form of testutil.CredentialOf
	revoked map[string]bool // the same
}

// backend returns the backend that asks the site.
func (s *fleetSite) backend() string { return "site " + s.URL }

func newFleetSite(t *testing.T) *fleetSite {
	s := &fleetSite{asked: make(map[string]int), revoked: make(map[string]bool)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			testutil.Reply(t, w, nil)
			return
		}
		credential := testutil.CredentialOf(r)
		if cookie, err := r.Cookie("sid"); err == nil && r.Header["Authorization"] == nil {
			credential = "session " + cookie.Value
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked[credential]++
		w.Header().Set("Content-Type", "application/json")
		user := userOf(credential)
		if s.revoked[credential] || user == "" {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "{}")
			return
		}
		fmt.Fprintf(w, `{"message": %q}`, user)
	}))
	t.Cleanup(s.Close)
	return s
}

// userOf returns the user of a credential, or an empty text. Names that begin with eve belong to eve.
func userOf(credential string) string {
	kind, value, _ := strings.Cut(credential, " ")
	name, secret, _ := strings.Cut(value, ":")
	ok := false
	switch kind {
	case "pair":
		ok = secret == "secret-of-"+name
	case "Bearer":
		name, ok = strings.CutPrefix(name, "token-of-")
	case "session":
		name, ok = strings.CutPrefix(name, "sessionof")
	}
	switch {
	case !ok:
		return ""
	case strings.HasPrefix(name, "eve"):
		return "eve@example.com"
	}
	return name + "@example.com"
}

// What clients send: the value of Authorization, or a cookie.
func goodPair(key string) string { return "token " + key + ":secret-of-" + key }

func badPair(key string) string { return "token " + key + ":guessed" }

func goodToken(who string) string { return "Bearer token-of-" + who }

func goodSession(who string) string { return "sid=sessionof" + who }

// credentialOf returns what a client sent in the form of testutil.CredentialOf.
func credentialOf(sent string) string {
	return strings.NewReplacer("token ", "pair ", "sid=", "session ").Replace(sent)
}

// times returns how often the site was asked about what a client sent.
func (s *fleetSite) times(sent string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[credentialOf(sent)]
}

// revoke revokes a credential. When it returns, the site has written all answers from before.
func (s *fleetSite) revoke(sent string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[credentialOf(sent)] = true
}

// node is one Caddy of a fleet.
type node struct {
	*process
	address string
	sites   string
}

// fleetClient keeps enough connections for all requests that the tests send at once.
var fleetClient = &http.Client{Timeout: 30 * time.Second, Transport: &testutil.AcrossReloads{
	Transport: &http.Transport{MaxIdleConnsPerHost: 200},
}}

// startFleet starts Caddys that share a Redis, and waits until each of them uses it. block returns further options for
// each. They answer with the user and the source of the verdict.
func startFleet(t *testing.T, n int, backend string, server *testutil.RedisServer, timeout string,
	block func(i int) string,
) []*node {
	t.Helper()
	nodes := launchFleet(t, n, backend, server, timeout, block)
	shareAll(t, nodes)
	return nodes
}

// launchFleet is startFleet for a site that does not know the credentials of shareAll.
func launchFleet(t *testing.T, n int, backend string, server *testutil.RedisServer, timeout string,
	block func(i int) string,
) []*node {
	t.Helper()
	nodes := make([]*node, n)
	for i := range nodes {
		address := testutil.FreeAddress(t)
		nodes[i] = &node{address: address, sites: "http://" + address + ` {
			frappe_auth_webhook /hook s3cret
			frappe_auth {
				backend ` + backend + `
				share redis redis://` + server.Address + ` {
					secret ` + fleetSecret + `
					timeout ` + timeout + `
				}
				` + block(i) + `
			}
			respond "{http.auth.user.id} {http.auth.frappe.cache}"
		}`}
	}
	launchAll(t, nodes)
	return nodes
}

// launchAll starts Caddys at the same time, and waits until each knows the state in Redis. Before that, a Caddy
// neither reads verdicts there nor writes any.
func launchAll(t *testing.T, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		n.process = launch(t, "", n.sites)
	}
	for _, n := range nodes {
		n.running()
		testutil.Eventually(t, "Caddy knows the state", func() bool {
			_, overview := ask(t, "GET", "http://"+n.admin+"/frappe_auth/", "")
			return strings.Contains(overview, `"up":true`)
		})
	}
}

var probes atomic.Int64

// shareAll waits until each Caddy uses verdicts that the one before it has written to Redis.
func shareAll(t *testing.T, nodes []*node) {
	t.Helper()
	for i, n := range nodes {
		before := nodes[(i+len(nodes)-1)%len(nodes)]
		testutil.Eventually(t, fmt.Sprintf("Caddy %d shares", i), func() bool {
			probe := goodPair(fmt.Sprint("probe", probes.Add(1)))
			before.get(t, probe)
			_, cache := n.get(t, probe)
			return cache == "shared"
		})
	}
}

// get sends a request with a credential, and returns the status and the source of the verdict.
func (n *node) get(t *testing.T, sent string) (status int, cache string) {
	t.Helper()
	status, body, err := n.request(t, sent)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	user, cache, _ := strings.Cut(body, " ")
	if want := userOf(credentialOf(sent)); status == http.StatusOK && user != want {
		t.Errorf("%s is %q, not %q", sent, user, want)
	}
	return status, cache
}

func (n *node) request(t *testing.T, sent string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.address+"/", http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if strings.HasPrefix(sent, "sid=") {
		r.Header.Set("Cookie", sent)
	} else {
		r.Header.Set("Authorization", sent)
	}
	resp, err := fleetClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

// fleetSecret is the secret of the shared stores of these tests.
const fleetSecret = "81d5c4a2f0b94e6fb1d5c4a2f0b94e6f"

// sharing returns the options with which a handler uses a real Redis.
func sharing(server *testutil.RedisServer) string {
	return "share redis redis://" + server.Address + " {\nsecret " + fleetSecret + "\n}\nfeed frappe_events redis://" +
		server.Address + "\n"
}

// sharingSite returns a site whose handler uses a real Redis, and its address.
func sharingSite(t *testing.T) (site, address string) {
	t.Helper()
	server := testutil.StartRedis(t)
	address = testutil.FreeAddress(t)
	return "\nhttp://" + address + " {\nfrappe_auth {\nbackend site " + siteDouble(t) + "\n" + sharing(server) +
		"}\nrespond ok\n}", address
}

// sharing waits until Caddy uses its store.
func (p *process) sharing() {
	p.t.Helper()
	testutil.Eventually(p.t, "the store is used", func() bool { return p.scrape()["caddy_frappe_auth_store_up"] == 1 })
}

// patient is the timeout of Redis in tests that count, so that a busy machine does not change the count.
const patient = "5s"

func noOptions(int) string { return "" }

// TestFleetAsksOnce: the site is asked once about a credential, however many Caddys get it, and in whatever order.
func TestFleetAsksOnce(t *testing.T) {
	t.Run("four Caddys, 1,000 credentials", func(t *testing.T) {
		site := newFleetSite(t)
		nodes := startFleet(t, 4, site.backend(), testutil.StartRedis(t), patient, noOptions)
		type request struct {
			node       *node
			credential string
		}
		var requests []request
		for i := range 1000 {
			for _, n := range nodes {
				requests = append(requests, request{n, goodPair(fmt.Sprint("key", i))})
			}
		}
		rand.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
		next := make(chan request)
		var clients sync.WaitGroup
		for range 16 {
			clients.Go(func() {
				for r := range next {
					if status, _ := r.node.get(t, r.credential); status != 200 {
						t.Errorf("%s: %d", r.credential, status)
					}
				}
			})
		}
		for _, r := range requests {
			next <- r
		}
		close(next)
		clients.Wait()
		total := 0
		for i := range 1000 {
			total += site.times(goodPair(fmt.Sprint("key", i)))
		}
		if total != 1000 {
			t.Errorf("the site was asked %d times", total)
		}
	})

	t.Run("ten Caddys, one new credential", func(t *testing.T) {
		site := newFleetSite(t)
		nodes := startFleet(t, 10, site.backend(), testutil.StartRedis(t), patient, noOptions)
		var requests sync.WaitGroup
		begin := make(chan struct{})
		for _, n := range nodes {
			for range 100 {
				requests.Go(func() {
					<-begin
					if status, _ := n.get(t, goodPair("new")); status != 200 {
						t.Errorf("%d", status)
					}
				})
			}
		}
		close(begin)
		requests.Wait()
		if n := site.times(goodPair("new")); n != 1 {
			t.Errorf("the site was asked %d times", n)
		}
	})
}

// deliver sends a signed delivery of Frappe's webhook for a user, and returns the status and the body of the answer.
func (n *node) deliver(t *testing.T, user, key string) (status int, answer string) {
	t.Helper()
	body := fmt.Sprintf(`{"doctype": "User", "name": %q, "api_key": %q}`, user, key)
	got := deliver(t, "http://"+n.address+"/hook", []byte(body), sign(body))
	return got.Status, got.Body
}

// announcement returns the event that a real Frappe 15 published when it generated keys for eve.
func announcement(t *testing.T) string {
	t.Helper()
	for line := range bytes.Lines(testutil.ReadFile(t, "redis/testdata/events.jsonl")) {
		var event struct {
			Change  string
			Message struct{ Doctype, Name string }
		}
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		if event.Change == "generate_keys" && event.Message.Doctype == "User" && event.Message.Name == "eve@example.com" {
			return string(line)
		}
	}
	t.Fatal("no announcement of eve's new keys is recorded")
	return ""
}

// TestFleetRevocation: a change that one of ten Caddys learns of takes effect at all of them. The log has how long that
// takes.
func TestFleetRevocation(t *testing.T) {
	const rounds = 12
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 10, site.backend(), server, patient, func(i int) string {
		options := "failures off\ncache {\nttl 1h\n}"
		if i == 0 {
			options += "\nfeed frappe_events redis://" + server.Address // the others learn of it from Redis
		}
		return options
	})
	event := announcement(t)
	for _, test := range []struct {
		name   string
		revoke func(key string)
	}{
		{"webhook", func(key string) {
			if status, answer := nodes[0].deliver(t, "eve@example.com", key); status != 204 {
				t.Errorf("%d %s", status, answer)
			}
		}},
		{"admin API", func(string) {
			if status, answer := ask(t, "DELETE", "http://"+nodes[0].admin+"/frappe_auth/cache?user=eve@example.com",
				""); status != 204 {
				t.Errorf("%d %s", status, answer)
			}
		}},
		{"event of Frappe", func(string) { server.Must("PUBLISH", "events", event) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			var took []time.Duration
			for range rounds {
				took = append(took, revokedEverywhere(t, site, nodes, test.revoke)...)
				if t.Failed() {
					return
				}
			}
			slices.Sort(took)
			p50, p99, last := took[len(took)/2], took[len(took)*99/100], took[len(took)-1]
			t.Logf("refused by the other %d after: p50 %s, p99 %s, at most %s", len(nodes)-1, p50, p99, last)
		})
	}
}

// revokedEverywhere revokes a credential that all Caddys know, and returns how long it took until each of the others
// refused it.
func revokedEverywhere(t *testing.T, site *fleetSite, nodes []*node, revoke func(key string)) []time.Duration {
	t.Helper()
	key := fmt.Sprint("eve", probes.Add(1))
	credential := goodPair(key)
	for _, n := range nodes {
		if status, _ := n.get(t, credential); status != 200 {
			t.Fatalf("before: %d", status)
		}
	}
	site.revoke(credential)
	for _, n := range nodes {
		if status, cache := n.get(t, credential); status != 200 || cache != "hit" {
			t.Fatalf("without being told: %d %s", status, cache)
		}
	}
	took := make([]time.Duration, len(nodes)-1)
	var others sync.WaitGroup
	began := time.Now()
	for i, n := range nodes[1:] {
		others.Go(func() {
			if !testutil.Holds(30*time.Second, func() bool { status, _ := n.get(t, credential); return status == 401 }) {
				t.Errorf("Caddy %d still grants", i+1)
			}
			took[i] = time.Since(began)
		})
	}
	revoke(key)
	others.Wait()
	return took
}

// TestFleetRestartsDuringOutage: while the site is down, all Caddys are restarted. The first request of each new Caddy
// is granted if its credential is known. Credentials that are unknown, revoked meanwhile, or without a known expiry get
// 503.
func TestFleetRestartsDuringOutage(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 4, site.backend(), server, patient,
		func(int) string { return "cache {\nttl 1s\nstale_if_error 1h\n}" })
	known, revoked, token := goodPair("known"), goodPair("revoked"), goodToken("tina")
	for _, credential := range []string{known, revoked, token} {
		if status, _ := nodes[0].get(t, credential); status != 200 {
			t.Fatalf("before: %d", status)
		}
	}
	site.down.Store(true)
	if status, answer := nodes[0].deliver(t, "revoked@example.com", "revoked"); status != 204 {
		t.Errorf("webhook: %d %s", status, answer)
	}
	testutil.Eventually(t, "the result is stale",
		func() bool { _, cache := nodes[1].get(t, known); return cache == "stale" })
	for _, n := range nodes {
		n.stop()
	}
	for _, n := range nodes {
		n.process = launch(t, "", n.sites)
	}
	for i, n := range nodes {
		status, body := n.first(t, known)
		if status != 200 || body != "known@example.com stale" {
			t.Errorf("the first answer of Caddy %d: %d %s", i, status, body)
		}
	}
	for i, n := range nodes {
		for name, credential := range map[string]string{
			"unknown": goodPair(fmt.Sprint("unknown", i)), "revoked": revoked,
			"token": token,
		} {
			if status, _ := n.get(t, credential); status != 503 {
				t.Errorf("at Caddy %d, %s: %d", i, name, status)
			}
		}
	}
	site.revoke(revoked)
	site.down.Store(false)
	for i, n := range nodes {
		for credential, want := range map[string]int{known: 200, goodPair("unknown"): 200, token: 200, revoked: 401} {
			testutil.Eventually(t, fmt.Sprintf("once the site is up, Caddy %d answers %d", i, want), func() bool {
				status, _ := n.get(t, credential)
				return status == want
			})
		}
	}
}

// first sends requests to a Caddy that is starting, and returns the first answer.
func (n *node) first(t *testing.T, sent string) (status int, body string) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		if status, body, err := n.request(t, sent); err == nil {
			return status, body
		}
	}
	t.Fatal("Caddy does not answer")
	return 0, ""
}

// TestFleetIdentity: a Caddy with a verdict from Redis decides and publishes the same as the Caddy that has asked the
// backend.
func TestFleetIdentity(t *testing.T) {
	dir := sqliteSite(t)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "db", "_site.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`INSERT INTO "tabRole" VALUES ('Report Manager', '2026-01-01 00:00:00.000000', 0), ('Auditor', '2026-01-01 00:00:00.000000', 0)`,
		`INSERT INTO "tabHas Role" VALUES ('Report Manager', 'alice@example.com', 'User')`,
		`INSERT INTO "tabOAuth Client" VALUES ('mcp', 'all openid', '2026-01-01 00:00:00.000000'), ('other', 'all openid', '2026-01-01 00:00:00.000000')`,
		`INSERT INTO "tabOAuth Bearer Token" ("name", "access_token", "user", "client", "scopes", "status", "expiration_time", "modified") VALUES ('` + testutil.AliceToken + `', '` + testutil.AliceToken + `', 'alice@example.com', 'mcp', 'all openid', 'Active', '2099-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000')`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	recorded := testutil.NewRecordedSite(t, testutil.OnMariaDB)
	const session = "Cookie: sid=" + testutil.RecordedSession
	for _, test := range []struct {
		name, backend, options string
		sent                   []string
		status                 int
		body                   string
	}{
		{
			"key", "database " + dir, "",
			[]string{tokenHeader},
			200,
			"alice@example.com|token|Alice|Report Manager,All,Guest||database|",
		},
		{
			"token", "database " + dir, "",
			[]string{bearerHeader},
			200,
			"alice@example.com|bearer|Alice|Report Manager,All,Guest|all openid|database|",
		},
		{
			"session", "site " + recorded.URL + " {\nroles\n}", "schemes session",
			[]string{session},
			200,
			"Administrator|session||System Manager,Report Manager,All,Guest,Desk User||site|",
		},
		{"role", "database " + dir, `require role "Report Manager"`, []string{tokenHeader}, 200, "alice@example.com|"},
		{"another role", "database " + dir, "require role Auditor", []string{tokenHeader}, 403, ""},
		{"scope", "database " + dir, "require scope openid", []string{bearerHeader}, 200, "alice@example.com|"},
		{"another scope", "database " + dir, "require scope project", []string{bearerHeader}, 403, ""},
		{
			"key, which has every scope", "database " + dir, "require scope project",
			[]string{tokenHeader},
			200,
			"alice@example.com|",
		},
		{"client", "database " + dir, "require client mcp", []string{bearerHeader}, 200, "alice@example.com|"},
		{"another client", "database " + dir, "require client other", []string{bearerHeader}, 403, ""},
		{"key, which has no client", "database " + dir, "require client mcp", []string{tokenHeader}, 403, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := testutil.StartRedis(t)
			nodes := make([]*node, 2)
			for i := range nodes {
				address := testutil.FreeAddress(t)
				nodes[i] = &node{address: address, sites: "http://" + address + ` {
					frappe_auth {
						backend ` + test.backend + `
						share redis redis://` + server.Address + ` {
							secret ` + fleetSecret + `
							timeout ` + patient + `
						}
						` + test.options + `
					}
					respond "{http.auth.user.id}|{http.auth.user.scheme}|{http.auth.user.full_name}|{http.auth.user.roles}|{http.auth.user.scopes}|{http.auth.user.backend}|{http.auth.user.json}|{http.auth.frappe.cache}"
					handle_errors {
						respond "{http.auth.candidate.id}|{http.auth.frappe.cache}|{http.auth.frappe.error}"
					}
				}`}
			}
			launchAll(t, nodes[:1]) // one after the other: only one of them makes the state
			launchAll(t, nodes[1:])
			var answers [2]string
			for i, n := range nodes {
				status, body := ask(t, "GET", "http://"+n.address, "", test.sent...)
				answers[i] = fmt.Sprint(status, " ", body)
				if status != test.status || !strings.HasPrefix(body, test.body) {
					t.Errorf("Caddy %d: %d %s", i, status, body)
				}
			}
			if want := strings.Replace(answers[0], "miss", "shared", 1); want == answers[0] || answers[1] != want {
				t.Errorf("the first says  %s\nthe second says %s", answers[0], answers[1])
			}
		})
	}
}

// commandsPerCall matches a line of INFO commandstats.
var commandsPerCall = regexp.MustCompile(`(?m)^cmdstat_([a-z|]+):calls=(\d+),`)

// commands returns how often Redis ran each command since the last call, also in Lua scripts.
func commands(t *testing.T, server *testutil.RedisServer) map[string]int {
	t.Helper()
	info, err := server.Run("INFO", "commandstats").ToString()
	if err != nil {
		t.Fatal(err)
	}
	server.Must("CONFIG", "RESETSTAT")
	counts := make(map[string]int)
	for _, match := range commandsPerCall.FindAllStringSubmatch(info, -1) {
		counts[match[1]], _ = strconv.Atoi(match[2])
	}
	return counts
}

// TestFleetCosts: the size of a verdict and the number of commands for a request are as docs/fleet.md says.
func TestFleetCosts(t *testing.T) {
	const n = 200
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 2, site.backend(), server, patient, noOptions)
	all := func(node *node, of func(string) string, status int) map[string]int {
		commands(t, server)
		for i := range n {
			if got, _ := node.get(t, of(fmt.Sprint("key", i))); got != status {
				t.Errorf("%d", got)
			}
		}
		return commands(t, server)
	}
	for _, test := range []struct {
		name   string
		node   *node
		of     func(string) string
		status int
		want   map[string]int // for each request
	}{
		{"a new credential", nodes[0], goodPair, 200, map[string]int{"evalsha": 2, "set": 2, "del": 1, "getrange": 4}},
		{"known here", nodes[0], goodPair, 200, map[string]int{}},
		{"known elsewhere", nodes[1], goodPair, 200, map[string]int{"evalsha": 1, "getrange": 3}},
	} {
		got := all(test.node, test.of, test.status)
		for _, command := range []string{"getrange", "set", "evalsha", "del", "xadd"} {
			// Comparing the state takes a few more.
			if want := n * test.want[command]; got[command] < want || got[command] > want+n/4 {
				t.Errorf("%s: %d × %s for %d requests", test.name, got[command], command, n)
			}
		}
	}
	var bytes int64
	for _, name := range resultNames(t, server) {
		if !strings.HasPrefix(name, "{frappe_auth}:") {
			t.Errorf("%s", name)
		}
		used, err := server.Run("MEMORY", "USAGE", name).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		bytes = max(bytes, used)
	}
	if bytes > 512 {
		t.Errorf("a result without roles takes %d bytes", bytes)
	}
	t.Logf("a result without roles takes %d bytes", bytes)
	const entries = 1000
	for i := range entries {
		if status, answer := nodes[0].deliver(t, fmt.Sprintf("user%d@example.com", i), fmt.Sprint("key", i)); status != 204 {
			t.Fatalf("%d %s", status, answer)
		}
	}
	used, err := server.Run("MEMORY", "USAGE", keysOf(t, server, "s")[0]).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	if used > 48<<10 {
		t.Errorf("%d revocations take %d bytes", entries, used)
	}
	t.Logf("%d revocations take %d bytes", entries, used)
}
