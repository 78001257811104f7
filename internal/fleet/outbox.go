package fleet

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
func (o *outbox) after(number uint64) (r Revocation, any bool) {
	r.Everything = o.everything > number
	for tag, n := range o.tags {
		if n > number {
			r.Tags = append(r.Tags, tag)
		}
	}
	return r, r.Everything || len(r.Tags) > 0
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
