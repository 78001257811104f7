package database

import (
	"math/big"
	"testing"
	"time"
)

// TestWall: from when and up to when a look lists, by the site's clock, also where that goes back.
func TestWall(t *testing.T) {
	for _, test := range []struct{ name, zone, clock, after, upTo string }{
		{"no zone", "", "2026-06-01T12:00:00Z", "2026-06-01 17:20:00.000000", "2026-06-01 17:40:00.000000"},
		{"summer", "Europe/Berlin", "2026-06-01T12:00:00Z", "2026-06-01 13:50:00.000000", "2026-06-01 14:10:00.000000"},
		{"before the clock goes back", "Europe/Berlin", "2026-10-24T22:30:00Z", "2026-10-24 23:20:00.000000", "2026-10-25 00:40:00.000000"},
		{"as the clock goes back", "Europe/Berlin", "2026-10-25T00:55:00Z", "2026-10-25 01:45:00.000000", "2026-10-25 03:05:00.000000"},
		{"after the clock went back", "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25 02:20:00.000000", "2026-10-25 02:40:00.000000"},
		{"unknown zone", "Mars/Olympus", "2026-06-01T12:00:00Z", "2026-05-31 23:50:00.000000", "2026-06-02 02:10:00.000000"},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock, err := time.Parse(time.RFC3339, test.clock)
			if err != nil {
				t.Fatal(err)
			}
			v := &view{zone: test.zone, clock: clock}
			if v.after() != test.after || v.upTo() != test.upTo {
				t.Errorf("after %s up to %s, want %s and %s", v.after(), v.upTo(), test.after, test.upTo)
			}
		})
	}
}

// TestTurned: a clock or a zone that is another than before ends what is known.
func TestTurned(t *testing.T) {
	clock := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	v := &view{zone: "Europe/Berlin", clock: clock}
	for _, test := range []struct {
		name, zone string
		clock      time.Time
		want       string
	}{
		{"later", "Europe/Berlin", clock.Add(time.Second), ""},
		{"set by NTP", "Europe/Berlin", clock.Add(-time.Second), ""},
		{"set back", "Europe/Berlin", clock.Add(-time.Hour), "the database's clock went back"},
		{"another zone", "Asia/Tokyo", clock.Add(time.Second), "the site's time zone changed"},
		{"no zone any more", "", clock.Add(time.Second), "the site's time zone changed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := v.turned(test.clock, test.zone); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// TestTally: which counts the list explains.
func TestTally(t *testing.T) {
	for _, test := range []struct {
		name                   string
		changed, deleted       int
		moreRows, moreModified int64
		want                   bool
	}{
		{"nothing", 0, 0, 0, 0, true},
		{"a change", 1, 0, 0, 100, true},
		{"a new row", 1, 0, 1, 100, true},
		{"a deletion", 0, 1, -1, -100, true},
		{"a deletion and a new row", 1, 1, 0, -50, true},
		{"gone without a trace", 0, 0, -1, -100, false},
		{"gone without a trace beside a change", 1, 0, -1, 20, false},
		{"two gone, one deleted", 0, 1, -2, -200, false},
		{"modified went back", 0, 0, 0, -1, false},
		{"modified went back beside a change", 1, 0, 0, -100, false},
		{"modified went forth, and was not listed", 0, 0, 0, 1, false},
		{"a row came that was not listed", 1, 0, 2, 100, false},
		{"a row without modified came", 0, 0, 1, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := &tally{rows: big.NewInt(10), sum: big.NewInt(1000), changed: test.changed, deleted: test.deleted}
			now := &tally{rows: big.NewInt(10 + test.moreRows), sum: big.NewInt(1000 + test.moreModified)}
			if got := before.explains(now); got != test.want {
				t.Errorf("%t, want %t", got, test.want)
			}
		})
	}
}
