package redis

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// info returns a line of what a server says about itself.
func (s *server) info(name string) string {
	text, _ := s.Run("INFO").ToString()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return value
		}
	}
	return ""
}

// clusterAddress returns a free address for a node of a Cluster, which also listens on the port that is higher by
// 10000: Redis 6.2 cannot be told another one. Both are below those that Linux gives to connections.
func clusterAddress(t testing.TB) string {
	t.Helper()
	for {
		port := 20000 + rand.IntN(2700) //nolint:gosec // any will do
		if isFree(t, port) && isFree(t, port+10000) {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		}
	}
}

func isFree(t testing.TB, port int) bool {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// numbers returns the numbers from one to before another.
func numbers(from, before int) (all []string) {
	for n := from; n < before; n++ {
		all = append(all, strconv.Itoa(n))
	}
	return all
}

// replicationOf returns the replication ID that a store sees, by which it tells servers apart.
func replicationOf(t testing.TB, s fleet.Connection) string {
	t.Helper()
	got, err := s.Sync(soon(t), fleet.SyncQuery{Note: key("n")})
	if err != nil {
		t.Fatal(err)
	}
	return got.Replication
}

// TestCluster: a store works with a Cluster, whichever node it is told about, and after a failover with what the new
// primary has. A feed hears what is published at another node.
func TestCluster(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		var nodes []*server
		for range 3 {
			node := &server{testutil.NewRedisServer(t, program)}
			node.Address = clusterAddress(t)
			node.Args = []string{"--cluster-enabled", "yes", "--cluster-node-timeout", "1000"}
			node.Start()
			nodes = append(nodes, node)
		}
		first, second, replica := nodes[0], nodes[1], nodes[2]
		first.Must(append([]string{"CLUSTER", "ADDSLOTS"}, numbers(0, 8192)...)...) // Redis 6.2 has no ADDSLOTSRANGE
		second.Must(append([]string{"CLUSTER", "ADDSLOTS"}, numbers(8192, 16384)...)...)
		for i, node := range nodes {
			node.Must("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
		}
		for _, node := range nodes[1:] {
			node.Must("CLUSTER", "MEET", "127.0.0.1", testutil.PortOf(first.Address))
		}
		states := func(want string) func() bool {
			return func() bool {
				for _, node := range nodes {
					info, err := node.Run("CLUSTER", "INFO").ToString()
					if err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, want) {
						return false
					}
				}
				return true
			}
		}
		testutil.Eventually(t, "the nodes know each other", states("cluster_known_nodes:3"))

		holder := first
		if slot, err := first.Run("CLUSTER", "KEYSLOT", "{frappe_auth}:").AsInt64(); err != nil {
			t.Fatal(err)
		} else if slot > 8191 {
			holder = second
		}
		id, err := holder.Run("CLUSTER", "MYID").ToString()
		if err != nil {
			t.Fatal(err)
		}
		testutil.Eventually(t, "the third is a replica", func() bool { return replica.Run("CLUSTER", "REPLICATE", id).Error() == nil })
		testutil.Eventually(t, "it has everything", func() bool { return replica.info("master_link_status") == "up" })

		a := open(t, &Store{URL: first.url() + "?addr=" + second.Address + "&addr=" + replica.Address})
		b := open(t, &Store{URL: second.url() + "?addr=" + first.Address})
		for _, s := range []*Store{a, b} {
			if err := usable(t, s); err != nil {
				t.Fatal(err)
			}
		}
		w := watch(t, openFeed(t, &FrappeEvents{URL: "redis://" + testutil.FreeAddress(t) + "?addr=" + first.Address}))
		testutil.Eventually(t, "the feed is subscribed", func() bool { return w.looked() > 0 })
		second.Must("PUBLISH", "events", document("erp", "User", "a"))
		testutil.Eventually(t, "what another node publishes is heard", w.saw("erp user a"))

		before := connected(t, a)
		if !publish(t, before, "", oneState) || synced(t, connected(t, b), "").State != oneState {
			t.Error("the other store does not read the state")
		}
		identity := replicationOf(t, before)
		replica.Must("CLUSTER", "FAILOVER")
		testutil.Eventually(t, "the replica is the primary", func() bool { return replica.info("role") == "master" && holder.info("role") == "slave" })
		for _, s := range []*Store{a, b} {
			testutil.Eventually(t, "it works after the failover", works(t, s))
			if err := usable(t, s); err != nil {
				t.Error(err)
			}
		}
		after := connected(t, b)
		if got := synced(t, after, ""); got.State != oneState || replicationOf(t, after) == identity {
			t.Errorf("after the failover: %+v, and the replication ID was %s", got, identity)
		}
	})
}

