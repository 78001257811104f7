// Package watchers distributes the changes that one source reports to all its watchers.
package watchers

import (
	"context"
	"sync"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Watchers are the watchers of one source, as described by frappe.Watcher. The zero value has no watchers, and its
// source does not see changes yet.
type Watchers struct {
	mu       sync.Mutex
	watchers map[*watcher]bool
	seeing   bool
}

type watcher struct{ observe func([]frappe.Change) }

// Watch reports changes to observe until ctx is done. If the source sees changes, it calls observe(nil) at once.
func (w *Watchers) Watch(ctx context.Context, observe func([]frappe.Change)) {
	added := &watcher{observe: observe}
	w.mu.Lock()
	if w.watchers == nil {
		w.watchers = make(map[*watcher]bool)
	}
	w.watchers[added] = true
	if w.seeing {
		observe(nil)
	}
	w.mu.Unlock()
	<-ctx.Done()
	w.mu.Lock()
	delete(w.watchers, added)
	w.mu.Unlock()
}

// See sets whether the source sees changes from now on. It does not call the watchers.
func (w *Watchers) See(seeing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seeing = seeing
}

// Report tells all watchers, one after another, what has changed. Nil means that the source was checked and nothing
// changed.
func (w *Watchers) Report(changes []frappe.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for each := range w.watchers {
		each.observe(changes)
	}
}
