package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const (
	secret  = "0123456789abcdef0123456789abcdef"
	another = "another secret of at least 32 bytes"

	// moment is how long a change takes to be heard by all.
	moment = 50 * time.Millisecond
)

// caddy is one Caddy of a fleet.
type caddy struct {
	*fleet.Member
	registry *fleet.Registry
	client   *testutil.StoreClient
	logs     *observer.ObservedLogs
	logger   *zap.Logger
	detach   func()

	mu    sync.Mutex
	drops []fleet.Revocation
}

// join starts a Caddy whose clock is ahead by skew.
func join(t *testing.T, client *testutil.StoreClient, skew time.Duration) *caddy {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	c := &caddy{client: client, logger: zap.New(core), logs: logs}
	c.registry = fleet.NewRegistry(func() time.Time { return time.Now().Add(skew) }, func() float64 { return 0.5 })
	c.Member = c.registry.Join(client.Place(), "backends", func(r fleet.Revocation) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.drops = append(c.drops, r)
	})
	c.attach(t, client)
	t.Cleanup(func() { c.detach(); c.Leave() })
	time.Sleep(moment)
	c.dropped()
	return c
}

func (c *caddy) attach(t *testing.T, client *testutil.StoreClient) {
	t.Helper()
	detach, err := c.Attach(client, c.logger)
	if err != nil {
		t.Fatal(err)
	}
	c.client, c.detach = client, detach
}

// reload replaces the configuration.
func (c *caddy) reload(t *testing.T, client *testutil.StoreClient) {
	t.Helper()
	before := c.detach
	c.attach(t, client)
	before()
	time.Sleep(moment)
}

// dropped says what was dropped since it was last asked.
func (c *caddy) dropped() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []string
	for _, r := range c.drops {
		if r.Everything {
			all = append(all, "everything")
		} else {
			slices.Sort(r.Tags)
			all = append(all, fmt.Sprint(r.Tags))
		}
	}
	c.drops = nil
	return strings.Join(all, " ")
}

// put asks a backend about a name, which grants.
func (c *caddy) put(t *testing.T, name string) {
	t.Helper()
	l := c.Lookup(fleet.Limit{}, name)
	if c.get(l) >= 0 {
		t.Errorf("%s is known already", name)
	}
	l.End(fleet.Outcome{Plain: []byte(name), Keep: time.Hour})
}

func (c *caddy) get(l *fleet.Lookup, tags ...uint64) (age time.Duration) {
	age = -1
	l.Find(true, func(v *fleet.Verdict) bool {
		if v.Current(tags...) {
			age = v.Age
		}
		return age >= 0
	})
	return age
}

// age returns the age of a verdict that the Caddy would use, or -1. It is what clocks may differ by unnoticed too high.
func (c *caddy) age(name string, tags ...uint64) time.Duration {
	l := c.Lookup(fleet.Limit{}, name)
	defer l.End(fleet.Outcome{})
	if age := c.get(l, tags...); age >= 0 {
		return age - 100*time.Millisecond
	}
	return -1
}

// bubble runs a test with two Caddys that share a store.
func bubble(t *testing.T, test func(t *testing.T, store *testutil.MemoryStore, a, b *caddy)) {
	t.Helper()
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewMemoryStore()
		a := join(t, store.Client(secret), 0)
		test(t, store, a, join(t, store.Client(secret), 0))
	})
}

// TestVerdicts: a verdict of one Caddy serves another, with its age, unless a tag of it was revoked since.
func TestVerdicts(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		a.put(t, "key")
		time.Sleep(20 * time.Second)
		if got := b.age("key", 1, 2); got != 20*time.Second {
			t.Errorf("age %s, want 20s", got)
		}
		if got := b.age("another"); got != -1 {
			t.Errorf("another verdict has an age of %s", got)
		}
		for _, r := range []fleet.Revocation{{Tags: []uint64{3}}, {Tags: []uint64{1}}} {
			a.Revoke(r)
			if err := a.Publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(moment)
		}
		if got := b.dropped(); got != "[3] [1]" {
			t.Errorf("the other drops %s", got)
		}
		if with, without := b.age("key", 1, 2), b.age("key", 2); with != -1 || without == -1 {
			t.Errorf("with a tag that was revoked %s, without one %s", with, without)
		}
		a.Revoke(fleet.Revocation{Everything: true})
		time.Sleep(moment)
		if got := b.age("key", 2); got != -1 || b.dropped() != "everything" {
			t.Errorf("after everything was revoked: %s", got)
		}
		if got := b.dropped() + a.dropped(); got != "[3] [1] everything" {
			t.Errorf("further drops: %s", got)
		}
	})
}

