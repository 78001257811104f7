package frappeauth

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/semaphore"
)

// guard stands before a backend, for all handlers that use it and across reloads: it bounds how many verifications
// the backend sees at once, and leaves it alone while it cannot find out. It also keeps how far the backend's watch
// of its source has come.
type guard struct {
	name     string
	random   func() float64 // in [0, 1)
	breakers *lru.Cache[string, *breaker]
	gate     gate
	watch    watch
}

// backend names the one that granted; nil did not, as none did to Guest.
func (g *guard) backend() string {
	if g == nil {
		return ""
	}
	return g.name
}

// maxBreakers is how many sites of a backend have a breaker of their own.
const maxBreakers = 1024

func newGuard(name string, random func() float64) *guard {
	breakers, _ := lru.New[string, *breaker](maxBreakers)
	return &guard{
		name:     name,
		random:   random,
		breakers: breakers,
		gate:     gate{all: semaphore.NewWeighted(gateSize), unknown: semaphore.NewWeighted(gateSize)},
	}
}

// breaker is the one for that site. A bench may serve many, and one in maintenance says nothing of the others.
func (g *guard) breaker(site string) *breaker {
	if b, ok := g.breakers.Get(site); ok {
		return b
	}
	b := &breaker{random: g.random}
	if known, ok, _ := g.breakers.PeekOrAdd(site, b); ok {
		return known
	}
	return b
}

// leftAlone are the sites whose breakers are open.
func (g *guard) leftAlone() []string {
	sites := []string{}
	for _, site := range g.breakers.Keys() {
		if b, ok := g.breakers.Peek(site); ok && b.isOpen() {
			sites = append(sites, site)
		}
	}
	return sites
}

const (
	// breakerThreshold is how many consecutive failures to find out open a breaker.
	breakerThreshold = 5

	// A backend is left alone for breakerWait at first, and twice as long after each probe that fails, up to
	// breakerMaxWait; each time up to a quarter more or less, so that several Caddys do not probe in step.
	breakerWait    = time.Second
	breakerMaxWait = 10 * time.Second
)

// breaker leaves a backend alone that could not find out several times in a row, for a growing time.
type breaker struct {
	random func() float64

	mu       sync.Mutex
	failures int // consecutive
	wait     time.Duration
	until    time.Time // while open: when to probe
	probing  bool      // one verification is under way to see whether the backend is back
	stale    bool      // it was logged that stale verdicts are served
}

// errLeftAlone is the reason while a breaker is open.
var errLeftAlone = errors.New("it failed several times in a row and is left alone for now")

// check says after how long to try again, if the backend is left alone just now.
func (b *breaker) check(now time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refusal(now)
}

// allow is check, and claims the probe if one is due. What it allows must be reported to foundOut,
// failed or abandon.
func (b *breaker) allow(now time.Time) (probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refusal(now); err != nil {
		return false, err
	}
	probe = b.failures >= breakerThreshold
	b.probing = b.probing || probe
	return probe, nil
}

func (b *breaker) refusal(now time.Time) error {
	if b.failures < breakerThreshold {
		return nil
	}
	if left := b.until.Sub(now); left > 0 || b.probing {
		return &UnavailableError{Reason: errLeftAlone, RetryAfter: max(left, breakerWait)}
	}
	return nil
}

// foundOut reports that the backend found out. ended says that an outage ended with it.
func (b *breaker) foundOut() (ended bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ended = b.failures > 0
	b.failures, b.wait, b.until, b.probing, b.stale = 0, 0, time.Time{}, false, false
	return ended
}

// failed reports that the backend could not find out. began says that an outage began with it.
func (b *breaker) failed(now time.Time, probe bool) (began bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures++
	if probe || b.failures == breakerThreshold {
		b.probing = false
		b.open(now)
	}
	return b.failures == 1
}

func (b *breaker) open(now time.Time) {
	b.wait = min(max(2*b.wait, breakerWait), breakerMaxWait)
	b.until = now.Add(time.Duration(float64(b.wait) * (0.75 + b.random()/2)))
}

