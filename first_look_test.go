package frappeauth

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestFirstLook: what was confirmed before a backend or a feed is watched is dropped once it is, also in the store, and also if
// the backend is being asked meanwhile. What other Caddys have confirmed serves on. A configuration that goes on watching drops
// nothing.
func TestFirstLook(t *testing.T) {
	for _, test := range []struct {
		name string
		add  func(c *verifierConfig, w frappe.Watcher)
	}{
		{"backend", func(c *verifierConfig, w frappe.Watcher) { c.backends[0].Backend = w.(frappe.Backend) }},
		{"feed", func(c *verifierConfig, w frappe.Watcher) {
			c.feeds = []backends.Feed{{Watcher: w, Name: "double", Key: "double"}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				store, backend := testutil.NewStore(), newDoubleBackend()
				for _, key := range []string{"early", "other", "asked"} {
					backend.users[key] = key + "@example.com"
				}
				watched := watchedDouble{doubleBackend: backend, looks: make(chan []frappe.Change)}
				var conf verifierConfig
				a := newSharer(t, store, backend, func(c *verifierConfig) {
					test.add(c, watched)
					conf = *c
				})
				b := newSharer(t, store, backend, nil)
				get := func(v sharer, key, want string) {
					t.Helper()
					if got := v.get(t, pair(key)); got != want {
						t.Errorf("%s: %s, want %s", key, got, want)
					}
				}
				get(a, "early", cacheMiss)
				get(b, "early", cacheShared)
				get(b, "other", cacheMiss)
				get(a, "other", cacheShared)

				backend.set(func(d *doubleBackend) { d.delay = time.Second })
				answered := make(chan string)
				go func() { answered <- a.get(t, pair("asked")) }()
				synctest.Wait()
				watched.looks <- nil
				time.Sleep(time.Millisecond)
				get(b, "other", cacheHit)
				get(a, "other", cacheShared)
				get(b, "early", cacheMiss)
				get(a, "early", cacheShared)
				<-answered
				get(b, "asked", cacheMiss)

				watched.looks <- nil
				time.Sleep(time.Millisecond)
				get(a, "other", cacheHit)
				next := startVerifier(t, t.Context(), conf)
				defer next.close() //nolint:errcheck // it ends before the one whose state it shares
				a.unwatch()
				a.watchers.Wait()
				watched.looks <- nil
				time.Sleep(time.Millisecond)
				get(sharer{verifier: next}, "other", cacheHit)
			})
		})
	}
}