// TestForgery: whoever writes the store can lose verdicts, and no more.
func TestForgery(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		a.put(t, "alice")
		name := store.Keys("v")[0]
		genuine := store.Snapshot()[name]
		if b.age("alice") < 0 {
			t.Fatal("the genuine verdict does not serve")
		}
		for i := range genuine {
			changed := []byte(genuine)
			changed[i] ^= 1
			store.Replace(name, string(changed))
			if b.age("alice") != -1 {
				t.Fatalf("a verdict with byte %d changed serves", i)
			}
		}
		for _, short := range []int{1, 12, 28, len(genuine) - 1} {
			store.Replace(name, genuine[:short])
			if b.age("alice") != -1 {
				t.Fatalf("a verdict of %d bytes serves", short)
			}
		}
		a.put(t, "bob")
		for _, key := range store.Keys("v") {
			store.Replace(key, genuine)
		}
		if b.age("bob") != -1 {
			t.Error("a verdict that was moved to another name serves")
		}
		if b.age("alice") == -1 {
			t.Error("the genuine verdict does not serve any more")
		}
	})
}

// TestLosses: whatever the store may have lost counts as revoked, at each Caddy once, and at one that starts later.
func TestLosses(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(store *testutil.MemoryStore, before map[string]string, clients ...*testutil.StoreClient)
		once bool // everything is dropped
	}{
		{"nothing", func(*testutil.MemoryStore, map[string]string, ...*testutil.StoreClient) {}, false},
		{"the connections", func(_ *testutil.MemoryStore, _ map[string]string, clients ...*testutil.StoreClient) {
			for _, c := range clients {
				c.Redial()
			}
		}, false},
		{"everything", func(s *testutil.MemoryStore, _ map[string]string, _ ...*testutil.StoreClient) { s.Flush() }, true},
		{"the state", func(s *testutil.MemoryStore, _ map[string]string, _ ...*testutil.StoreClient) { s.LoseState() }, true},
		{"the state, which is garbage now", func(s *testutil.MemoryStore, _ map[string]string, _ ...*testutil.StoreClient) {
			s.Replace(s.Keys("s")[0], "no state of ours")
		}, true},
		{"one bit of the state", func(s *testutil.MemoryStore, _ map[string]string, _ ...*testutil.StoreClient) {
			key := s.Keys("s")[0]
			changed := []byte(s.Snapshot()[key])
			changed[len(changed)/2] ^= 4
			s.Replace(key, string(changed))
		}, true},
		{"what was written since", func(s *testutil.MemoryStore, before map[string]string, _ ...*testutil.StoreClient) {
			s.Restore(before)
		}, true},
		{"what was written since, in a restart", func(
			s *testutil.MemoryStore, before map[string]string, clients ...*testutil.StoreClient,
		) {
			s.Restart(before, clients...)
		}, true},
		{"nothing, in a restart", func(s *testutil.MemoryStore, _ map[string]string, clients ...*testutil.StoreClient) {
			s.Restart(s.Snapshot(), clients...)
		}, true},
		{"time", func(s *testutil.MemoryStore, _ map[string]string, _ ...*testutil.StoreClient) {
			s.Jump(-time.Minute)
		}, true},
		{"less time than the state is old", func(s *testutil.MemoryStore, _ map[string]string, _ ...*testutil.StoreClient) {
			time.Sleep(2 * time.Minute)
			s.Jump(-time.Minute)
		}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
				a.put(t, "key")
				before := store.Snapshot()
				verdict := store.Keys("v")[0]
				a.Revoke(fleet.Revocation{Tags: []uint64{1}})
				if err := a.Publish(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(moment)
				a.dropped()
				b.dropped()
				test.lose(store, before, a.client, b.client)
				store.Replace(verdict, before[verdict])
				late := join(t, store.Client(secret), 0)
				time.Sleep(3 * time.Second)
				want := ""
				if test.once {
					want = "everything"
				}
				for name, c := range map[string]*caddy{"one": a, "the other": b, "a new one": late} {
					got := c.dropped()
					if strings.Contains(test.name, "time") { // each Caddy that notices begins a generation
						got, _, _ = strings.Cut(got, " ")
					}
					if got != want && c != late {
						t.Errorf("%s drops %q, want %q", name, got, want)
					}
					if got := c.age("key", 1); got != -1 {
						t.Errorf("at %s Caddy, the revoked verdict serves", name)
					}
					if got := c.age("key", 2); test.once && got != -1 {
						t.Errorf("at %s Caddy, a verdict from before serves", name)
					}
				}
				b.put(t, "new")
				if a.age("new") == -1 || late.age("new") == -1 {
					t.Error("they do not share any more")
				}
			})
		})
	}
}

