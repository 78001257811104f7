package site

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// preferredRetry is how often the first address is tried again while another one is in use.
const preferredRetry = 30 * time.Second

// failover chooses the address to ask first. The zero value chooses the first one.
type failover struct {
	mu      sync.Mutex
	current int       // the address that answered last
	retry   time.Time // when to try the first address again
}

// order returns the addresses in the order in which one verification asks them: the one that answered last, then the
// others as written. When it is time to try the first address again, only one verification starts there, because that
// address may still hang.
func (f *failover) order(addresses int, now time.Time) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	order := make([]int, 0, addresses+1)
	if f.current != 0 && !now.Before(f.retry) {
		f.retry = now.Add(preferredRetry)
		order = append(order, 0)
	}
	order = append(order, f.current)
	for i := range addresses {
		if i != f.current && i != order[0] {
			order = append(order, i)
		}
	}
	return order
}

// answered records that an address answered. It reports whether the address changed.
func (f *failover) answered(address int, now time.Time) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == address {
		return false
	}
	f.current, f.retry = address, now.Add(preferredRetry)
	return true
}

// askAddresses calls ask for one address after another until one answers. Each gets an equal share of the remaining
// time, so that an address that accepts the connection but never answers leaves time for the next.
func (s *Backend) askAddresses(ctx context.Context, call request, ask question) (frappe.Identity, error) {
	var (
		failures []error
		order    = s.failover.order(len(s.addresses), time.Now())
	)
	for i, n := range order {
		call.address = &s.addresses[n]
		id, err := call.inShare(ctx, len(order)-i, ask)
		if _, ok := errors.AsType[*nextAddressError](err); !ok {
			if s.failover.answered(n, time.Now()) {
				s.logSwitch(n, failures)
			}
			return id, afterFailures(failures, err)
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return frappe.Identity{}, afterFailures(failures[:len(failures)-1], failures[len(failures)-1])
}

// logSwitch logs that another address is used from now on.
func (s *Backend) logSwitch(address int, failures []error) {
	name := zap.String("address", s.addresses[address].String())
	if address == 0 {
		s.logger.Info("the first address of the site answers again", name)
		return
	}
	s.logger.Warn("an address of the site failed; using another one", name, zap.Errors("failures", failures))
}

// question is what is asked of one address.
type question func(c request, ctx context.Context) (frappe.Identity, error)

// inShare asks within one of the given number of equal shares of the remaining time.
func (c request) inShare(ctx context.Context, shares int, ask question) (frappe.Identity, error) {
	if deadline, ok := ctx.Deadline(); ok && shares > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(shares))
		defer cancel()
	}
	return ask(c, ctx)
}

// afterFailures returns the error of the last address, and adds the failures of the addresses before it.
func afterFailures(failures []error, last error) error {
	if last == nil || len(failures) == 0 || errors.Is(last, frappe.ErrDenied) || errors.Is(last, frappe.ErrUnknownSite) {
		return last
	}
	result := frappe.UnavailableError{Reason: last}
	if known, ok := errors.AsType[*frappe.UnavailableError](last); ok {
		result = *known
	}
	for _, failure := range failures {
		result.Reason = fmt.Errorf("%w; before that, %w", result.Reason, reasonOf(failure))
	}
	return &result
}

// reasonOf returns the reason of an UnavailableError, without the common prefix of its text.
func reasonOf(err error) error {
	if unavailable, ok := errors.AsType[*frappe.UnavailableError](err); ok {
		return unavailable.Reason
	}
	return err
}

// nextAddressError is a failure after which the next address is asked.
type nextAddressError struct{ error }

func (e *nextAddressError) Unwrap() error { return e.error }
