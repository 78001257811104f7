package e2e

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// commandsPerCall matches a line of INFO commandstats.
var commandsPerCall = regexp.MustCompile(`(?m)^cmdstat_([a-z|]+):calls=(\d+),`)

// commands returns how often Redis was sent each command since the last call. Those of Lua scripts are counted, too.
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

// TestFleetCosts: what docs/fleet.md says of the size of a result and of the commands for a request.
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
		{"nobody knows it", nodes[0], goodPair, 200, map[string]int{"getrange": 2, "set": 2, "evalsha": 3, "del": 1}},
		{"known here", nodes[0], goodPair, 200, map[string]int{}},
		{"known elsewhere", nodes[1], goodPair, 200, map[string]int{"getrange": 1}},
	} {
		got := all(test.node, test.of, test.status)
		for _, command := range []string{"getrange", "set", "evalsha", "del", "xadd"} {
			// A few more come from following the log.
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
	used, err := server.Run("MEMORY", "USAGE", "{frappe_auth}:revocations", "SAMPLES", "0").AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	if used > 256*entries {
		t.Errorf("%d revocations take %d bytes", entries, used)
	}
	t.Logf("%d revocations take %d bytes", entries, used)
}
