package watchers

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestWatchers: each watcher gets the reports while it watches. A new one is told at once if changes are seen.
func TestWatchers(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var w Watchers
		reported := map[string][]string{}
		watch := func(name string) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			go w.Watch(ctx, func(changes []frappe.Change) {
				if changes == nil {
					reported[name] = append(reported[name], "nothing")
				}
				for _, c := range changes {
					reported[name] = append(reported[name], c.User)
				}
			})
			synctest.Wait()
			return func() {
				cancel()
				synctest.Wait()
			}
		}
		stop := watch("before changes are seen")
		w.See(true)
		w.Report([]frappe.Change{{User: "alice"}})
		watch("while changes are seen")
		stop()
		w.See(false)
		watch("while none are seen")
		w.See(true)
		w.Report(nil)
		for name, want := range map[string][]string{
			"before changes are seen": {"alice"},
			"while changes are seen":  {"nothing", "nothing"},
			"while none are seen":     {"nothing"},
		} {
			if !slices.Equal(reported[name], want) {
				t.Errorf("%s: %q, want %q", name, reported[name], want)
			}
		}
	})
}