// TestDoubt: a Caddy that saw the state missing, and could not replace it, does not trust it when it is there again:
// something may have been revoked in between.
func TestDoubt(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		b.detach()
		a.client.SetReadOnly(true)
		before := store.Snapshot()
		store.LoseState()
		time.Sleep(3 * time.Second)
		store.Restore(before)
		a.client.SetReadOnly(false)
		time.Sleep(3 * time.Second)
		if got := a.dropped(); got != "everything" {
			t.Errorf("it drops %q", got)
		}
	})
}

// TestBudget: a store that loses the state all the time counts as away, after a while, and is used again later.
func TestBudget(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		for range 100 {
			store.LoseState()
			time.Sleep(1100 * time.Millisecond)
		}
		if n := strings.Count(a.dropped(), "everything"); n < 10 || n > 25 {
			t.Errorf("everything was dropped %d times in 110 s", n)
		}
		if a.Stats().Up || a.logs.FilterMessageSnippet("not available").Len() == 0 {
			t.Errorf("up: %t; logged: %v", a.Stats().Up, a.logs.All())
		}
		time.Sleep(time.Minute)
		if !a.Stats().Up {
			t.Error("it is not used again")
		}
		a.put(t, "key")
		if b.age("key") == -1 {
			t.Error("they do not share again")
		}
	})
}

// TestHold: Caddys keep their results to themselves for a while if a store that evicts any key loses the state again.
func TestHold(t *testing.T) {
	for _, evicts := range []bool{false, true} {
		t.Run(fmt.Sprint("evicts ", evicts), func(t *testing.T) {
			bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
				store.SetEvicts(evicts)
				for i, want := range []bool{true, !evicts} {
					store.LoseState()
					time.Sleep(2 * time.Second)
					name := fmt.Sprint("key", i)
					a.put(t, name)
					if got := b.age(name) != -1; got != want {
						t.Errorf("after loss %d, a result is shared: %t", i+1, got)
					}
				}
				time.Sleep(10 * time.Second)
				a.put(t, "later")
				if b.age("later") == -1 {
					t.Error("later, no result is shared")
				}
			})
		})
	}
}

