package e2e

import (
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// fleetSecret is the secret of the shared stores of these tests.
const fleetSecret = "81d5c4a2f0b94e6fb1d5c4a2f0b94e6f"

// sharing are the options by which a handler uses a real Redis.
func sharing(server *testutil.RedisServer) string {
	return "share redis redis://" + server.Address + " {\nsecret " + fleetSecret + "\n}\nfeed frappe_events redis://" + server.Address + "\n"
}

// sharingSite is a site whose handler shares through a real Redis, and its address.
func sharingSite(t *testing.T) (site, address string) {
	t.Helper()
	server := testutil.StartRedis(t)
	address = testutil.FreeAddress(t)
	return "\nhttp://" + address + " {\nfrappe_auth {\nbackend site " + siteDouble(t) + "\n" + sharing(server) + "}\nrespond ok\n}", address
}

// sharing waits until the shared store is used.
func (p *process) sharing() {
	p.t.Helper()
	p.eventually("the store is used", func() bool { return p.scrape()["caddy_frappe_auth_store_up"] == 1 })
}

// TestDoctorWithRedis: what doctor says of a store and a feed whose Redis is well, refuses the password, is a replica, may
// evict the log, and is away.
func TestDoctorWithRedis(t *testing.T) {
	const static = "backend static {\ntoken k sha256:abababababababababababababababababababababababababababababababab alice@example.com Employee\n}\n"
	away := testutil.StartRedis(t)
	away.Kill()
	replicated := testutil.StartRedis(t)
	for _, test := range []struct {
		name   string
		server *testutil.RedisServer
		code   int
	}{
		{"well", testutil.StartRedis(t), 0},
		{"password", testutil.StartRedis(t, "--requirepass", "s3cret-of-redis"), 2},
		{"replica", testutil.StartRedis(t, "--replicaof", "127.0.0.1", testutil.PortOf(replicated.Address)), 2},
		{"evicts", testutil.StartRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), 0},
		{"away", away, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			screen, code := command(t, "", "doctor", "--config", configFile(t, "files.example.com {\nfrappe_auth {\n"+static+sharing(test.server)+"}\n}"))
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if strings.Contains(screen, fleetSecret) {
				t.Errorf("the secret is shown:\n%s", screen)
			}
			golden(t, "doctor redis "+test.name+".txt", screen, append(onScreens, `127\.0\.0\.1:\d+`, "127.0.0.1:65000",
				`(Redis|Valkey) \d+\.\d+\.\d+`, "Redis 7.0.15", `HELLO <proto> AUTH`, "HELLO AUTH")...)
		})
	}
}

// TestInitFeed: the feed that init suggests for a bench works when the line is uncommented.
func TestInitFeed(t *testing.T) {
	server := testutil.StartRedis(t)
	bench, sites := makeBench(t, `{"redis_queue": "redis://`+server.Address+`"}`)
	sqliteSiteIn(t, sites)
	file, screen, code := runInit(t, "", "--bench", bench)
	if code != 0 {
		t.Fatal(screen)
	}
	line := "\t\t# feed frappe_events redis://" + server.Address + "\n"
	if !strings.Contains(file, line) {
		t.Fatalf("no feed is suggested:\n%s", file)
	}
	doctor, code := command(t, "", "doctor", "--config", configFile(t, strings.Replace(file, line, strings.Replace(line, "# ", "", 1), 1)))
	if code != 0 || !strings.Contains(doctor, "events may be heard") {
		t.Errorf("exit code %d:\n%s", code, doctor)
	}
}
