package backends

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Feed is a change feed besides those of the backends.
type Feed struct {
	frappe.Watcher
	Name   string // of the module
	Source string // where its changes come from
	Key    string // stays the same when the configuration is reloaded
}

// Feeds holds the feeds of all configurations that share the same backends, each once. The zero value is empty. All
// methods may be called from many goroutines at once.
type Feeds struct {
	mu   sync.Mutex
	used map[string]*usedFeed // by Key
}

type usedFeed struct {
	Feed
	watch          Watch
	configurations int
}

// Add adds the feeds of a configuration, until Remove.
func (f *Feeds) Add(feeds []Feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.used == nil {
		f.used = make(map[string]*usedFeed)
	}
	for _, feed := range feeds {
		if f.used[feed.Key] == nil {
			f.used[feed.Key] = &usedFeed{Feed: feed}
		}
		f.used[feed.Key].configurations++
	}
}

// Remove undoes Add.
func (f *Feeds) Remove(feeds []Feed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, feed := range feeds {
		used := f.used[feed.Key]
		if used.configurations--; used.configurations == 0 {
			delete(f.used, feed.Key)
		}
	}
}

// Watch returns the Watch of a feed that was added.
func (f *Feeds) Watch(feed Feed) *Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &f.used[feed.Key].watch
}

// Each calls do with each feed and the result of Watch.Age, sorted by name and source. do must not use f.
func (f *Feeds) Each(now time.Time, do func(feed Feed, age time.Duration, ok bool)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*usedFeed, 0, len(f.used))
	for _, used := range f.used {
		all = append(all, used)
	}
	slices.SortFunc(all, func(a, b *usedFeed) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Source, b.Source), cmp.Compare(a.Key, b.Key))
	})
	for _, used := range all {
		age, ok := used.watch.Age(now)
		do(used.Feed, age, ok)
	}
}

// Watch records when a backend or feed last checked its source for changes. The zero value means that nothing watches.
type Watch struct {
	mu       sync.Mutex
	watchers int // more than one while a configuration replaces another
	last     time.Time
	looked   bool // at least once since the watch started
}

// Started records that a watch starts. It has not checked for changes yet.
func (w *Watch) Started(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watchers++; w.watchers == 1 {
		w.last, w.looked = now, false
	}
}

// Looked records that every change before now has been reported. first is true for the first check since a watch
// started; earlier changes are then unknown.
func (w *Watch) Looked(now time.Time) (first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first = !w.looked
	w.last, w.looked = now, true
	return first
}

// Stopped records that a watch stops.
func (w *Watch) Stopped() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers--
}

// Age returns the time since the last check for changes or, before the first one, since the watch started. ok is false
// if nothing watches.
func (w *Watch) Age(now time.Time) (age time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(0, now.Sub(w.last)), w.watchers > 0
}