// TestRoom: a store with little room left takes revocations, and neither results nor failures.
func TestRoom(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		store.SetFull(true)
		time.Sleep(2 * time.Second)
		l := a.Lookup(fleet.Limit{Client: "c", Max: 5, Window: time.Hour}, "key")
		l.Find(true, func(*fleet.Verdict) bool { return false })
		l.Charge()
		l.End(fleet.Outcome{Plain: []byte("x"), Keep: time.Hour})
		if got := append(store.Keys("v"), append(store.Keys("f"), store.Keys("l")...)...); len(got) > 0 {
			t.Errorf("stored: %v", got)
		}
		a.Revoke(fleet.Revocation{Tags: []uint64{1}})
		if err := a.Publish(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestReload: what waits is published after a reload, whatever it changes.
func TestReload(t *testing.T) {
	for _, test := range []struct {
		name string
		next func(store *testutil.MemoryStore, now *testutil.StoreClient) *testutil.StoreClient
	}{
		{"a password", func(s *testutil.MemoryStore, now *testutil.StoreClient) *testutil.StoreClient {
			return s.Client(secret)
		}},
		{"a timeout", func(s *testutil.MemoryStore, now *testutil.StoreClient) *testutil.StoreClient {
			c := s.Client(secret)
			c.Patience = time.Second
			return c
		}},
		{"the secret, in two steps", func(s *testutil.MemoryStore, now *testutil.StoreClient) *testutil.StoreClient {
			return s.Client(another).With(another, secret)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
				a.client.SetAway(true)
				a.Revoke(fleet.Revocation{Tags: []uint64{7}})
				if err := a.Publish(t.Context()); err == nil {
					t.Fatal("published without the store")
				}
				a.reload(t, test.next(store, a.client))
				time.Sleep(3 * time.Second)
				if got := b.dropped(); got != "[7]" || a.Stats().Pending != 0 {
					t.Errorf("the other drops %q, and %d wait", got, a.Stats().Pending)
				}
			})
		})
	}

	t.Run("the URL", func(t *testing.T) {
		bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
			elsewhere := testutil.NewMemoryStore()
			client := elsewhere.Client(secret)
			client.At.Server = "redis://elsewhere"
			other := join(t, client, 0)
			a.client.SetAway(true)
			a.Revoke(fleet.Revocation{Tags: []uint64{7}})
			next := elsewhere.Client(secret)
			next.At.Server = "redis://elsewhere"
			m := a.registry.Join(next.Place(), "backends", func(fleet.Revocation) {})
			detach, err := m.Attach(next, a.logger)
			if err != nil {
				t.Fatal(err)
			}
			a.detach()
			time.Sleep(3 * time.Second)
			if got := other.dropped(); got != "[7]" {
				t.Errorf("at the new URL, %q is dropped", got)
			}
			detach()
			m.Leave()
			if a.logs.FilterMessageSnippet("could not be published").Len() > 0 {
				t.Error("it was logged as lost")
			}
			a.attach(t, store.Client(secret))
		})
	})

	t.Run("share is removed, and comes back", func(t *testing.T) {
		bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
			a.client.SetAway(true)
			a.Revoke(fleet.Revocation{Tags: []uint64{7}})
			a.detach()
			if a.logs.FilterMessageSnippet("could not be published").Len() != 1 {
				t.Error("it was not logged")
			}
			a.attach(t, store.Client(secret))
			time.Sleep(3 * time.Second)
			if got := b.dropped(); got != "[7]" {
				t.Errorf("%q is dropped", got)
			}
		})
	})
}

// TestNewPlace: a Caddy that goes to another place takes no verdict there that it knows to be revoked, although the
// Caddys there have not heard of it.
func TestNewPlace(t *testing.T) {
	revoked := fleet.Revocation{Tags: []uint64{7}}
	for name, revoke := range map[string]func(a, b *caddy){
		"published where it was": func(a, b *caddy) { a.Revoke(revoked) },
		"found by itself":        func(a, b *caddy) { a.RevokeElsewhere(revoked) },
		"heard of another":       func(a, b *caddy) { b.Revoke(revoked) },
		"without sharing":        func(a, b *caddy) { a.registry.Revoked(revoked) },
		"everything":             func(a, b *caddy) { a.Revoke(fleet.Revocation{Everything: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
				elsewhere := testutil.NewMemoryStore()
				client := elsewhere.Client(secret)
				client.At.Server = "redis://elsewhere"
				other := join(t, client, 0)
				other.put(t, "key")
				time.Sleep(time.Second)
				revoke(a, b)
				if err := a.Publish(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(moment)
				next := elsewhere.Client(secret)
				next.At = client.At
				m := &caddy{Member: a.registry.Join(next.Place(), "backends", func(fleet.Revocation) {}), logger: a.logger}
				m.attach(t, next)
				defer m.Leave()
				defer m.detach()
				time.Sleep(time.Second)
				if age := m.age("key", 7); age != -1 {
					t.Errorf("a verdict of %s ago serves", age)
				}
				if other.age("key", 7) == -1 {
					t.Error("the other does not use it either")
				}
				other.put(t, "asked since")
				time.Sleep(time.Second)
				if m.age("asked since", 7) == -1 {
					t.Error("a later verdict does not serve")
				}
			})
		})
	}
}

