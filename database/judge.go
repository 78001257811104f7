package database

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// minToken is the length of the shortest name that may be an access token. Frappe's tokens have 30 characters, and random
// names have 10.
const minToken = 20

// listing is the sorted result of a look.
type listing struct {
	rows     []row // without the clock and the counts
	seen     map[sighting]bool
	newest   map[[2]string]string // the newest `modified` of a kind and name
	complete map[string]string    // by kind that was cut off: the list is complete before this `modified`
	tooMany  bool                 // a kind was cut off before the current time
	tallies  map[string]*tally    // by table that was counted
}

// sort sorts the rows of a look into a listing.
func (v *view) sort(rows []row) *listing {
	l := &listing{
		seen: make(map[sighting]bool), newest: make(map[[2]string]string),
		complete: make(map[string]string), tallies: make(map[string]*tally),
	}
	slices.SortStableFunc(rows, func(a, b row) int { return cmp.Compare(a.modified, b.modified) })
	upTo, number := v.upTo(), make(map[string]int)
	for _, r := range rows {
		if r.kind == theClock {
			continue
		}
		if table, ok := strings.CutPrefix(r.kind, count); ok {
			l.tallies[table] = &tally{rows: integer(r.name), sum: integer(r.modified)}
			continue
		}
		if number[r.kind]++; number[r.kind] > maxRows {
			l.complete[r.kind] = r.modified
			l.tooMany = l.tooMany || r.modified <= upTo
			continue
		}
		l.rows = append(l.rows, r)
		l.seen[sighting{r.kind, r.name, r.modified}] = true
		id := [2]string{r.kind, r.name}
		l.newest[id] = max(l.newest[id], r.modified)
	}
	return l
}

// integer parses a number from the database. NULL counts as 0.
func integer(text string) *big.Int {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return new(big.Int)
	}
	return n
}

// judgement says what changed.
type judgement struct {
	changes        []frappe.Change
	users, clients []string // those whose access tokens are affected too
	reason         string   // if set: why every verdict is dropped
	lost           bool     // the view is no longer valid
}

// judge compares the rows of a look, which lists what was modified after a time, with the previous looks, and remembers
// them.
func (v *view) judge(rows []row, after string) (found judgement) {
	l := v.sort(rows)
	if l.tooMany {
		return judgement{lost: true, reason: fmt.Sprintf("more than %d rows of a table changed", maxRows)}
	}
	found.reason = v.gone(l, after)
	for _, r := range l.rows {
		if v.seen[sighting{r.kind, r.name, r.modified}] {
			continue
		}
		switch r.kind {
		case changedUser:
			found.changes = append(found.changes, frappe.Change{User: r.name, Key: r.key})
			found.users = append(found.users, r.name)
		case deletedUser:
			found.changes = append(found.changes, frappe.Change{User: r.name})
		case changedToken:
			found.changes = append(found.changes, frappe.Change{Token: r.key})
		case deletedToken:
			found.changes = append(found.changes, frappe.Change{Token: r.name})
			if len(r.name) < minToken { // a random name; where tokens are hashed, nothing tells which one this was
				found.reason = "an access token was deleted"
			}
		case changedClient, deletedClient:
			found.clients = append(found.clients, r.name)
		case changedRole:
			found.reason = "a role changed" // Frappe removes a disabled role from its users without changing their `modified`
		}
		v.count(r.kind)
	}
	v.seen = l.seen
	for table, now := range l.tallies {
		if before := v.tallies[table]; before != nil && !before.explains(now) {
			found.reason = table + ": rows are gone without a trace, or their modified went back"
		}
		v.tallies[table] = now
	}
	return found
}

// gone returns a reason if a row that should be listed again is not, and neither a newer `modified` nor a deletion
// explains it.
func (v *view) gone(l *listing, after string) string {
	for s := range v.seen {
		complete, cut := l.complete[s.kind]
		switch {
		case l.seen[s], s.modified <= after, cut && s.modified >= complete:
		case l.newest[[2]string{s.kind, s.name}] > s.modified:
		case l.newest[[2]string{"deleted " + s.kind, s.name}] != "":
		default:
			return "a row is gone, or its modified went back"
		}
	}
	return ""
}

// count counts a new row of the list in the tallies.
func (v *view) count(kind string) {
	for _, b := range branches {
		t := v.tallies[b.of]
		switch {
		case b.kind != kind || t == nil:
		case b.deleted():
			t.deleted++
		default:
			t.changed++
		}
	}
}

// explains reports whether the rows listed since the last count explain the new count.
func (t *tally) explains(now *tally) bool {
	more := new(big.Int).Sub(now.rows, t.rows)
	switch {
	case more.Cmp(big.NewInt(int64(t.changed))) > 0:
		return false // rows were added that were not listed
	case more.Cmp(big.NewInt(int64(-t.deleted))) < 0:
		return false // rows disappeared that were not listed
	case t.deleted == 0 && now.sum.Cmp(t.sum) < 0:
		return false // a change makes `modified` newer
	}
	return t.changed > 0 || t.deleted > 0 || now.sum.Cmp(t.sum) == 0
}
