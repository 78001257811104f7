package backends

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestInFlightLimit: there are never more calls than the limit, unknown calls leave room for known ones, and the number
// of waiting calls and their time are limited.
func TestInFlightLimit(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const limit = 4
		l := newInFlightLimit(limit)
		var (
			wg         sync.WaitGroup
			most, busy atomic.Int64
		)
		call := func(known bool) {
			release, err := l.Acquire("", known)
			if errors.Is(err, ErrBusy) {
				busy.Add(1)
				return
			}
			most.Store(max(most.Load(), l.InFlight()))
			time.Sleep(2 * time.Second)
			release()
		}
		for range 2 * limit * WaitingPerCall {
			wg.Go(func() { call(false) })
		}
		synctest.Wait()
		if n := l.InFlight(); n != limit*3/4 {
			t.Errorf("%d unknown calls are in flight", n)
		}
		if n := l.Waiting(); n > limit*WaitingPerCall {
			t.Errorf("%d calls wait", n)
		}
		start := time.Now()
		call(true)
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("a known call took %s", took)
		}
		wg.Wait()
		if took := time.Since(start); took > MaxWait+2*time.Second {
			t.Errorf("the last call ended after %s", took)
		}
		if most.Load() > limit || busy.Load() == 0 {
			t.Errorf("%d at once, %d were busy", most.Load(), busy.Load())
		}
		if l.InFlight() != 0 || l.Waiting() != 0 {
			t.Errorf("afterwards %d in flight, %d waiting", l.InFlight(), l.Waiting())
		}
	})
}

// TestInFlightLimitOfOne: a limit of one is enough for unknown calls.
func TestInFlightLimitOfOne(t *testing.T) {
	l := newInFlightLimit(1)
	for _, known := range []bool{false, true, false} {
		release, err := l.Acquire("", known)
		if err != nil {
			t.Fatal(err)
		}
		release()
	}
}

// TestSlowSiteLeavesPlaces: calls for a slow site, however many, leave places and room in the queue for other sites.
// The next free place goes to the site with the fewest calls.
func TestSlowSiteLeavesPlaces(t *testing.T) {
	for _, wasGood := range []bool{false, true} {
		testutil.Bubble(t, func(t *testing.T) {
			const limit = 16
			l := newInFlightLimit(limit)
			var wg sync.WaitGroup
			for range 2 * limit * WaitingPerCall {
				wg.Go(func() {
					if release, err := l.Acquire("slow.example.com", wasGood); err == nil {
						time.Sleep(4 * time.Second)
						release()
					}
				})
			}
			synctest.Wait()
			took := func(site string) time.Duration {
				start := time.Now()
				release, err := l.Acquire(site, wasGood)
				if err != nil {
					t.Errorf("%s: %v", site, err)
					return 0
				}
				release()
				return time.Since(start)
			}
			if d := took("fast.example.com"); d != 0 {
				t.Errorf("another site waited for %s", d)
			}
			time.Sleep(time.Second)
			if d := took("other.example.com"); d > 3*time.Second {
				t.Errorf("another site waited for %s", d)
			}
			wg.Wait()
			if len(l.sites) != 0 {
				t.Errorf("%d sites are remembered", len(l.sites))
			}
		})
	}
}