// TestReloadDuringLookup: a lookup that began under one secret survives that another one takes its place, although the
// store never had a state under the first.
func TestReloadDuringLookup(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewMemoryStore()
		first := store.Client(secret)
		first.SetAway(true)
		a := join(t, first, 0)
		first.SetAway(false)
		var once sync.Once
		first.SetDelay(func() time.Duration {
			once.Do(func() { a.reload(t, store.Client(another)) })
			return 0
		})
		if a.age("key") != -1 {
			t.Error("a verdict")
		}
	})
}

// TestLookupWhileSharingEnds: a lookup at the moment in which the last configuration with a store ends.
func TestLookupWhileSharingEnds(t *testing.T) {
	client := testutil.NewMemoryStore().Client(secret)
	m := fleet.NewRegistry(time.Now, func() float64 { return 0.5 }).Join(client.Place(), "backends", func(fleet.Revocation) {})
	defer m.Leave()
	ended := make(chan struct{})
	var lookups sync.WaitGroup
	for range 4 {
		lookups.Go(func() {
			defer func() {
				if v := recover(); v != nil {
					t.Error(v)
				}
			}()
			for {
				select {
				case <-ended:
					return
				default:
					m.Lookup(fleet.Limit{}, "key").End(fleet.Outcome{})
				}
			}
		})
	}
	for range 2000 {
		detach, err := m.Attach(client, zap.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		detach()
	}
	close(ended)
	lookups.Wait()
}

// TestLockOutlivesNoReload: a lock that was taken with one connection is released with it, although a reload has
// brought another one; and the connection is closed after that.
func TestLockOutlivesNoReload(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		l := a.Lookup(fleet.Limit{}, "key")
		l.Find(true, func(*fleet.Verdict) bool { return false })
		first := a.client
		a.reload(t, store.Client(secret))
		if len(store.Keys("l")) != 1 || first.Open() != 1 {
			t.Fatalf("locks: %v; connections: %d", store.Keys("l"), first.Open())
		}
		began := time.Now()
		found := make(chan time.Duration)
		go func() { found <- b.age("key") }()
		synctest.Wait()
		l.End(fleet.Outcome{Plain: []byte("x"), Keep: time.Minute})
		if age := <-found; age == -1 || time.Since(began) > 100*time.Millisecond {
			t.Errorf("the other waits %s, and the verdict is %s old", time.Since(began), age)
		}
		if len(store.Keys("l")) > 0 || first.Open() != 0 {
			t.Errorf("locks: %v; connections: %d", store.Keys("l"), first.Open())
		}
	})
}

// TestFirstSync: the first lookups of a Caddy wait until it knows what was revoked, longer than for an answer.
func TestFirstSync(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewMemoryStore()
		join(t, store.Client(secret), 0).put(t, "key")
		client := store.Client(secret)
		began := time.Now()
		client.SetDelay(func() time.Duration {
			if time.Since(began) < 900*time.Millisecond {
				return time.Second / 2
			}
			return 0
		})
		registry := fleet.NewRegistry(time.Now, func() float64 { return 0.5 })
		late := &caddy{Member: registry.Join(client.Place(), "backends", func(fleet.Revocation) {}), logger: zap.NewNop()}
		late.attach(t, client)
		defer late.detach()
		if late.age("key") == -1 {
			t.Error("the first lookup does not find what another Caddy has stored")
		}
	})
}

