package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestHandlersShareStateAcrossReloads: verifiers with the same backends share one cache, of the larger size. A verifier
// that is replaced hands its verdicts and its lookups in flight to the next one.
func TestHandlersShareStateAcrossReloads(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"] = "alice@example.com"
		ctx, unload := context.WithCancel(t.Context())
		conf := newTestVerifier(t, backend, nil).verifierConfig
		conf.fingerprint += " shared"
		conf.cacheSize = 10
		first := startVerifier(t, ctx, conf)
		first.get(t, pair("x"))
		backend.set(func(d *doubleBackend) { d.delay = time.Second; d.users["y"] = "bob@example.com" })
		inFlight := make(chan verdict, 2)
		go func() { inFlight <- first.verifyFrom(t.Context(), "", nil, pair("y")) }()
		synctest.Wait()

		conf.lifetimes.TTL, conf.cacheSize = time.Second, 20
		second := startVerifier(t, t.Context(), conf)
		if n := len(second.state.demands); n != 2 {
			t.Errorf("%d verifiers share the cache", n)
		}
		go func() { inFlight <- second.verifyFrom(t.Context(), "", nil, pair("y")) }()
		synctest.Wait()
		unload()
		if err := first.close(); err != nil {
			t.Error(err)
		}
		if got := second.get(t, pair("x")); got != cacheHit {
			t.Errorf("a verdict of the configuration before: %s", got)
		}
		for range 2 {
			if a := <-inFlight; a.err != nil {
				t.Errorf("a lookup in flight: %v", a.err)
			}
		}
		if n := backend.timesAsked("y"); n != 1 {
			t.Errorf("asked %d times across the reload", n)
		}
		time.Sleep(time.Second)
		if got := second.get(t, pair("x")); got != cacheMiss {
			t.Errorf("past the ttl of the new configuration: %s", got)
		}
		if err := second.close(); err != nil {
			t.Error(err)
		}
		if refs, ok := states.References(conf.fingerprint); ok {
			t.Errorf("the state is still referred to %d times", refs)
		}
	})
}

// TestRequestsAfterUnload: Caddy may still have requests for a handler that it has unloaded. They are decided as any
// other. A revocation applies to them, too, although the cache of the handler does not get it, and even while a backend
// is being asked.
func TestRequestsAfterUnload(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"] = "alice@example.com"
		conf := newTestVerifier(t, backend, nil).verifierConfig
		conf.fingerprint += " gone"
		gone, stays := startVerifier(t, t.Context(), conf), startVerifier(t, t.Context(), conf)
		gone.get(t, pair("x"))
		if err := gone.close(); err != nil {
			t.Fatal(err)
		}
		if got := gone.get(t, pair("x")); got != cacheHit {
			t.Errorf("while another handler has the cache: %s", got)
		}

		backend.set(func(d *doubleBackend) { d.delay = time.Second; d.users["y"] = "bob@example.com" })
		if err := stays.close(); err != nil {
			t.Fatal(err)
		}
		before := make(chan verdict)
		go func() { before <- gone.verifyFrom(t.Context(), "", nil, pair("y")) }()
		synctest.Wait()
		time.Sleep(time.Second / 2)
		backend.set(func(d *doubleBackend) { clear(d.users) })
		revoke(t.Context(), "", []frappe.Change{{User: "alice@example.com"}}, telemetry.SourceWebhook)
		for _, token := range []string{"x", "y"} {
			if a := gone.verifyFrom(t.Context(), "", nil, pair(token)); a.err == nil {
				t.Errorf("revoked after the configuration was unloaded, %s is granted: %s", token, summary(a))
			}
		}
		<-before
	})
}

// moment is how long a change takes to be heard by all Caddys of a fleet.
const moment = 30 * time.Millisecond

const fleetSecret = "0123456789abcdef0123456789abcdef"

// sharer is the verifier of one of several Caddys that share a store.
type sharer struct {
	*verifier
	client *testutil.StoreClient
}

// newSharer returns a verifier with that store. In a bubble it knows the state by then.
func newSharer(t *testing.T, store *testutil.MemoryStore, b frappe.Backend, adjust func(*verifierConfig)) sharer {
	t.Helper()
	client := store.Client(fleetSecret)
	v := newTestVerifier(t, b, func(c *verifierConfig) {
		c.store, c.backendsFingerprint = client, "backends"
		if adjust != nil {
			adjust(c)
		}
		c.registry = fleet.NewRegistry(c.now, c.random)
	})
	synctest.Wait()
	return sharer{v, client}
}

