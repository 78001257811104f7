package fleet

import (
	"sync"
	"time"
)

// maxWaiting is how many tags may wait to be published. More become a revocation of everything.
const maxWaiting = 4096

// outbox holds revocations that took effect here and that a ring does not hold yet. They are numbered.
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
	if r.Everything || len(o.tags) > maxWaiting {
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

// after returns what was added after a number, as one revocation.
func (o *outbox) after(number uint64) (r Revocation) {
	r.Everything = o.everything > number
	for tag, n := range o.tags {
		if n > number {
			r.Tags = append(r.Tags, tag)
		}
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

// revoked holds when this Caddy last revoked each tag, at whatever place. A place that is used later, as after a reload
// with another URL, may not have heard of it, and may hold verdicts from before.
type revoked struct {
	mu         sync.Mutex
	tags       map[uint64]heard
	everything heard // what has no time in tags may have been revoked then
}

// heard is when and where something was last revoked, and when anywhere else.
type heard struct {
	at        time.Time
	place     Place // zero: without a place
	elsewhere time.Time
}

func (h heard) again(now time.Time, at Place) heard {
	if h.place != at {
		h.elsewhere = h.at
	}
	h.at, h.place = now, at
	return h
}

// after reports whether it was revoked at a time or later, at another place.
func (h heard) after(t time.Time, own Place) bool {
	at := h.at
	if h.place == own {
		at = h.elsewhere
	}
	return !at.IsZero() && !at.Before(t)
}

func (k *revoked) add(r Revocation, now time.Time, at Place) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, tag := range r.Tags {
		k.tags[tag] = k.tags[tag].again(now, at)
	}
	if r.Everything {
		k.everything = k.everything.again(now, at)
	}
	if len(k.tags) > maxWaiting {
		k.everything = heard{at: now, place: at, elsewhere: now}
		clear(k.tags)
	}
}

// elsewhere reports whether one of the tags, or everything, was revoked at a time or later, at another place. The state
// of a place itself tells what was revoked there.
func (k *revoked) elsewhere(t time.Time, tags []uint64, own Place) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.everything.after(t, own) {
		return true
	}
	for _, tag := range tags {
		if k.tags[tag].after(t, own) {
			return true
		}
	}
	return false
}
