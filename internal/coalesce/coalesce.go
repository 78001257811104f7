// Package coalesce lets concurrent callers with the same key share one call.
package coalesce

import (
	"context"
	"errors"
	"sync"
)

// ErrPanicked is the error that waiting callers get if the call they waited for panicked.
var ErrPanicked = errors.New("the call panicked")

// Group coalesces calls by key. Its zero value is ready to use.
//
// Unlike golang.org/x/sync/singleflight, it runs the call in the goroutine of the first caller, even though waiting
// callers may give up early. This saves starting a goroutine for each call, growing its stack, and waking the caller.
type Group[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*call[V] // in flight
}

type call[V any] struct {
	done  chan struct{} // closed when value and err are set
	value V
	err   error
}

// Do runs fn and returns its value, or waits for an identical call already in flight and returns that call's value. A
// waiting caller returns early, with the error of ctx, when ctx is done; the caller that runs fn does not. shared
// reports whether another caller ran the call. If fn panics, its caller panics and waiting callers get ErrPanicked.
func (g *Group[K, V]) Do(ctx context.Context, key K, fn func() V) (value V, shared bool, err error) {
	g.mu.Lock()
	if other := g.calls[key]; other != nil {
		g.mu.Unlock()
		select {
		case <-other.done:
			return other.value, true, other.err
		case <-ctx.Done():
			return value, true, ctx.Err()
		}
	}
	own := &call[V]{done: make(chan struct{}), err: ErrPanicked}
	if g.calls == nil {
		g.calls = make(map[K]*call[V])
	}
	g.calls[key] = own
	g.mu.Unlock()

	defer func() {
		g.mu.Lock()
		delete(g.calls, key)
		g.mu.Unlock()
		close(own.done)
	}()
	own.value = fn()
	own.err = nil
	return own.value, false, nil
}
