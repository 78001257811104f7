package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// sharer is one Caddy of a fleet whose options change.
type sharer struct {
	*node
	url, backend, secret, options, prefix, timeout string // of the configuration that is loaded next
	cache                                          string
	alone                                          bool // it does not share
}

func newSharer(t *testing.T, site *fleetSite, url string) *sharer {
	return &sharer{
		node: &node{address: testutil.FreeAddress(t)}, url: url, backend: site.backend(), secret: fleetSecret, cache: "ttl 1h",
		timeout: patient,
	}
}

func (s *sharer) configuration() string {
	if s.prefix == "" {
		s.prefix = "frappe_auth"
	}
	share := `share redis ` + s.url + ` {
				secret ` + s.secret + `
				prefix ` + s.prefix + `
				timeout ` + s.timeout + `
				` + s.options + `
			}`
	if s.alone {
		share = ""
	}
	return "http://" + s.address + ` {
		frappe_auth_webhook /hook s3cret
		frappe_auth {
			backend ` + s.backend + `
			` + share + `
			failures off
			cache {
				` + s.cache + `
			}
		}
		respond "{http.auth.user.id} {http.auth.frappe.cache}"
	}`
}

func (s *sharer) start(t *testing.T) *sharer {
	t.Helper()
	s.process = start(t, "", s.configuration())
	s.up()
	return s
}

// up waits until Caddy uses its store.
func (s *sharer) up() {
	s.t.Helper()
	if s.alone {
		return
	}
	testutil.Eventually(s.t, "Caddy knows the state", func() bool {
		_, overview := ask(s.t, "GET", "http://"+s.admin+"/frappe_auth/", "")
		return strings.Contains(overview, `"up":true`)
	})
}

func (s *sharer) reconfigure() { s.reload("", s.configuration()) }

func (s *sharer) want(what, sent string, status int) {
	s.t.Helper()
	if got, cache := s.get(s.t, sent); got != status {
		s.t.Errorf("%s: %d %s, want %d", what, got, cache, status)
	}
}

// TestRevocationSurvivesReload: a revocation that waits, because Redis cannot be used, is published after a reload that
// corrects this, and after one that changes anything else. The Caddy that has revoked never grants again.
func TestRevocationSurvivesReload(t *testing.T) {
	certificates, renewed := testutil.Certificates(t), testutil.Certificates(t)
	for _, test := range []struct {
		name    string
		before  func(s *sharer, server *testutil.RedisServer)
		break_  func(server *testutil.RedisServer)
		correct func(s *sharer, server *testutil.RedisServer)
	}{
		{"the CA is changed", func(s *sharer, server *testutil.RedisServer) {
			secure := testutil.FreeAddress(t)
			server.Must(append(certificateOptions(certificates), "tls-port", testutil.PortOf(secure))...)
			s.url, s.options = "rediss://caddy@"+secure, s.options+"\ntls_ca "+certificates+"/ca.pem"
		}, func(server *testutil.RedisServer) {
			server.Must(certificateOptions(renewed)...)
			server.Must("CLIENT", "KILL", "TYPE", "normal")
		}, func(s *sharer, _ *testutil.RedisServer) {
			s.options = strings.ReplaceAll(s.options, certificates, renewed)
		}},
		{"the password is corrected", nil, func(server *testutil.RedisServer) {
			server.Must("ACL", "SETUSER", "caddy", "resetpass", ">another")
			server.Must("CLIENT", "KILL", "TYPE", "normal")
		}, func(s *sharer, _ *testutil.RedisServer) { s.options = "password another" }},
		{
			"the timeout is changed", nil, func(server *testutil.RedisServer) { server.Must("REPLICAOF", "127.0.0.1", "1") },
			func(s *sharer, server *testutil.RedisServer) {
				s.timeout = "4s"
				server.Must("REPLICAOF", "NO", "ONE")
			},
		},
		{"the user is changed", nil, func(server *testutil.RedisServer) {
			server.Must("ACL", "SETUSER", "caddy", "off")
			server.Must("CLIENT", "KILL", "TYPE", "normal")
		}, func(s *sharer, server *testutil.RedisServer) {
			server.Must("ACL", "SETUSER", "other", "on", ">chosen", "~*", "+@all")
			s.url = "redis://other@" + server.Address
		}},
		{"the URL is changed", nil, func(server *testutil.RedisServer) {
			server.Must("ACL", "SETUSER", "caddy", "off")
			server.Must("CLIENT", "KILL", "TYPE", "normal")
		}, func(s *sharer, server *testutil.RedisServer) {
			server.Must("ACL", "SETUSER", "caddy", "on")
			s.url = strings.Replace(s.url, "127.0.0.1", "localhost", 1)
		}},
		{
			"the backend is changed", nil, func(server *testutil.RedisServer) { server.Must("REPLICAOF", "127.0.0.1", "1") },
			func(s *sharer, server *testutil.RedisServer) {
				s.backend += " {\ntimeout 9s\n}"
				server.Must("REPLICAOF", "NO", "ONE")
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			site, server := newFleetSite(t), testutil.StartRedis(t)
			server.Must("ACL", "SETUSER", "caddy", "on", ">chosen", "~*", "+@all")
			told := newSharer(t, site, "redis://caddy@"+server.Address)
			told.options = "password chosen"
			if test.before != nil {
				test.before(told, server)
			}
			told.start(t)
			other := newSharer(t, site, "redis://"+server.Address).start(t)
			revoked := goodPair("eve-waits")
			told.want("before", revoked, 200)
			other.want("before, at the other", revoked, 200)

			test.break_(server)
			site.revoke(revoked)
			if status, answer := told.deliver(t, "eve@example.com", "eve-waits"); status != 503 {
				t.Fatalf("webhook: %d %s", status, answer)
			}
			told.want("revoked, and not published", revoked, 401)
			test.correct(told, server)
			told.reconfigure()
			told.want("after the reload", revoked, 401)
			testutil.Eventually(t, "it is published", func() bool { status, _ := other.get(t, revoked); return status == 401 })
			told.want("at last", revoked, 401)
		})
	}
}

