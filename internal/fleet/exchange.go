package fleet

import (
	"context"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// patience is how many timeouts of one call all calls of an Exchange may wait together.
	patience = 2

	// farewell is how long an Exchange waits, even if it has no time left, until its lock is released: others wait for that.
	farewell = 10 * time.Millisecond
)

// Exchange is what one lookup asks of the store. Its calls together wait for the store twice as long as one may, so that the
// answers of a slow store do not add up. Calls beyond that fail at once. Waiting for another Caddy is not counted. An Exchange
// belongs to one goroutine.
type Exchange struct {
	fleet *Fleet
	spent time.Duration
}

// Exchange begins a lookup.
func (f *Fleet) Exchange() *Exchange { return &Exchange{fleet: f} }

// call uses the store for as long as time is left, but for atLeast.
func (x *Exchange) call(p path, atLeast time.Duration, do func(context.Context, frappe.Store) error) error {
	a := x.fleet.current()
	if a == nil {
		return ErrAway
	}
	began := x.fleet.Now()
	defer func() { x.spent += x.fleet.Now().Sub(began) }()
	return x.fleet.callWithin(a, p, max(atLeast, patience*a.timeout-x.spent), do)
}

func (x *Exchange) read(do func(context.Context, frappe.Store) error) error {
	return x.call(reading, 0, do)
}

func (x *Exchange) write(do func(context.Context, frappe.Store) error) error {
	return x.call(writing, 0, do)
}
