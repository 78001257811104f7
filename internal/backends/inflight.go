package backends

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

const (
	// MaxWait is the longest time that a call waits for its turn.
	MaxWait = 5 * time.Second

	// WaitingPerCall times the limit is how many known, and how many unknown, calls may wait.
	WaitingPerCall = 64
)

// ErrBusy is the error if too many calls are waiting, or if a call waited too long.
var ErrBusy = errors.New("too many calls at once")

// inFlightLimit limits how many calls are in flight at once, and how many wait for a place. Unknown calls get at most
// three quarters of the places and have a separate queue, so that a flood of them does not block known ones.
type inFlightLimit struct {
	max            int
	all, unknown   *semaphore.Weighted
	waiting        atomic.Int64 // known calls
	waitingUnknown atomic.Int64
	inFlight       atomic.Int64
}

func newInFlightLimit(limit int) *inFlightLimit {
	return &inFlightLimit{
		max:     limit,
		all:     semaphore.NewWeighted(int64(limit)),
		unknown: semaphore.NewWeighted(int64(max(1, limit*3/4))),
	}
}

// Max returns how many calls may be in flight.
func (l *inFlightLimit) Max() int { return l.max }

// InFlight returns how many calls are in flight.
func (l *inFlightLimit) InFlight() int64 { return l.inFlight.Load() }

// Waiting returns how many calls are waiting.
func (l *inFlightLimit) Waiting() int64 { return l.waiting.Load() + l.waitingUnknown.Load() }

// Acquire waits for a place, for at most MaxWait. The only error is ErrBusy. If there is none, the caller must call
// release.
func (l *inFlightLimit) Acquire(known bool) (release func(), err error) {
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
