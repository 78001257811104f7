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
	Key    string // the same for the same feed of the next configuration
}

// Feeds are the feeds of all configurations that share the same backends, each once. The zero value has none. All methods may
// be called from many goroutines at once.
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

// Remove takes back what Add did.
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

// Watch returns when a feed that was added looked for changes.
func (f *Feeds) Watch(feed Feed) *Watch {
	f.mu.Lock()
	defer f.mu.Unlock()
	return &f.used[feed.Key].watch
}

// Each calls do with each feed, by name and source, and with what Watch.Age returns. do must not use f.
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
