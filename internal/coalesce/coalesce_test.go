package coalesce

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestConcurrentCallsShareOne: concurrent callers share one call. Callers whose context ends leave early.
func TestConcurrentCallsShareOne(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var (
			g     Group[string, int]
			wg    sync.WaitGroup
			calls int
		)
		leaving, leave := context.WithCancel(t.Context())
		for i := range 100 {
			ctx := t.Context()
			if i%10 == 9 {
				ctx = leaving
			}
			wg.Go(func() {
				value, _, err := g.Do(ctx, "key", func() int {
					calls++
					time.Sleep(time.Second)
					return 42
				})
				switch {
				case i%10 == 9 && err != nil && !errors.Is(err, context.Canceled):
					t.Errorf("caller %d left and got %v", i, err)
				case i%10 != 9 && (err != nil || value != 42):
					t.Errorf("caller %d got %d, %v", i, value, err)
				}
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		if calls != 1 {
			t.Errorf("%d calls", calls)
		}
		if value, shared, err := g.Do(t.Context(), "key", func() int { return 1 }); value != 1 || shared || err != nil {
			t.Errorf("afterwards: %d, shared %t, %v", value, shared, err)
		}
	})
}

// TestPanic: a call that panics leaves no caller waiting, and does not affect the next call.
func TestPanic(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var g Group[string, int]
		waiting := make(chan error, 1)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is lost")
				}
			}()
			_, _, _ = g.Do(t.Context(), "key", func() int {
				go func() {
					_, _, err := g.Do(t.Context(), "key", func() int { return 1 })
					waiting <- err
				}()
				synctest.Wait()
				panic("on purpose")
			})
		}()
		if err := <-waiting; !errors.Is(err, ErrPanicked) {
			t.Errorf("the waiting caller got %v", err)
		}
		if value, _, err := g.Do(t.Context(), "key", func() int { return 1 }); value != 1 || err != nil {
			t.Errorf("called again: %d, %v", value, err)
		}
	})
}
