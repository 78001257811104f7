package redis

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestValues: what one store writes, the other reads, until it is deleted or its time is over.
func TestValues(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		a, b := fresh(t, server), fresh(t, server)
		value := []byte("\x00\xff\r\n{}")
		if got, err := b.Get(soon(t), "n"); got != nil || err != nil {
			t.Fatalf("before: %q %v", got, err)
		}
		if err := a.Set(soon(t), "n", value, time.Minute); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(soon(t), "n"); !bytes.Equal(got, value) || err != nil {
			t.Errorf("after Set: %q %v", got, err)
		}
		if left, _ := server.Run("PTTL", "{frappe_auth}:value:n").AsInt64(); left <= 50_000 || left > 60_000 {
			t.Errorf("the value is kept for %d ms", left)
		}
		if err := b.Delete(soon(t), "n"); err != nil {
			t.Fatal(err)
		}
		if got, err := a.Get(soon(t), "n"); got != nil || err != nil {
			t.Errorf("after Delete: %q %v", got, err)
		}
		a.Set(soon(t), "n", value, 20*time.Millisecond)
		testutil.Eventually(t, "the value is gone", func() bool { got, err := b.Get(soon(t), "n"); return got == nil && err == nil })
		a.Set(soon(t), "n", value, time.Minute)
		if err := a.Set(soon(t), "n", value, 0); err != nil {
			t.Error(err)
		}
		if got, _ := b.Get(soon(t), "n"); got != nil {
			t.Errorf("a value without time: %q", got)
		}
	})
}

// TestLocks: a lock has one owner, until that one releases it or its time is over.
func TestLocks(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		a, b := fresh(t, server), fresh(t, server)
		lock := func(s *Store, owner string, ttl time.Duration) bool {
			t.Helper()
			got, err := s.Lock(soon(t), "n", owner, ttl)
			if err != nil {
				t.Fatal(err)
			}
			return got == owner
		}
		for i, step := range []struct {
			name string
			got  func() bool
			want bool
		}{
			{"free", func() bool { return lock(a, "a", time.Minute) }, true},
			{"held by another", func() bool { return lock(b, "b", time.Minute) }, false},
			{"held by the same", func() bool { return lock(a, "a", time.Minute) }, true},
			{"released by another", func() bool { return b.Unlock(soon(t), "n", "b") == nil && lock(b, "b", time.Minute) }, false},
			{"released", func() bool { return a.Unlock(soon(t), "n", "a") == nil && lock(b, "b", 20*time.Millisecond) }, true},
			{"over", func() bool {
				return testutil.Holds(10*time.Second, func() bool { return lock(a, "a", time.Minute) })
			}, true},
		} {
			if got := step.got(); got != step.want {
				t.Errorf("%d, %s: %t", i, step.name, got)
			}
		}
	})
}

// TestCharge: stores add to one debt, which stays below its limit, and which time pays off.
func TestCharge(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		a, b := fresh(t, server), fresh(t, server)
		charge := func(s *Store, name string, cost, limit time.Duration) time.Duration {
			t.Helper()
			debt, err := s.Charge(soon(t), name, cost, limit)
			if err != nil {
				t.Fatal(err)
			}
			return debt
		}
		near := func(got, want time.Duration) bool { return got <= want && got > want-20*time.Second }
		if got := charge(a, "n", 0, time.Hour); got != 0 {
			t.Errorf("no debt yet: %s", got)
		}
		if got := charge(a, "n", 10*time.Minute, time.Hour); got != 10*time.Minute {
			t.Errorf("first: %s", got)
		}
		if got := charge(b, "n", 10*time.Minute, time.Hour); !near(got, 20*time.Minute) {
			t.Errorf("second: %s", got)
		}
		if got := charge(b, "n", 0, time.Hour); !near(got, 20*time.Minute) {
			t.Errorf("only looked: %s", got)
		}
		if got := charge(b, "n", time.Hour, time.Hour); got != time.Hour {
			t.Errorf("beyond the limit: %s", got)
		}
		if got := charge(b, "n", 0, time.Minute); got != time.Minute {
			t.Errorf("with a lower limit: %s", got)
		}
		charge(a, "short", 50*time.Millisecond, time.Hour)
		testutil.Eventually(t, "the debt is paid off", func() bool { return charge(b, "short", 0, time.Hour) == 0 })
		if n, err := server.Run("EXISTS", "{frappe_auth}:debt:short").AsInt64(); n != 0 || err != nil {
			t.Error("a debt that is paid off is still stored")
		}
		var together sync.WaitGroup
		for range 50 {
			together.Go(func() { charge(a, "many", time.Minute, 24*time.Hour) })
			together.Go(func() { charge(b, "many", time.Minute, 24*time.Hour) })
		}
		together.Wait()
		if got := charge(a, "many", 0, 24*time.Hour); !near(got, 100*time.Minute) {
			t.Errorf("a hundred at once: %s", got)
		}
	})
}

