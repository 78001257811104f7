package frappeauth

import (
	"context"
	"errors"
	"sync"
)

// flights let one ask for all who want to know the same at the same time.
//
// The singleflight of golang.org/x/sync asks in another goroutine wherever somebody may stop waiting. That one has to be
// woken, has to grow its stack and has to wake who waits, which took a sixth of the time of a look into a PostgreSQL nearby.
// Here the first asks by itself.
type flights struct {
	mu       sync.Mutex
	underway map[flightKey]*flight
}

// flightKey names what is asked. A revocation divides those who ask: who comes after it does not get the answer to a
// question from before it.
type flightKey struct {
	verdict cacheKey
	seq     uint64 // of the cache
}

type flight struct {
	landed chan struct{} // closed when there is the answer
	answer answer
}

// errNotLanded is the answer where there is none, since ask panicked: nobody could find out.
var errNotLanded = errors.New("the verification panicked")

// join is what ask answers, or what another's answers that is under way. Who waits for another's stops when ctx is done.
func (f *flights) join(ctx context.Context, k flightKey, ask func() answer) answer {
	f.mu.Lock()
	if other := f.underway[k]; other != nil {
		f.mu.Unlock()
		select {
		case <-other.landed:
			return other.answer
		case <-ctx.Done():
			return answer{err: ctx.Err()}
		}
	}
	own := &flight{landed: make(chan struct{}), answer: answer{err: errNotLanded}}
	if f.underway == nil {
		f.underway = make(map[flightKey]*flight)
	}
	f.underway[k] = own
	f.mu.Unlock()

	defer func() {
		f.mu.Lock()
		delete(f.underway, k)
		f.mu.Unlock()
		close(own.landed)
	}()
	own.answer = ask()
	return own.answer
}
