package frappeauth

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const fleetSecret = "0123456789abcdef0123456789abcdef"

// sharer is a verifier of a Caddy of its own, which shares a store with others.
type sharer struct {
	*verifier
	client *testutil.StoreClient
}

// newSharer makes a verifier with that store. It knows the log once it is returned, within a synctest.
func newSharer(t *testing.T, store *testutil.Store, b frappe.Backend, adjust func(*verifierConfig)) sharer {
	t.Helper()
	client := store.Client(fleetSecret)
	v := newTestVerifier(t, b, func(c *verifierConfig) {
		c.store, c.backendsFingerprint = client, "backends"
		if adjust != nil {
			adjust(c)
		}
	})
	synctest.Wait()
	return sharer{v, client}
}

// get is what a client gets for a credential.
func (s sharer) get(t *testing.T, cred frappe.Credential) string {
	t.Helper()
	return summary(s.verifyFrom(t.Context(), "192.0.2.1", nil, cred))
}

// TestShared: a credential that one Caddy knows is known to all, with the age and all of the identity. The ttl counts from when
// the backend was asked.
func TestShared(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewStore(), newDoubleBackend()
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
		time.Sleep(40*time.Second - 1)
		if got := b.get(t, pair("key")); got != cacheHit {
			t.Errorf("until the ttl is over: %s", got)
		}
		time.Sleep(time.Nanosecond)
		if got := b.get(t, pair("key")); got != "401" {
			t.Errorf("after the ttl: %s", got)
		}
	})
}

// richBackend grants with all that an identity may have.
type richBackend struct{ frappe.Identity }

func (b richBackend) Verify(context.Context, frappe.Credential) (frappe.Identity, error) {
	return b.Identity, nil
}

// TestSharedIdentity: nothing of an identity is lost on its way through the store, and nothing of it can be read there.
func TestSharedIdentity(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		backend := richBackend{frappe.Identity{
			User: "alice@example.com", FullName: "Alice Ä", Roles: []string{"Employee", "System Manager"},
			Scopes: []string{"all", "openid"}, Client: "client-id", Expiry: time.Now().Add(30 * time.Second),
		}}
		a, b := newSharer(t, store, backend, nil), newSharer(t, store, backend, nil)
		cred := bearer("the-access-token")
		first := a.verifyFrom(t.Context(), "", nil, cred)
		second := b.verifyFrom(t.Context(), "", nil, cred)
		if second.cache != cacheShared || second.user != first.user || !reflect.DeepEqual(second.detail, first.detail) ||
			second.Expiry != first.Expiry || second.ExpiryUnknown || second.by.Name != "double" {
			t.Errorf("got %+v, want %+v", second.grant, first.grant)
		}
		a.state.drop(frappe.Change{User: "alice@example.com", Token: "the-access-token"})
		time.Sleep(time.Millisecond)
		dump := fmt.Sprintf("%q", store.Values())
		for _, e := range store.Log() {
			dump += string(e.Data)
		}
		for _, private := range []string{"alice", "Alice", "Employee", "openid", "client-id", "access-token"} {
			if strings.Contains(dump, private) {
				t.Errorf("%s can be read in the store", private)
			}
		}
	})
}

// TestColdStart: of many Caddys with the same new credential, one asks the backend. A bad credential is asked for by each.
func TestColdStart(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewStore(), newDoubleBackend()
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

// TestFleetRevocation: whatever way a change becomes known at one Caddy, the others refuse the credential a moment later.
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
				store, backend := testutil.NewStore(), newDoubleBackend()
				backend.users["key"] = "alice@example.com"
				a := newSharer(t, store, backend, func(c *verifierConfig) { c.lifetimes.TTL = 30 * time.Second })
				b := newSharer(t, store, backend, func(c *verifierConfig) { c.lifetimes.TTL = time.Hour })
				b.get(t, pair("key"))
				if got := a.get(t, pair("key")); got != cacheShared {
					t.Fatalf("the credential is not shared: %s", got)
				}
				backend.set(func(d *doubleBackend) { clear(d.users) })
				test.change(t, a)
				time.Sleep(time.Millisecond)
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

// TestRestartDuringOutage: a fresh Caddy goes on with known credentials while the backends are down, if stale verdicts may serve.
// One whose expiry is not known, and an unknown one, get 503.
func TestRestartDuringOutage(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewStore(), newDoubleBackend()
		backend.users["key"], backend.users["token"], backend.users["revoked"] = "alice@example.com", "bob@example.com", "carol@example.com"
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
		for range 10 { // those that wait for the lookup of another, too
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

// TestFirstRequest: the very first request of a fresh Caddy finds what the others have shared.
func TestFirstRequest(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewStore(), newDoubleBackend()
		backend.users["key"] = "alice@example.com"
		newSharer(t, store, backend, nil).get(t, pair("key"))
		for _, test := range []struct {
			name  string
			delay time.Duration // of each message to the store
			want  string
			took  time.Duration
		}{
			{"near", 10 * time.Millisecond, cacheShared, 60 * time.Millisecond},
			{"too far", 200 * time.Millisecond, cacheMiss, 210 * time.Millisecond},
		} {
			fresh := newTestVerifier(t, backend, func(c *verifierConfig) {
				client := store.Client(fleetSecret)
				client.SetDelay(func() time.Duration { return test.delay })
				c.store, c.backendsFingerprint = client, "backends"
			})
			began := time.Now()
			if got := (sharer{verifier: fresh}).get(t, pair("key")); got != test.want || time.Since(began) > test.took {
				t.Errorf("%s: %s after %s", test.name, got, time.Since(began))
			}
		}
	})
}

// TestRefreshAheadOfFleet: a credential that is used everywhere is asked for again by one Caddy, not by each.
func TestRefreshAheadOfFleet(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store, backend := testutil.NewStore(), newDoubleBackend()
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
