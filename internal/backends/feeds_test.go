package backends_test

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/backends"
)

// TestFeeds: a feed is listed while at least one configuration has it, and has the same age for all of them.
func TestFeeds(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	later := now.Add(time.Minute)
	second := backends.Feed{Name: "events", Source: "redis2", Key: "2"}
	first := backends.Feed{Name: "events", Source: "redis1", Key: "1"}
	var feeds backends.Feeds
	var seen []string
	look := func() []string {
		seen = nil
		feeds.Each(later, func(f backends.Feed, age time.Duration, ok bool) {
			if !ok {
				age = -1
			}
			seen = append(seen, f.Source+" "+age.String())
		})
		return seen
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if got := look(); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	expect("at first")
	feeds.Add([]backends.Feed{second, first})
	expect("added", "redis1 -1ns", "redis2 -1ns")
	feeds.Watch(first).Started(now)
	feeds.Watch(second).Started(later)
	expect("watched", "redis1 1m0s", "redis2 0s")
	feeds.Add([]backends.Feed{first})
	feeds.Remove([]backends.Feed{second, first})
	expect("one configuration left", "redis1 1m0s")
	feeds.Remove([]backends.Feed{first})
	expect("none left")
}

// TestWatch: there is an age while anything watches, also while one configuration replaces another.
func TestWatch(t *testing.T) {
	var w backends.Watch
	now := time.Now()
	expect := func(want time.Duration, watched bool) {
		t.Helper()
		if age, ok := w.Age(now); ok != watched || ok && age != want {
			t.Errorf("age %s %t, want %s %t", age, ok, want, watched)
		}
	}
	expect(0, false)
	w.Started(now)
	now = now.Add(time.Second)
	expect(time.Second, true)
	w.Started(now)
	expect(time.Second, true)
	w.Stopped()
	if first, second := w.Looked(now), w.Looked(now); !first || second {
		t.Errorf("the first look is the first: %t, the second: %t", first, second)
	}
	expect(0, true)
	w.Started(now)
	w.Stopped()
	if w.Looked(now) {
		t.Error("a look of a configuration that took over is the first")
	}
	w.Stopped()
	expect(0, false)
	w.Started(now)
	if !w.Looked(now) {
		t.Error("after a break, the next look is not the first")
	}
}