// get is what a client with an address gets for a credential, in a word.
func (s sharer) get(t *testing.T, cred frappe.Credential) string {
	t.Helper()
	return s.getFrom(t, "192.0.2.1", cred)
}

// TestSharedVerdict: a credential that one Caddy has verified is known to all. The ttl counts from the time when the
// backend was asked.
func TestSharedVerdict(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewMemoryStore(), newDoubleBackend()
		backend.users["key"] = "alice@example.com"
		a, b := newSharer(t, store, backend, nil), newSharer(t, store, backend, nil)
		if got := a.get(t, pair("key")); got != cacheMiss {
			t.Errorf("first: %s", got)
		}
		time.Sleep(20 * time.Second)
		if got := b.get(t, pair("key")) + " " + b.get(t, pair("key")); got != "shared hit" {
			t.Errorf("at another Caddy: %s", got)
		}
		if n := backend.timesAsked("key"); n != 1 {
			t.Errorf("the backend was asked %d times", n)
		}
		wrong := pair("key")
		wrong.Secret = "another"
		before := backend.timesAsked("key")
		b.get(t, wrong)
		b.get(t, pair("KEY"))
		if backend.timesAsked("key") != before+1 || backend.timesAsked("KEY") != 1 {
			t.Error("another secret, or another spelling, got the verdict")
		}
		backend.set(func(d *doubleBackend) { clear(d.users) })
		time.Sleep(40*time.Second - 100*time.Millisecond - 1) // by which clocks may differ unnoticed
		if got := b.get(t, pair("key")); got != cacheHit {
			t.Errorf("until the ttl is over: %s", got)
		}
		time.Sleep(time.Nanosecond)
		if got := b.get(t, pair("key")); got != "401" {
			t.Errorf("after the ttl: %s", got)
		}
	})
}

// richBackend grants every credential to an identity with all of its fields set.
type richBackend struct{ frappe.Identity }

func (b richBackend) Verify(context.Context, frappe.Credential) (frappe.Identity, error) {
	return b.Identity, nil
}

// TestSharedIdentity: an identity passes through the store unchanged, and nothing of it can be read there.
func TestSharedIdentity(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewMemoryStore()
		backend := richBackend{frappe.Identity{
			User: "alice@example.com", FullName: "Alice Ä", Roles: []string{"Employee", "System Manager"},
			Scopes: []string{"all", "openid"}, Client: "client-id", Expiry: time.Now().Add(30 * time.Second),
		}}
		a, b := newSharer(t, store, backend, nil), newSharer(t, store, backend, nil)
		cred := bearer("the-access-token")
		first := a.verifyFrom(t.Context(), "", nil, cred)
		second := b.verifyFrom(t.Context(), "", nil, cred)
		if second.cache != cacheShared || second.user != first.user || !reflect.DeepEqual(second.profile, first.profile) ||
			second.Expiry != first.Expiry || second.ExpiryUnknown || second.by.Name != "double" {
			t.Errorf("got %+v, want %+v", second.grant, first.grant)
		}
		a.state.drop(frappe.Change{User: "alice@example.com", Token: "the-access-token"})
		time.Sleep(time.Millisecond)
		dump := fmt.Sprintf("%q", store.Snapshot())
		for _, private := range []string{"alice", "Alice", "Employee", "openid", "client-id", "access-token"} {
			if strings.Contains(dump, private) {
				t.Errorf("%s can be read in the store", private)
			}
		}
	})
}

// TestColdStartAsksOnce: of many Caddys that get the same new credential, one asks the backend. Each asks about a bad
// one.
func TestColdStartAsksOnce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewMemoryStore(), newDoubleBackend()
		backend.users["good"], backend.delay = "alice@example.com", time.Second
		var caddys []sharer
		for range 10 {
			caddys = append(caddys, newSharer(t, store, backend, nil))
		}
		for _, test := range []struct {
			key   string
			asked int
		}{{"good", 1}, {"bad", 10}} {
			var wg sync.WaitGroup
			for i := range 1000 {
				wg.Go(func() {
					if got := caddys[i%10].get(t, pair(test.key)); (got == "401") != (test.key == "bad") {
						t.Errorf("%s: %s", test.key, got)
					}
				})
			}
			wg.Wait()
			if n := backend.timesAsked(test.key); n != test.asked {
				t.Errorf("%s: the backend was asked %d times", test.key, n)
			}
		}
	})
}

