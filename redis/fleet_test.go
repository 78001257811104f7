package redis

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// member is a Caddy that shares a server. It counts what it drops, and how often it looks.
type member struct {
	*fleet.Member
	tags, everything, looks atomic.Int64
}

// counted is a store whose looks are counted.
type counted struct {
	*Store
	member *member
}

type countedLink struct {
	fleet.Connection
	member *member
}

func (c counted) Connect() fleet.Connection { return &countedLink{c.Store.Connect(), c.member} }

func (c *countedLink) Look(ctx context.Context, q fleet.LookQuery) (fleet.LookReply, error) {
	c.member.looks.Add(1)
	return c.Connection.Look(ctx, q)
}

func joined(t testing.TB, s *Store) *member {
	t.Helper()
	m := new(member)
	m.Member = fleet.NewRegistry(time.Now, rand.Float64).Join(s.Place(), "backends", func(r fleet.Revocation) {
		if r.Everything {
			m.everything.Add(1)
		}
		m.tags.Add(int64(len(r.Tags)))
	})
	detach, err := m.Attach(counted{s, m}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		detach()
		m.Leave()
	})
	testutil.Eventually(t, "the first sync", func() bool { return m.Stats().LookAge >= 0 })
	return m
}

// TestOneTurn: Caddys that wait for another, which gets no verdict to share, go on as soon as it is done. None of them
// waits for a second one.
func TestOneTurn(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		const caddys = 20
		var members [caddys]*member
		for i := range members {
			members[i] = joined(t, open(t, &Store{URL: server.url(), RequestTimeout: caddy.Duration(maxTimeout)}))
		}
		never := func(*fleet.Verdict) bool { return false }
		first := members[0].Lookup(fleet.Limit{}, "a bad credential")
		first.Find(true, never)

		var waiters sync.WaitGroup
		for _, m := range members[1:] {
			waiters.Go(func() { m.Lookup(fleet.Limit{}, "a bad credential").Find(true, never) }) // who asks at once is slow
		}
		testutil.Eventually(t, "all wait", func() bool {
			// A Caddy that does not know the newest state looks some times before it waits.
			return !slices.ContainsFunc(members[1:], func(m *member) bool { return m.looks.Load() < 8 })
		})
		first.End(fleet.Outcome{})
		for _, m := range members {
			m.looks.Store(0)
		}
		waiters.Wait()
		for i, m := range members {
			if n := m.looks.Load(); n > 2 { // one that was under way, and one that saw the lock released
				t.Errorf("Caddy %d looked %d times more", i, n)
			}
		}
	})
}

// TestRevocations: what one Caddy revokes is dropped by all, once, and nothing else is, however many publish at once.
func TestRevocations(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		var members []*member
		for range 10 {
			members = append(members, joined(t, fresh(t, server)))
		}
		drops := func() (all []int64) {
			for _, m := range members {
				all = append(all, m.everything.Load())
			}
			return all
		}
		before := fmt.Sprint(drops())
		var publishers sync.WaitGroup
		for i, m := range members {
			publishers.Go(func() {
				m.Revoke(fleet.Revocation{Tags: []uint64{uint64(i)}})
				if err := m.Publish(soon(t)); err != nil {
					t.Errorf("Caddy %d: %v", i, err)
				}
			})
		}
		publishers.Wait()
		for i, m := range members {
			testutil.Eventually(t, fmt.Sprintf("Caddy %d has dropped all", i), func() bool { return m.tags.Load() >= 10 })
		}
		if after := fmt.Sprint(drops()); after != before {
			t.Errorf("everything was dropped: %s, before %s", after, before)
		}
	})
}