// certificateOptions sets the certificates of a Redis: those of a directory that testutil.Certificates has made.
func certificateOptions(dir string) []string {
	return []string{
		"CONFIG", "SET", "tls-cert-file", dir + "/cert.pem", "tls-key-file", dir + "/key.pem", "tls-ca-cert-file", dir + "/ca.pem",
		"tls-auth-clients", "no",
	}
}

// TestStopPublishes: a Caddy that stops publishes what waits, or logs that it could not.
func TestStopPublishes(t *testing.T) {
	for _, reachable := range []bool{true, false} {
		t.Run(fmt.Sprint("reachable ", reachable), func(t *testing.T) {
			site, server := newFleetSite(t), testutil.StartRedis(t)
			told := newSharer(t, site, "redis://"+server.Address).start(t)
			other := newSharer(t, site, "redis://"+server.Address).start(t)
			revoked := goodPair("eve-stops")
			told.want("before", revoked, 200)
			other.want("before, at the other", revoked, 200)
			server.Must("REPLICAOF", "127.0.0.1", "1")
			site.revoke(revoked)
			told.deliver(t, "eve@example.com", "eve-stops")
			if reachable {
				server.Must("REPLICAOF", "NO", "ONE")
			}
			told.stop()
			const message = "revocations could not be published before the end"
			if logged := strings.Contains(told.logged(), message); logged == reachable {
				t.Errorf("it is logged: %t", logged)
			}
			if reachable {
				testutil.Eventually(t, "it is published", func() bool { status, _ := other.get(t, revoked); return status == 401 })
			}
		})
	}
}

// TestRestoredSnapshot: Redis comes back with the data of an older snapshot. A revocation that was acknowledged since
// is not undone, at Caddys that knew of it, at those that did not, and at one that starts later.
func TestRestoredSnapshot(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t)
	told := newSharer(t, site, "redis://"+server.Address).start(t)
	cut := newSharer(t, site, "redis://"+server.Address).start(t)
	revoked := goodPair("eve-restored")
	told.want("before", revoked, 200)
	cut.want("before, at the other", revoked, 200)
	server.Must("SAVE")
	site.revoke(revoked)
	if status, answer := told.deliver(t, "eve@example.com", "eve-restored"); status != 204 {
		t.Fatalf("webhook: %d %s", status, answer)
	}
	told.command.Process.Kill() //nolint:errcheck // the only one that knows for sure
	told.command.Wait()         //nolint:errcheck // it was killed
	told.ended = true
	server.Kill()
	server.Start()
	late := newSharer(t, site, "redis://"+server.Address).start(t)
	late.want("at a Caddy that starts after that", revoked, 401)
	testutil.Eventually(t, "the other knows", func() bool { status, _ := cut.get(t, revoked); return status == 401 })
}