func read(t testing.TB, s *Store, after frappe.Position, wait time.Duration) []frappe.LogEntry {
	t.Helper()
	entries, err := s.Read(soon(t), after, wait)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) == 0 {
		t.Fatal("Read returned no entry")
	}
	return entries
}

func add(t testing.TB, s *Store, data string) frappe.Position {
	t.Helper()
	position, err := s.Append(soon(t), []byte(data), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return position
}

// shape shows entries: the epochs by letters in the order in which they are seen, the numbers and the data.
func shape(entries []frappe.LogEntry) string {
	letters := map[string]string{"": "?"}
	var text strings.Builder
	for _, e := range entries {
		if letters[e.Epoch] == "" {
			letters[e.Epoch] = string(rune('a' + len(letters) - 1))
		}
		fmt.Fprintf(&text, "%s%d:%s ", letters[e.Epoch], e.Sequence, e.Data)
	}
	return strings.TrimSpace(text.String())
}

// TestLog: the log is read in order by whoever waits for it, is never empty, and shows whatever happened to it.
func TestLog(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		a, b := fresh(t, server), fresh(t, server)
		zero := frappe.Position{}
		first := read(t, a, zero, time.Millisecond)
		if shape(first) != "a1:" {
			t.Fatalf("a new log: %s", shape(first))
		}
		if again := read(t, b, zero, time.Millisecond); shape(again) != "a1:" || again[0].Position != first[0].Position {
			t.Errorf("read by another: %v, by the first %v", again, first)
		}
		if last := read(t, b, first[0].Position, 10*time.Millisecond); last[0].Position != first[0].Position {
			t.Errorf("nothing new: %v", last)
		}
		arrived := make(chan string)
		go func() {
			entries, err := b.Read(t.Context(), first[0].Position, 30*time.Second)
			arrived <- fmt.Sprintf("%s %v", shape(entries), err)
		}()
		position := add(t, a, "\x00one")
		if got := <-arrived; got != "a2:\x00one <nil>" {
			t.Errorf("who waits gets %q", got)
		}
		if position.Epoch != first[0].Epoch || position.Sequence != 2 || position.ID == "" {
			t.Errorf("Append returns %v after %v", position, first[0].Position)
		}

		var together sync.WaitGroup
		for i := range 1200 {
			together.Go(func() { add(t, []*Store{a, b}[i%2], "x") })
		}
		together.Wait()
		all := read(t, b, zero, time.Millisecond)
		for i, e := range all {
			if e.Sequence != uint64(i+1) || e.Epoch != first[0].Epoch {
				t.Fatalf("entry %d is %v", i, e)
			}
		}
		if len(all) != 1202 {
			t.Errorf("%d entries", len(all))
		}
		if since := read(t, a, position, time.Millisecond); len(since) != 1200 {
			t.Errorf("%d entries after the second", len(since))
		}

		if err := a.Reset(soon(t), "another"); err != nil {
			t.Fatal(err)
		}
		if last := read(t, a, all[1201].Position, time.Millisecond); last[0].Position != all[1201].Position {
			t.Errorf("a reset of another epoch: %v", last)
		}
		if err := a.Reset(soon(t), first[0].Epoch); err != nil {
			t.Fatal(err)
		}
		after := read(t, b, all[1201].Position, time.Millisecond)
		if len(after) != 1 || after[0].Sequence != 1 || after[0].Epoch == first[0].Epoch || len(after[0].Data) != 0 {
			t.Errorf("after a reset: %v", after)
		}

		server.Must("FLUSHALL")
		if lost := read(t, b, after[0].Position, time.Millisecond); lost[0].Epoch == after[0].Epoch || lost[0].Sequence != 1 {
			t.Errorf("after a flush: %v", lost)
		}
		server.Must("FLUSHALL")
		if position := add(t, a, "new"); position.Sequence != 1 || position.Epoch == after[0].Epoch {
			t.Errorf("Append after a flush: %v", position)
		}
		server.Must("XADD", "{frappe_auth}:revocations", "*", "who", "knows")
		add(t, a, "further")
		if got := shape(read(t, b, zero, time.Millisecond)); got != "a1:new ?0: b1:further" {
			t.Errorf("with an entry of somebody else: %s", got)
		}
		server.Must("SET", "{frappe_auth}:revocations", "text")
		if _, err := a.Append(soon(t), nil, time.Hour); err == nil {
			t.Error("the log is no log, and Append succeeds")
		}
	})
}