// TestFleetRevocation: in whatever way one Caddy learns of a change, the others refuse the credential a moment later.
func TestFleetRevocation(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(t *testing.T, a sharer)
	}{
		{"revoked", func(t *testing.T, a sharer) {
			if err := a.state.revoke(t.Context(), frappe.Change{User: "alice@example.com"}); err != nil {
				t.Error(err)
			}
		}},
		{"watched", func(_ *testing.T, a sharer) { a.state.drop(frappe.Change{Key: "key"}) }},
		{"everything", func(_ *testing.T, a sharer) { a.state.drop(frappe.Change{Everything: true}) }},
		{"denied after the ttl", func(t *testing.T, a sharer) {
			time.Sleep(30 * time.Second)
			if got := a.get(t, pair("key")); got != "401" {
				t.Errorf("at the Caddy that asks: %s", got)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store, backend := testutil.NewMemoryStore(), newDoubleBackend()
				backend.users["key"] = "alice@example.com"
				a := newSharer(t, store, backend, func(c *verifierConfig) { c.lifetimes.TTL = 30 * time.Second })
				b := newSharer(t, store, backend, func(c *verifierConfig) { c.lifetimes.TTL = time.Hour })
				b.get(t, pair("key"))
				if got := a.get(t, pair("key")); got != cacheShared {
					t.Fatalf("the credential is not shared: %s", got)
				}
				backend.set(func(d *doubleBackend) { clear(d.users) })
				test.change(t, a)
				time.Sleep(moment)
				c := newSharer(t, store, backend, nil)
				for name, v := range map[string]sharer{"one": a, "another": b, "a new": c} {
					if got := v.get(t, pair("key")); got != "401" {
						t.Errorf("at %s Caddy: %s", name, got)
					}
				}
			})
		})
	}
}

// TestFleetEndsStreams: a credential that is revoked at one of ten Caddys ends the streams that it opened at all of
// them. The streams of other credentials stay open.
func TestFleetEndsStreams(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewMemoryStore(), newDoubleBackend()
		backend.users["key"], backend.users["other"] = "alice@example.com", "bob@example.com"
		var caddys []sharer
		var ending, staying []context.Context
		for range 10 {
			c := newSharer(t, store, backend, nil)
			caddys = append(caddys, c)
			for _, stream := range []struct {
				key  string
				into *[]context.Context
			}{{"key", &ending}, {"other", &staying}} {
				cred := pair(stream.key)
				found := c.verifyFrom(t.Context(), "192.0.2.1", nil, cred)
				f := &followed{
					authenticator: &authenticator{verifier: c.verifier, reporting: reporting{logger: c.logger}}, credential: cred,
				}
				f.grant.Store(found.grant)
				ctx, done := c.state.streams.Open(t.Context(), f, c.term(found.grant), f.ended)
				defer done()
				*stream.into = append(*stream.into, ctx)
			}
		}
		backend.set(func(d *doubleBackend) { delete(d.users, "key") })
		if err := caddys[0].state.revoke(t.Context(), frappe.Change{User: "alice@example.com"}); err != nil {
			t.Error(err)
		}
		time.Sleep(moment)
		synctest.Wait()
		for i := range caddys {
			if ending[i].Err() == nil {
				t.Errorf("Caddy %d: the stream is still open", i)
			}
			if staying[i].Err() != nil {
				t.Errorf("Caddy %d: the stream of another credential was ended", i)
			}
		}
	})
}

