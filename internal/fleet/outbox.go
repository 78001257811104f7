package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// publishTimeout is how long publishing may take. A webhook waits for it; Frappe gives up after 5 seconds.
const publishTimeout = 2 * time.Second

// outbox holds revocations that took effect here and are not yet in the log.
type outbox struct {
	number     uint64            // of the last revocation
	tags       map[uint64]uint64 // tag to the number of its last revocation
	everything uint64            // the number of the last revocation of everything; 0: none
}

func newOutbox() outbox { return outbox{tags: make(map[uint64]uint64)} }

func (o *outbox) add(r Revocation) {
	o.number++
	for _, tag := range r.Tags {
		o.tags[tag] = o.number
	}
	if r.Everything || len(o.tags) > maxTags {
		o.everything = o.number
		clear(o.tags)
	}
}

// has reports whether one of the tags, or everything, waits to be published.
func (o *outbox) has(tags []uint64) bool {
	if o.everything > 0 {
		return true
	}
	for _, tag := range tags {
		if _, ok := o.tags[tag]; ok {
			return true
		}
	}
	return false
}

func (o *outbox) size() int {
	if o.everything > 0 {
		return len(o.tags) + 1
	}
	return len(o.tags)
}

// waiting returns all that waits, as one revocation.
func (o *outbox) waiting() Revocation {
	r := Revocation{Everything: o.everything > 0}
	for tag := range o.tags {
		r.Tags = append(r.Tags, tag)
	}
	return r
}

// remove removes what was added up to a number.
func (o *outbox) remove(number uint64) {
	if o.everything <= number {
		o.everything = 0
	}
	for tag, n := range o.tags {
		if n <= number {
			delete(o.tags, tag)
		}
	}
}

// Revoke drops verdicts here at once, and in every Caddy of the fleet soon. Publish or a running Run publishes it.
func (f *Fleet) Revoke(r Revocation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// First the outbox: a verdict that is taken from the store from now on is checked against it.
	f.outbox.add(r)
	f.Apply(r)
	f.wake()
}

// RevokeElsewhere is like Revoke, for what has already been dropped here.
func (f *Fleet) RevokeElsewhere(r Revocation) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outbox.add(r)
	f.wake()
}

// wake makes a running Run publish what waits.
func (f *Fleet) wake() {
	select {
	case f.kick <- struct{}{}:
	default: // it is awake already
	}
}

// Publish returns once every revocation so far is in the log, or an error. What could not be published stays in the outbox.
func (f *Fleet) Publish(ctx context.Context) error {
	a := f.current()
	if a == nil {
		return ErrAway
	}
	return f.publish(ctx, a)
}

func (f *Fleet) publish(ctx context.Context, a *attachment) error {
	select {
	case f.flushing <- struct{}{}:
		defer func() { <-f.flushing }()
	case <-ctx.Done():
		return ctx.Err()
	}
	f.mu.Lock()
	r, number := f.outbox.waiting(), f.outbox.number
	f.own = frappe.Position{}
	f.mu.Unlock()
	if !r.Everything && len(r.Tags) == 0 {
		return nil
	}
	var at frappe.Position
	err := f.try(ctx, a, logging, false, publishTimeout, func(ctx context.Context, s frappe.Store) (err error) {
		at, err = s.Append(ctx, r.encode(f.origin), max(f.Keep(), time.Minute))
		return err
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAway, err)
	}
	f.count.published.Add(1)
	f.published(at, r, number)
	return nil
}

// published takes a revocation out of the outbox, up to a number, once it is in the log.
func (f *Fleet) published(at frappe.Position, r Revocation, number uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at.Epoch == f.log.last.Epoch {
		f.log.record(at.Sequence, r)
	}
	// The entry may have been read before the answer to its writing arrived. Then it is the last one.
	readAlready := at == f.own && at == f.log.last
	if !readAlready && (at.Epoch != f.log.last.Epoch || at.Sequence <= f.log.last.Sequence) {
		f.unseen = f.Now() // the log may be another one: take nothing from the store before it has been read again
	}
	f.outbox.remove(number)
}
