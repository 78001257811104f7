package fleet_test

import (
	"context"
	"slices"
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

const secret = "0123456789abcdef0123456789abcdef"

// member is a Caddy of a fleet.
type member struct {
	*fleet.Fleet
	client *testutil.StoreClient
	logger *zap.Logger
	logs   *observer.ObservedLogs
	stop   func()

	mu      sync.Mutex
	applied []fleet.Revocation
}

// join makes a member whose clock is wrong by skew. It follows the log until the test ends.
func join(t *testing.T, store *testutil.Store, key string, skew time.Duration) *member {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	m := &member{client: store.Client(key), logger: zap.New(core), logs: logs}
	f, err := fleet.New(fleet.Config{
		Secret: []byte(key),
		Scope:  "backends",
		Apply: func(r fleet.Revocation) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.applied = append(m.applied, r)
		},
		Keep:   func() time.Duration { return time.Hour },
		Now:    func() time.Time { return time.Now().Add(skew) },
		Random: func() float64 { return 0.5 },
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Fleet = f
	m.stop = m.run(t, m.client)
	synctest.Wait()
	return m
}

// run attaches a connection and follows it, as one configuration does, until stop is called or the test ends.
func (m *member) run(t *testing.T, client *testutil.StoreClient) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	detach := m.Attach(client, m.logger)
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-done
		detach()
	}
	t.Cleanup(stop)
	return stop
}

// seen returns what was revoked in the member's memory since the last call of everythingRevoked.
func (m *member) seen() []fleet.Revocation {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.applied)
}

// everythingRevoked reports whether everything was revoked in the member's memory since the last call.
func (m *member) everythingRevoked() (revoked bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.applied {
		revoked = revoked || r.Everything
	}
	m.applied = nil
	return revoked
}

// put stores a verdict as if a backend had just granted.
func (m *member) put(t *testing.T, name string, keep time.Duration) {
	t.Helper()
	asked, ok := m.Begin()
	if !ok {
		t.Fatal("a member does not know the store's clock and log")
	}
	m.Exchange().Put(m.Name(name), asked, []byte(`"alice"`), keep)
}

// age returns the age of a verdict that the member would use, or -1.
func (m *member) age(name string, tags ...uint64) time.Duration {
	v := m.Exchange().Get(m.Name(name))
	if v == nil || !m.IsCurrent(v, tags...) {
		return -1
	}
	return v.Age
}

// TestVerdicts: a verdict of one Caddy serves another, with its age, for as long as it was stored for.
func TestVerdicts(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		a.put(t, "key", time.Minute)
		time.Sleep(20 * time.Second)
		if got := b.age("key", 1, 2); got != 20*time.Second {
			t.Errorf("age %s, want 20s", got)
		}
		if got := b.age("another", 1, 2); got != -1 {
			t.Errorf("another verdict has an age of %s", got)
		}
		a.Exchange().Delete(a.Name("key"))
		if got := b.age("key"); got != -1 {
			t.Errorf("a deleted verdict has an age of %s", got)
		}
	})
}

// TestForgery: whoever writes the store can lose verdicts, and no more.
func TestForgery(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		a.put(t, "alice", time.Minute)
		name := a.Name("alice")
		genuine := store.Values()[name]
		if b.age("alice") != 0 {
			t.Fatal("the genuine verdict does not serve")
		}

		for i := range genuine {
			changed := append([]byte(nil), genuine...)
			changed[i] ^= 1
			store.Replace(name, changed)
			if b.age("alice") != -1 {
				t.Fatalf("a verdict with byte %d changed serves", i)
			}
		}
		for _, short := range [][]byte{{}, {0}, genuine[:12], genuine[:len(genuine)-1]} {
			store.Replace(name, short)
			if b.age("alice") != -1 {
				t.Fatalf("a verdict of %d bytes serves", len(short))
			}
		}
		store.Replace(b.Name("bob"), genuine)
		if b.age("bob") != -1 {
			t.Error("a verdict that was moved to another name serves")
		}

		store.Replace(name, genuine)
		time.Sleep(time.Minute - 1)
		if b.age("alice") != time.Minute-1 {
			t.Error("a verdict does not serve until its end")
		}
		time.Sleep(time.Nanosecond)
		if b.age("alice") != -1 {
			t.Error("a verdict that was stored again after its end serves")
		}
	})
}

