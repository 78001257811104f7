package fleet

import "time"

// clock is a measurement of the store's clock, between two readings of the local one.
type clock struct {
	sent, received time.Time // local
	store          time.Time
}

func (c *clock) known() bool { return !c.store.IsZero() }

// earliest returns the earliest time that the store's clock may have shown at a local time. A verdict is recorded as
// confirmed then: errors of the measurement only make it look older.
func (c *clock) earliest(local time.Time) time.Time { return c.store.Add(local.Sub(c.received)) }

// latest returns the latest time that the store's clock may have shown at a local time.
func (c *clock) latest(local time.Time) time.Time { return c.store.Add(local.Sub(c.sent)) }
