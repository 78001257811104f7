// Package occasional bounds how often the same thing is logged.
package occasional

import (
	"sync"
	"time"
)

// Log bounds how often something is logged, for each cause by itself. Now must be set.
type Log struct {
	// Now is the clock.
	Now func() time.Time

	mu     sync.Mutex
	causes map[string]*occasion
}

type occasion struct {
	last       time.Time // when it was logged
	suppressed uint64    // how often it was not, since then
}

// betweenWarnings is how long after one line the next about the same cause may follow.
const betweenWarnings = time.Minute

// May reports whether to log now, and how many times it said no since the last time. Causes come from a fixed set: each takes
// room for good.
func (o *Log) May(cause string) (suppressed uint64, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, seen := o.Now(), o.causes[cause]
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
