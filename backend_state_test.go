package frappeauth

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/inflight"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestBreaker: after five failures in a row the breaker keeps the backend from calls for 1, 2, 4 … 10 seconds, one probe at a time.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
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
	if got := v.state.backends[0].sites.Open(); !slices.Equal(got, []string{"one"}) {
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
			synctest.Test(t, func(t *testing.T) {
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
	synctest.Test(t, func(t *testing.T) {
		backend := &tenantsDouble{down: "down.example"}
		core, logs := observer.New(zap.WarnLevel)
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.backends[0].resolver = backend
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
		for i := range 3 * maxBreakers {
			ask(fmt.Sprintf("198.51.%d.%d", i/256, i%256), fmt.Sprint("more-", i, ".example"), "key")
		}
		if n := logs.Len(); n != warned {
			t.Errorf("%d warnings of unknown sites", n-warned)
		}
		if got := v.state.backends[0].sites.Open(); !slices.Equal(got, []string{"down.example"}) {
			t.Errorf("open breakers: %q", got)
		}
		time.Sleep(unknownSiteTTL)
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

// TestInFlightLimit: the backend never sees more than max_inflight at once, unknown credentials leave places for known ones, and
// waiting is bounded in number and time.
func TestInFlightLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 4
		backend := newDoubleBackend()
		backend.users["known"] = "alice@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) { c.maxInflight = places })
		v.verifyFrom(t.Context(), "", nil, pair("known"))
		time.Sleep(time.Minute) // its verdict expires
		backend.set(func(d *doubleBackend) { d.delay = 2 * time.Second })

		outcomes := make(map[string]int)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 2 * places * inflight.WaitingPerCall {
			wg.Go(func() {
				got := summary(v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("unknown-", i))))
				mu.Lock()
				outcomes[got]++
				mu.Unlock()
			})
		}
		synctest.Wait()
		start := time.Now()
		if got := summary(v.verifyFrom(t.Context(), "", nil, pair("known"))); got != cacheMiss || time.Since(start) > 2*time.Second {
			t.Errorf("a known credential in a flood: %s after %s", got, time.Since(start))
		}
		wg.Wait()
		if backend.most > places {
			t.Errorf("the backend saw %d at once", backend.most)
		}
		if waited := time.Since(start); waited > inflight.MaxWait+2*time.Second {
			t.Errorf("the last waited %s", waited)
		}
		if outcomes["503"] == 0 || outcomes["401"] < places || len(outcomes) != 2 {
			t.Errorf("outcomes %v", outcomes)
		}
		if _, err := v.state.backends[0].sites.Acquire("", time.Now()); err != nil {
			t.Error("being busy was taken for a failure of the backend")
		}
	})
}

// TestWatch: what a backend reports as changed is dropped at once, and no report makes a verdict serve for longer than its ttl.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := watchedDouble{doubleBackend: newDoubleBackend(), looks: make(chan []frappe.Change)}
		backend.users["x"] = "alice@example.com"
		v := newTestVerifier(t, backend, nil)
		age := func() time.Duration {
			synctest.Wait()
			age, ok := v.state.backends[0].watch.age(v.state.clock(time.Now()))
			if !ok {
				t.Fatal("the watch has no age")
			}
			return age
		}
		ask := func() string {
			a := summary(v.verifyFrom(t.Context(), "", nil, pair("x")))
			synctest.Wait()
			return a
		}
		time.Sleep(time.Minute)
		if got := age(); got != time.Minute {
			t.Errorf("a minute without a look: age %s", got)
		}
		ask()
		for range 30 {
			time.Sleep(time.Second)
			backend.looks <- nil
		}
		if got := age(); got != 0 {
			t.Errorf("after a look: age %s", got)
		}
		backend.set(func(d *doubleBackend) { delete(d.users, "x") }) // seen by nobody
		time.Sleep(30*time.Second - 1)
		if got := ask(); got != cacheHit {
			t.Errorf("before the end of the ttl: %s", got)
		}
		time.Sleep(time.Nanosecond)
		if got := ask(); got != "401" {
			t.Errorf("after the ttl, however often the backend looked: %s", got)
		}

		backend.set(func(d *doubleBackend) { d.users["x"] = "alice@example.com" })
		time.Sleep(5 * time.Second)
		ask()
		backend.looks <- []frappe.Change{{User: "alice@example.com"}}
		synctest.Wait()
		asked := backend.timesAsked("x")
		if ask(); backend.timesAsked("x") != asked+1 {
			t.Error("a reported change did not drop the verdict")
		}
	})
}

