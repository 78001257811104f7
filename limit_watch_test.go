package frappeauth

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestInFlightLimit: the backend never sees more than max_inflight at once, unknown credentials leave places for known ones, and
// waiting is bounded in number and time.
func TestInFlightLimit(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const places = 4
		backend := newDoubleBackend()
		backend.users["known"] = "alice@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) { c.maxInflight = places })
		v.verifyFrom(t.Context(), "", nil, pair("known"))
		time.Sleep(time.Minute) // its verdict expires
		backend.set(func(d *doubleBackend) { d.delay = 2 * time.Second })

		outcomes := make(map[string]int)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 2 * places * backends.WaitingPerCall {
			wg.Go(func() {
				got := summary(v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("unknown-", i))))
				mu.Lock()
				outcomes[got]++
				mu.Unlock()
			})
		}
		synctest.Wait()
		start := time.Now()
		if got := summary(v.verifyFrom(t.Context(), "", nil, pair("known"))); got != cacheMiss || time.Since(start) > 2*time.Second {
			t.Errorf("a known credential in a flood: %s after %s", got, time.Since(start))
		}
		wg.Wait()
		if backend.most > places {
			t.Errorf("the backend saw %d at once", backend.most)
		}
		if waited := time.Since(start); waited > backends.MaxWait+2*time.Second {
			t.Errorf("the last waited %s", waited)
		}
		if outcomes["503"] == 0 || outcomes["401"] < places || len(outcomes) != 2 {
			t.Errorf("outcomes %v", outcomes)
		}
		if open := v.state.backends[0].Open(); len(open) > 0 {
			t.Error("being busy was taken for a failure of the backend")
		}
	})
}

// TestWatch: what a backend reports as changed is dropped at once, and no report makes a verdict serve for longer than its ttl.
func TestWatch(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := watchedDouble{doubleBackend: newDoubleBackend(), looks: make(chan []frappe.Change)}
		backend.users["x"] = "alice@example.com"
		v := newTestVerifier(t, backend, nil)
		age := func() time.Duration {
			synctest.Wait()
			age, ok := v.state.backends[0].Watch.Age(time.Now())
			if !ok {
				t.Fatal("the watch has no age")
			}
			return age
		}
		ask := func() string {
			a := summary(v.verifyFrom(t.Context(), "", nil, pair("x")))
			synctest.Wait()
			return a
		}
		time.Sleep(time.Minute - 1)
		if got := age(); got != time.Minute-1 {
			t.Errorf("almost a minute without a look: age %s", got)
		}
		time.Sleep(time.Nanosecond)
		backend.looks <- nil // drops what was confirmed before
		synctest.Wait()
		ask()
		for range 30 {
			time.Sleep(time.Second)
			backend.looks <- nil
		}
		if got := age(); got != 0 {
			t.Errorf("after a look: age %s", got)
		}
		backend.set(func(d *doubleBackend) { delete(d.users, "x") }) // seen by nobody
		time.Sleep(30*time.Second - 1)
		if got := ask(); got != cacheHit {
			t.Errorf("before the end of the ttl: %s", got)
		}
		time.Sleep(time.Nanosecond)
		if got := ask(); got != "401" {
			t.Errorf("after the ttl, however often the backend looked: %s", got)
		}

		backend.set(func(d *doubleBackend) { d.users["x"] = "alice@example.com" })
		time.Sleep(5 * time.Second)
		ask()
		backend.looks <- []frappe.Change{{User: "alice@example.com"}}
		synctest.Wait()
		asked := backend.timesAsked("x")
		if ask(); backend.timesAsked("x") != asked+1 {
			t.Error("a reported change did not drop the verdict")
		}
	})
}