// TestRestartDuringOutage: with stale_if_error, a Caddy that starts while the backends are down grants credentials that
// other Caddys have shared. A credential without a known expiry gets 503, and so does an unknown one.
func TestRestartDuringOutage(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewMemoryStore(), newDoubleBackend()
		backend.users["key"], backend.users["token"], backend.users["revoked"] = "alice@example.com", "bob@example.com",
			"carol@example.com"
		allow := func(c *verifierConfig) { c.lifetimes.StaleIfError = time.Hour }
		a := newSharer(t, store, backend, allow)
		a.get(t, pair("key"))
		a.get(t, pair("revoked"))
		a.get(t, bearer("token"))
		a.state.drop(frappe.Change{Key: "revoked"})
		time.Sleep(10 * time.Minute)
		backend.set(func(d *doubleBackend) { d.err, d.delay = errDown, time.Second })
		b := newSharer(t, store, backend, allow)
		b.client.SetDelay(func() time.Duration { return time.Millisecond })
		var wg sync.WaitGroup
		for range 10 { // some of them wait for the lookup of another
			wg.Go(func() {
				if got := b.get(t, pair("key")); got != cacheStale {
					t.Errorf("a known credential: %s", got)
				}
			})
		}
		wg.Wait()
		for _, cred := range []frappe.Credential{pair("revoked"), pair("unknown"), bearer("token")} {
			if got := b.get(t, cred); got != "503" {
				t.Errorf("%s: %s", cred.Key+cred.Token, got)
			}
		}
		if got := newSharer(t, store, backend, nil).get(t, pair("key")); got != "503" {
			t.Errorf("without stale_if_error: %s", got)
		}
		time.Sleep(52 * time.Minute)
		if got := b.get(t, pair("key")); got != "503" {
			t.Errorf("after stale_if_error is over: %s", got)
		}
	})
}

// TestFirstRequestReadsTheStore: the first request of a new Caddy finds the verdicts that others have shared.
func TestFirstRequestReadsTheStore(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewMemoryStore(), newDoubleBackend()
		backend.users["key"] = "alice@example.com"
		newSharer(t, store, backend, nil).get(t, pair("key"))
		for _, test := range []struct {
			name  string
			delay time.Duration // of a message to the store
			want  string
			took  time.Duration
		}{
			{"near", 10 * time.Millisecond, cacheShared, 60 * time.Millisecond},
			{"too far", 200 * time.Millisecond, cacheMiss, 600 * time.Millisecond},
		} {
			fresh := newTestVerifier(t, backend, func(c *verifierConfig) {
				client := store.Client(fleetSecret)
				client.SetDelay(func() time.Duration { return test.delay })
				c.store, c.backendsFingerprint, c.registry = client, "backends", fleet.NewRegistry(c.now, c.random)
			})
			began := time.Now()
			if got := (sharer{verifier: fresh}).get(t, pair("key")); got != test.want || time.Since(began) > test.took {
				t.Errorf("%s: %s after %s", test.name, got, time.Since(began))
			}
		}
	})
}

// TestFleetRefreshesOnce: one Caddy refreshes a credential that all of them use.
func TestFleetRefreshesOnce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewMemoryStore(), newDoubleBackend()
		backend.users["steady"], backend.delay = "alice@example.com", time.Second/2
		var caddys []sharer
		for range 5 {
			caddys = append(caddys, newSharer(t, store, backend, nil))
		}
		for second := range 600 {
			for i, c := range caddys {
				if got := c.get(t, pair("steady")); got != cacheHit && second > 0 {
					t.Fatalf("second %d, Caddy %d: %s", second, i, got)
				}
			}
			time.Sleep(time.Second)
		}
		if n := backend.timesAsked("steady"); n < 10 || n > 14 {
			t.Errorf("the backend was asked %d times in ten minutes", n)
		}
	})
}

// TestFleetCountsFailuresTogether: failures of a client at several Caddys add up. Known credentials pass in spite of
// that, and so do new ones while the store is unreachable.
func TestFleetCountsFailuresTogether(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewMemoryStore(), newDoubleBackend()
		backend.users["good"], backend.users["new"] = "alice@example.com", "bob@example.com"
		limited := func(c *verifierConfig) { c.failures = rate.Limit{Max: 6, Window: time.Minute} }
		a, b, c := newSharer(t, store, backend, limited), newSharer(t, store, backend, limited),
			newSharer(t, store, backend, limited)
		c.get(t, pair("good"))
		for i := range 6 {
			if got := []sharer{a, b}[i%2].get(t, pair(fmt.Sprint("guess", i))); got != "401" {
				t.Errorf("failure %d: %s", i, got)
			}
		}
		for name, v := range map[string]sharer{"a": a, "b": b, "c": c} {
			a := v.verifyFrom(t.Context(), "192.0.2.1", nil, pair("guess"))
			if throttled, ok := errors.AsType[*throttledError](a.err); !ok || throttled.wait != 10*time.Second {
				t.Errorf("at %s: %v", name, a.err)
			}
			if got := v.get(t, pair("good")); got != cacheHit && got != cacheShared {
				t.Errorf("a good one at %s: %s", name, got)
			}
		}
		b.client.SetAway(true)
		if got := b.get(t, pair("new")); got != cacheMiss {
			t.Errorf("without the store: %s", got)
		}
	})
}

