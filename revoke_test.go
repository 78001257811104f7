package frappeauth

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestFloodEvictsNoGoodOne: a hundred times as many bad credentials as the cache has places leave the good ones cached, and
// memory bounded.
func TestFloodEvictsNoGoodOne(t *testing.T) {
	backend := newDoubleBackend()
	for i := range 100 {
		backend.users[fmt.Sprint("good-", i)] = "alice@example.com"
	}
	v := newTestVerifier(t, backend, func(c *verifierConfig) { c.cacheSize = 100 })
	for i := range 100 {
		v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("good-", i)))
	}
	for i := range 10_000 {
		v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("bad-", i)))
	}
	for i := range 100 {
		if a := v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("good-", i))); a.cache != cacheHit {
			t.Fatalf("good %d: %s", i, summary(a))
		}
	}
	if granted, denied, _ := v.state.cache.Fill(); granted != 100 || denied != 100 {
		t.Errorf("%d granted and %d denied verdicts are kept, want 100 each", granted, denied)
	}
}

// TestRevocation: which verdicts a change drops, and that it also concerns what is just being asked for.
func TestRevocation(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["a1"], backend.users["a2"], backend.users["b1"] = "alice@example.com", "alice@example.com", "bob@example.com"
		v := newTestVerifier(t, backend, nil)
		ask := func(token string) string { return summary(v.verifyFrom(t.Context(), "", nil, pair(token))) }
		cached := func(token string) bool {
			before := backend.timesAsked(token)
			ask(token)
			return backend.timesAsked(token) == before
		}
		fill := func() {
			for _, token := range []string{"a1", "a2", "b1", "none", "other"} {
				ask(token)
			}
		}
		for _, test := range []struct {
			name    string
			change  frappe.Change
			dropped string
		}{
			{"user", frappe.Change{User: "alice@example.com"}, "a1 a2"},
			{"user in another case", frappe.Change{User: "ALICE@example.com"}, "a1 a2"},
			{"API key", frappe.Change{Key: "a1"}, "a1"},
			{"API key in another case", frappe.Change{Key: "A1"}, "a1"},
			{"API key that was denied", frappe.Change{Key: "none"}, "none"},
			{"access token of that name", frappe.Change{Token: "a1"}, ""},
			{"API key that Frappe cannot have made", frappe.Change{Key: "ä1"}, "a1 a2 b1 none other"},
			{"unknown user", frappe.Change{User: "carol@example.com"}, ""},
			{"nothing", frappe.Change{}, ""},
			{"both", frappe.Change{User: "bob@example.com", Key: "other"}, "b1 other"},
			{"everything", frappe.Change{Everything: true}, "a1 a2 b1 none other"},
		} {
			fill()
			v.state.cache.revoke(test.change)
			dropped := ""
			for _, token := range []string{"a1", "a2", "b1", "none", "other"} {
				if !cached(token) {
					dropped += " " + token
				}
			}
			if len(dropped) > 0 {
				dropped = dropped[1:]
			}
			if dropped != test.dropped {
				t.Errorf("%s: dropped %q, want %q", test.name, dropped, test.dropped)
			}
		}

		// Many revocations are forgotten only after what they concern was removed.
		fill()
		v.state.cache.revoke(frappe.Change{User: "alice@example.com"})
		for i := range 10_000 {
			v.state.cache.revoke(frappe.Change{User: fmt.Sprint(i)})
		}
		if cached("a1") || !cached("b1") {
			t.Error("a sweep removed the wrong verdicts")
		}

		// A lookup from before a revocation: its answer is not kept, and not given to those who come after.
		backend.set(func(d *doubleBackend) { d.delay = time.Second; d.users["late"] = "carol@example.com" })
		early := make(chan string, 1)
		go func() { early <- ask("late") }()
		synctest.Wait()
		v.state.cache.revoke(frappe.Change{User: "carol@example.com"})
		time.Sleep(500 * time.Millisecond)
		late := make(chan string, 1)
		go func() { late <- ask("late") }()
		synctest.Wait()
		if n := backend.timesAsked("late"); n != 2 {
			t.Errorf("asked %d times, want once before and once after the revocation", n)
		}
		<-early
		if g, _ := v.state.cache.Lookup(v.state.cache.subject(nil, new(pair("late")))); g != nil {
			t.Error("the answer to a lookup from before the revocation was kept")
		}
		<-late
		if !cached("late") {
			t.Error("the answer to the lookup from after it was not kept")
		}
	})
}
