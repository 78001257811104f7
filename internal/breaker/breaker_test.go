package breaker

import (
	"errors"
	"testing"
	"time"
)

func noJitter() float64 { return 0.5 }

// failing reports n failures of different subjects.
func failing[K comparable](g *Group[K], key K, n int, now time.Time) {
	for i := range n {
		g.Failure(key, uint64(i), now, false)
	}
}

func retryAfter(t *testing.T, err error) time.Duration {
	t.Helper()
	var open *OpenError
	if !errors.As(err, &open) {
		t.Fatalf("the breaker is closed: %v", err)
	}
	return open.RetryAfter
}

// TestWaits: an open breaker lets one probe through after 1, 2, 4, 8, 10 … seconds.
func TestWaits(t *testing.T) {
	g, now := NewGroup[string](8, noJitter), time.Now()
	failing(g, "site", Threshold, now)
	for _, seconds := range []int{1, 2, 4, 8, 10, 10} {
		pause := time.Duration(seconds) * time.Second
		if wait := retryAfter(t, g.Check("site", now)); wait != pause {
			t.Fatalf("retry after %s, want %d s", wait, seconds)
		}
		now = now.Add(pause - 1)
		if _, err := g.Acquire("site", now); err == nil {
			t.Fatalf("a probe before %d s had passed", seconds)
		}
		now = now.Add(1)
		probe, err := g.Acquire("site", now)
		if err != nil || !probe {
			t.Fatalf("no probe after %d s: %v", seconds, err)
		}
		if wait := retryAfter(t, g.Check("site", now)); wait != MinWait {
			t.Fatalf("while a probe is in flight: retry after %s", wait)
		}
		g.Failure("site", 0, now, probe)
	}
	now = now.Add(MaxWait)
	probe, _ := g.Acquire("site", now)
	g.Cancel("site", probe)
	if probe, _ = g.Acquire("site", now); !probe {
		t.Fatal("no further probe after a canceled one")
	}
	if ended, wasOpen := g.Success("site"); !ended || !wasOpen {
		t.Error("the end of the outage is not reported")
	}
	if err := g.Check("site", now); err != nil {
		t.Error(err)
	}
}

// TestOneSubject: a single subject cannot open a breaker.
func TestOneSubject(t *testing.T) {
	g, now := NewGroup[string](8, noJitter), time.Now()
	if !g.Failure("site", 1, now, false) || g.Failure("site", 1, now, false) {
		t.Error("the start of an outage is not reported once")
	}
	for range 100 {
		g.Failure("site", 1, now, false)
	}
	failing(g, "site", Threshold-1, now) // subjects 0 to 3, including 1
	if err := g.Check("site", now); err != nil {
		t.Errorf("open after %d subjects", Threshold-1)
	}
	g.Failure("site", 99, now, false)
	if err := g.Check("site", now); err == nil {
		t.Error("closed after Threshold subjects")
	}
}

// TestEviction: made-up keys do not evict an open breaker.
func TestEviction(t *testing.T) {
	g, now := NewGroup[int](4, noJitter), time.Now()
	failing(g, -1, Threshold, now)
	for i := range 1000 {
		g.Failure(i, 0, now, false)
	}
	if err := g.Check(-1, now); err == nil {
		t.Error("the open breaker was evicted")
	}
	for i := range 1000 {
		failing(g, i, Threshold, now)
		if err := g.Check(-1, now); err == nil { // this use keeps it
			t.Fatal("the open breaker was evicted although it is in use")
		}
	}
	if n := g.breakers.Len(); n != 4 {
		t.Errorf("%d breakers are kept", n)
	}
	if open := g.Open(); len(open) != 4 {
		t.Errorf("open: %v", open)
	}
}

func TestOnce(t *testing.T) {
	g, now := NewGroup[string](4, noJitter), time.Now()
	if g.Once("site") {
		t.Error("nothing failed")
	}
	for range 2 {
		g.Failure("site", 1, now, false)
		if !g.Once("site") || g.Once("site") {
			t.Error("not once in an outage")
		}
		g.Success("site")
	}
}
