package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// fleetSite is a double of a site that knows any number of credentials: those of goodPair and goodToken that are not revoked.
type fleetSite struct {
	*httptest.Server

	down atomic.Bool

	mu      sync.Mutex
	asked   map[string]int  // by credential, as testutil.CredentialOf has it
	revoked map[string]bool // the same
}

// backend is the backend that asks the site.
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

// userOf returns whose a credential is, or nothing. All names that begin with eve are eve's.
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

// What clients send: an Authorization, or a cookie.
func goodPair(key string) string    { return "token " + key + ":secret-of-" + key }
func badPair(key string) string     { return "token " + key + ":guessed" }
func goodToken(who string) string   { return "Bearer token-of-" + who }
func goodSession(who string) string { return "sid=sessionof" + who }

// credentialOf returns what the site is asked about what a client sent.
func credentialOf(sent string) string {
	return strings.NewReplacer("token ", "pair ", "sid=", "session ").Replace(sent)
}

// times returns how often the site was asked about what a client sent.
func (s *fleetSite) times(sent string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[credentialOf(sent)]
}

// revoke revokes a credential. Answers that are on their way by then were written before it returns.
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

// fleetClient keeps enough connections for all that the tests send at once.
var fleetClient = &http.Client{Timeout: 30 * time.Second, Transport: &testutil.AcrossReloads{
	Transport: &http.Transport{MaxIdleConnsPerHost: 200},
}}

// startFleet starts Caddys that share a Redis, and waits until each of them uses it. block returns the further options of each.
// They answer with the user and with where the result came from.
func startFleet(t *testing.T, n int, backend string, server *testutil.RedisServer, timeout string, block func(i int) string) []*node {
	t.Helper()
	nodes := launchFleet(t, n, backend, server, timeout, block)
	shareAll(t, nodes)
	return nodes
}

// launchFleet does as startFleet does, for a site that may not know the credentials of probes.
func launchFleet(t *testing.T, n int, backend string, server *testutil.RedisServer, timeout string, block func(i int) string) []*node {
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

// launchAll starts Caddys, at once, since one after the other would take long. It waits until each has read the log in Redis:
// before that it neither takes results from there nor leaves any.
func launchAll(t *testing.T, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		n.process = launch(t, "", n.sites)
	}
	for _, n := range nodes {
		n.running()
		testutil.Eventually(t, "Caddy has read the log", func() bool {
			_, overview := ask(t, "GET", "http://"+n.admin+"/frappe_auth/", "")
			return strings.Contains(overview, `"up":true`)
		})
	}
}

var probes atomic.Int64

// shareAll waits until each Caddy takes results of the one before from Redis.
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

// get sends a request with a credential, and returns the status, and where the result came from.
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