// TestFleetCountsTheSameFailureOnce: sending one bad credential to several Caddys counts as one failure.
func TestFleetCountsTheSameFailureOnce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewMemoryStore(), newDoubleBackend()
		backend.users["new"] = "bob@example.com"
		limited := func(c *verifierConfig) { c.failures = rate.Limit{Max: 2, Window: time.Minute} }
		for i := range 5 {
			if got := newSharer(t, store, backend, limited).get(t, pair("revoked")); got != "401" {
				t.Errorf("at Caddy %d: %s", i, got)
			}
		}
		last := newSharer(t, store, backend, limited)
		if got := last.get(t, pair("guess")); got != "401" {
			t.Errorf("the second failure: %s", got)
		}
		if got := last.get(t, pair("new")); got != "429" {
			t.Errorf("after two failures: %s", got)
		}
		if got := last.getFrom(t, "198.51.100.1", pair("new")); got != cacheMiss {
			t.Errorf("another client: %s", got)
		}
	})
}

// TestNeverShared: denials, odd credentials and expired ones are not shared. Hits and traced checks do not read the
// store.
func TestNeverShared(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewMemoryStore(), newDoubleBackend()
		odd := pair("kéy")
		backend.users["kéy"], backend.users["ended"], backend.users["key"] = "alice@example.com", "bob@example.com",
			"alice@example.com"
		backend.expiry["ended"] = time.Now().Add(time.Second)
		a, b := newSharer(t, store, backend, nil), newSharer(t, store, backend, nil)
		a.get(t, odd)
		a.get(t, pair("bad"))
		if verdicts := store.Keys("v"); len(verdicts) > 0 {
			t.Errorf("%v are in the store", verdicts)
		}
		a.get(t, pair("ended"))
		time.Sleep(time.Second)
		if got := b.get(t, pair("ended")); got != "401" {
			t.Errorf("a credential that has ended: %s", got)
		}
		a.get(t, pair("key"))
		cred := pair("key")
		traced := b.verify(t.Context(), caller{uncharged: true, trace: func(step) {}}, nil, &cred)
		if got := summary(traced); got != cacheMiss {
			t.Errorf("a traced check: %s", got)
		}
		b.get(t, cred)
		calls := b.client.Calls("Look") + b.client.Calls("Done")
		for range 10 {
			b.get(t, cred)
		}
		if b.client.Calls("Look")+b.client.Calls("Done") != calls {
			t.Error("a hit from memory asks the store")
		}
	})
}

// TestStoreFaults: no fault of the store refuses a request or delays it for long.
func TestStoreFaults(t *testing.T) {
	for _, test := range []struct {
		name string
		cut  func(c *testutil.StoreClient)
	}{
		{"away", func(c *testutil.StoreClient) { c.SetAway(true) }},
		{"read-only", func(c *testutil.StoreClient) { c.SetReadOnly(true) }},
		{"slow", func(c *testutil.StoreClient) { c.SetDelay(func() time.Duration { return time.Minute }) }},
		{"flushed", func(c *testutil.StoreClient) { c.Flush() }},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store, backend := testutil.NewMemoryStore(), newDoubleBackend()
				a := newSharer(t, store, backend, nil)
				var waited time.Duration
				for i := range 100 {
					key := fmt.Sprint("key", i)
					backend.set(func(d *doubleBackend) { d.users[key] = "alice@example.com" })
					if i == 50 {
						test.cut(a.client)
					}
					began := time.Now()
					if got := a.get(t, pair(key)); got != cacheMiss {
						t.Fatalf("a good credential: %s", got)
					}
					if got := a.get(t, pair("bad"+key)); got != "401" {
						t.Fatalf("a bad credential: %s", got)
					}
					waited += time.Since(began)
				}
				if waited > 2*time.Second {
					t.Errorf("the requests waited %s", waited)
				}
			})
		})
	}
}

