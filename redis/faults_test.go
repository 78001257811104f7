package redis

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// ends fails the test if something does not end within half a minute, which is longer than a busy machine takes.
func ends(t testing.TB, what string, do func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s hangs", what)
	}
}

// promptly calls a store as a request does, and fails the test if that does not end with its timeout.
func promptly(t testing.TB, call func(ctx context.Context) error) (err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	ends(t, "a call", func() { err = call(ctx) })
	return err
}

func set(s *Store) func(context.Context) error {
	return func(ctx context.Context) error { return s.Set(ctx, "n", []byte("x"), time.Minute) }
}

func get(s *Store) func(context.Context) error {
	return func(ctx context.Context) error { _, err := s.Get(ctx, "n"); return err }
}

func works(t testing.TB, s *Store) func() bool {
	return func() bool { return promptly(t, set(s)) == nil && promptly(t, get(s)) == nil }
}

// TestAway: a store starts without its Redis, fails at once while there is none, and works by itself when there is.
func TestAway(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		server.Kill()
		s := fresh(t, server)
		if err := promptly(t, get(s)); err == nil || !strings.Contains(err.Error(), server.url()) {
			t.Errorf("without a server: %v", err)
		}
		server.Start()
		testutil.Eventually(t, "it works", works(t, s))
		reading := make(chan error, 1)
		last := read(t, s, frappe.Position{}, time.Millisecond)
		go func() { _, err := s.Read(t.Context(), last[0].Position, time.Minute); reading <- err }()
		server.Kill()
		if err := <-reading; err == nil {
			t.Error("reading goes on without a server")
		}
		if err := promptly(t, set(s)); err == nil {
			t.Error("no error after the server was killed")
		}
		server.Start()
		testutil.Eventually(t, "it works again", works(t, s))
		if got := read(t, s, last[0].Position, time.Millisecond); got[0].Epoch == last[0].Epoch || got[0].Sequence != 1 {
			t.Errorf("after a restart without the log: %v, before %v", got, last)
		}
	})
}

// TestFaults: what a server in trouble does to a store, and that the store recovers.
func TestFaults(t *testing.T) {
	for _, test := range []struct {
		name          string
		trouble, mend []string
		reads         bool   // still
		want          string // in the error of a write
		beforeTrouble []string
	}{
		{name: "read-only", trouble: []string{"REPLICAOF", "127.0.0.1", "1"}, mend: []string{"REPLICAOF", "NO", "ONE"}, reads: true, want: "READONLY"},
		{
			name: "full", trouble: []string{"CONFIG", "SET", "maxmemory", "1"}, mend: []string{"CONFIG", "SET", "maxmemory", "0"},
			beforeTrouble: []string{"CONFIG", "SET", "maxmemory-policy", "noeviction"}, reads: true, want: "OOM",
		},
		{name: "paused", trouble: []string{"CLIENT", "PAUSE", "1500", "ALL"}, want: context.DeadlineExceeded.Error()},
		{name: "no more scripts in memory", trouble: []string{"SCRIPT", "FLUSH"}, reads: true},
		{name: "flushed", trouble: []string{"FLUSHALL"}, reads: true},
		{name: "connections cut", trouble: []string{"CLIENT", "KILL", "TYPE", "normal"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startRedis(t)
			s := fresh(t, server)
			testutil.Eventually(t, "it works", works(t, s))
			if test.beforeTrouble != nil {
				server.Must(test.beforeTrouble...)
			}
			server.Must(test.trouble...)
			if err := promptly(t, set(s)); test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("writing: %v", err)
			}
			if err := promptly(t, get(s)); test.reads && err != nil {
				t.Errorf("reading: %v", err)
			}
			if test.reads {
				if _, err := s.Time(soon(t)); err != nil {
					t.Errorf("time: %v", err)
				}
			}
			if test.mend != nil {
				server.Must(test.mend...)
			}
			testutil.Eventually(t, "it works again", works(t, s))
			if _, err := s.Append(soon(t), []byte("x"), time.Hour); err != nil {
				t.Errorf("append: %v", err)
			}
		})
	}
}