// TestSentinel: a store and a feed that are told the Sentinels follow them to the server that is the primary.
func TestSentinel(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		primary, replica := start(t, program), start(t, program)
		replica.Must("REPLICAOF", "127.0.0.1", testutil.PortOf(primary.Address))
		testutil.Eventually(t, "it has everything", func() bool { return replica.info("master_link_status") == "up" })
		sentinel := &server{testutil.NewRedisServer(t, program)}
		sentinel.Args = []string{"--sentinel"}
		sentinel.Config = file(t, "sentinel monitor main 127.0.0.1 "+testutil.PortOf(primary.Address)+" 1\nsentinel down-after-milliseconds main 500\n")
		sentinel.Start()
		testutil.Eventually(t, "the Sentinel knows the replica", func() bool {
			text, _ := sentinel.Run("INFO").ToString()
			return strings.Contains(text, "slaves=1")
		})

		url := sentinel.url() + "?master_set=main"
		s := open(t, &Store{URL: url})
		if err := usable(t, s); err != nil {
			t.Fatal(err)
		}
		w := watch(t, openFeed(t, &FrappeEvents{URL: url}))
		testutil.Eventually(t, "the feed is subscribed", func() bool { return w.looked() > 0 })
		l := connected(t, s)
		publish(t, l, "", oneState)
		identity, dialled := replicationOf(t, l), l.Dialled()
		testutil.Eventually(t, "the replica has it", func() bool { n, _ := replica.Run("EXISTS", stateKeys.State).AsInt64(); return n == 1 })

		primary.Kill()
		testutil.Eventually(t, "the replica is the primary", func() bool { return replica.info("role") == "master" })
		testutil.Eventually(t, "the store works", works(t, s))
		if got := synced(t, l, ""); got.State != oneState || replicationOf(t, l) == identity || l.Dialled() == dialled {
			t.Errorf("after the failover: %+v, and the replication ID was %s", got, identity)
		}
		testutil.Eventually(t, "everything is dropped", w.saw("everything"))
		replica.Must("PUBLISH", "events", document("erp", "User", "after"))
		testutil.Eventually(t, "the feed hears the new primary", w.saw("erp user after"))
	})
}

// TestOldProtocol: a server that speaks the protocol from before Redis 6 only, as some proxies do, can be used by the
// store. The feed cannot use it, and doctor says so.
func TestOldProtocol(t *testing.T) {
	server := startRedis(t, "--rename-command", "HELLO", "")
	if err := usable(t, fresh(t, server)); err != nil {
		t.Error(err)
	}
	findings := openFeed(t, &FrappeEvents{URL: server.url()}).CheckHealth(soon(t))
	if last := findings[len(findings)-1]; last.Check != "channel" || last.Result != frappe.ResultTrouble {
		t.Errorf("of the feed: %v", findings)
	}
}

// TestVersions: which servers doctor calls too old.
func TestVersions(t *testing.T) {
	for _, test := range []struct {
		redis, valkey string
		want          frappe.Result
		detail        string
	}{
		{"5.0.14", "", frappe.ResultTrouble, "Redis 5.0.14 is too old; Redis 6.2 or later, or Valkey, is needed"},
		{"6.0.16", "", frappe.ResultTrouble, "Redis 6.0.16 is too old; Redis 6.2 or later, or Valkey, is needed"},
		{"6.2.0", "", frappe.ResultOK, "Redis 6.2.0"},
		{"7.0.15", "", frappe.ResultOK, "Redis 7.0.15"},
		{"8.2.1", "", frappe.ResultOK, "Redis 8.2.1"},
		{"7.2.4", "8.0.1", frappe.ResultOK, "Valkey 8.0.1"},
		{"", "", frappe.ResultWarning, "not known; Redis 6.2 or later is needed"},
	} {
		t.Run(test.redis+test.valkey, func(t *testing.T) {
			got := node{"redis_version": test.redis, "valkey_version": test.valkey}.version(6, 2)
			if got.Result != test.want || got.Detail != test.detail {
				t.Errorf("%v", got)
			}
		})
	}
}
