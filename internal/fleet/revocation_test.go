package fleet_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const (
	user, other, pairTag = uint64(1), uint64(2), uint64(3)
	next                 = time.Millisecond
)

func revoked(tags ...uint64) fleet.Revocation { return fleet.Revocation{Tags: tags} }

// TestRevocations: what one Caddy revokes is revoked in all, in memory and in the store. What was granted since is not.
func TestRevocations(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		a.put(t, "key", time.Hour)
		a.everythingRevoked()
		b.everythingRevoked()

		a.Revoke(revoked(user))
		if a.age("key", user) != -1 {
			t.Error("the verdict serves in the Caddy that revoked it")
		}
		if err := a.Publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(next)
		if b.age("key", pairTag, user) != -1 {
			t.Error("the verdict serves in another Caddy")
		}
		if b.age("key", pairTag, other) == -1 {
			t.Error("the verdict of somebody else does not serve")
		}
		for name, m := range map[string]*member{"the revoking": a, "the other": b} {
			if len(m.seen()) != 1 || !slices.Equal(m.seen()[0].Tags, []uint64{user}) {
				t.Errorf("in the memory of %s Caddy was revoked: %v", name, m.seen())
			}
		}
		b.put(t, "key", time.Hour)
		time.Sleep(next)
		if a.age("key", user) == -1 || b.age("key", user) == -1 {
			t.Error("a verdict from after the revocation does not serve")
		}

		a.Revoke(fleet.Revocation{Everything: true})
		time.Sleep(next) // without Publish
		if a.age("key") != -1 || b.age("key") != -1 || !b.everythingRevoked() {
			t.Error("something serves after everything was revoked")
		}
		b.everythingRevoked()
		b.RevokeElsewhere(revoked(user))
		time.Sleep(next)
		if len(b.seen()) != 0 || len(a.seen()) != 3 {
			t.Errorf("revoked elsewhere: here %v, there %v", b.seen(), a.seen())
		}
		if s := a.Stats(); s.Published != 2 || s.Received != 1 || !s.Up || s.Pending != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// TestRevokedWhileAsked: a verdict that a backend was asked for before a revocation is not used after it, whoever stores it when.
func TestRevokedWhileAsked(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b, c := join(t, store, secret, 0), join(t, store, secret, 0), join(t, store, secret, 0)
		asked, _ := a.Begin()
		b.Revoke(revoked(user))
		time.Sleep(next)
		a.Exchange().Put(a.Name("key"), asked, []byte("1"), time.Hour)
		for _, m := range []*member{a, b, c} {
			if m.age("key", user) != -1 {
				t.Error("the verdict serves")
			}
		}
	})
}

// TestOutbox: a revocation that cannot be published counts here at once, and is published when the store is back, even if it is
// read-only or full in between.
func TestOutbox(t *testing.T) {
	for _, test := range []struct {
		name string
		cut  func(c *testutil.StoreClient, off bool)
	}{
		{"away", (*testutil.StoreClient).SetAway},
		{"read-only", (*testutil.StoreClient).SetReadOnly},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store := testutil.NewStore()
				a, b := join(t, store, secret, 0), join(t, store, secret, 0)
				a.put(t, "key", time.Hour)
				test.cut(a.client, true)
				a.Revoke(revoked(user))
				if err := a.Publish(t.Context()); err == nil {
					t.Error("Publish says that all are told")
				}
				if b.age("key", user) == -1 {
					t.Error("the revocation has reached the others")
				}
				time.Sleep(time.Minute)
				if n := a.Stats().Pending; n != 1 {
					t.Errorf("%d revocations wait", n)
				}
				test.cut(a.client, false)
				if a.age("key", user) != -1 {
					t.Error("the verdict serves in the Caddy that revoked it, as long as the others do not know")
				}
				time.Sleep(3 * time.Second)
				if b.age("key", user) != -1 || a.age("key", user) != -1 {
					t.Error("the verdict serves although the store is back")
				}
				if n := a.Stats().Pending; n != 0 {
					t.Errorf("%d revocations wait", n)
				}
				if lost, back := a.logs.FilterMessageSnippet("not available").Len(), a.logs.FilterMessageSnippet("available again").Len(); lost != 1 || back != 1 {
					t.Errorf("logged %d times that the store is away, %d times that it is back", lost, back)
				}
			})
		})
	}
	t.Run("too many", func(t *testing.T) {
		testutil.Bubble(t, func(t *testing.T) {
			store := testutil.NewStore()
			a, b := join(t, store, secret, 0), join(t, store, secret, 0)
			a.client.SetReadOnly(true)
			b.everythingRevoked()
			for i := range uint64(5000) {
				a.Revoke(revoked(i))
			}
			if n := a.Stats().Pending; n > 4097 {
				t.Errorf("%d revocations wait", n)
			}
			a.client.SetReadOnly(false)
			time.Sleep(3 * time.Second)
			if !b.everythingRevoked() {
				t.Error("the other Caddy did not revoke everything")
			}
		})
	})
}