// TestNewPlace: a Caddy that has acknowledged a revocation does not grant again after a reload that has it share at
// another place, where Caddys that have not heard of the revocation have stored a verdict from before.
func TestNewPlace(t *testing.T) {
	for name, move := range map[string]func(s *sharer, url string){
		"the URL is changed":    func(s *sharer, url string) { s.url = url },
		"the prefix is changed": func(s *sharer, _ string) { s.prefix = "other" },
		"it shares for the first time": func(s *sharer, _ string) {
			if s.alone = !s.alone; !s.alone {
				s.prefix = "other"
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			site, from, to := newFleetSite(t), testutil.StartRedis(t), testutil.StartRedis(t)
			told, other := newSharer(t, site, "redis://"+from.Address), newSharer(t, site, "redis://"+from.Address)
			move(other, "redis://"+to.Address)
			if other.alone {
				told.alone, other.alone, other.prefix = true, false, "other"
			}
			other.start(t)
			told.start(t)
			revoked := goodPair("eve-elsewhere")
			other.want("before, there", revoked, 200)
			told.want("before", revoked, 200)
			site.revoke(revoked)
			if status, answer := told.deliver(t, "eve@example.com", "eve-elsewhere"); status != 204 {
				t.Fatalf("webhook: %d %s", status, answer)
			}
			told.want("revoked", revoked, 401)
			move(told, "redis://"+to.Address)
			told.reconfigure()
			told.up()
			told.want("after the reload", revoked, 401)
		})
	}
}

// TestOtherPlaces: a verdict that is copied from another prefix, or another database number, with the same secret is
// not used.
func TestOtherPlaces(t *testing.T) {
	for name, place := range map[string]func(s *sharer){
		"another prefix":   func(s *sharer) { s.prefix = "staging" },
		"another database": func(s *sharer) { s.url += "/1" },
	} {
		t.Run(name, func(t *testing.T) {
			site, server := newFleetSite(t), testutil.StartRedis(t)
			there, here := newSharer(t, site, "redis://"+server.Address), newSharer(t, site, "redis://"+server.Address)
			place(there)
			there.start(t)
			here.start(t)
			sent := goodPair("copied")
			there.want("there", sent, 200)
			here.want("here", goodPair("first"), 200) // its name shows where the verdict belongs
			for _, kind := range []string{"v", "s"} {
				from, to := "0", "0"
				if strings.HasSuffix(there.url, "/1") {
					from = "1"
				}
				keys, err := server.Run("EVAL", "redis.call('SELECT', ARGV[1]) return redis.call('KEYS', ARGV[2])", "0", from, "*}:1:"+kind+":*").AsStrSlice()
				if err != nil {
					t.Fatal(err)
				}
				for _, key := range keys {
					if strings.Contains(key, "staging") == (there.prefix == "staging") {
						value, _ := server.Run("EVAL", "redis.call('SELECT', ARGV[1]) return redis.call('GET', KEYS[1])", "1", key, from).ToString()
						server.Must("EVAL", "redis.call('SELECT', ARGV[1]) redis.call('SET', KEYS[1], ARGV[2])", "1",
							strings.Replace(key, "staging", "frappe_auth", 1), to, value)
					}
				}
			}
			if status, cache := here.get(t, sent); status != 200 || cache != "miss" {
				t.Errorf("here: %d %s", status, cache)
			}
		})
	}
}

