package database

import (
	"context"
	"fmt"
	"math/big"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// countShare is which part of the time counting may take: one in so many.
	countShare = 100

	// maxCountWait is the longest time between two counts, however long they take.
	maxCountWait = 30 * time.Second
)

// countWait is how long to wait after a count that took that long.
func countWait(took time.Duration) time.Duration { return min(countShare*took, maxCountWait) }

// view is what a poller knows of a database. Two things together see changes:
//
// The list of rows that were modified lately, or ahead of the site's clock, finds most of them, and names them. It starts at
// the database's own clock in the site's time zone, less an overlap, and so no `modified` in the future can hide the
// others. A row that was listed is not reported again until its `modified` changes.
//
// The count and the sum of `modified` of each table find what the list cannot: a row that is gone, or whose `modified`
// went back. They are no news where the list explains them.
type view struct {
	connection *connection
	clock      time.Time // of the database at the last look
	zone       string    // of the site
	floor      string    // the list starts after this, also where the overlap goes further back
	seen       map[sighting]bool
	tallies    map[string]*tally // by table
	countNext  time.Time         // when counting has used its share of the time
	lost       bool              // what is known does not hold any more
}

// sighting is a row that was listed.
type sighting struct{ kind, name, modified string }

// tally is what is known of a table since it was counted.
type tally struct {
	rows, sum *big.Int
	changed   int // rows that were listed since with a new `modified`
	deleted   int // deletions that were listed since
}

// newView learns the state of a database.
func newView(ctx context.Context, c *connection, sch *schema) (*view, error) {
	rows, err := c.list(ctx, sch, "9999-12-31", false)
	if err != nil {
		return nil, err
	}
	v := &view{connection: c}
	if v.clock, v.zone, err = clockOf(rows); err != nil {
		return nil, err
	}
	for again := false; ; again = true {
		began := time.Now()
		if rows, err = c.list(ctx, sch, v.after(), true); err != nil {
			return nil, err
		}
		listed := v.sort(rows)
		if listed.tooMany && !again { // start after them, and list again
			if v.floor, err = c.newest(ctx, sch, v.upTo()); err != nil {
				return nil, err
			}
			continue
		}
		v.seen, v.tallies = listed.seen, listed.tallies
		v.countNext = time.Now().Add(countWait(time.Since(began)))
		return v, nil
	}
}

// wall is a time by the site's clock; by which of the two where the zone's offset just changed, or is not known, is the
// caller's choice: the earlier or the later one.
func (v *view) wall(t time.Time, later bool) string {
	name := v.zone
	if name == "" {
		name = defaultZone
	}
	early, late := -12*time.Hour, 14*time.Hour
	if location, err := time.LoadLocation(name); err == nil {
		then, now := offset(v.clock.Add(-overlap), location), offset(v.clock.Add(overlap), location)
		// Looks may have failed for a while: what comes next counts for the earlier one.
		early, late = min(then, now, offset(v.clock.Add(3*time.Hour), location)), max(then, now)
	}
	if later {
		return t.Add(late).Format(parameterLayout)
	}
	return t.Add(early).Format(parameterLayout)
}

// after is after which `modified` the list starts.
func (v *view) after() string { return max(v.floor, v.wall(v.clock.Add(-overlap), false)) }

// upTo is up to which `modified` a change can have been made by now. Later ones lie in the future.
func (v *view) upTo() string { return v.wall(v.clock.Add(overlap), true) }

// look asks what changed. A reason says why everything did. The view is lost where what is known does not hold any more.
func (v *view) look(ctx context.Context, sch *schema) (changes []frappe.Change, reason string, err error) {
	if v.lost {
		return nil, "the database was not as expected", nil
	}
	began := time.Now()
	counting := !began.Before(v.countNext)
	after := v.after()
	rows, err := v.connection.list(ctx, sch, after, counting)
	if err != nil {
		return nil, "", err
	}
	if counting {
		v.countNext = time.Now().Add(countWait(time.Since(began)))
	}
	clock, zone, err := clockOf(rows)
	if err != nil {
		return nil, "", err
	}
	if reason = v.turned(clock, zone); reason != "" {
		v.lost = true
		return everything, reason, nil
	}
	v.clock = clock
	found := v.judge(rows, after)
	switch {
	case found.lost:
		v.lost = true
		return everything, found.reason, nil
	case found.reason != "":
		return everything, found.reason, nil
	}
	for column, names := range map[string][]string{"user": found.users, "client": found.clients} {
		tooMany, err := v.connection.tokensOf(ctx, sch, column, names, &found.changes)
		if err != nil {
			v.lost = true // the rows count as seen, and were not reported
			return nil, "", err
		}
		if tooMany {
			return everything, fmt.Sprintf("more than %d access tokens have users or clients that changed", maxTokens), nil
		}
	}
	return found.changes, "", nil
}

// turned says how the site's clock is another than before.
func (v *view) turned(clock time.Time, zone string) string {
	switch {
	case zone != v.zone:
		return "the site has another time zone"
	case clock.Before(v.clock.Add(-overlap)):
		return "the database's clock went back"
	}
	return ""
}
