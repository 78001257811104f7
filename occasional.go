package frappeauth

import (
	"sync"
	"time"
)

// occasional bounds how often something is logged, for each cause by itself. Only now must be set.
type occasional struct {
	now func() time.Time

	mu     sync.Mutex
	causes map[string]*occasion
}

type occasion struct {
	last       time.Time // when it was logged
	suppressed uint64    // how often it was not, since then
}

// betweenWarnings is how long after one line the next about the same cause may follow.
const betweenWarnings = time.Minute

// may reports whether to log now, and how many times that was not so since the last time. Causes are of a fixed set.
func (o *occasional) may(cause string) (suppressed uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, seen := o.now(), o.causes[cause]
	switch {
	case seen == nil:
		if o.causes == nil {
			o.causes = make(map[string]*occasion)
		}
		o.causes[cause] = &occasion{last: now}
		return 0, true
	case now.Sub(seen.last) < betweenWarnings:
		seen.suppressed++
		return 0, false
	}
	suppressed = seen.suppressed
	*seen = occasion{last: now}
	return suppressed, true
}
