package verdicts

import (
	"sync/atomic"
	"time"
)

// clockSlack is how far the wall clock may run ahead before a Clock follows it: it is set in small steps all the time.
const clockSlack = time.Second

// Clock is the clock that ages are measured by. It never goes back, and it goes on while the machine is suspended, when the
// monotonic clock of Linux stands still. So it follows the wall clock forwards: a change of the wall clock can make a verdict
// older, and never younger.
type Clock struct {
	start time.Time
	ahead atomic.Int64 // of the monotonic clock
}

// NewClock returns a clock that starts now.
func NewClock(now time.Time) *Clock { return &Clock{start: now} }

// At converts a time to the clock, in nanoseconds since its start.
func (c *Clock) At(now time.Time) int64 {
	return c.at(now.Sub(c.start), now.Round(0).Sub(c.start.Round(0))) // Round takes the monotonic reading away
}

func (c *Clock) at(monotonic, wall time.Duration) int64 {
	for {
		ahead := c.ahead.Load()
		found := int64(wall - monotonic)
		if found < ahead+int64(clockSlack) {
			return int64(monotonic) + ahead
		}
		c.ahead.CompareAndSwap(ahead, found)
	}
}