// TestLostLog: whatever may have been lost counts as revoked, in memory and in the store; afterwards all goes on.
func TestLostLog(t *testing.T) {
	for _, test := range []struct {
		name string
		lose func(s *testutil.Store)
	}{
		{"flushed", func(s *testutil.Store) {
			kept := s.Values() // of a replica, say
			s.Flush()
			for name, value := range kept {
				s.Replace(name, value)
			}
		}},
		{"evicted", (*testutil.Store).LoseLog},
		{"failed over", func(s *testutil.Store) { s.LoseEntries(2) }},
		{"failed over, and written to before it was read", func(s *testutil.Store) {
			s.LoseEntries(2)
			if _, err := s.Client(secret).Append(context.Background(), nil, 0); err != nil {
				panic(err)
			}
		}},
		{"reset", func(s *testutil.Store) {
			if err := s.Client(secret).Reset(context.Background(), "epoch 1"); err != nil {
				panic(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store := testutil.NewStore()
				a, b := join(t, store, secret, 0), join(t, store, secret, 0)
				for i := range uint64(5) {
					a.Revoke(revoked(100 + i))
					time.Sleep(next)
				}
				a.put(t, "early", time.Hour)
				a.Revoke(revoked(user)) // one of those that may be lost
				time.Sleep(next)
				a.Revoke(revoked(other))
				time.Sleep(next)
				a.put(t, "late", time.Hour)
				a.everythingRevoked()
				b.everythingRevoked()
				test.lose(store)
				time.Sleep(3 * time.Second)
				for name, m := range map[string]*member{"first": a, "second": b, "new": join(t, store, secret, 0)} {
					if m.age("early", user) != -1 || m.age("late", user) != -1 {
						t.Errorf("the %s Caddy uses a verdict from before", name)
					}
					if !m.everythingRevoked() {
						t.Errorf("the %s Caddy kept its memory", name)
					}
				}
				a.put(t, "new", time.Hour)
				if b.age("new", user) == -1 {
					t.Error("afterwards nothing is shared")
				}
				b.Revoke(revoked(user))
				time.Sleep(next)
				if a.age("new", user) != -1 {
					t.Error("afterwards no revocation arrives")
				}
				time.Sleep(time.Hour)
				if a.everythingRevoked() {
					t.Error("everything was revoked again")
				}
			})
		})
	}
}

// TestAway: a Caddy that does not hear of revocations uses no verdict of the store. One that missed some revokes everything.
func TestAway(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		a.put(t, "key", time.Hour)
		asked := b.Exchange().Get(b.Name("key"))
		b.everythingRevoked()
		b.client.SetAway(true)
		time.Sleep(4 * time.Second)
		if b.IsCurrent(asked) {
			t.Error("a Caddy that is cut off uses a verdict")
		}
		a.Revoke(revoked(user))
		time.Sleep(time.Minute)
		b.client.SetAway(false)
		time.Sleep(3 * time.Second)
		if b.age("key", user) != -1 || b.age("key", other) == -1 {
			t.Error("after a short absence: what was revoked serves, or nothing does")
		}
		if b.everythingRevoked() {
			t.Error("a Caddy that missed nothing revoked everything")
		}

		b.client.SetAway(true)
		for i := range uint64(10) {
			a.Revoke(revoked(100 + i))
			time.Sleep(time.Second)
		}
		store.Trim(5)
		b.client.SetAway(false)
		time.Sleep(3 * time.Second)
		if b.age("key", other) != -1 || !b.everythingRevoked() {
			t.Error("a Caddy that missed revocations did not revoke everything")
		}
		if a.age("key", other) == -1 {
			t.Error("one that missed nothing did")
		}
	})
}

// TestManyRevocations: no more than a number of revocations is remembered. Beyond it, older verdicts of the store are not used.
func TestManyRevocations(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		a.put(t, "key", time.Hour)
		for i := range uint64(5000) {
			a.Revoke(revoked(100 + i))
			if i%50 == 0 {
				time.Sleep(next)
			}
		}
		time.Sleep(next)
		if a.age("key", user) != -1 || b.age("key", user) != -1 {
			t.Error("a verdict from before serves")
		}
		a.put(t, "key", time.Hour)
		if a.age("key", user) == -1 || b.age("key", user) == -1 {
			t.Error("a verdict from after does not serve")
		}
	})
}

// TestNewcomer: a new Caddy knows the revocations that are still in the log.
func TestNewcomer(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a := join(t, store, secret, 0)
		a.put(t, "alice", time.Hour)
		a.put(t, "bob", time.Hour)
		a.Revoke(revoked(user))
		time.Sleep(next)
		b := join(t, store, secret, 0)
		if b.age("alice", user) != -1 || b.age("bob", other) == -1 {
			t.Error("a new Caddy uses a revoked verdict, or does not use a good one")
		}
		a.Revoke(revoked(100))
		time.Sleep(next)
		store.Trim(1)
		c := join(t, store, secret, 0)
		if c.age("bob", other) != -1 {
			t.Error("a new Caddy uses a verdict, though it cannot know whether it was revoked")
		}
	})
}

// TestReload: while a configuration replaces another, two loops follow the log. Everything is applied once.
func TestReload(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		for round := range 5 {
			stop := b.run(t, store.Client(secret))
			b.everythingRevoked()
			for i := range uint64(20) {
				a.Revoke(revoked(100 + i))
				time.Sleep(next)
			}
			if len(b.seen()) != 20 {
				t.Fatalf("round %d: %d of 20 revocations were applied: %v", round, len(b.seen()), b.seen())
			}
			b.stop()
			a.Revoke(revoked(user))
			time.Sleep(next)
			if got := fmt.Sprint(b.seen()[20:]); got != fmt.Sprint([]fleet.Revocation{revoked(user)}) {
				t.Fatalf("round %d: afterwards %s was applied", round, got)
			}
			b.stop = stop
		}
		b.client.SetAway(true) // the first connection, which is not used any more
		a.put(t, "key", time.Hour)
		if b.age("key") == -1 {
			t.Error("the newest connection is not used")
		}
	})
}
