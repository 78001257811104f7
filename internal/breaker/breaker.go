// Package breaker has circuit breakers, many of them, by key.
package breaker

import (
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// Threshold is how many failures in a row, each of another subject, open a breaker.
	Threshold = 5

	// MinWait is how long a breaker is open at first. After each probe that fails it is open twice as long, up to MaxWait;
	// each time up to a quarter more or less, so that several processes do not probe in step.
	MinWait = time.Second

	// MaxWait is the longest time between two probes, before jitter.
	MaxWait = 10 * time.Second
)

// OpenError says that a breaker is open.
type OpenError struct {
	// RetryAfter is the time until the next probe, or MinWait while one is under way.
	RetryAfter time.Duration
}

func (*OpenError) Error() string {
	return "the circuit breaker is open after several failures in a row"
}

// Group holds the breakers of keys that failed lately. A key that never failed, or succeeded since, takes no room. At
// most size breakers are kept; one that is open is evicted only when all are open.
type Group[K comparable] struct {
	random func() float64 // in [0, 1)

	mu       sync.Mutex
	size     int
	breakers *simplelru.LRU[K, *breaker]
}

// breaker is closed until it has Threshold subjects, then open; half-open while a probe is under way.
type breaker struct {
	subjects []uint64 // that failed since the last success, each once
	wait     time.Duration
	until    time.Time // while open: when to probe
	probing  bool
	noted    bool // Once was called in this outage
}

func (b *breaker) open() bool { return len(b.subjects) >= Threshold }

// NewGroup makes a group of at most size breakers. random is the source of jitter, in [0, 1).
func NewGroup[K comparable](size int, random func() float64) *Group[K] {
	breakers, _ := simplelru.NewLRU[K, *breaker](size, nil)
	return &Group[K]{random: random, size: size, breakers: breakers}
}

// Check returns an *OpenError if the breaker of the key is open at that time.
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

// Acquire is Check, and claims the probe if one is due. A call that it allows must be reported to Success, Failure or
// Cancel, with probe.
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

// Success reports a call that succeeded, and closes the breaker. ended reports whether calls had failed before, wasOpen
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

// Failure reports a call about a subject that failed. Further failures of one subject count once, so that no single
// subject can open the breaker for the others. began reports whether this is the first failure since a success.
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

// makeRoom evicts the breaker that was used the longest time ago, a closed one if there is any.
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

// Cancel takes back a call that Acquire allowed and that says nothing of the key.
func (g *Group[K]) Cancel(key K, probe bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if b, ok := g.breakers.Peek(key); ok && probe {
		b.probing = false
	}
}

// Once reports whether it is called for the first time since the calls of the key began to fail.
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