// TestStale: an expired grant serves while the backends are unavailable, until stale_if_error is over, but not when revoked or ended.
func TestStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		for _, token := range []string{"steady", "revoked", "ending"} {
			backend.users[token] = token + "@example.com"
		}
		backend.expiry["ending"] = time.Now().Add(5 * time.Minute)
		core, logs := observer.New(zap.InfoLevel)
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.cache.StaleIfError = caddy.Duration(10 * time.Minute)
			c.logger = zap.New(core)
		})
		expect := func(token, want string) {
			t.Helper()
			if got := summary(v.verifyFrom(t.Context(), "", nil, pair(token))); got != want {
				t.Errorf("%s after %s: got %s, want %s", token, time.Duration(v.state.clock(time.Now())), got, want)
			}
			synctest.Wait()
		}
		for _, token := range []string{"steady", "revoked", "ending"} {
			expect(token, cacheMiss)
		}
		backend.set(func(d *doubleBackend) { d.err = errDown })
		time.Sleep(2 * time.Minute)
		for _, token := range []string{"steady", "revoked", "ending"} {
			expect(token, cacheStale)
		}
		expect("unknown", "503")
		v.state.cache.revoke(frappe.Change{Key: "revoked"})
		expect("revoked", "503")
		time.Sleep(3*time.Minute - 1)
		expect("ending", cacheStale)
		time.Sleep(time.Nanosecond)
		expect("ending", "503")
		time.Sleep(6*time.Minute - 1)
		expect("steady", cacheStale)
		time.Sleep(time.Nanosecond)
		expect("steady", "503")
		if n := logs.FilterMessageSnippet("serving stale verdicts").Len(); n != 1 {
			t.Errorf("that stale verdicts are served was logged %d times in one outage", n)
		}
		backend.set(func(d *doubleBackend) { d.err = nil })
		time.Sleep(breaker.MaxWait)
		expect("steady", cacheMiss)
		if n := logs.FilterMessageSnippet("is available again").Len(); n != 1 {
			t.Errorf("the recovery was logged %d times", n)
		}
	})
}

// TestOutageDrill is the outage of a site, second by second, as in docs/freshness.md: what a steady client, one with a
// credential nobody knows yet, one whose credential was revoked during the outage, and one with a bad credential get.
func TestOutageDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["steady"], backend.users["revoked"] = "alice@example.com", "bob@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			ttl := caddy.Duration(10 * time.Second)
			c.cache.TTL, c.cache.StaleIfError = &ttl, caddy.Duration(time.Hour)
		})
		v.verifyFrom(t.Context(), "", nil, pair("steady"))
		v.verifyFrom(t.Context(), "", nil, pair("revoked"))

		var table strings.Builder
		fmt.Fprintf(&table, "%-6s  %-4s  %-6s  %-8s  %-8s  %-6s\n", "second", "site", "steady", "new", "revoked", "bad")
		state := "up"
		for second := range 65 {
			switch second {
			case 10:
				state = "slow"
				backend.set(func(d *doubleBackend) { d.delay, d.err = 100*time.Millisecond, errDown })
			case 20:
				state = "down"
				backend.set(func(d *doubleBackend) { d.delay = 0 })
			case 30:
				v.state.cache.revoke(frappe.Change{User: "bob@example.com"})
				backend.set(func(d *doubleBackend) { delete(d.users, "revoked") })
			case 50:
				state = "up"
				backend.set(func(d *doubleBackend) { d.err = nil; d.delay = 10 * time.Millisecond })
			}
			fresh := fmt.Sprint("new-", second)
			backend.set(func(d *doubleBackend) { d.users[fresh] = "carol@example.com" })

			results := make([]string, 4)
			for i, token := range []string{"steady", fresh, "revoked", fmt.Sprint("bad-", second)} {
				results[i] = summary(v.verifyFrom(t.Context(), "", nil, pair(token)))
				synctest.Wait() // a renewal ahead
			}
			fmt.Fprintf(&table, "%6d  %-4s  %-6s  %-8s  %-8s  %-6s\n", second, state, results[0], results[1], results[2], results[3])

			if results[0] != cacheHit && results[0] != cacheMiss && results[0] != cacheStale {
				t.Errorf("second %d: the steady client got %s", second, results[0])
			}
			if second >= 30 && results[2] != "503" && results[2] != "401" {
				t.Errorf("second %d: the revoked credential got %s", second, results[2])
			}
			if state == "up" && second < 10 && (results[1] != cacheMiss || results[3] != "401") {
				t.Errorf("second %d: %v", second, results)
			}
			time.Sleep(time.Until(v.state.start.Add(time.Duration(second+1) * time.Second)))
		}
		testutil.Golden(t, "testdata/outage.txt", table.String())
	})
}
