package database

import (
	"fmt"
	"time"
	_ "time/tzdata" // Caddy may run where no zone data is installed
)

// defaultZone is the time zone that Frappe uses if System Settings name none.
const defaultZone = "Asia/Kolkata"

// instant converts a time as Frappe stores it, without a time zone, to a point in time. A time that occurs twice, when
// daylight saving time ends, is taken as the earlier one: it is better that a token expires an hour early than late. A
// time that is skipped, when daylight saving time begins, becomes the moment of the change.
func instant(naive, zone string) (time.Time, error) {
	if zone == "" {
		zone = defaultZone
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("the site's time zone is unknown; check time_zone in System Settings")
	}
	wall, err := time.Parse("2006-01-02 15:04:05.999999", naive)
	if err != nil {
		return time.Time{}, fmt.Errorf("a time in the database is not in Frappe's format")
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

// offset returns how far the zone is ahead of UTC at that time.
func offset(t time.Time, location *time.Location) time.Duration {
	_, seconds := t.In(location).Zone()
	return time.Duration(seconds) * time.Second
}