// TestRotation: a new secret is rolled out to ten Caddys under load, in the three steps of docs/redis.md. No revocation
// is missed on the way: a credential that one Caddy was told of, and another refused a moment later, is granted by
// none.
func TestRotation(t *testing.T) {
	const next = "another-secret-that-has-32-bytes-or-more"
	site, server := newFleetSite(t), testutil.StartRedis(t)
	var nodes []*sharer
	for range 10 {
		nodes = append(nodes, newSharer(t, site, "redis://"+server.Address).start(t))
	}
	var (
		load    sync.WaitGroup
		stop    = make(chan struct{})
		revoked atomic.Int64
	)
	for i, n := range nodes {
		load.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				key := fmt.Sprintf("eve-%d-%d", i, round)
				sent, others := goodPair(key), []*sharer{nodes[(i+1)%10], nodes[(i+5)%10]}
				for _, node := range append(others, n) {
					if status, _ := node.get(t, sent); status != 200 {
						t.Errorf("a good credential: %d", status)
						return
					}
				}
				site.revoke(sent)
				if status, _ := n.deliver(t, "eve-"+key+"@example.com", key); status != 204 {
					continue // it was not acknowledged
				}
				revoked.Add(1)
				for _, node := range others {
					if !testutil.Holds(3*time.Second, func() bool { status, _ := node.get(t, sent); return status == 401 }) {
						t.Errorf("%s was revoked, and is granted 3 s later", key)
					}
				}
			}
		})
	}
	for _, secret := range []string{next + " " + fleetSecret, next} {
		for _, n := range nodes {
			n.secret = secret
			n.reconfigure()
		}
		before := revoked.Load()
		testutil.Eventually(t, "more is revoked", func() bool { return revoked.Load() > before+20 || t.Failed() })
	}
	close(stop)
	load.Wait()
	t.Logf("%d revocations", revoked.Load())
}

// TestFailureFlood: failures of many clients do not take the room that revocations need in a Redis that evicts nothing.
func TestFailureFlood(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t)
	told := newSharer(t, site, "redis://"+server.Address)
	configuration := strings.Replace(told.configuration(), "failures off", "failures 20 24h", 1)
	told.process = start(t, "servers {\ntrusted_proxies static private_ranges\n}", configuration)
	told.up()
	used := infoOf(t, server, "used_memory")
	server.Must("CONFIG", "SET", "maxmemory", fmt.Sprint((used+(2<<20))*8/7))
	var flood sync.WaitGroup
	next := make(chan int)
	for range 16 {
		flood.Go(func() {
			for i := range next {
				ask(t, "GET", "http://"+told.address, "", "Authorization: "+badPair(fmt.Sprint("guess", i)),
					fmt.Sprintf("X-Forwarded-For: 10.%d.%d.%d", i>>16&255, i>>8&255, i&255))
			}
		})
	}
	for i := range 20000 {
		next <- i
	}
	close(next)
	flood.Wait()
	keys := len(keysOf(t, server, "f"))
	if keys < 100 || keys >= 20000 {
		t.Errorf("%d of 20,000 clients take room", keys)
	}
	if status, answer := told.deliver(t, "eve@example.com", ""); status != 204 {
		t.Errorf("webhook: %d %s", status, answer)
	}
	t.Logf("%d clients", keys)
}

// TestEvictionSettles: a Redis that is too small and evicts any key loses the state. Caddys then keep their results to
// themselves for a while, and serve from memory.
func TestEvictionSettles(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t, "--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "1")
	var nodes []*sharer
	for range 3 {
		nodes = append(nodes, newSharer(t, site, "redis://"+server.Address).start(t))
	}
	server.Must("CONFIG", "SET", "maxmemory", fmt.Sprint(infoOf(t, server, "used_memory")+100_000)) // some hundred results
	served := make(map[string]int)
	for round := range 12 {
		for i := range 500 {
			for _, n := range nodes {
				status, cache := n.get(t, goodPair(fmt.Sprint("key", i)))
				if status != 200 {
					t.Errorf("%d", status)
				}
				if round >= 4 {
					served[cache]++
				}
			}
		}
	}
	if total := served["hit"] + served["miss"] + served["shared"]; served["hit"]*2 < total {
		t.Errorf("%v", served)
	}
	evicted := infoOf(t, server, "evicted_keys")
	if evicted == 0 {
		t.Error("nothing was evicted")
	}
	t.Logf("%v, and %d keys were evicted", served, evicted)
}

// infoOf returns a number that a Redis says about itself.
func infoOf(t *testing.T, server *testutil.RedisServer, name string) (n int64) {
	t.Helper()
	info, err := server.Run("INFO").ToString()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			if n, err = strconv.ParseInt(value, 10, 64); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n
}
