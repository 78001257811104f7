package frappeauth

import (
	"encoding/binary"
	"iter"
	"math/bits"
)

// grants is an LRU of granted verdicts. golang-lru, which serves where fewer are kept, has an object for each entry that
// points to others. With a million of them Go's garbage collector takes a fourth of all of Caddy's time to follow the
// pointers, and Go's map half of that of a lookup. Here entries lie side by side in blocks, know each other by their
// numbers, and are found by the first bits of their key, which are as random as a hash.
//
// It is not safe for use by several goroutines at once.
type grants struct {
	buckets []uint32 // numbers of entries by the first bits of their keys; 0: none
	blocks  []*[slotsPerBlock]slot
	used    uint32 // so many numbers were used, with 0
	free    uint32 // the first of those that are no longer; 0: none
	count   int
	size    int // at most so many entries are kept
}

const slotsPerBlock = 256

// slot is the place of an entry. All that are in use form a ring in the order of their age, of which the slot of number 0
// is beginning and end.
type slot struct {
	key   cacheKey
	grant grant
	newer uint32 // in slot 0, the oldest
	older uint32 // in slot 0, the newest
	next  uint32 // in the same bucket, or that is free; 0: none
}

// newGrants makes an LRU of that size, at least 1.
func newGrants(size int) *grants {
	return &grants{
		buckets: make([]uint32, 1<<bits.Len(uint(size-1))),
		blocks:  []*[slotsPerBlock]slot{new([slotsPerBlock]slot)},
		used:    1,
		size:    size,
	}
}

func (l *grants) slot(n uint32) *slot { return &l.blocks[n/slotsPerBlock][n%slotsPerBlock] }

func (l *grants) bucket(k cacheKey) *uint32 {
	return &l.buckets[int(binary.BigEndian.Uint32(k[:]))&(len(l.buckets)-1)]
}

func (l *grants) len() int { return l.count }

// find is the number of the entry of a key; 0: there is none.
func (l *grants) find(k cacheKey) uint32 {
	n := *l.bucket(k)
	for n != 0 {
		s := l.slot(n)
		if s.key == k {
			break
		}
		n = s.next
	}
	return n
}

// get returns the entry of a key as it is kept, and makes it the newest; nil if there is none. It is valid until the next
// change.
func (l *grants) get(k cacheKey) *grant {
	n := l.find(k)
	if n == 0 {
		return nil
	}
	l.renew(n)
	return &l.slot(n).grant
}

// peek is get, but leaves the age as it is.
func (l *grants) peek(k cacheKey) *grant {
	if n := l.find(k); n != 0 {
		return &l.slot(n).grant
	}
	return nil
}

// add keeps an entry as the newest, in place of one of the same key. evicted says that the oldest had to make room.
func (l *grants) add(k cacheKey, g grant) (evicted bool) {
	if kept := l.get(k); kept != nil {
		*kept = g
		return false
	}
	if l.count >= l.size {
		l.remove(l.slot(l.slot(0).newer).key)
		evicted = true
	}
	n, b := l.unused(), l.bucket(k)
	*l.slot(n) = slot{key: k, grant: g, next: *b}
	*b = n
	l.link(n)
	l.count++
	return evicted
}

// unused is a number that is not in use.
func (l *grants) unused() uint32 {
	if n := l.free; n != 0 {
		l.free = l.slot(n).next
		return n
	}
	n := l.used
	l.used++
	if int(n/slotsPerBlock) == len(l.blocks) {
		l.blocks = append(l.blocks, new([slotsPerBlock]slot))
	}
	return n
}

// remove forgets the entry of a key, if there is one.
func (l *grants) remove(k cacheKey) {
	at := l.bucket(k)
	for *at != 0 && l.slot(*at).key != k {
		at = &l.slot(*at).next
	}
	n := *at
	if n == 0 {
		return
	}
	s := l.slot(n)
	*at = s.next
	l.unlink(n)
	*s = slot{next: l.free}
	l.free = n
	l.count--
}

// renew makes an entry the newest.
func (l *grants) renew(n uint32) {
	if l.slot(0).older != n {
		l.unlink(n)
		l.link(n)
	}
}

// link makes an entry the newest that is in no place of the ring.
func (l *grants) link(n uint32) {
	end, s := l.slot(0), l.slot(n)
	s.newer, s.older = 0, end.older
	l.slot(end.older).newer = n
	end.older = n
}

func (l *grants) unlink(n uint32) {
	s := l.slot(n)
	l.slot(s.newer).older = s.older
	l.slot(s.older).newer = s.newer
}

// all are the entries, the oldest first. What it yields may be removed.
func (l *grants) all() iter.Seq2[cacheKey, *grant] {
	return func(yield func(cacheKey, *grant) bool) {
		for n := l.slot(0).newer; n != 0; {
			s := l.slot(n)
			n = s.newer
			if !yield(s.key, &s.grant) {
				return
			}
		}
	}
}

// resize keeps at most so many entries from now on, the newest of those there are.
func (l *grants) resize(size int) {
	if size == l.size {
		return
	}
	kept := newGrants(size)
	for k, g := range l.all() {
		kept.add(k, *g)
	}
	*l = *kept
}

// purge forgets every entry.
func (l *grants) purge() { *l = *newGrants(l.size) }
