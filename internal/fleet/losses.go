package fleet

import "time"

const (
	// maxLosses is how often everything may be lost at first, and lossEvery how often later.
	maxLosses = 10
	lossEvery = 10 * time.Second

	// holdAfter is how soon a second loss makes this Caddy hold back its results. It then does so for minHold. If the
	// state is lost again soon after that, it does so for twice as long, up to maxHold.
	holdAfter = 2 * time.Minute
	minHold   = 10 * time.Second
	maxHold   = 5 * time.Minute
)

// budget limits how often everything is dropped because the store has lost the state. Beyond it, the store counts as
// away.
type budget struct {
	tokens float64
	at     time.Time
}

func (b *budget) take(now time.Time) bool {
	if !b.at.IsZero() {
		b.tokens = min(maxLosses, b.tokens+float64(now.Sub(b.at))/float64(lossEvery))
	}
	b.at = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// hold keeps results out of a store that loses the state again and again, as one that is full and evicts any key does:
// writing them again would evict it again.
type hold struct {
	last  time.Time // the last loss
	wait  time.Duration
	until time.Time
}

func (h *hold) lost(now time.Time) {
	switch {
	case h.last.IsZero() || now.Sub(h.last) > holdAfter+h.wait:
		h.wait = 0
	case h.wait == 0:
		h.wait = minHold
	case !h.holds(now):
		h.wait = min(2*h.wait, maxHold)
	}
	h.last, h.until = now, now.Add(h.wait)
}

func (h *hold) holds(now time.Time) bool { return now.Before(h.until) }
