package verdicts

import (
	"testing"
	"time"
)

// TestClock: time that passes on either clock makes a verdict older, and no change of the wall clock makes it younger.
func TestClock(t *testing.T) {
	clock := NewClock(time.Time{})
	for _, test := range []struct {
		name                  string
		monotonic, wall, want time.Duration
	}{
		{"start", 0, 0, 0},
		{"both advance", time.Minute, time.Minute, time.Minute},
		{"the wall clock is adjusted a little", 2 * time.Minute, 2*time.Minute + time.Second/2, 2 * time.Minute},
		{"the wall clock is set back", 3 * time.Minute, -time.Hour, 3 * time.Minute},
		{"and is corrected", 4 * time.Minute, 4 * time.Minute, 4 * time.Minute},
		{"suspended for an hour", 4 * time.Minute, 64 * time.Minute, 64 * time.Minute},
		{"the wall clock is set back afterwards", 5 * time.Minute, 0, 65 * time.Minute},
		{"suspended again, for less than it was set back", 6 * time.Minute, 30 * time.Minute, 66 * time.Minute},
		{"and for long", 7 * time.Minute, 3 * time.Hour, 3 * time.Hour},
	} {
		if got := time.Duration(clock.at(test.monotonic, test.wall)); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}

	began := time.Now()
	if got := NewClock(began).At(began.Add(time.Hour)); got != int64(time.Hour) {
		t.Errorf("an hour later it is %d", got)
	}
}
