package frappeauth

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestSharedState: verifiers of the same backends share a cache of the larger size, and one that is replaced leaves its
// verdicts, and its lookups under way, to the next.
func TestSharedState(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"] = "alice@example.com"
		ctx, unload := context.WithCancel(t.Context())
		conf := newTestVerifier(t, backend, nil).verifierConfig
		conf.fingerprint += " shared"
		conf.cacheSize = 10
		first := startVerifier(t, ctx, conf)
		first.verifyFrom(t.Context(), "", nil, pair("x"))
		backend.set(func(d *doubleBackend) { d.delay = time.Second; d.users["y"] = "bob@example.com" })
		underWay := make(chan verdict, 2)
		go func() { underWay <- first.verifyFrom(t.Context(), "", nil, pair("y")) }()
		synctest.Wait()

		conf.lifetimes.TTL, conf.cacheSize = time.Second, 20
		second := startVerifier(t, t.Context(), conf)
		if n := len(second.state.demands); n != 2 {
			t.Errorf("%d verifiers share the cache", n)
		}
		go func() { underWay <- second.verifyFrom(t.Context(), "", nil, pair("y")) }()
		synctest.Wait()
		unload()
		if err := first.close(); err != nil {
			t.Error(err)
		}
		if a := second.verifyFrom(t.Context(), "", nil, pair("x")); a.cache != cacheHit {
			t.Errorf("a verdict of the configuration before: %s", summary(a))
		}
		for range 2 {
			if a := <-underWay; a.err != nil {
				t.Errorf("a lookup under way: %v", a.err)
			}
		}
		if n := backend.timesAsked("y"); n != 1 {
			t.Errorf("asked %d times across the reload", n)
		}
		time.Sleep(time.Second)
		if a := second.verifyFrom(t.Context(), "", nil, pair("x")); a.cache != cacheMiss {
			t.Errorf("past the ttl of the new configuration: %s", summary(a))
		}
		if err := second.close(); err != nil {
			t.Error(err)
		}
		if refs, ok := states.References(conf.fingerprint); ok {
			t.Errorf("the state is still referred to %d times", refs)
		}
	})
}

// TestRequestsAfterTheConfiguration: Caddy may have requests for a handler that it has unloaded. They are judged as any,
// and a revocation that the handler's cache was not told of concerns them too, also where it came while a backend was
// being asked.
func TestRequestsAfterTheConfiguration(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"] = "alice@example.com"
		conf := newTestVerifier(t, backend, nil).verifierConfig
		conf.fingerprint += " gone"
		gone, stays := startVerifier(t, t.Context(), conf), startVerifier(t, t.Context(), conf)
		gone.verifyFrom(t.Context(), "", nil, pair("x"))
		if err := gone.close(); err != nil {
			t.Fatal(err)
		}
		if a := gone.verifyFrom(t.Context(), "", nil, pair("x")); a.cache != cacheHit {
			t.Errorf("while another handler has the cache: %s", summary(a))
		}

		backend.set(func(d *doubleBackend) { d.delay = time.Second; d.users["y"] = "bob@example.com" })
		if err := stays.close(); err != nil {
			t.Fatal(err)
		}
		before := make(chan verdict)
		go func() { before <- gone.verifyFrom(t.Context(), "", nil, pair("y")) }()
		synctest.Wait()
		time.Sleep(time.Second / 2)
		backend.set(func(d *doubleBackend) { clear(d.users) })
		revokeIn(t.Context(), "", []frappe.Change{{User: "alice@example.com"}}, telemetry.SourceWebhook)
		for _, token := range []string{"x", "y"} {
			if a := gone.verifyFrom(t.Context(), "", nil, pair(token)); a.err == nil {
				t.Errorf("revoked after the configuration went, %s still gets in: %s", token, summary(a))
			}
		}
		<-before
	})
}