// TestSecrets: Caddys with different secrets share nothing, and say so once. With both, a Caddy reads what each has
// stored, and hears what each revokes.
func TestSecrets(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewMemoryStore()
		old, next := join(t, store.Client(secret), 0), join(t, store.Client(another), 0)
		old.put(t, "old")
		next.put(t, "next")
		if old.age("next") != -1 || next.age("old") != -1 {
			t.Error("a verdict of another secret serves")
		}
		time.Sleep(5 * time.Minute)
		if n := old.logs.FilterMessageSnippet("another secret").Len() + next.logs.FilterMessageSnippet("another secret").Len(); n != 2 {
			t.Errorf("another secret was logged %d times", n)
		}
		both := join(t, store.Client(another).With(another, secret), 0)
		time.Sleep(time.Second)
		old.put(t, "by the old")
		next.put(t, "by the next")
		if both.age("by the old", 1) == -1 || both.age("by the next", 1) == -1 {
			t.Error("with both secrets, a verdict does not serve")
		}
		old.Revoke(fleet.Revocation{Tags: []uint64{1}})
		time.Sleep(moment)
		if both.age("by the old", 1) != -1 || both.age("by the next", 1) != -1 || next.age("by the next", 1) != -1 {
			t.Error("what is revoked under the old secret is not revoked under both")
		}
		if got := both.dropped() + " " + next.dropped(); got != "[1] [1]" {
			t.Errorf("dropped: %s", got)
		}
		both.Revoke(fleet.Revocation{Tags: []uint64{2}})
		if err := both.Publish(t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(moment)
		if got := old.dropped() + " " + next.dropped(); got != "[1] [2] [2]" {
			t.Errorf("dropped: %s", got)
		}
	})
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewMemoryStore()
		old, both := join(t, store.Client(secret), 0), join(t, store.Client(another).With(another, secret), 0)
		both.client.SetReadOnly(true)
		old.Revoke(fleet.Revocation{Everything: true})
		time.Sleep(3 * time.Second)
		if n := both.Stats().Pending; n != 1 {
			t.Errorf("%d wait to be published under the new secret, want 1", n)
		}
	})
	m := fleet.NewRegistry(time.Now, nil).Join(fleet.Place{}, "", nil)
	for _, client := range []*testutil.StoreClient{
		testutil.NewMemoryStore().Client(secret[:31]),
		testutil.NewMemoryStore().Client("").With(secret, secret, secret, secret, secret),
	} {
		if _, err := m.Attach(client, zap.NewNop()); err == nil {
			t.Errorf("%d secrets, the first of %d bytes, are accepted", 1+len(client.Old), len(client.Key))
		}
	}
}

// TestClocks: clocks that are wrong make a verdict look older, never younger.
func TestClocks(t *testing.T) {
	for _, test := range []struct {
		name           string
		writer, reader time.Duration // how far their clocks are ahead
		delay          time.Duration // of each message
		jump           time.Duration // of the store's clock, in between
		min, max       time.Duration // of the age after 10s; -1: none
	}{
		{"all right", 0, 0, 0, 0, 10 * time.Second, 10 * time.Second},
		{"the writer is ahead", 5 * time.Second, 0, 0, 0, 10 * time.Second, 10 * time.Second},
		{"the writer is behind", -5 * time.Second, 0, 0, 0, 14 * time.Second, 15 * time.Second},
		{"the reader is ahead", 0, 5 * time.Second, 0, 0, 14 * time.Second, 15 * time.Second},
		{"the reader is behind", 0, -5 * time.Second, 0, 0, 10 * time.Second, 10 * time.Second},
		{"messages take their time", 0, 0, 30 * time.Millisecond, 0, 10 * time.Second, 10*time.Second + time.Second/2},
		{"the store's clock jumps ahead", 0, 0, 0, 30 * time.Second, 40 * time.Second, 40 * time.Second},
		{"the store's clock goes back a little", 0, 0, 0, -5 * time.Second, -1, -1},
		{"the store's clock goes back", 0, 0, 0, -30 * time.Second, -1, -1},
		{"all are wrong", -time.Second, 2 * time.Second, 10 * time.Millisecond, 4 * time.Second, 14 * time.Second, 15 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store := testutil.NewMemoryStore()
				a, b := join(t, store.Client(secret), test.writer), join(t, store.Client(secret), test.reader)
				for _, c := range []*caddy{a, b} {
					c.client.SetDelay(func() time.Duration { return test.delay })
				}
				time.Sleep(3 * time.Second)
				began := time.Now()
				a.put(t, "key")
				store.Jump(test.jump)
				time.Sleep(10*time.Second - time.Since(began))
				if got := b.age("key"); got < test.min || got > test.max {
					t.Errorf("age %s, want %s to %s", got, test.min, test.max)
				}
			})
		})
	}
}

