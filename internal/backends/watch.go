package backends

import (
	"sync"
	"time"
)

// Watch records when a backend or feed last looked for changes at its source. Its zero value means that nothing watches.
type Watch struct {
	mu       sync.Mutex
	watchers int // more than one while a configuration replaces another
	last     time.Time
	looked   bool // since somebody watches
}

// Started records that a watch starts. It has not looked for changes yet.
func (w *Watch) Started(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watchers++; w.watchers == 1 {
		w.last, w.looked = now, false
	}
}

// Looked records that every change before now has been reported. It returns true if changes before the last look are not
// known, because this is the first look since somebody watches.
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

// Age returns how long ago the last look for changes was or, before the first look, the start of the watch. ok is false if
// nothing watches.
func (w *Watch) Age(now time.Time) (age time.Duration, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(0, now.Sub(w.last)), w.watchers > 0
}
