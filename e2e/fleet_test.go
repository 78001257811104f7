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

func newFleetSite(t *testing.T) *fleetSite {
	s := &fleetSite{asked: make(map[string]int), revoked: make(map[string]bool)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.down.Load() {
			testutil.Reply(t, w, nil)
			return
		}
		credential := testutil.CredentialOf(r)
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

// userOf returns whose a credential is, or nothing. All keys that begin with eve are eve's.
func userOf(credential string) string {
	kind, value, _ := strings.Cut(credential, " ")
	name, secret, _ := strings.Cut(value, ":")
	switch {
	case kind == "pair" && secret != "secret-of-"+name, kind == "Bearer" && !strings.HasPrefix(name, "token-of-"):
		return ""
	case strings.HasPrefix(name, "eve"):
		return "eve@example.com"
	}
	return strings.TrimPrefix(name, "token-of-") + "@example.com"
}

func goodPair(key string) string  { return "token " + key + ":secret-of-" + key }
func badPair(key string) string   { return "token " + key + ":guessed" }
func goodToken(who string) string { return "Bearer token-of-" + who }

// times returns how often the site was asked about a header.
func (s *fleetSite) times(header string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[strings.Replace(header, "token ", "pair ", 1)]
}

// revoke revokes a credential. Answers that are on their way by then were written before it returns.
func (s *fleetSite) revoke(header string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked[strings.Replace(header, "token ", "pair ", 1)] = true
}

// node is one Caddy of a fleet.
type node struct {
	*process
	address string
	sites   string
}

// fleetClient keeps enough connections for all that the tests send at once.
var fleetClient = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 200}}

// startFleet starts Caddys that share a Redis, and waits until each of them uses it. block returns the further options of each.
// They answer with the user and with where the result came from.
func startFleet(t *testing.T, n int, site *fleetSite, server *testutil.RedisServer, timeout string, block func(i int) string) []*node {
	t.Helper()
	nodes := make([]*node, n)
	for i := range nodes {
		address := testutil.FreeAddress(t)
		nodes[i] = &node{address: address, sites: "http://" + address + ` {
			frappe_auth_webhook /hook s3cret
			frappe_auth {
				backend site ` + site.URL + `
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
	shareAll(t, nodes)
	return nodes
}

// launchAll starts Caddys, at once: one after the other would take long.
func launchAll(t *testing.T, nodes []*node) {
	t.Helper()
	for _, n := range nodes {
		n.process = launch(t, "", n.sites)
	}
	for _, n := range nodes {
		n.running()
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

// get sends a request with an Authorization, and returns the status, and where the result came from.
func (n *node) get(t *testing.T, header string) (status int, cache string) {
	t.Helper()
	status, body, err := n.request(t, header)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	user, cache, _ := strings.Cut(body, " ")
	if want := userOf(strings.Replace(header, "token ", "pair ", 1)); status == http.StatusOK && user != want {
		t.Errorf("%s is %q, not %q", header, user, want)
	}
	return status, cache
}

func (n *node) request(t *testing.T, header string) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.address+"/", http.NoBody)
	if err != nil {
		return 0, "", err
	}
	r.Header.Set("Authorization", header)
	resp, err := fleetClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}