// abandon takes back what allow allowed, where the backend is not to blame that nothing was found out.
func (b *breaker) abandon(probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = b.probing && !probe
}

// isOpen reports whether the backend is left alone or being probed.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures >= breakerThreshold
}

// logStale reports whether this is the first stale verdict of the outage.
func (b *breaker) logStale() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := !b.stale
	b.stale = true
	return first
}

const (
	// gateSize is divided by how many may pass at once, so that handlers with different limits can share a gate.
	gateSize = 1 << 30

	// maxGateWait is how long a verification waits to pass before nobody knows.
	maxGateWait = 5 * time.Second

	// waitingPerPlace is how many verifications of known credentials, and as many of unknown ones, may wait for each
	// that may pass at once.
	waitingPerPlace = 64
)

// gate bounds how many verifications a backend sees at once and how many wait. Credentials that were never granted
// get three quarters of the places at most and wait apart, so that a flood of them does not keep known ones from being
// renewed.
type gate struct {
	all            *semaphore.Weighted
	unknown        *semaphore.Weighted
	waiting        atomic.Int64 // credentials that were granted before
	waitingUnknown atomic.Int64
	inFlight       atomic.Int64
}

// errBusy is the reason when too many verifications wait, or wait too long.
var errBusy = errors.New("too many verifications at once")

// enter waits for a place among so many. leave must be called if and only if there is no error.
func (g *gate) enter(places int, known bool) (leave func(), err error) {
	waiting := &g.waiting
	if !known {
		waiting = &g.waitingUnknown
	}
	defer waiting.Add(-1)
	if waiting.Add(1) > int64(places)*waitingPerPlace {
		return nil, &UnavailableError{Reason: errBusy, RetryAfter: time.Second}
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxGateWait)
	defer cancel()

	share, unknownShare := int64(gateSize/places), int64(0)
	if !known {
		unknownShare = int64(gateSize / max(1, places*3/4))
		if g.unknown.Acquire(ctx, unknownShare) != nil {
			return nil, &UnavailableError{Reason: errBusy, RetryAfter: time.Second}
		}
	}
	if g.all.Acquire(ctx, share) != nil {
		g.unknown.Release(unknownShare)
		return nil, &UnavailableError{Reason: errBusy, RetryAfter: time.Second}
	}
	g.inFlight.Add(1)
	return func() {
		g.inFlight.Add(-1)
		g.all.Release(share)
		g.unknown.Release(unknownShare)
	}, nil
}

// watchedTTL is how long a granted verdict is served, whatever the ttl, while its backend reports what changes.
const watchedTTL = time.Hour

// watch is how far a backend's watch of its source has come, on the clock of the state. Its zero value watches
// nothing.
type watch struct {
	mu       sync.Mutex
	watchers int // that have looked at least once; several while a configuration replaces another
	since    atomic.Int64
	last     atomic.Int64
}

// began says that changes are seen from now on.
func (w *watch) began(now int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watchers == 0 {
		w.last.Store(now)
		w.since.Store(now + 1) // what was asked for in the same instant may have missed a change
	}
	w.watchers++
}

// looked says that every change before now was reported.
func (w *watch) looked(now int64) { w.last.Store(now) }

// ended takes back one began.
func (w *watch) ended() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watchers--
	if w.watchers == 0 {
		w.since.Store(math.MaxInt64)
	}
}

// covers says up to when a verdict that was asked for at that time would have been reported as changed.
func (w *watch) covers(at int64) (until int64, ok bool) {
	since := w.since.Load()
	if since == 0 || at < since {
		return 0, false
	}
	return max(at, w.last.Load()), true
}

// age is how long ago the backend looked for changes, while it is watched.
func (w *watch) age(now int64) (age time.Duration, ok bool) {
	since := w.since.Load()
	if since == 0 || since == math.MaxInt64 {
		return 0, false
	}
	return time.Duration(max(0, now-w.last.Load())), true
}
