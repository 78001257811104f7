package fleet

import (
	"context"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// patience is how many timeouts of one call all calls of an Exchange may wait together.
const patience = 2

// Exchange is what one lookup asks of the store. Its calls together wait for the store twice as long as one may, so that the
// answers of a slow store do not add up. Calls beyond that fail at once. Not counted are waiting for another Caddy, and the
// release of the lock, which others wait for. An Exchange belongs to one goroutine.
type Exchange struct {
	fleet *Fleet
	spent time.Duration
}

// Exchange begins a lookup.
func (f *Fleet) Exchange() *Exchange { return &Exchange{fleet: f} }

// call uses the store for as long as time is left.
func (x *Exchange) call(p path, do func(context.Context, frappe.Store) error) error {
	a := x.fleet.current()
	if a == nil {
		return ErrAway
	}
	began := x.fleet.Now()
	defer func() { x.spent += x.fleet.Now().Sub(began) }()
	return x.fleet.callWithin(a, p, patience*a.timeout-x.spent, do)
}

func (x *Exchange) read(do func(context.Context, frappe.Store) error) error {
	return x.call(reading, do)
}

func (x *Exchange) write(do func(context.Context, frappe.Store) error) error {
	return x.call(writing, do)
}
