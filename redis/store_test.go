package redis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// connected returns a store's connection until the test ends.
func connected(t testing.TB, s *Store) fleet.Connection {
	t.Helper()
	l := s.Connect()
	t.Cleanup(l.Close)
	return l
}

func key(kind string) string { return "{frappe_auth}:1:" + kind }

var stateKeys = fleet.StateKeys{State: key("s"), Wake: key("w")}

// looked looks for a verdict, and takes the lock unless lock is 0.
func looked(t testing.TB, s fleet.Connection, owner string, lock time.Duration, unwanted string) fleet.LookReply {
	t.Helper()
	got, err := s.Look(soon(t), fleet.LookQuery{
		Lock: key("l"), Failures: key("f"), Owner: owner, LockFor: lock,
		Rings: []fleet.LookRing{{State: key("s"), Verdict: key("v"), Unwanted: unwanted}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// done ends a lookup.
func done(t testing.TB, s fleet.Connection, q fleet.DoneQuery) {
	t.Helper()
	q.Lock, q.Failures, q.Verdict = key("l"), key("f"), key("v")
	if err := s.Done(soon(t), q); err != nil {
		t.Fatal(err)
	}
}

// TestVerdicts: what one store writes, the other reads, until it is deleted or its time is over.
func TestVerdicts(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		a, b := connected(t, fresh(t, server)), connected(t, fresh(t, server))
		value := "\x00\xff\r\n{}, and further"
		before := time.Now().UnixMicro()
		got := looked(t, b, "b", 0, "")
		if got.Rings[0].Verdict != "" || got.Time < before || got.Time > time.Now().UnixMicro() {
			t.Fatalf("before: %+v", got)
		}
		put := fleet.DoneQuery{Owner: "a", Value: []byte(value), Keep: time.Minute}
		done(t, a, put)
		if got := looked(t, b, "b", time.Minute, "").Rings[0].Verdict; got != value {
			t.Errorf("stored: %q", got)
		}
		if left, _ := server.Run("PTTL", key("v")).AsInt64(); left <= 50_000 || left > 60_000 {
			t.Errorf("the value is kept for %d ms", left)
		}
		if got := looked(t, b, "b", 0, value[:12]).Rings[0].Verdict; got != "" {
			t.Errorf("not wanted: %q", got)
		}
		if got := looked(t, b, "b", 0, "another one.").Rings[0].Verdict; got != value {
			t.Errorf("another one not wanted: %q", got)
		}
		done(t, b, fleet.DoneQuery{Owner: "b", Delete: true})
		if got := looked(t, a, "a", 0, "").Rings[0].Verdict; got != "" {
			t.Errorf("deleted: %q", got)
		}
		put.Keep = 20 * time.Millisecond
		done(t, a, put)
		testutil.Eventually(t, "the value is gone", func() bool { return looked(t, b, "b", 0, "").Rings[0].Verdict == "" })
	})
}

// TestLocks: a lock has one owner, until that one is done or its time is over. There is none where there is a verdict.
func TestLocks(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		a, b := connected(t, fresh(t, server)), connected(t, fresh(t, server))
		for i, step := range []struct {
			name string
			do   func() string
			want string
		}{
			{"only looked", func() string { return looked(t, a, "a", 0, "").Holder }, ""},
			{"free", func() string { return looked(t, a, "a", time.Minute, "").Holder }, "a"},
			{"held by another", func() string { return looked(t, b, "b", time.Minute, "").Holder }, "a"},
			{"held by the same", func() string { return looked(t, a, "a", time.Minute, "").Holder }, "a"},
			{"released by another", func() string {
				done(t, b, fleet.DoneQuery{Owner: "b"})
				return looked(t, b, "b", 0, "").Holder
			}, "a"},
			{"released", func() string {
				done(t, a, fleet.DoneQuery{Owner: "a"})
				return looked(t, b, "b", 20*time.Millisecond, "").Holder
			}, "b"},
			{"over", func() string {
				testutil.Eventually(t, "it is free", func() bool { return looked(t, a, "a", time.Minute, "").Holder == "a" })
				return "a"
			}, "a"},
			{"with a verdict", func() string {
				done(t, a, fleet.DoneQuery{Owner: "a", Value: []byte("a verdict, of some length"), Keep: time.Minute})
				return looked(t, b, "b", time.Minute, "").Holder
			}, ""},
			{"with one that is not wanted", func() string { return looked(t, b, "b", time.Minute, "a verdict, o").Holder }, "b"},
		} {
			if got := step.do(); got != step.want {
				t.Errorf("%d, %s: %q", i, step.name, got)
			}
		}
	})
}