// TestHangs: while the server hangs, calls return in time, and a canceled one at once.
func TestHangs(t *testing.T) {
	server := startRedis(t)
	s := fresh(t, server)
	testutil.Eventually(t, "it works", works(t, s))
	server.Must("CLIENT", "PAUSE", "1500")
	testutil.Eventually(t, "it hangs", func() bool {
		return errors.Is(promptly(t, set(s)), context.DeadlineExceeded)
	})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := set(s)(canceled); err == nil {
		t.Error("canceled, and no error")
	}
	testutil.Eventually(t, "it works again", works(t, s))
}

// TestMute: there is a server that never says anything, and neither loading nor a call waits for that.
func TestMute(t *testing.T) {
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	var s *Store
	ends(t, "loading", func() { s = open(t, &Store{URL: "redis://" + mute.Addr().String()}) })
	for range 3 {
		if err := promptly(t, get(s)); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errNotYet) {
			t.Errorf("a call waits until connecting has failed: %v", err)
		}
	}
	ends(t, "closing", func() {
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	s.connection = nil
}

// TestEvicted: when the log is evicted, a new epoch begins.
func TestEvicted(t *testing.T) {
	server := startRedis(t, "--maxmemory-policy", "allkeys-lru")
	s := fresh(t, server)
	before := read(t, s, frappe.Position{}, time.Millisecond)
	server.Must("CONFIG", "SET", "maxmemory", "1")
	server.Run("SET", "other", "x") // makes it evict
	server.Must("CONFIG", "SET", "maxmemory", "0")
	if got := read(t, s, before[0].Position, time.Millisecond); got[0].Epoch == before[0].Epoch {
		t.Errorf("%v, before %v", got, before)
	}
}

// TestSharedConnection: stores with the same address have one connection, which the last one closes.
func TestSharedConnection(t *testing.T) {
	server := startRedis(t)
	clients := func() int {
		list, err := server.Run("CLIENT", "LIST").ToString()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(list, "name=shared")
	}
	provision := func() *Store {
		s := &Store{URL: server.url() + "?client_name=shared", SharedSecret: secret}
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		defer cancel()
		if err := s.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b := provision(), provision()
	testutil.Eventually(t, "both work", func() bool { return works(t, a)() && works(t, b)() })
	if n := clients(); n != 1 {
		t.Errorf("%d connections", n)
	}
	a.Cleanup()
	if !works(t, b)() || clients() != 1 {
		t.Error("the connection that is in use was closed")
	}
	b.Cleanup()
	testutil.Eventually(t, "the connection is closed", func() bool { return clients() == 0 })
	if err := promptly(t, get(b)); err == nil {
		t.Error("no error from a store that is closed")
	}
}

// TestRenewal: a command survives that the connection it was about to use is replaced, because Redis is read-only.
func TestRenewal(t *testing.T) {
	server := startRedis(t)
	s := fresh(t, server)
	testutil.Eventually(t, "it works", works(t, s))
	before := s.connection.current.Load().client
	server.Must("REPLICAOF", "127.0.0.1", "1")
	if err := promptly(t, set(s)); err == nil || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("writing: %v", err)
	}
	ping := func(ctx context.Context, client rueidis.Client) (struct{}, error) {
		if client == before {
			for !errors.Is(client.Do(ctx, client.B().Ping().Build()).Error(), rueidis.ErrClosing) && ctx.Err() == nil {
				time.Sleep(time.Millisecond)
			}
		}
		return struct{}{}, client.Do(ctx, client.B().Ping().Build()).Error()
	}
	if _, err := wait(t.Context(), s.connection, t.Context(), 30*time.Second, ping); err != nil {
		t.Error(err)
	}
	if s.connection.current.Load().client == before {
		t.Error("the connection was not replaced")
	}
}
