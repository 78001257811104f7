package watchers

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestWatchers: each watcher is told what is reported while it watches, and a new one whether changes are seen.
func TestWatchers(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		var w Watchers
		heard := map[string][]string{}
		watch := func(name string) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			go w.Watch(ctx, func(changes []frappe.Change) {
				if changes == nil {
					heard[name] = append(heard[name], "nothing")
				}
				for _, c := range changes {
					heard[name] = append(heard[name], c.User)
				}
			})
			synctest.Wait()
			return func() {
				cancel()
				synctest.Wait()
			}
		}
		stop := watch("before the first look")
		w.See(true)
		w.Report([]frappe.Change{{User: "alice"}})
		watch("while changes are seen")
		stop()
		w.See(false)
		watch("while none are seen")
		w.See(true)
		w.Report(nil)
		for name, want := range map[string][]string{
			"before the first look":  {"alice"},
			"while changes are seen": {"nothing", "nothing"},
			"while none are seen":    {"nothing"},
		} {
			if !slices.Equal(heard[name], want) {
				t.Errorf("%s: %q, want %q", name, heard[name], want)
			}
		}
	})
}
