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

// TestLostEntries: after a failover to a server that does not have all of the log, a new epoch begins, whatever was written
// there since. Entries that are new, and entries that were trimmed, are no loss.
func TestLostEntries(t *testing.T) {
	const old = "10-0 1 0-0, 20-0 2 10-0, "
	server := startRedis(t)
	s := fresh(t, server)
	known := frappe.Position{Epoch: "e", Sequence: 3, ID: "30-0"}
	for _, test := range []struct {
		name, log string // of each entry the ID, the sequence, and the ID before
		want      string // of each entry that is read, the sequence; "new": a new epoch
	}{
		{"all is there", old + "30-0 3 20-0", "3"},
		{"one more", old + "30-0 3 20-0, 35-0 4 30-0, 36-0 5 35-0", "4 5"},
		{"trimmed, one more", "35-0 4 30-0", "4"},
		{"trimmed, several more", "36-0 5 35-0", "5"},
		{"another after a gap", old + "30-0 3 20-0, 36-0 5 35-0", "5"},
		{"lost", old[:len(old)-2], "new"},
		{"lost, and another written, by a clock that is behind", old + "25-0 3 20-0", "new"},
		{"lost, and two written, by a clock that is behind", old + "25-0 3 20-0, 26-0 4 25-0", "new"},
		{"lost, and three written, by a clock that is behind", old + "25-0 3 20-0, 26-0 4 25-0, 27-0 5 26-0", "new"},
		{"lost, and another written", old + "35-0 3 20-0", "new"},
		{"lost, and two written", old + "35-0 3 20-0, 36-0 4 35-0", "new"},
		{"lost, and two written, one by a clock that is behind", old + "25-0 3 20-0, 35-0 4 25-0", "new"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server.Must("DEL", "{frappe_auth}:revocations")
			for one := range strings.SplitSeq(test.log, ", ") {
				part := strings.Fields(one)
				server.Must("XADD", "{frappe_auth}:revocations", part[0], "e", "e", "s", part[1], "p", part[2], "d", "x")
			}
			var got []string
			for _, e := range read(t, s, known, time.Millisecond) {
				if e.Epoch == "e" {
					got = append(got, fmt.Sprint(e.Sequence))
				} else {
					got = append(got, "new")
				}
			}
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// TestForeignEntries: whatever another program wrote to the log, it goes on in a new epoch.
func TestForeignEntries(t *testing.T) {
	server := startRedis(t)
	s := fresh(t, server)
	for _, fields := range [][]string{
		{"who", "knows"},
		{"e", "e"},
		{"s", "1"},
		{"e", "", "s", "1"},
		{"e", "e", "s", ""},
		{"e", "e", "s", "-1"},
		{"e", "e", "s", "1.5"},
		{"e", "e", "s", "0x10"},
		{"e", "e", "s", "nan"},
		{"e", "e", "s", "1e300"},
		{"e", "e", "s", strings.Repeat("9", 16)},
		{"e", strings.Repeat("e", 65), "s", "1"},
	} {
		server.Must(append([]string{"XADD", "{frappe_auth}:revocations", "*"}, fields...)...)
		position, err := s.Append(soon(t), []byte("x"), time.Hour)
		if err != nil || position.Sequence != 1 || len(position.Epoch) < 20 {
			t.Errorf("after %.80q: %v, %v", fields, position, err)
		}
	}
	if entries := read(t, s, frappe.Position{}, time.Millisecond); len(entries) != 24 {
		t.Errorf("%d entries", len(entries))
	}
}

// TestBounds: what is too long is neither written nor read, and of a log that is too long the newest entries are read.
func TestBounds(t *testing.T) {
	server := startRedis(t)
	s := fresh(t, server)
	long := bytes.Repeat([]byte("x"), maxValue)
	if err := s.Set(soon(t), "n", long, time.Minute); err != nil {
		t.Error(err)
	}
	if got, err := s.Get(soon(t), "n"); len(got) != maxValue || err != nil {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	server.Must("SETRANGE", "{frappe_auth}:value:n", fmt.Sprint(100<<20), "x")
	if got, err := s.Get(soon(t), "n"); got != nil || err == nil {
		t.Errorf("of a value that is too long, %d bytes are read", len(got))
	}
	if err := s.Set(soon(t), "n", append(long, 'x'), time.Minute); err == nil {
		t.Error("a value that is too long is written")
	}
	long = long[:maxEntry]
	if _, err := s.Append(soon(t), append(long, 'x'), time.Minute); err == nil {
		t.Error("an entry that is too long is written")
	}
	const entries = 3 * pageSize
	for range entries {
		add(t, s, string(long))
	}
	got := read(t, s, frappe.Position{}, time.Millisecond)
	if len(got)*maxEntry > maxRead+pageSize*maxEntry || got[len(got)-1].Sequence != entries {
		t.Errorf("%d entries up to %d", len(got), got[len(got)-1].Sequence)
	}
}

// TestNames: a value, a lock and a debt with the same name have nothing to do with each other.
func TestNames(t *testing.T) {
	s := fresh(t, startRedis(t))
	for _, step := range []func() error{
		func() error { return s.Set(soon(t), "n", []byte("x"), time.Minute) },
		func() error { _, err := s.Lock(soon(t), "n", "a", time.Minute); return err },
		func() error { _, err := s.Charge(soon(t), "n", time.Second, time.Minute); return err },
		func() error { return s.Unlock(soon(t), "n", "a") },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Get(soon(t), "n"); string(got) != "x" || err != nil {
			t.Errorf("the value is %q, %v", got, err)
		}
	}
	if err := s.Delete(soon(t), "n"); err != nil {
		t.Fatal(err)
	}
	if debt, err := s.Charge(soon(t), "n", 0, time.Minute); debt == 0 || err != nil {
		t.Errorf("the debt is %s, %v", debt, err)
	}
}

// TestReplica: a read-only replica is still read.
func TestReplica(t *testing.T) {
	primary, replica := startRedis(t), startRedis(t)
	writer, reader := fresh(t, primary), fresh(t, replica)
	if err := writer.Set(soon(t), "n", []byte("x"), time.Minute); err != nil {
		t.Fatal(err)
	}
	if _, err := writer.Charge(soon(t), "n", time.Minute, time.Hour); err != nil {
		t.Fatal(err)
	}
	position := add(t, writer, "revoked")
	replica.Must("REPLICAOF", "127.0.0.1", testutil.PortOf(primary.Address))
	testutil.Eventually(t, "it has everything", func() bool {
		entries, err := reader.Read(soon(t), frappe.Position{}, time.Millisecond)
		return err == nil && shape(entries) == "a1:revoked"
	})
	if got, err := reader.Get(soon(t), "n"); string(got) != "x" || err != nil {
		t.Errorf("the value is %q, %v", got, err)
	}
	if debt, err := reader.Charge(soon(t), "n", 0, time.Hour); debt == 0 || err != nil {
		t.Errorf("the debt is %s, %v", debt, err)
	}
	if _, err := reader.Time(soon(t)); err != nil {
		t.Errorf("time: %v", err)
	}
	if last, err := reader.Read(soon(t), position, time.Millisecond); err != nil || last[0].Position != position {
		t.Errorf("the last entry: %v, %v", last, err)
	}
	if _, err := reader.Charge(soon(t), "n", time.Second, time.Hour); err == nil {
		t.Error("a replica is written to")
	}
}

// TestManyReaders: many lists of backends follow the log at once, and none waits for another.
func TestManyReaders(t *testing.T) {
	server := startRedis(t)
	s := fresh(t, server)
	last := read(t, s, frappe.Position{}, time.Millisecond)
	const readers = 200
	var done sync.WaitGroup
	for range readers {
		done.Go(func() {
			if _, err := s.Read(t.Context(), last[0].Position, time.Minute); err != nil {
				t.Error(err)
			}
		})
	}
	testutil.Eventually(t, "all wait for an entry", func() bool {
		clients, err := server.Run("INFO", "clients").ToString()
		return err == nil && strings.Contains(clients, fmt.Sprintf("blocked_clients:%d\r\n", readers))
	})
	if _, err := s.Append(soon(t), []byte("x"), time.Hour); err != nil {
		t.Error(err)
	}
	done.Wait()
}
