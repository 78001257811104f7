package e2e

import (
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestFleetCommands: whatever else is done with the keys of the fleet, or with its Redis, no good credential is
// refused, no answer is 5xx while the site is up, and a revoked credential works for no longer than the ttl.
func TestFleetCommands(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t, "--enable-debug-command", "yes")
	nodes := startFleet(t, 3, site.backend(), server, "100ms", func(int) string {
		return "failures 1000000 1m\ncache {\nttl " + faultyTTL.String() + "\n}"
	})
	set := func(option, value string) { server.Must("CONFIG", "SET", option, value) }
	// each runs a script for all keys of a kind again and again: s for the state, v for verdicts, w for the wake.
	each := func(kind, do string) func() func() {
		return func() func() {
			return repeatedly(100*time.Millisecond, func() {
				script := "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do " + do + " end"
				server.Run("EVAL", script, "0", "{frappe_auth}:1:"+kind+":*")
			})
		}
	}
	often := func(command ...string) func() func() {
		return func() func() {
			return repeatedly(100*time.Millisecond, func() { server.Run(command...) })
		}
	}
	tests := map[string]func() func(){
		"scripts are flushed":          often("SCRIPT", "FLUSH"),
		"writes are paused":            often("CLIENT", "PAUSE", "70", "WRITE"),
		"the state is renamed":         each("s", "redis.call('RENAME', key, 'elsewhere')"),
		"the state is a list":          each("s", "redis.call('DEL', key) redis.call('RPUSH', key, 'x')"),
		"verdicts are those of others": each("v", "redis.call('COPY', key, 'verdict') redis.call('COPY', 'verdict', key, 'REPLACE')"),
		"locks are held":               each("v", "redis.call('SET', string.gsub(key, ':v:', ':l:'), 'somebody')"),
		"the state is of before": func() func() {
			server.Run("EVAL", "redis.call('COPY', redis.call('KEYS', ARGV[1])[1], 'kept')", "0", "{frappe_auth}:1:s:*")
			return each("s", "redis.call('COPY', 'kept', key, 'REPLACE')")()
		},
		"it is full": func() func() {
			set("maxmemory-policy", "allkeys-random")
			set("maxmemory", "1")
			return func() { set("maxmemory", "0"); set("maxmemory-policy", "noeviction") }
		},
	}
	for name, do := range tests {
		t.Run(name, func(t *testing.T) {
			server.Must("DEL", "kept", "verdict")
			shareAll(t, nodes)
			l := newLoad(t, site, nodes, name, faultyTTL)
			g := l.got
			l.know()
			stop := l.start()
			mend := do()
			l.revoke()
			l.last(faultyTTL + time.Second)
			mend()
			stop()
			g.check(t)
			t.Logf("\n%sexposed for %s", g.table(name), g.exposed.Round(time.Millisecond))
		})
	}
}
