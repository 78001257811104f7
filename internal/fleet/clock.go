package fleet

import "time"

// slack is how far the store's clock may go back unnoticed. Every shared verdict counts as older by it.
const slack = 100 * time.Millisecond

// clock measures how far the store's clock is ahead of the local one, from below, and notices when it goes back. Local
// times are microseconds since any moment, by a clock that never goes back.
type clock struct {
	known bool
	ahead int64 // the greatest that was measured
	at    int64 // local time of the measurement

	store, sent int64 // the last reading, and the local time before it
}

// least returns how far the store's clock is ahead at least. Clocks run at different speeds: the measurement fades by
// 0.1 %.
func (c *clock) least(local int64) int64 { return c.ahead - (local-c.at)/1000 }

// heard takes in that the store read its clock between two local times. It reports whether that clock went back. Then
// the measurement starts anew.
func (c *clock) heard(store, sent, received int64) (wentBack bool) {
	if c.known && store-sent < c.least(received)-slack.Microseconds() {
		wentBack, c.known = true, false
	}
	if !c.known || store-received > c.least(received) {
		c.known, c.ahead, c.at = true, store-received, received
	}
	if sent >= c.sent || wentBack {
		c.store, c.sent = store, sent
	}
	return wentBack
}

// latest returns the latest time that the store's clock may show; 0: not known.
func (c *clock) latest(local int64) int64 {
	if !c.known {
		return 0
	}
	return c.store + local - c.sent
}
