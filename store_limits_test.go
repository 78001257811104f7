package frappeauth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestFailuresOfFleet: a client's failures at all Caddys count together. Known credentials go on, and so does all if the store is away.
func TestFailuresOfFleet(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewStore(), newDoubleBackend()
		backend.users["good"], backend.users["new"] = "alice@example.com", "bob@example.com"
		limited := func(c *verifierConfig) { c.failures = rate.Limit{Max: 6, Window: time.Minute} }
		a, b, c := newSharer(t, store, backend, limited), newSharer(t, store, backend, limited), newSharer(t, store, backend, limited)
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

// TestSameFailureAtFleet: one bad credential that a client sends to each Caddy counts once.
func TestSameFailureAtFleet(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewStore(), newDoubleBackend()
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
		if got := summary(last.verifyFrom(t.Context(), "198.51.100.1", nil, pair("new"))); got != cacheMiss {
			t.Errorf("another client: %s", got)
		}
	})
}

// TestNeverShared: some verdicts never reach the store, and some requests do not use it.
func TestNeverShared(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewStore(), newDoubleBackend()
		odd := pair("kéy")
		backend.users["kéy"], backend.users["ended"], backend.users["key"] = "alice@example.com", "bob@example.com", "alice@example.com"
		backend.expiry["ended"] = time.Now().Add(time.Second)
		a, b := newSharer(t, store, backend, nil), newSharer(t, store, backend, nil)
		a.get(t, odd)
		a.get(t, pair("bad"))
		for name := range store.Values() {
			if strings.HasPrefix(name, "verdict") {
				t.Errorf("%s is in the store", name)
			}
		}
		a.get(t, pair("ended"))
		time.Sleep(time.Second)
		if got := b.get(t, pair("ended")); got != "401" {
			t.Errorf("a credential that has ended: %s", got)
		}
		a.get(t, pair("key"))
		gets := b.client.Calls("Get")
		cred := pair("key")
		traced := b.verify(t.Context(), caller{trace: func(step) {}}, nil, &cred)
		if got := summary(traced); got != cacheMiss || b.client.Calls("Get") != gets {
			t.Errorf("a check that is traced: %s", got)
		}
		b.get(t, cred)
		calls := b.client.Calls("Get") + b.client.Calls("Charge")
		for range 10 {
			b.get(t, cred)
		}
		if b.client.Calls("Get")+b.client.Calls("Charge") != calls {
			t.Error("a hit from memory asks the store")
		}
	})
}

// TestStoreFaults: nobody is refused because of the store, and no request waits for it for long.
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
				store, backend := testutil.NewStore(), newDoubleBackend()
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

// TestSlowPublication: an answer to a webhook does not wait for each handler's store in turn, and what it did not wait for is
// published.
func TestSlowPublication(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		var handlers []sharer
		for range 5 {
			handlers = append(handlers, newSharer(t, store, newDoubleBackend(), nil))
		}
		for _, h := range handlers {
			h.client.SetDelay(func() time.Duration { return time.Minute })
		}
		began := time.Now()
		_, err := revokeIn(t.Context(), "", []frappe.Change{{User: "alice@example.com"}}, telemetry.SourceWebhook)
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