// TestSecret: Caddys with different secrets share nothing, and say so once. A short secret is an error.
func TestSecret(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a := join(t, store, secret, 0)
		b := join(t, store, "another secret of at least 32 bytes", 0)
		if a.Name("x") == b.Name("x") || string(a.TagKey()) == string(b.TagKey()) {
			t.Error("names or tags do not depend on the secret")
		}
		a.put(t, "x", time.Hour)
		store.Replace(b.Name("x"), store.Values()[a.Name("x")])
		if b.age("x") != -1 {
			t.Error("a verdict of another secret serves")
		}
		time.Sleep(10 * time.Minute)
		if n := a.logs.FilterMessageSnippet("another secret").Len() + b.logs.FilterMessageSnippet("another secret").Len(); n != 1 {
			t.Errorf("another secret was logged %d times", n)
		}
	})
	if _, err := fleet.New(fleet.Config{Secret: make([]byte, 31)}); err == nil {
		t.Error("a secret of 31 bytes is accepted")
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
		{"the writer is behind", -5 * time.Second, 0, 0, 0, 15 * time.Second, 15 * time.Second},
		{"the reader is ahead", 0, 5 * time.Second, 0, 0, 15 * time.Second, 15 * time.Second},
		{"the reader is behind", 0, -5 * time.Second, 0, 0, 10 * time.Second, 10 * time.Second},
		{"messages take their time", 0, 0, 40 * time.Millisecond, 0, 10 * time.Second, 10*time.Second + time.Second/2},
		{"the store's clock jumps ahead", 0, 0, 0, 30 * time.Second, 40 * time.Second, 40 * time.Second},
		{"the store's clock goes back a little", 0, 0, 0, -5 * time.Second, 10 * time.Second, 10 * time.Second},
		{"the store's clock goes back behind the verdict", 0, 0, 0, -30 * time.Second, -1, -1},
		{"all are wrong", -time.Second, 2 * time.Second, 10 * time.Millisecond, 4 * time.Second, 14 * time.Second, 15 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store := testutil.NewStore()
				a, b := join(t, store, secret, test.writer), join(t, store, secret, test.reader)
				for _, m := range []*member{a, b} {
					m.client.SetDelay(func() time.Duration { return test.delay })
				}
				time.Sleep(3 * time.Second)
				began := time.Now()
				a.put(t, "key", time.Hour)
				store.Jump(test.jump)
				time.Sleep(10*time.Second - time.Since(began))
				got := b.age("key")
				if got < test.min || got > test.max {
					t.Errorf("age %s, want %s to %s", got, test.min, test.max)
				}
			})
		})
	}
}

// TestRuns: of several configurations at once, one follows the log, and what it leaves undone is not lost.
func TestRuns(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		m := join(t, store, secret, 0)
		reads := m.client.Calls("Read")
		time.Sleep(time.Minute)
		alone := m.client.Calls("Read") - reads
		for range 9 {
			m.run(t, m.client)
		}
		reads = m.client.Calls("Read")
		time.Sleep(time.Minute)
		if n := m.client.Calls("Read") - reads; n > 2*alone { // ten readers would read ten times as often
			t.Errorf("ten configurations read the log %d times, one %d times", n, alone)
		}

		m.client.SetDelay(func() time.Duration { return 100 * time.Millisecond })
		m.Revoke(fleet.Revocation{Tags: []uint64{1}})
		time.Sleep(50 * time.Millisecond) // the revocation is on its way, and the configuration that sends it ends
		m.client.SetAway(true)
		m.stop()
		m.client.SetDelay(nil)
		m.client.SetAway(false)
		time.Sleep(5 * time.Second)
		if n := m.Stats().Pending; n != 0 {
			t.Errorf("%d revocations were never published", n)
		}
	})
}
