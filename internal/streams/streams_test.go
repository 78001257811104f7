package streams_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/streams"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

func TestIs(t *testing.T) {
	for _, test := range []struct {
		name, method, header string
		want                 bool
	}{
		{"a page", "GET", "Accept: text/html", false},
		{"an API", "POST", "Content-Type: application/json", false},
		{"a WebSocket", "GET", "Upgrade: websocket", true},
		{"a WebSocket over HTTP/2", "CONNECT", "Origin: https://example.com", true},
		{"an event stream", "GET", "Accept: text/event-stream", true},
		{"an event stream or JSON, as MCP clients ask", "POST", "Accept: application/json, text/event-stream", true},
		{"gRPC", "POST", "Content-Type: application/grpc+proto", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := httptest.NewRequest(test.method, "/", http.NoBody)
			name, value, _ := strings.Cut(test.header, ": ")
			r.Header.Set(name, value)
			if got := streams.Is(r); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// double is a grant that a test controls.
type double struct {
	revoked   atomic.Bool
	confirmed atomic.Int64 // how often
	mu        sync.Mutex
	answer    func() (streams.Term, error)
}

func (d *double) Revoked() bool { return d.revoked.Load() }

func (d *double) Confirm() (streams.Term, error) {
	d.confirmed.Add(1)
	d.mu.Lock()
	answer := d.answer
	d.mu.Unlock()
	return answer()
}

func (d *double) set(answer func() (streams.Term, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

var (
	term      = streams.Term{Confirm: 48 * time.Second, End: time.Minute}
	errDenied = errors.New("denied")
)

func granted() (streams.Term, error) { return term, nil }

func denied() (streams.Term, error) { return streams.Term{}, errDenied }

// hangs answers as granted does after an hour.
func hangs() (streams.Term, error) {
	time.Sleep(time.Hour)
	return term, nil
}

// TestStreamEnds: a stream stays open while its grant is confirmed, and ends when it is not.
func TestStreamEnds(t *testing.T) {
	for _, test := range []struct {
		name   string
		then   func() (streams.Term, error) // what confirmations answer after ten minutes
		revoke bool                         // the grant is revoked then
		ends   time.Duration                // when the stream ends after that; 0: it does not
		reason error
	}{
		{"confirmed", granted, false, 0, nil},
		{"denied", denied, false, 24 * time.Second, errDenied}, // 600 s is 24 s before a confirmation
		{"not confirmed in time", hangs, false, 36 * time.Second, streams.ErrNotConfirmed},
		{"revoked and granted again", granted, true, 0, nil},
		{"revoked and denied", denied, true, time.Nanosecond, errDenied},
		{"revoked and not confirmed", hangs, true, streams.MaxRevoked, streams.ErrNotConfirmed},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				set, grant := streams.New(), new(double)
				grant.set(granted)
				var reason error
				ctx, done := set.Open(t.Context(), grant, term, func(why error) { reason = why })
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				if ctx.Err() != nil || grant.confirmed.Load() != 12 {
					t.Fatalf("after ten minutes: %v, confirmed %d times", ctx.Err(), grant.confirmed.Load())
				}
				grant.set(test.then)
				if test.revoke {
					grant.revoked.Store(true)
					set.Revoked()
				}
				began := time.Now()
				select {
				case <-ctx.Done():
				case <-time.After(10 * time.Minute):
				}
				if took := time.Since(began); test.ends == 0 && ctx.Err() != nil || test.ends != 0 && took != test.ends.Truncate(time.Second) {
					t.Errorf("ended after %s with %v", took, reason)
				}
				if !errors.Is(reason, test.reason) {
					t.Errorf("reason %v, want %v", reason, test.reason)
				}
				done()
				if set.Len() != 0 || ctx.Err() == nil {
					t.Errorf("%d streams are left", set.Len())
				}
				confirmed := grant.confirmed.Load()
				time.Sleep(2 * time.Hour)
				if grant.confirmed.Load() != confirmed {
					t.Error("a stream that is closed was confirmed")
				}
			})
		})
	}
}

// TestRevokedWhileConfirmed: an answer from before a revocation does not count.
func TestRevokedWhileConfirmed(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		set, grant := streams.New(), new(double)
		grant.set(func() (streams.Term, error) {
			time.Sleep(5 * time.Second)
			return term, nil
		})
		ctx, done := set.Open(t.Context(), grant, term, func(error) {})
		defer done()
		time.Sleep(50 * time.Second) // the confirmation is under way
		grant.set(denied)
		grant.revoked.Store(true)
		set.Revoked()
		synctest.Wait()
		if ctx.Err() != nil {
			t.Error("it ended before the answer")
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("it is open after an answer from before the revocation")
		}
	})
}

// TestRevokedWhileAllAreConfirmed: it does not count either while no other confirmation may start.
func TestRevokedWhileAllAreConfirmed(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		set, busy, grant := streams.New(), new(double), new(double)
		busy.set(hangs)
		grant.set(func() (streams.Term, error) {
			time.Sleep(5 * time.Second)
			return term, nil
		})
		for range streams.MaxConfirmations - 1 {
			_, done := set.Open(t.Context(), busy, streams.Term{Confirm: term.Confirm, End: time.Hour}, func(error) {})
			defer done()
		}
		ctx, done := set.Open(t.Context(), grant, term, func(error) {})
		defer done()
		time.Sleep(50 * time.Second) // all confirmations are under way
		grant.set(denied)
		grant.revoked.Store(true)
		set.Revoked()
		time.Sleep(4 * time.Second)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Error("it is open after an answer from before the revocation")
		}
		time.Sleep(2 * time.Hour) // the others end
	})
}

// TestManyRevoked: however many streams are concerned, few are confirmed at once, and all are.
func TestManyRevoked(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const many = 200
		set := streams.New()
		var inside, most, ended atomic.Int64
		grant := new(double)
		grant.set(func() (streams.Term, error) {
			most.Store(max(most.Load(), inside.Add(1)))
			defer inside.Add(-1)
			time.Sleep(100 * time.Millisecond)
			return denied()
		})
		for range many {
			_, done := set.Open(context.Background(), grant, term, func(error) { ended.Add(1) })
			defer done()
		}
		grant.revoked.Store(true)
		set.Revoked()
		time.Sleep(streams.MaxRevoked)
		synctest.Wait()
		if ended.Load() != many || most.Load() > streams.MaxConfirmations || set.Len() != 0 {
			t.Errorf("%d of %d ended, up to %d confirmed at once", ended.Load(), many, most.Load())
		}
	})
}
