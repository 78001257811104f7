// Package inflight bounds how many calls are in flight at once, and how many wait.
package inflight

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// MaxWait is how long a call waits for its turn.
	MaxWait = 5 * time.Second

	// WaitingPerCall is how many calls of each kind may wait for each that may be in flight.
	WaitingPerCall = 64
)

// ErrBusy says that too many calls wait, or that a call waited for too long.
var ErrBusy = errors.New("too many calls at once")

// Limit bounds calls. Those of unknown clients get three quarters of the places at most, and wait apart, so that a flood of
// them does not keep out the known ones.
type Limit struct {
	max            int
	all, unknown   *semaphore.Weighted
	waiting        atomic.Int64 // known ones
	waitingUnknown atomic.Int64
	inFlight       atomic.Int64
}

// New makes a limit of that many calls in flight, at least 1.
func New(limit int) *Limit {
	return &Limit{
		max:     limit,
		all:     semaphore.NewWeighted(int64(limit)),
		unknown: semaphore.NewWeighted(int64(max(1, limit*3/4))),
	}
}

// Max is how many calls may be in flight.
func (l *Limit) Max() int { return l.max }

// InFlight is how many calls are in flight.
func (l *Limit) InFlight() int64 { return l.inFlight.Load() }

// Waiting is how many calls wait.
func (l *Limit) Waiting() int64 { return l.waiting.Load() + l.waitingUnknown.Load() }

// Acquire waits for a place, for MaxWait at most. release must be called if and only if there is no error; the only error
// is ErrBusy.
func (l *Limit) Acquire(known bool) (release func(), err error) {
	waiting := &l.waiting
	if !known {
		waiting = &l.waitingUnknown
	}
	defer waiting.Add(-1)
	if waiting.Add(1) > int64(l.max)*WaitingPerCall {
		return nil, ErrBusy
	}
	ctx, cancel := context.WithTimeout(context.Background(), MaxWait)
	defer cancel()

	if !known && l.unknown.Acquire(ctx, 1) != nil {
		return nil, ErrBusy
	}
	releaseUnknown := func() {
		if !known {
			l.unknown.Release(1)
		}
	}
	if l.all.Acquire(ctx, 1) != nil {
		releaseUnknown()
		return nil, ErrBusy
	}
	l.inFlight.Add(1)
	return func() {
		l.inFlight.Add(-1)
		l.all.Release(1)
		releaseUnknown()
	}, nil
}