// TestLogIsTrimmed: entries that are older than told are removed, and the log has a largest size.
func TestLogIsTrimmed(t *testing.T) {
	server := startRedis(t)
	s := fresh(t, server)
	key := "{frappe_auth}:revocations"
	for i := range 5 {
		server.Must("XADD", key, fmt.Sprintf("%d-1", i+1), "e", "e", "s", fmt.Sprint(i+1), "d", "old")
	}
	position, err := s.Append(soon(t), []byte("new"), time.Hour)
	if err != nil || position.Sequence != 6 || position.Epoch != "e" {
		t.Fatal(position, err)
	}
	if got := shape(read(t, s, frappe.Position{}, time.Millisecond)); got != "a6:new" {
		t.Errorf("left: %s", got)
	}
	server.Must("EVAL", `local p = ''; for i = 1, 101000 do p = redis.call('XADD', KEYS[1], '*', 'e', 'e', 's', i, 'p', p, 'd', '') end`, "1", key)
	add(t, s, "new")
	if n, _ := server.Run("XLEN", key).AsInt64(); n > 100_200 {
		t.Errorf("%d entries are left", n)
	}
	if entries := read(t, s, frappe.Position{}, time.Millisecond); len(entries) < 100_000 {
		t.Errorf("only %d entries are read", len(entries))
	}
}

// TestTime: the time is Redis's.
func TestTime(t *testing.T) {
	s := fresh(t, startRedis(t))
	before := time.Now()
	got, err := s.Time(soon(t))
	if err != nil || got.Before(before.Truncate(time.Microsecond)) || got.After(time.Now()) {
		t.Error(got, err)
	}
}

// TestPrefixes: stores with different prefixes see nothing of each other.
func TestPrefixes(t *testing.T) {
	server := startRedis(t)
	a, b := open(t, &Store{URL: server.url(), Prefix: "a"}), open(t, &Store{URL: server.url(), Prefix: "b"})
	a.Set(soon(t), "n", []byte("x"), time.Minute)
	if got, err := b.Get(soon(t), "n"); got != nil || err != nil {
		t.Error(got, err)
	}
	add(t, a, "x")
	if got := shape(read(t, b, frappe.Position{}, time.Millisecond)); got != "a1:" {
		t.Error(got)
	}
}
