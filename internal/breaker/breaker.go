// Package breaker implements circuit breakers, one for each key.
package breaker

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// Threshold is how many failures in a row open a breaker. Only failures of different subjects count.
	Threshold = 5

	// MinWait is how long a breaker stays open at first. After each failed probe the wait doubles, up to MaxWait. Each
	// wait is varied by up to a quarter, so that several processes do not probe at the same time.
	MinWait = time.Second

	// MaxWait is the longest time between two probes, before jitter.
	MaxWait = 10 * time.Second
)

// OpenError is the error of an open breaker.
type OpenError struct {
	// RetryAfter is the time until the next probe, or MinWait while a probe is in flight.
	RetryAfter time.Duration
}

func (*OpenError) Error() string {
	return "the circuit breaker is open after several failures in a row"
}

// Group holds the breakers of keys whose last call failed. Other keys take no memory. At most size breakers are kept.
// An open one is evicted only if all are open.
type Group[K comparable] struct {
	random func() float64 // in [0, 1)

	mu       sync.Mutex
	size     int
	breakers *simplelru.LRU[K, *breaker]
}

// breaker is closed until Threshold subjects have failed. Then it is open, and half-open while a probe is in flight.
type breaker struct {
	subjects []uint64 // subjects that failed since the last success, each once
	wait     time.Duration
	until    time.Time // when to probe, if open
	probing  bool
	noted    bool // Once was called since the first failure
}

func (b *breaker) open() bool { return len(b.subjects) >= Threshold }

// NewGroup returns a group of at most size breakers. random returns numbers in [0, 1), for the jitter.
func NewGroup[K comparable](size int, random func() float64) *Group[K] {
	breakers, _ := simplelru.NewLRU[K, *breaker](size, nil)
	return &Group[K]{random: random, size: size, breakers: breakers}
}

// Check returns an *OpenError if the key's breaker is open at that time.
func (g *Group[K]) Check(key K, now time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, err := g.check(key, now)
	return err
}

func (g *Group[K]) check(key K, now time.Time) (*breaker, error) {
	b, ok := g.breakers.Get(key)
	if !ok || !b.open() {
		return b, nil
	}
	if left := b.until.Sub(now); left > 0 || b.probing {
		return b, &OpenError{RetryAfter: max(left, MinWait)}
	}
	return b, nil
}

// Acquire is like Check, and claims the probe if one is due. The caller must report a call that it allows to Success,
// Failure or Cancel, with the same probe.
func (g *Group[K]) Acquire(key K, now time.Time) (probe bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := g.check(key, now)
	if err != nil {
		return false, err
	}
	probe = b != nil && b.open()
	if probe {
		b.probing = true
	}
	return probe, nil
}

// Success records a successful call and closes the breaker. ended reports whether the previous call failed, and wasOpen
// whether the breaker was open or half-open.
func (g *Group[K]) Success(key K) (ended, wasOpen bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b, ok := g.breakers.Peek(key); ok {
		wasOpen = b.open()
	}
	return g.breakers.Remove(key), wasOpen
}

// Reset closes all breakers.
func (g *Group[K]) Reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.breakers.Purge()
}

// Failure records a failed call about a subject. Repeated failures of one subject count once, so that no single subject
// can open the breaker for the others. began reports whether this is the first failure since a success.
func (g *Group[K]) Failure(key K, subject uint64, now time.Time, probe bool) (began bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, ok := g.breakers.Get(key)
	if !ok {
		b = new(breaker)
		g.makeRoom()
		g.breakers.Add(key, b)
	}
	wasOpen := b.open()
	if !wasOpen && !slices.Contains(b.subjects, subject) {
		b.subjects = append(b.subjects, subject)
	}
	if b.open() && (probe || !wasOpen) {
		b.probing = false
		b.wait = min(max(2*b.wait, MinWait), MaxWait)
		b.until = now.Add(time.Duration(float64(b.wait) * (0.75 + g.random()/2)))
	}
	return !ok
}

// makeRoom evicts the least recently used breaker that is closed, or, if all are open, the least recently used one.
func (g *Group[K]) makeRoom() {
	if g.breakers.Len() < g.size {
		return
	}
	for _, key := range g.breakers.Keys() {
		if b, _ := g.breakers.Peek(key); !b.open() {
			g.breakers.Remove(key)
			return
		}
	}
	g.breakers.RemoveOldest()
}

// Cancel ends a call that Acquire allowed, if its result says nothing about the key.
func (g *Group[K]) Cancel(key K, probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b, ok := g.breakers.Peek(key); ok && probe {
		b.probing = false
	}
}

// Once reports whether it is called for the first time since the key's calls began to fail.
func (g *Group[K]) Once(key K) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, ok := g.breakers.Peek(key)
	if !ok || b.noted {
		return false
	}
	b.noted = true
	return true
}

// Open returns the keys whose breakers are open or half-open.
func (g *Group[K]) Open() []K {
	g.mu.Lock()
	defer g.mu.Unlock()
	open := []K{}
	for _, key := range g.breakers.Keys() {
		if b, _ := g.breakers.Peek(key); b.open() {
			open = append(open, key)
		}
	}
	return open
}
