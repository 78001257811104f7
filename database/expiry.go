package database

import (
	"fmt"
	"time"
	_ "time/tzdata" // Caddy may run where no zone data is installed
)

// defaultZone is Frappe's where System Settings name none.
const defaultZone = "Asia/Kolkata"

// instant is when a clock in the zone shows a time, as Frappe stores them: without a zone. A time that the clock shows
// twice, when daylight saving ends, is taken for the first: a token rather ends an hour early than late. One that it
// skips, when daylight saving begins, is the moment of skipping.
func instant(naive, zone string) (time.Time, error) {
	if zone == "" {
		zone = defaultZone
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("the site's time zone is unknown: check time_zone in System Settings")
	}
	wall, err := time.Parse("2006-01-02 15:04:05.999999", naive)
	if err != nil {
		return time.Time{}, fmt.Errorf("a time is not as Frappe stores it")
	}
	before, after := offset(wall.Add(-24*time.Hour), location), offset(wall.Add(24*time.Hour), location)
	earlier, later := wall.Add(-max(before, after)), wall.Add(-min(before, after))
	for _, candidate := range []time.Time{earlier, later} {
		if offset(candidate, location) == wall.Sub(candidate) {
			return candidate, nil
		}
	}
	skipped, _ := later.In(location).ZoneBounds()
	return skipped.UTC(), nil
}

// offset is how far the zone's clocks are ahead of UTC at that instant.
func offset(t time.Time, location *time.Location) time.Duration {
	_, seconds := t.In(location).Zone()
	return time.Duration(seconds) * time.Second
}
