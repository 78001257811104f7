package frappeauth

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestBreaker: after five failures in a row the breaker keeps the backend from calls for 1, 2, 4 … 10 seconds, one probe at a time.
func TestBreaker(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.err = errDown
		v := newTestVerifier(t, backend, nil)
		asked := func() int { return backend.timesAsked("x") }
		try := func() verdict { return v.verifyFrom(t.Context(), "", nil, pair("x")) }
		for i := range breaker.Threshold {
			v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("first-", i)))
		}
		for _, seconds := range []int{1, 2, 4, 8, 10, 10} {
			wait := time.Duration(seconds) * time.Second
			before := asked()
			for range 10 {
				a := try()
				if u := a.err.(*frappe.UnavailableError); asked() != before || u.RetryAfter != wait { //nolint:errorlint // exactly this
					t.Fatalf("within %s: asked %d times, Retry-After %s", wait, asked()-before, u.RetryAfter)
				}
			}
			time.Sleep(wait - 1)
			if try(); asked() != before {
				t.Errorf("asked before %s were over", wait)
			}
			time.Sleep(time.Nanosecond)
			backend.set(func(d *doubleBackend) { d.delay = 100 * time.Millisecond })
			var wg sync.WaitGroup
			for i := range 10 {
				wg.Go(func() { v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("other-", i))) })
			}
			synctest.Wait()
			backend.set(func(d *doubleBackend) {
				if d.inside != 1 {
					t.Errorf("%d probes at once", d.inside)
				}
			})
			wg.Wait()
			backend.set(func(d *doubleBackend) { d.delay = 0 })
		}
		backend.set(func(d *doubleBackend) { d.err = nil; d.users["x"] = "alice@example.com" })
		time.Sleep(40 * time.Second)
		if got := summary(try()); got != cacheMiss {
			t.Errorf("after recovery: %s", got)
		}
	})
}

// TestBreakerPerSite: a site in maintenance leaves the others of its bench alone.
func TestBreakerPerSite(t *testing.T) {
	v := newTestVerifier(t, siteDouble{down: "one"}, nil)
	for i := range 2 * breaker.Threshold {
		v.verifyFrom(t.Context(), "", []string{"one"}, pair(fmt.Sprint("x-", i)))
	}
	if got := v.state.backends[0].Open(); !slices.Equal(got, []string{"one"}) {
		t.Errorf("open: %q", got)
	}
	if got := summary(v.verifyFrom(t.Context(), "", []string{"two"}, pair("x"))); got != cacheMiss {
		t.Errorf("another site: %s", got)
	}
}

// TestOneCredentialDoesNotOpenTheBreakerOfTheSite: a credential that Frappe cannot judge, however often it is sent, keeps nobody else out, and
// is itself kept from the backend.
func TestOneCredentialDoesNotOpenTheBreakerOfTheSite(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault error
	}{
		{"says so itself (417)", errOfOneCredential},
		{"looks like an outage (500)", errDown},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				backend := newDoubleBackend()
				v := newTestVerifier(t, backend, nil)
				backend.faults["odd"] = test.fault
				ask := func(cred frappe.Credential) string { return summary(v.verifyFrom(t.Context(), "", nil, cred)) }
				for i := range 100 {
					if got := ask(frappe.Credential{Scheme: frappe.SchemeToken, Key: "odd", Secret: fmt.Sprint(i)}); got != "503" {
						t.Fatal(got)
					}
				}
				asked := backend.timesAsked("odd")
				for range 100 {
					ask(pair("odd"))
				}
				if n := backend.timesAsked("odd") - asked; n != breaker.Threshold {
					t.Errorf("the backend was asked %d times in a row about one credential", n)
				}
				backend.users["good"] = "alice@example.com"
				if got := ask(pair("good")); got != cacheMiss {
					t.Errorf("another credential: %s", got)
				}
				backend.set(func(d *doubleBackend) { clear(d.faults); d.users["odd"] = "bob@example.com" })
				time.Sleep(breaker.MaxWait)
				if got := ask(pair("odd")); got != cacheMiss {
					t.Errorf("when it can be judged: %s", got)
				}
			})
		})
	}
}

// TestUnknownSites: a site that the bench does not have is asked for once in a while, whatever the credential, is charged to the client, and
// does not evict the breaker of a real one.
func TestUnknownSites(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := &tenantsDouble{down: "down.example"}
		core, logs := observer.New(zap.WarnLevel)
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.backends[0].Resolver = backend
			c.failures = rate.Limit{Max: 20, Window: time.Minute}
			c.logger = zap.New(core)
		})
		ask := func(client, site, key string) string {
			return summary(v.verifyFrom(t.Context(), client, []string{site}, pair(key)))
		}
		for i := range breaker.Threshold {
			ask("192.0.2.1", "down.example", fmt.Sprint("key-", i))
		}
		warned := logs.Len()
		for i := range 100 {
			if got := ask("192.0.2.2", "made-up.example", fmt.Sprint("key-", i)); got != "404" {
				t.Fatalf("an unknown site: %s", got)
			}
		}
		if n := backend.asked["made-up.example"]; n != 1 {
			t.Errorf("the bench was asked %d times about a site that it does not have", n)
		}
		outcomes := make(map[string]int)
		for i := range 300 {
			outcomes[ask("192.0.2.2", fmt.Sprint(i, ".example"), "key")]++
		}
		if outcomes["404"] != 19 || outcomes["429"] != 281 {
			t.Errorf("300 made-up hosts: %v", outcomes)
		}
		for i := range 3_000 {
			ask(fmt.Sprintf("198.51.%d.%d", i/256, i%256), fmt.Sprint("more-", i, ".example"), "key")
		}
		if n := logs.Len(); n != warned {
			t.Errorf("%d warnings of unknown sites", n-warned)
		}
		if got := v.state.backends[0].Open(); !slices.Equal(got, []string{"down.example"}) {
			t.Errorf("open breakers: %q", got)
		}
		time.Sleep(time.Minute) // for as long it is remembered
		backend.created = "made-up.example"
		if got := ask("192.0.2.3", "made-up.example", "key"); got != cacheMiss {
			t.Errorf("after the site was created: %s", got)
		}
		time.Sleep(time.Minute)
		backend.created = ""
		if got := ask("192.0.2.3", "made-up.example", "key"); got != "404" {
			t.Errorf("after the site was dropped: %s", got)
		}
	})
}
