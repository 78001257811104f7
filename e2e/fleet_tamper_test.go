package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// resultNames returns the names of the results that a Redis holds.
func resultNames(t *testing.T, server *testutil.RedisServer) []string {
	t.Helper()
	names, err := server.Run("KEYS", "*:value:verdict:*").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// shared makes a Caddy share the result on a credential that nobody knows yet, and returns its name and value in Redis.
func (n *node) shared(t *testing.T, server *testutil.RedisServer, sent string) (name, value string) {
	t.Helper()
	before := resultNames(t, server)
	if status, cache := n.get(t, sent); status != 200 || cache != "miss" {
		t.Fatalf("%s: %d %s", sent, status, cache)
	}
	for _, name := range resultNames(t, server) {
		if slices.Contains(before, name) {
			continue
		}
		value, err := server.Run("GET", name).ToString()
		if err != nil {
			t.Fatal(err)
		}
		return name, value
	}
	t.Fatalf("%s is not in Redis", sent)
	return "", ""
}

// kinds of credentials, by whose they are.
var kinds = map[string]func(who string) string{"key": goodPair, "token": goodToken, "session": goodSession}

// TestFleetTamper: whoever may write to Redis can make results be forgotten, and nothing else.
func TestFleetTamper(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 2, site.backend(), server, patient, func(int) string {
		return "failures off\nschemes token bearer session\ncache {\nttl 1h\n}"
	})
	set := func(name, value string) { server.Must("SET", name, value) }
	flip := func(value string, at, bit int) string {
		changed := []byte(value)
		changed[at] ^= 1 << bit
		return string(changed)
	}
	for _, test := range []struct {
		name   string
		tamper func(name, value, sent string)
		shared bool
	}{
		{"untouched", func(string, string, string) {}, true},
		{"written again", func(name, value, _ string) { set(name, value) }, true},
		{"one bit of the nonce", func(name, value, _ string) { set(name, flip(value, 0, 0)) }, false},
		{"one bit of the text", func(name, value, _ string) { set(name, flip(value, len(value)/2, 3)) }, false},
		{"one bit of the seal", func(name, value, _ string) { set(name, flip(value, len(value)-1, 7)) }, false},
		{"cut short", func(name, value, _ string) { set(name, value[:len(value)-1]) }, false},
		{"only a nonce", func(name, value, _ string) { set(name, value[:12]) }, false},
		{"garbage", func(name, _, _ string) { set(name, strings.Repeat("x", 1<<20)) }, false},
		{"a plain identity", func(name, _, _ string) { set(name, `{"p":{"backend":0,"identity":{"User":"Administrator"}}}`) }, false},
		{"another type", func(name, _, _ string) { server.Must("DEL", name); server.Must("RPUSH", name, "x") }, false},
		{"deleted", func(name, _, _ string) { server.Must("DEL", name) }, false},
		{"the value of another user under its name", func(name, _, _ string) {
			_, value := nodes[0].shared(t, server, goodPair(fmt.Sprint("root", probes.Add(1))))
			set(name, value)
		}, false},
		{"revoked, and put back", func(name, value, sent string) {
			revokeEve(t, nodes)
			set(name, value)
		}, false},
		{"revoked, and put back with the log as it was", func(name, value, sent string) {
			const log = "{frappe_auth}:revocations"
			before, err := server.Run("DUMP", log).ToString()
			if err != nil {
				t.Fatal(err)
			}
			revokeEve(t, nodes)
			server.Must("RESTORE", log, "0", before, "REPLACE")
			set(name, value)
		}, false},
		{"revoked, and put back without a log", func(name, value, sent string) {
			revokeEve(t, nodes)
			server.Must("DEL", "{frappe_auth}:revocations")
			set(name, value)
		}, false},
	} {
		for kind, of := range kinds {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				shareAll(t, nodes)
				sent := of(fmt.Sprint("eve", probes.Add(1)))
				name, value := nodes[0].shared(t, server, sent)
				test.tamper(name, value, sent)
				status, cache := nodes[1].get(t, sent)
				want, asked := "miss", 2
				if test.shared {
					want, asked = "shared", 1
				}
				if n := site.times(sent); status != 200 || cache != want || n != asked {
					t.Errorf("%d %s, and the site was asked %d times; want %s and %d", status, cache, n, want, asked)
				}
			})
		}
	}
}

// revokeEve tells one Caddy that eve changed, and waits until the other has heard of it. At the site nothing changes.
func revokeEve(t *testing.T, nodes []*node) {
	t.Helper()
	canary := goodPair(fmt.Sprint("eve", probes.Add(1)))
	nodes[1].get(t, canary)
	if _, cache := nodes[1].get(t, canary); cache != "hit" {
		t.Fatalf("before: %s", cache)
	}
	if status, answer := nodes[0].deliver(t, "eve@example.com", ""); status != 204 {
		t.Fatalf("webhook: %d %s", status, answer)
	}
	testutil.Eventually(t, "the other has heard", func() bool { _, cache := nodes[1].get(t, canary); return cache != "hit" })
}

// TestFleetReplay: a result that is put back after its ttl is no result.
func TestFleetReplay(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 2, site.backend(), server, patient, func(int) string {
		return "schemes token bearer session\ncache {\nttl 1s\n}"
	})
	for kind, of := range kinds {
		t.Run(kind, func(t *testing.T) {
			sent := of("robin")
			name, value := nodes[0].shared(t, server, sent)
			testutil.Eventually(t, "Redis has forgotten it", func() bool {
				there, err := server.Run("EXISTS", name).AsInt64()
				return err == nil && there == 0
			})
			server.Must("SET", name, value)
			if status, cache := nodes[1].get(t, sent); status != 200 || cache != "miss" || site.times(sent) != 2 {
				t.Errorf("%d %s, and the site was asked %d times", status, cache, site.times(sent))
			}
		})
	}
}
