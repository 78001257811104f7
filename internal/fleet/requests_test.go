package fleet_test

import (
	"sync"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestLock: of several Caddys one asks the backend, and the others take its verdict. If it dies, they wait a few seconds.
func TestLock(t *testing.T) {
	ask := func(t *testing.T, members []*member, how func(m *member) (answered bool)) (asked int, took time.Duration) {
		var (
			wg    sync.WaitGroup
			mu    sync.Mutex
			began = time.Now()
		)
		for _, m := range members {
			wg.Go(func() {
				found := false
				unlock := m.Exchange().Lock(m.Name("key"), func() bool {
					found = m.age("key") != -1
					return found
				})
				if !found {
					mu.Lock()
					asked++
					mu.Unlock()
					if !how(m) {
						return
					}
				}
				unlock()
			})
		}
		wg.Wait()
		return asked, time.Since(began)
	}
	for _, test := range []struct {
		name     string
		cut      func(m *member)
		how      func(t *testing.T, m *member) (answered bool)
		asked    int
		min, max time.Duration
	}{
		{
			"one grants", nil,
			func(t *testing.T, m *member) bool {
				time.Sleep(time.Second)
				m.put(t, "key", time.Hour)
				return true
			}, 1, time.Second, 1100 * time.Millisecond,
		},
		{
			"all are denied", nil,
			func(*testing.T, *member) bool { time.Sleep(time.Second); return true }, 10, 2 * time.Second, 2100 * time.Millisecond,
		},
		{
			"each dies", nil,
			func(*testing.T, *member) bool { return false }, 10, 2900 * time.Millisecond, 3100 * time.Millisecond,
		},
		{
			"the store is away", func(m *member) { m.client.SetAway(true) },
			func(*testing.T, *member) bool { return true }, 10, 0, 0,
		},
		{
			"the store is read-only", func(m *member) { m.client.SetReadOnly(true) },
			func(*testing.T, *member) bool { return true }, 10, 0, 0,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store := testutil.NewStore()
				var members []*member
				for range 10 {
					m := join(t, store, secret, 0)
					if test.cut != nil {
						test.cut(m)
					}
					members = append(members, m)
				}
				asked, took := ask(t, members, func(m *member) bool { return test.how(t, m) })
				if asked != test.asked || took < test.min || took > test.max {
					t.Errorf("the backend was asked %d times in %s", asked, took)
				}
			})
		})
	}
}

// TestLockInVain: a Caddy that was not told in time that it had the lock does not keep the others waiting.
func TestLockInVain(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		a.client.SetDelay(func() time.Duration { return 60 * time.Millisecond })
		a.Exchange().Lock(a.Name("key"), func() bool { return false })()
		began := time.Now()
		b.Exchange().Lock(b.Name("key"), func() bool { return false })()
		if took := time.Since(began); took > 10*time.Millisecond {
			t.Errorf("the other waited %s", took)
		}
	})
}

// TestFailures: the failures of a client count at all Caddys together, and are paid off by time.
func TestFailures(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		limit := fleet.Limit{Client: "192.0.2.0/32", Max: 4, Window: time.Minute}
		for i := range 4 {
			for _, m := range []*member{a, b} {
				if wait := m.Exchange().Wait(limit); wait != 0 {
					t.Errorf("after %d failures the client has to wait %s", i, wait)
				}
			}
			[]*member{a, b}[i%2].Exchange().Charge(limit, "")
		}
		if wait := b.Exchange().Wait(limit); wait != 15*time.Second {
			t.Errorf("after all of them the client has to wait %s", wait)
		}
		a.Exchange().Charge(limit, "")
		if wait := b.Exchange().Wait(limit); wait != 15*time.Second {
			t.Errorf("after more than all of them the client has to wait %s", wait)
		}
		elsewhere, stricter := limit, limit
		elsewhere.Client, stricter.Max = "192.0.2.1/32", 2
		if a.Exchange().Wait(elsewhere) != 0 || a.Exchange().Wait(stricter) != 0 {
			t.Error("another client, or the same under another limit, has to wait")
		}
		time.Sleep(15 * time.Second)
		if wait := b.Exchange().Wait(limit); wait != 0 {
			t.Errorf("a quarter of the window later the client has to wait %s", wait)
		}
		b.client.SetAway(true)
		if wait := b.Exchange().Wait(limit); wait != 0 {
			t.Error("a client has to wait because the store is away")
		}
	})
}

// TestBreaker: a store that is slow costs a few requests its timeout, and then nothing until it is back.
func TestBreaker(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a := join(t, store, secret, 0)
		a.put(t, "key", time.Hour)
		a.client.SetDelay(func() time.Duration { return 10 * time.Second })
		var waited time.Duration
		for range 100 {
			began := time.Now()
			if a.age("key") != -1 {
				t.Fatal("a store that does not answer gave a verdict")
			}
			waited += time.Since(began)
		}
		if waited != 500*time.Millisecond {
			t.Errorf("100 requests waited %s, want five times 100 ms", waited)
		}
		if a.Stats().Up {
			t.Error("the store is reported as available")
		}
		for range 60 { // a request each second
			time.Sleep(time.Second)
			began := time.Now()
			a.age("key")
			waited += time.Since(began)
		}
		if waited > 3*time.Second {
			t.Errorf("in a minute, the requests waited %s", waited)
		}
		a.client.SetDelay(nil)
		time.Sleep(15 * time.Second)
		if a.age("key") == -1 || !a.Stats().Up {
			t.Error("the store is back, and not used")
		}
		if lost, back := a.logs.FilterMessageSnippet("not available").Len(), a.logs.FilterMessageSnippet("available again").Len(); lost != 1 || back != 1 {
			t.Errorf("logged %d times that the store is away, %d times that it is back", lost, back)
		}
	})
}

// TestNoStore: a Fleet without a store shares nothing, and refuses nothing.
func TestNoStore(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		a := join(t, testutil.NewStore(), secret, 0)
		a.put(t, "key", time.Hour)
		a.stop()
		if a.age("key") != -1 {
			t.Error("a verdict without a store")
		}
		if err := a.Publish(t.Context()); err == nil {
			t.Error("published without a store")
		}
		a.Exchange().Lock("key", func() bool { return false })()
	})
}
