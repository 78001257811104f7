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

// view is what a poller knows about a database. Two methods together find changes:
//
// The list contains the rows that were modified recently, or that are ahead of the site's clock. It finds most changes
// and says which rows they concern. It starts at the database's own clock, converted to the site's time zone, minus an
// overlap, so a `modified` in the future cannot hide other changes. A row that was listed is reported again only if its
// `modified` changes.
//
// The number of rows and the sum of `modified` of each table find what the list cannot: a row that is gone, or whose
// `modified` went back. They count as a change only if the list does not explain them.
type view struct {
	connection *connection
	clock      time.Time // the database's time at the last look
	zone       string    // the site's time zone
	floor      string    // if set: the list never starts before this
	seen       map[sighting]bool
	tallies    map[string]*tally // by table
	countNext  time.Time         // when to count next, so that counting stays within its share
	lost       bool              // the view is no longer valid
}

// sighting identifies a row that was listed.
type sighting struct{ kind, name, modified string }

// tally is what is known about a table since it was last counted.
type tally struct {
	rows, sum *big.Int
	changed   int // rows listed since, with a new `modified`
	deleted   int // deletions listed since
}

// newView reads the current state of a database.
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

// wall converts a time to the site's local time. If the zone's offset changes around that time or is not known, there are
// two candidates; later selects which one is returned.
func (v *view) wall(t time.Time, later bool) string {
	name := v.zone
	if name == "" {
		name = defaultZone
	}
	early, late := -12*time.Hour, 14*time.Hour
	if location, err := time.LoadLocation(name); err == nil {
		then, now := offset(v.clock.Add(-overlap), location), offset(v.clock.Add(overlap), location)
		// Looks may have failed for a while, so the earlier candidate also considers the next hours.
		early, late = min(then, now, offset(v.clock.Add(3*time.Hour), location)), max(then, now)
	}
	if later {
		return t.Add(late).Format(parameterLayout)
	}
	return t.Add(early).Format(parameterLayout)
}

// after returns the `modified` after which the list starts.
func (v *view) after() string { return max(v.floor, v.wall(v.clock.Add(-overlap), false)) }

// upTo returns the latest `modified` that a change can have by now. Anything later lies in the future.
func (v *view) upTo() string { return v.wall(v.clock.Add(overlap), true) }

// look returns what changed since the last look. reason is set if every verdict must be dropped. If the view is no longer
// valid, lost is set.
func (v *view) look(ctx context.Context, sch *schema) (changes []frappe.Change, reason string, err error) {
	if v.lost {
		return nil, "the state of the database is not known", nil
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
			v.lost = true // the rows are marked as seen but were not reported
			return nil, "", err
		}
		if tooMany {
			return everything, fmt.Sprintf("more than %d access tokens have users or clients that changed", maxTokens), nil
		}
	}
	return found.changes, "", nil
}

// turned returns a reason if the site's clock or time zone differs from the last look.
func (v *view) turned(clock time.Time, zone string) string {
	switch {
	case zone != v.zone:
		return "the site's time zone changed"
	case clock.Before(v.clock.Add(-overlap)):
		return "the database's clock went back"
	}
	return ""
}
