package verdicts

import (
	"sync/atomic"
	"time"
)

// clockSlack is how far the wall clock may run ahead before a Clock follows it, because NTP adjusts it in small steps.
const clockSlack = time.Second

// Clock measures the age of verdicts. It never goes back. It also counts the time while the machine is suspended, when
// the monotonic clock of Linux stops: it follows the wall clock forwards. So a change of the wall clock can make a
// verdict older, but never younger.
type Clock struct {
	start time.Time
	ahead atomic.Int64 // nanoseconds ahead of the monotonic clock
}

// NewClock returns a clock that starts now.
func NewClock(now time.Time) *Clock { return &Clock{start: now} }

// At converts a time to the clock, in nanoseconds since its start.
func (c *Clock) At(now time.Time) int64 {
	return c.at(now.Sub(c.start), now.Round(0).Sub(c.start.Round(0))) // Round removes the monotonic reading
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
