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

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
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
	return func(ctx context.Context) error {
		return (&storeClient{connection: s.connection}).Done(ctx, fleet.DoneQuery{
			Lock: s.key("l"), Failures: s.key("f"), Verdict: s.key("v"), Value: []byte("x"), Keep: time.Minute,
		})
	}
}

func get(s *Store) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := (&storeClient{connection: s.connection}).Look(ctx, fleet.LookQuery{Lock: s.key("l"), Failures: s.key("f")})
		return err
	}
}

func (s *Store) key(kind string) string { return "{" + s.place.Prefix + "}:1:" + kind }

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
		waiting := make(chan error, 1)
		l := connected(t, s)
		dialled := l.Dialled()
		go func() { waiting <- l.Wait(t.Context(), []fleet.StateKeys{stateKeys}, []string{"0-0"}, time.Minute) }()
		server.Kill()
		ends(t, "waiting without a server", func() {
			if err := <-waiting; err == nil {
				t.Error("no error from waiting without a server")
			}
		})
		if err := promptly(t, set(s)); err == nil {
			t.Error("no error after the server was killed")
		}
		server.Start()
		testutil.Eventually(t, "it works again", works(t, s))
		if l.Dialled() == dialled {
			t.Error("after a restart the connection counts as the same")
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
				if _, err := (&storeClient{connection: s.connection}).Sync(soon(t), fleet.SyncQuery{Note: s.key("n")}); err != nil {
					t.Errorf("comparing the state: %v", err)
				}
			}
			if test.mend != nil {
				server.Must(test.mend...)
			}
			testutil.Eventually(t, "it works again", works(t, s))
			publish(t, connected(t, s), "", oneState)
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
