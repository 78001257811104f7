package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// deliver sends what Frappe's webhook for a user does, signed.
func (n *node) deliver(t *testing.T, user, key string) (status int, answer string) {
	t.Helper()
	body := fmt.Sprintf(`{"doctype": "User", "name": %q, "api_key": %q}`, user, key)
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(body))
	return ask(t, "POST", "http://"+n.address+"/hook", body, "X-Frappe-Webhook-Signature: "+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// announcement is what a real Frappe 15 published when eve's keys were generated.
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

// TestFleetRevokes: a change that one of ten Caddys learns of takes effect at all of them, in less than a second.
func TestFleetRevokes(t *testing.T) {
	const rounds = 12
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 10, site.backend(), server, patient, func(i int) string {
		options := "failures off\ncache {\nttl 1h\n}"
		if i == 0 {
			options += "\nfeed frappe_events redis://" + server.Address // the others hear of it through the log alone
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
			if status, answer := ask(t, "DELETE", "http://"+nodes[0].admin+"/frappe_auth/cache?user=eve@example.com", ""); status != 204 {
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

// revokedEverywhere revokes a credential that all Caddys know, and returns how long after that each of the others refused it.
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
