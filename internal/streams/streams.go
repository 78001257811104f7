// Package streams ends long-lived requests when the grant that opened them ends. A WebSocket, an event stream or a gRPC
// stream is checked once, when it begins, and could otherwise stay open for hours after its credential was revoked.
//
// A stream has two timers and no goroutine: one confirms its grant, the other ends the stream if that did not succeed
// in time.
package streams

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// MaxConfirmations is how many grants of one Set are confirmed at once.
	MaxConfirmations = 32

	// retry is how long a confirmation waits for its turn before it tries again.
	retry = 100 * time.Millisecond

	// MaxRevoked is how long a stream stays open after a revocation that concerns it, while its grant is confirmed.
	MaxRevoked = 10 * time.Second
)

// Is reports whether the request may open a stream: one that upgrades its connection, opens a WebSocket over HTTP/2 or
// 3 (RFC 8441 and 9220), accepts an event stream, or is gRPC.
func Is(r *http.Request) bool {
	if r.Header["Upgrade"] != nil || r.Method == http.MethodConnect {
		return true
	}
	contentType := r.Header["Content-Type"]
	if len(contentType) > 0 && strings.HasPrefix(contentType[0], "application/grpc") {
		return true
	}
	for _, accept := range r.Header["Accept"] {
		if strings.Contains(accept, "text/event-stream") {
			return true
		}
	}
	return false
}

// ErrNotConfirmed says that a stream ended because its grant could not be confirmed in time.
var ErrNotConfirmed = errors.New("the credential could not be confirmed in time")

// Grant is what a stream was opened by.
type Grant interface {
	// Revoked reports whether the grant was revoked after it was last confirmed.
	Revoked() bool

	// Confirm asks whether the credential is still good. It returns how long the stream may stay open, or why it ends. It
	// is never called twice at once.
	Confirm() (Term, error)
}

// Term is how long a stream may stay open.
type Term struct {
	// Confirm is after how long the grant is confirmed again.
	Confirm time.Duration

	// End is after how long the stream ends if the grant was not confirmed.
	End time.Duration
}

// Set is a set of open streams. All methods may be called from many goroutines at once.
type Set struct {
	confirmations chan struct{} // holds an element for each confirmation in flight
	sweep         *time.Timer   // looks for streams whose grant was revoked

	mu   sync.Mutex
	open map[*stream]struct{}
}

// New returns a set without streams.
func New() *Set {
	s := &Set{confirmations: make(chan struct{}, MaxConfirmations), open: make(map[*stream]struct{})}
	s.sweep = time.AfterFunc(time.Hour, s.confirmRevoked)
	s.sweep.Stop()
	return s
}

// Len returns how many streams are open.
func (s *Set) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// Revoked must be called after grants were revoked. It does not wait: those that were are confirmed in the background.
func (s *Set) Revoked() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) > 0 {
		s.sweep.Reset(0)
	}
}

// confirmRevoked confirms, as soon as possible, the grants that were revoked.
func (s *Set) confirmRevoked() {
	s.mu.Lock()
	open := slices.Collect(maps.Keys(s.open))
	s.mu.Unlock()
	for _, st := range open {
		if st.grant.Revoked() {
			st.revoked()
		}
	}
}

// Open adds a stream. Its context, which derives from ctx, is canceled when the stream ends; ended is then called with
// the reason. The caller must call done when the request is over.
func (s *Set) Open(
	ctx context.Context, g Grant, term Term, ended func(reason error),
) (streamed context.Context, done func()) {
	streamed, cancel := context.WithCancel(ctx)
	st := &stream{set: s, grant: g, cancel: cancel, ended: ended}
	s.mu.Lock()
	s.open[st] = struct{}{}
	s.mu.Unlock()
	st.mu.Lock()
	st.end = time.Now().Add(term.End)
	st.confirmation = time.AfterFunc(term.Confirm, st.confirm)
	st.deadline = time.AfterFunc(term.End, func() { st.cut(ErrNotConfirmed) })
	st.mu.Unlock()
	if g.Revoked() { // before the stream was in the set
		s.Revoked()
	}
	return streamed, st.close
}

// stream is an open stream.
type stream struct {
	set    *Set
	grant  Grant
	cancel context.CancelFunc
	ended  func(reason error)

	mu           sync.Mutex
	confirmation *time.Timer
	deadline     *time.Timer
	end          time.Time // when deadline fires
	confirming   bool
	again        bool // the grant was revoked while it was confirmed
	closed       bool
}

// confirm confirms the grant, or tries again later if too many are confirmed.
func (st *stream) confirm() {
	select {
	case st.set.confirmations <- struct{}{}:
		defer func() { <-st.set.confirmations }()
	default:
		st.mu.Lock()
		defer st.mu.Unlock()
		if !st.closed {
			st.confirmation.Reset(retry + rand.N(retry)) //nolint:gosec // jitter
		}
		return
	}
	st.mu.Lock()
	if st.closed || st.confirming {
		st.mu.Unlock()
		return
	}
	st.confirming, st.again = true, false
	st.mu.Unlock()

	term, err := st.grant.Confirm()
	if err != nil {
		st.cut(err)
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.confirming = false
	switch {
	case st.closed:
	case st.again:
		st.confirmation.Reset(0)
	default:
		st.end = time.Now().Add(term.End)
		st.deadline.Reset(term.End)
		st.confirmation.Reset(term.Confirm)
	}
}

// revoked has the grant confirmed at once, and the stream ended if that takes too long.
func (st *stream) revoked() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return
	}
	if left := time.Until(st.end); left > MaxRevoked {
		st.end = time.Now().Add(MaxRevoked)
		st.deadline.Reset(MaxRevoked)
	}
	if st.confirming {
		st.again = true // the answer may be from before the revocation
		return
	}
	st.confirmation.Reset(0)
}

// cut ends the stream.
func (st *stream) cut(reason error) {
	if st.remove() {
		st.ended(reason)
		st.cancel()
	}
}

// close releases the stream when its request is over.
func (st *stream) close() {
	st.remove()
	st.cancel()
}

// remove takes the stream out of the set. It reports whether it was there.
func (st *stream) remove() bool {
	st.set.mu.Lock()
	_, open := st.set.open[st]
	delete(st.set.open, st)
	st.set.mu.Unlock()
	if !open {
		return false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closed = true
	st.confirmation.Stop()
	st.deadline.Stop()
	return true
}
