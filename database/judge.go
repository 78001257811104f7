package database

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// listing is the rows of a look, sorted.
type listing struct {
	rows     []row // without the clock and the counts
	seen     map[sighting]bool
	newest   map[[2]string]string // the newest `modified` of a kind and name
	complete map[string]string    // of a kind that was cut off, before which `modified` the list is complete
	tooMany  bool                 // a kind was cut off before the present
	tallies  map[string]*tally    // of the tables that were counted
}

// sort sorts the rows of a look.
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

// integer is a number as the database writes it, or 0 where it has none.
func integer(text string) *big.Int {
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return new(big.Int)
	}
	return n
}

// judgement is what changed.
type judgement struct {
	changes        []frappe.Change
	users, clients []string // whose access tokens changed with them
	reason         string   // why everything changed
	lost           bool     // what was known does not hold any more
}

// judge compares the rows of a look, of what was modified after a time, with what is known, and learns them.
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
		case changedToken, deletedToken:
			found.changes = append(found.changes, frappe.Change{Token: r.name})
		case changedClient, deletedClient:
			found.clients = append(found.clients, r.name)
		case changedRole:
			found.reason = "a role changed" // Frappe removes a disabled role from its users, and changes none of them
		}
		v.count(r.kind)
	}
	v.seen = l.seen
	for table, now := range l.tallies {
		if before := v.tallies[table]; before != nil && !before.explains(now) {
			found.reason = table + ": rows are gone without a trace, or have an older modified than before"
		}
		v.tallies[table] = now
	}
	return found
}

// gone says whether rows that should be listed again are not, and nothing explains it: a newer `modified`, or a deletion.
func (v *view) gone(l *listing, after string) string {
	for s := range v.seen {
		complete, cut := l.complete[s.kind]
		switch {
		case l.seen[s], s.modified <= after, cut && s.modified >= complete:
		case l.newest[[2]string{s.kind, s.name}] > s.modified:
		case l.newest[[2]string{"deleted " + s.kind, s.name}] != "":
		default:
			return "a row that was there is gone, or has an older modified than before"
		}
	}
	return ""
}

// count counts a row that is new in the list.
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

// explains reports whether what was listed since explains a later count.
func (t *tally) explains(now *tally) bool {
	more := new(big.Int).Sub(now.rows, t.rows)
	switch {
	case more.Cmp(big.NewInt(int64(t.changed))) > 0:
		return false // rows came that were not listed
	case more.Cmp(big.NewInt(int64(-t.deleted))) < 0:
		return false // rows went that were not listed
	case t.deleted == 0 && now.sum.Cmp(t.sum) < 0:
		return false // a change makes `modified` newer
	}
	return t.changed > 0 || t.deleted > 0 || now.sum.Cmp(t.sum) == 0
}
