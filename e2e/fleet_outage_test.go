package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestFleetRestartsDuringOutage: all Caddys are replaced while the site is down. Known credentials go on from the first request
// of each new Caddy on; those that nobody knows, that are revoked meanwhile, or whose expiry is not known, get 503.
func TestFleetRestartsDuringOutage(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 4, site.backend(), server, patient, func(int) string { return "cache {\nttl 1s\nstale_if_error 1h\n}" })
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
	testutil.Eventually(t, "the result is stale", func() bool { _, cache := nodes[1].get(t, known); return cache == "stale" })
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
		for name, credential := range map[string]string{"unknown": goodPair(fmt.Sprint("unknown", i)), "revoked": revoked, "token": token} {
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

// first returns the answer to the first request that a Caddy which is starting can be sent.
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