// TestFailures: failures of a client count together, each credential once, for each limit apart.
func TestFailures(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		limit := fleet.Limit{Client: "192.0.2.1", Max: 4, Window: 4 * time.Minute}
		fail := func(c *caddy, limit fleet.Limit, name string) time.Duration {
			l := c.Lookup(limit, name)
			l.Find(true, func(*fleet.Verdict) bool { return false })
			wait := l.Wait()
			l.Charge()
			l.End(fleet.Outcome{})
			return wait
		}
		for i, name := range []string{"one", "one", "two", "three", "four"} {
			if wait := fail([]*caddy{a, b}[i%2], limit, name); wait != 0 {
				t.Errorf("%d, %s: wait %s", i, name, wait)
			}
		}
		if wait := fail(a, limit, "five"); wait != time.Minute {
			t.Errorf("wait %s, want 1m", wait)
		}
		other := limit
		other.Client = "192.0.2.2"
		if wait := fail(b, other, "one"); wait != 0 {
			t.Errorf("another client: wait %s", wait)
		}
		other = limit
		other.Max = 5
		if wait := fail(b, other, "one"); wait != 0 {
			t.Errorf("another limit: wait %s", wait)
		}
		l := b.Lookup(limit, "many at once")
		l.Find(true, func(*fleet.Verdict) bool { return false })
		time.Sleep(2 * time.Minute)
		if wait := l.Wait(); wait != 0 {
			t.Errorf("looked at long ago, and paid since: wait %s", wait)
		}
		l.End(fleet.Outcome{})
	})
}

// TestManyRevocations: beyond what a state holds, verdicts from before the older half count as revoked, and nobody who
// has heard of all drops more.
func TestManyRevocations(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		a.put(t, "key")
		for i := range 50 {
			var tags []uint64
			for tag := range 100 {
				tags = append(tags, uint64(100*i+tag+10))
			}
			a.Revoke(fleet.Revocation{Tags: tags})
			if err := a.Publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(moment)
		}
		if got := b.dropped(); strings.Contains(got, "everything") {
			t.Error("everything is dropped")
		}
		if got := b.age("key", 1); got != -1 {
			t.Error("a verdict from before what is forgotten serves")
		}
		if n := len(store.Snapshot()[store.Keys("s")[0]]); n > 33<<10 {
			t.Errorf("the state has %d bytes", n)
		}
		b.put(t, "new")
		if a.age("new", 1) == -1 {
			t.Error("a new verdict does not serve")
		}
	})
}

// TestPanics: a store that panics counts as one that is away.
func TestPanics(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		a.client.SetDelay(func() time.Duration { panic("of the driver") })
		for range 20 {
			if a.age("key") != -1 {
				t.Error("a verdict")
			}
			time.Sleep(time.Second)
		}
		if a.Stats().Up || a.Publish(t.Context()) != nil {
			t.Error("it counts as up")
		}
		a.client.SetDelay(nil)
		time.Sleep(30 * time.Second)
		if !a.Stats().Up {
			t.Error("it is not used again")
		}
	})
}

// TestStopTakesASecond: the end of the last configuration waits for the store no longer than that.
func TestStopTakesASecond(t *testing.T) {
	bubble(t, func(t *testing.T, store *testutil.MemoryStore, a, b *caddy) {
		a.client.SetDelay(func() time.Duration { return time.Hour })
		a.Revoke(fleet.Revocation{Tags: []uint64{1}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if a.Publish(ctx) == nil {
			t.Error("published")
		}
		began := time.Now()
		a.detach()
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