// TestSlowStoreDelaysNoRevocation: a revocation waits for the slow stores of several handlers together, not for one
// after the other, and is published once they answer.
func TestSlowStoreDelaysNoRevocation(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewMemoryStore()
		var handlers []sharer
		for range 5 {
			handlers = append(handlers, newSharer(t, store, newDoubleBackend(), nil))
		}
		for _, h := range handlers {
			h.client.SetDelay(func() time.Duration { return time.Minute })
		}
		began := time.Now()
		_, err := revoke(t.Context(), "", []frappe.Change{{User: "alice@example.com"}}, telemetry.SourceWebhook)
		if took := time.Since(began); err == nil || took > 4*time.Second {
			t.Errorf("%v, after %s", err, took)
		}
		for _, h := range handlers {
			h.client.SetDelay(nil)
		}
		time.Sleep(10 * time.Second)
		for i, h := range handlers {
			if n := h.state.fleet.Stats().Pending; n != 0 {
				t.Errorf("handler %d: %d revocations were never published", i, n)
			}
		}
	})
}

// TestWatchDropsOlderVerdicts: the first report of a watched backend or feed drops the verdicts of this Caddy from
// before it, also in the store, and those of lookups in flight. Verdicts that other Caddys have confirmed are kept. A
// reload that keeps watching drops nothing.
func TestWatchDropsOlderVerdicts(t *testing.T) {
	for _, test := range []struct {
		name string
		add  func(c *verifierConfig, w frappe.Watcher)
	}{
		{"backend", func(c *verifierConfig, w frappe.Watcher) { c.backends[0].Backend = w.(frappe.Backend) }},
		{"feed", func(c *verifierConfig, w frappe.Watcher) {
			c.feeds = []backends.Feed{{Watcher: w, Name: "double", Key: "double"}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store, backend := testutil.NewMemoryStore(), newDoubleBackend()
				for _, key := range []string{"early", "other", "asked"} {
					backend.users[key] = key + "@example.com"
				}
				watched := watchedDouble{doubleBackend: backend, looks: make(chan []frappe.Change)}
				var conf verifierConfig
				a := newSharer(t, store, backend, func(c *verifierConfig) {
					test.add(c, watched)
					conf = *c
				})
				b := newSharer(t, store, backend, nil)
				get := func(v sharer, key, want string) {
					t.Helper()
					if got := v.get(t, pair(key)); got != want {
						t.Errorf("%s: %s, want %s", key, got, want)
					}
				}
				get(a, "early", cacheMiss)
				get(b, "early", cacheShared)
				get(b, "other", cacheMiss)
				get(a, "other", cacheShared)

				backend.set(func(d *doubleBackend) { d.delay = time.Second })
				answered := make(chan string)
				go func() { answered <- a.get(t, pair("asked")) }()
				synctest.Wait()
				watched.looks <- nil
				time.Sleep(moment)
				get(b, "other", cacheHit)
				get(a, "other", cacheShared)
				get(b, "early", cacheMiss)
				get(a, "early", cacheShared)
				<-answered
				get(b, "asked", cacheMiss)

				watched.looks <- nil
				time.Sleep(moment)
				get(a, "other", cacheHit)
				next := startVerifier(t, t.Context(), conf)
				defer next.close() //nolint:errcheck // the state is still in use
				a.unwatch()
				a.watchers.Wait()
				watched.looks <- nil
				time.Sleep(moment)
				get(sharer{verifier: next}, "other", cacheHit)
			})
		})
	}
}