// TestFailures: failures of a client add up at all stores, each credential once, to the window at most, and time pays
// them off.
func TestFailures(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		a, b := connected(t, fresh(t, server)), connected(t, fresh(t, server))
		debt := func(s fleet.Connection) time.Duration {
			got := looked(t, s, "x", 0, "")
			if got.Paid == "" {
				return 0
			}
			paid, err := strconv.ParseInt(got.Paid, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(paid-got.Time) * time.Microsecond
		}
		fail := func(s fleet.Connection, fingerprint string, cost, window time.Duration) {
			done(t, s, fleet.DoneQuery{Cost: cost, Window: window, Fingerprint: fingerprint, Most: 4})
		}
		near := func(name string, want time.Duration) {
			t.Helper()
			if got := debt(b); got > want || got < want-20*time.Second {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
		if got := debt(a); got != 0 {
			t.Errorf("no failure yet: %s", got)
		}
		fail(a, "\x00one....", 10*time.Minute, time.Hour)
		near("first", 10*time.Minute)
		fail(b, "\x00one....", 10*time.Minute, time.Hour)
		near("the same credential at another", 10*time.Minute)
		fail(b, "two.....", 10*time.Minute, time.Hour)
		near("another credential", 20*time.Minute)
		fail(b, "", 10*time.Minute, time.Hour)
		near("one that always counts", 30*time.Minute)
		for i := range 40 {
			fail(a, fmt.Sprintf("%08d", i), 10*time.Minute, time.Hour)
		}
		near("beyond the window", time.Hour)
		if n, _ := server.Run("STRLEN", key("f")).AsInt64(); n != 16+4*8 {
			t.Errorf("%d bytes are stored for a client", n)
		}
		server.Must("SET", key("f"), strings.Repeat("9", 16)+"\x00one....")
		fail(a, "three...", time.Second, time.Hour)
		near("a writer has put it off", time.Hour)
		server.Must("DEL", key("f"))
		fail(a, "one.....", 50*time.Millisecond, time.Hour)
		testutil.Eventually(t, "it is paid off, and gone", func() bool {
			n, err := server.Run("EXISTS", key("f")).AsInt64()
			return n == 0 && err == nil && debt(b) == 0
		})
		var together sync.WaitGroup
		for i := range 50 {
			together.Go(func() { fail(a, fmt.Sprintf("a%07d", i), time.Minute, 24*time.Hour) })
			together.Go(func() { fail(b, fmt.Sprintf("b%07d", i), time.Minute, 24*time.Hour) })
		}
		together.Wait()
		near("a hundred at once", 100*time.Minute)
	})
}

// synced compares the state with a known version.
func synced(t testing.TB, s fleet.Connection, known string) fleet.Synced {
	t.Helper()
	got, err := s.Sync(soon(t), fleet.SyncQuery{Note: key("n"), Rings: []fleet.StateKeys{stateKeys}, Known: []string{known}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Replication) != 40 {
		t.Errorf("the replication ID is %q", got.Replication)
	}
	return got.Rings[0]
}

// publish replaces the state of a version. It reports whether that was the version.
func publish(t testing.TB, s fleet.Connection, version, state string) bool {
	t.Helper()
	ok, err := s.Publish(soon(t), stateKeys, version, []byte(state))
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

const (
	oneState     = "the version 1: what is known"
	anotherState = "the version 2: what is known"
)

// TestStates: a state is replaced only if its version is the known one, and who waits is woken, whatever somebody else
// has made of the keys.
func TestStates(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		a, b := connected(t, fresh(t, server)), connected(t, fresh(t, server))
		if got := synced(t, a, ""); got != (fleet.Synced{Wake: "0-0"}) {
			t.Errorf("there is no state: %+v", got)
		}
		if publish(t, a, oneState[:12], anotherState) || !publish(t, a, "", oneState) || publish(t, b, "", anotherState) {
			t.Error("a state replaces one that was not known")
		}
		got := synced(t, b, "")
		if got.Version != oneState[:12] || got.State != oneState || got.Wake == "0-0" {
			t.Errorf("the state: %+v", got)
		}
		if got := synced(t, b, oneState[:12]); got.State != "" {
			t.Errorf("a state that is known: %+v", got)
		}
		for name, trouble := range map[string][]string{
			"nothing":         {"PING"},
			"another type":    {"EVAL", "redis.call('DEL', KEYS[1]); redis.call('SET', KEYS[1], 'x')", "1", stateKeys.Wake},
			"no ID is left":   {"XADD", stateKeys.Wake, fmt.Sprintf("%d-%[1]d", uint64(math.MaxUint64)), "v", ""},
			"no wake at all":  {"DEL", stateKeys.Wake},
			"state is a list": {"EVAL", "redis.call('DEL', KEYS[1]); redis.call('RPUSH', KEYS[1], 'x')", "1", stateKeys.State},
		} {
			t.Run(name, func(t *testing.T) {
				server.Must(trouble...)
				before := synced(t, b, "")
				woken := make(chan error, 1)
				go func() {
					woken <- b.Wait(context.Background(), []fleet.StateKeys{stateKeys}, []string{before.Wake}, 2*time.Second)
				}()
				if !publish(t, a, before.Version, anotherState) || synced(t, b, "").State != anotherState {
					t.Error("the state is not replaced")
				}
				if err := <-woken; err != nil && name != "another type" {
					t.Error(err)
				}
			})
		}
		server.Must("DEL", stateKeys.State)
		var (
			together sync.WaitGroup
			mu       sync.Mutex
			won      int
		)
		for i := range 20 {
			together.Go(func() {
				if publish(t, []fleet.Connection{a, b}[i%2], "", oneState) {
					mu.Lock()
					defer mu.Unlock()
					won++
				}
			})
		}
		together.Wait()
		if won != 1 {
			t.Errorf("%d of 20 have replaced the same state", won)
		}
	})
}

// TestWait: who waits is woken at once, and otherwise waits no longer than told.
func TestWait(t *testing.T) {
	server := startRedis(t)
	a, b := connected(t, fresh(t, server)), connected(t, fresh(t, server))
	publish(t, a, "", oneState)
	rings, after := []fleet.StateKeys{stateKeys}, []string{synced(t, a, "").Wake}
	if err := b.Wait(soon(t), rings, after, 10*time.Millisecond); err != nil {
		t.Errorf("nothing happens: %v", err)
	}
	woken := make(chan error, 1)
	go func() { woken <- b.Wait(t.Context(), rings, after, time.Minute) }()
	publish(t, a, oneState[:12], anotherState)
	ends(t, "waiting", func() {
		if err := <-woken; err != nil {
			t.Error(err)
		}
	})
	ends(t, "waiting for what happened before", func() {
		if err := b.Wait(soon(t), rings, after, time.Minute); err != nil {
			t.Error(err)
		}
	})
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	ends(t, "a canceled wait", func() {
		if err := b.Wait(canceled, rings, []string{synced(t, a, "").Wake}, time.Minute); err == nil {
			t.Error("canceled, and no error")
		}
	})
}

// TestNote: stores see what the last one has written.
func TestNote(t *testing.T) {
	server := startRedis(t)
	a, b := connected(t, fresh(t, server)), connected(t, fresh(t, server))
	for i, step := range []struct {
		store       fleet.Connection
		write, want string
	}{{a, "a", ""}, {b, "", ""}, {b, "b", "a"}, {a, "a", "b"}} {
		got, err := step.store.Sync(soon(t), fleet.SyncQuery{Note: key("n"), Write: step.write})
		if err != nil || got.Note != step.want {
			t.Errorf("step %d: %q %v", i, got.Note, err)
		}
	}
}

// TestRoom: a server says when it has little room left and evicts nothing.
func TestRoom(t *testing.T) {
	for _, test := range []struct {
		policy string
		used   float64 // of the memory that it may use
		want   bool
	}{
		{"noeviction", 0, false}, {"noeviction", 0.5, false}, {"noeviction", 0.95, true}, {"noeviction", 2, true}, {"volatile-lru", 0.95, false},
	} {
		t.Run(fmt.Sprint(test.policy, " ", test.used), func(t *testing.T) {
			server := startRedis(t, "--maxmemory-policy", test.policy)
			s := connected(t, fresh(t, server))
			synced(t, s, "")
			if test.used > 0 {
				used, err := strconv.ParseFloat(server.info("used_memory"), 64)
				if err != nil {
					t.Fatal(err)
				}
				server.Must("CONFIG", "SET", "maxmemory", fmt.Sprintf("%.0f", used/test.used))
			}
			got, err := s.Sync(soon(t), fleet.SyncQuery{Note: key("n")})
			if err != nil || got.Full != test.want {
				t.Errorf("%t %v", got.Full, err)
			}
		})
	}
}

// TestPlaces: stores have the same place if their keys are the same ones, however they are reached.
func TestPlaces(t *testing.T) {
	server := startRedis(t)
	server.Must("ACL", "SETUSER", "caddy", "on", ">chosen", "~*", "+@all")
	a := open(t, &Store{URL: server.url(), Prefix: "a"})
	for name, test := range map[string]struct {
		store *Store
		same  bool
	}{
		"another prefix":      {&Store{URL: server.url(), Prefix: "b"}, false},
		"another database":    {&Store{URL: server.url() + "/1", Prefix: "a"}, false},
		"the same database":   {&Store{URL: server.url() + "/0", Prefix: "a"}, true},
		"a name":              {&Store{URL: server.url() + "?client_name=caddy", Prefix: "a"}, true},
		"a user and password": {&Store{URL: "redis://caddy:chosen@" + server.Address, Prefix: "a"}, true},
		"another server":      {&Store{URL: "redis://127.0.0.2:6379", Prefix: "a"}, false},
	} {
		if got := open(t, test.store).Place(); (got == a.Place()) != test.same {
			t.Errorf("%s: %v, of the first %v", name, got, a.Place())
		}
	}
}

// TestHostileValues: whoever writes to Redis can keep Caddys from sharing, and can neither fill their memory nor end
// the connection.
func TestHostileValues(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		s := connected(t, fresh(t, server))
		looked(t, s, "a", 0, "")
		dialled := s.Dialled()
		long := strings.Repeat("x", 2*maxBulk)
		for _, kind := range []string{"l", "f", "v", "s", "w", "n"} {
			for name, command := range map[string][]string{
				"text": {"SET", key(kind), long}, "stream": {"XADD", key(kind), "*", "f", long}, "list": {"RPUSH", key(kind), long, long},
				"hash": {"HSET", key(kind), "f", long}, "set": {"SADD", key(kind), long}, "sorted set": {"ZADD", key(kind), "1", long},
			} {
				server.Must("DEL", key(kind))
				server.Must(command...)
				got := looked(t, s, "a", time.Second, "")
				if len(got.Holder) > 32 || len(got.Paid) > 16 || len(got.Rings[0].Version) > 12 || len(got.Rings[0].Verdict) > 1<<16 {
					t.Errorf("%s is a %s: an answer is too long", kind, name)
				}
				for _, q := range []fleet.DoneQuery{
					{Owner: "a", Value: []byte("x"), Keep: time.Second, Cost: time.Second, Window: time.Minute, Fingerprint: "12345678", Most: 2},
					{Owner: "a", Delete: true},
				} {
					q.Lock, q.Failures, q.Verdict = key("l"), key("f"), key("v")
					if err := s.Done(soon(t), q); err != nil && !errors.Is(err, fleet.ErrRefused) {
						t.Errorf("%s is a %s: %v", kind, name, err)
					}
				}
				state := synced(t, s, "")
				if !publish(t, s, state.Version, oneState) {
					t.Errorf("%s is a %s: the state is not replaced", kind, name)
				}
				server.Must("DEL", key("s"), key("v"), key("l"), key("f"))
			}
			server.Must("DEL", key(kind))
		}
		if s.Dialled() != dialled {
			t.Error("the connection was replaced")
		}
	})
}

// TestErrorCode: the code of an error in a script, as Redis 6.2 and 7.0 write it.
func TestErrorCode(t *testing.T) {
	for text, want := range map[string]string{
		"READONLY You can't write against a read only replica.":                   "READONLY",
		"-OOM command not allowed when used memory > 'maxmemory'.":                "OOM",
		"@user_script: 1: -READONLY You can't write against a read only replica.": "READONLY",
		"@user_script:5: -MISCONF Redis is configured to save RDB snapshots":      "MISCONF",
		"@user_script: 1: The user executing the script can't run this command":   "the command is not permitted",
		"A":                   "A",
		"READONLYREADONLY\tx": "the command is not permitted",
		"":                    "the command is not permitted",
	} {
		if got := errorCode(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
