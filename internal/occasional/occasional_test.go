package occasional

import (
	"testing"
	"time"
)

// TestOccasional: one line a minute for each cause, which says how many were left out.
func TestOccasional(t *testing.T) {
	now := time.Unix(0, 0)
	o := Log{Now: func() time.Time { return now }}
	for i, step := range []struct {
		after      time.Duration
		cause      string
		suppressed uint64
		ok         bool
	}{
		{0, "a", 0, true},
		{0, "a", 0, false},
		{0, "b", 0, true},
		{59 * time.Second, "a", 0, false},
		{time.Second, "a", 2, true},
		{0, "a", 0, false},
		{0, "b", 0, true},
		{2 * time.Minute, "a", 1, true},
		{time.Minute, "a", 0, true},
	} {
		now = now.Add(step.after)
		if suppressed, ok := o.May(step.cause); suppressed != step.suppressed || ok != step.ok {
			t.Errorf("step %d: %d %t, want %d %t", i, suppressed, ok, step.suppressed, step.ok)
		}
	}
}