// TestFleetModel runs several verifiers with wrong clocks on one store, while connections are cut, messages are late,
// and the store loses data. A grant is forbidden if the credential was last good longer ago than the ttl, if its
// revocation was published and delivered before the request, or if this Caddy has revoked it.
func TestFleetModel(t *testing.T) {
	const (
		ttl         = 20 * time.Second
		caddys      = 4
		credentials = 8
		// heard is the time after which each Caddy that is connected has received a revocation, or knows that it has
		// missed one.
		heard = 8 * time.Second
	)
	seeds := 40
	if testing.Short() {
		seeds = 8
	}
	var mu sync.Mutex
	sources := make(map[string]int)
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(uint64(seed), 3)) //nolint:gosec // repeatable on purpose
				store, backend := testutil.NewMemoryStore(), newDoubleBackend()
				var (
					snapshot map[string]string
					fleet    [caddys]sharer
					away     [caddys]bool
					cutAt    [caddys]time.Time // when the connection was last cut or restored
				)
				for i := range fleet {
					skew := time.Duration(random.IntN(6000)-3000) * time.Millisecond
					fleet[i] = newSharer(t, store, backend, func(c *verifierConfig) {
						c.lifetimes.TTL, c.lifetimes.BearerTTL = ttl, ttl
						c.cacheSize = 6
						c.now = func() time.Time { return time.Now().Add(skew) }
					})
				}
				type credential struct {
					good      bool
					ended     time.Time // when it was last good
					goodStep  int
					published time.Time // of the last revocation that the store accepted
					here      [caddys]int
					step      int // of the last publication
				}
				model := make([]credential, credentials)
				key := func(i int) string { return fmt.Sprint("key-", i) }
				for step := 1; step < 1500; step++ {
					i, n := random.IntN(credentials), random.IntN(caddys)
					m, v := &model[i], fleet[n]
					switch random.IntN(24) {
					case 0, 1: // it becomes good, or ends, and nobody is told
						if m.good {
							m.ended, m.goodStep = time.Now(), step
						}
						m.good = !m.good
						backend.set(func(d *doubleBackend) {
							delete(d.users, key(i))
							if m.good {
								d.users[key(i)] = "user " + key(i)
							}
						})
					case 2, 3: // it ends, and one Caddy is told
						if m.good {
							m.ended, m.goodStep = time.Now(), step
						}
						m.good = false
						backend.set(func(d *doubleBackend) { delete(d.users, key(i)) })
						change := frappe.Change{Key: key(i)}
						if random.IntN(8) == 0 {
							change = frappe.Change{User: "user " + key(i)}
						}
						err := v.state.revoke(t.Context(), change)
						m.here[n] = step
						if err == nil {
							m.published, m.step = time.Now(), step
						}
					case 4: // a connection is cut, or restored
						cutAt[n], away[n] = time.Now(), random.IntN(2) == 0
						v.client.SetAway(away[n])
					case 5:
						v.client.SetReadOnly(random.IntN(3) == 0)
					case 6: // messages are late
						most := random.IntN(60)
						late := rand.New(rand.NewPCG(uint64(seed), uint64(step))) //nolint:gosec // the same
						var mu sync.Mutex
						v.client.SetDelay(func() time.Duration {
							mu.Lock()
							defer mu.Unlock()
							return time.Duration(late.IntN(most+1)) * time.Millisecond
						})
					case 7:
						switch random.IntN(12) {
						case 0:
							store.Flush()
						case 1:
							store.LoseState()
						case 2:
							snapshot = store.Snapshot()
						case 3:
							store.Restart(snapshot, fleet[0].client, fleet[1].client, fleet[2].client, fleet[3].client)
						}
					case 8, 9, 10, 11:
						time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
					case 12:
						backend.set(func(d *doubleBackend) { d.delay = time.Duration(random.IntN(300)) * time.Millisecond })
					default:
						asked := time.Now()
						a := v.verifyFrom(t.Context(), "", nil, pair(key(i)))
						mu.Lock()
						sources[summary(a)]++
						mu.Unlock()
						if a.err != nil || m.good {
							break
						}
						switch {
						case asked.Sub(m.ended) > ttl:
							t.Fatalf("step %d: %s was granted (%s), but was last good %s ago", step, key(i), a.cache, asked.Sub(m.ended))
						case m.here[n] > 0 && m.here[n] >= m.goodStep:
							t.Fatalf("step %d: %s was granted (%s) by Caddy %d, which has revoked it", step, key(i), a.cache, n)
						case m.step > 0 && m.step >= m.goodStep && asked.Sub(m.published) > heard &&
							(a.cache == cacheShared || !away[n] && asked.Sub(cutAt[n]) > heard):
							t.Fatalf("step %d: %s was granted (%s) by Caddy %d, but its revocation was published %s ago", step, key(i),
								a.cache, n, asked.Sub(m.published))
						}
					}
				}
				for _, v := range fleet {
					v.client.SetDelay(nil)
				}
				time.Sleep(backends.MaxCall)
			})
		})
	}
	for _, source := range []string{cacheHit, cacheMiss, cacheShared, "401"} {
		if sources[source] < 100 {
			t.Errorf("only %d answers were %s: %v", sources[source], source, sources)
		}
	}
}
