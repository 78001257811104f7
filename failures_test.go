package frappeauth

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

func TestFailuresOfAClient(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["good"] = "alice@example.com"
		backend.users["later"] = "bob@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = rate.Limit{Max: 3, Window: time.Minute}
		})
		try := func(client, token string) string {
			return summary(v.verifyFrom(t.Context(), client, nil, pair(token)))
		}
		expect := func(what, client, token, want string) {
			t.Helper()
			if got := try(client, token); got != want {
				t.Errorf("%s: got %s, want %s", what, got, want)
			}
		}
		const bad, other = "192.0.2.1", "192.0.2.2"

		expect("a good credential", bad, "good", cacheMiss)
		for i := range 3 {
			expect("a failure within the limit", bad, fmt.Sprint("guess-", i), "401")
		}
		expect("one more", bad, "guess-3", "429")
		expect("a denial that is cached, past the limit", bad, "guess-1", "429")
		expect("a good credential nobody has seen", bad, "later", "429")
		expect("a good credential that is known", bad, "good", cacheHit)
		expect("another client", other, "later", cacheMiss)
		expect("now that it is known", bad, "later", cacheHit)
		if asked := backend.timesAsked("guess-3"); asked != 0 {
			t.Errorf("the backend was asked %d times for a credential that was throttled", asked)
		}

		time.Sleep(20 * time.Second) // on the clock of the bubble: a third of the window, one of three failures
		expect("a third of the window later", bad, "guess-4", "401")
		expect("and no more than one", bad, "guess-5", "429")

		time.Sleep(70 * time.Second)
		expect("a known credential past its ttl is asked for, limit or not", bad, "good", cacheMiss)
	})
}

// TestFailureOfManyRequests: a page whose parts are all asked for with an access token that has ended is one failure, as the
// backend is asked once. The client's new token is let in.
func TestFailureOfManyRequests(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["new"] = "alice@example.com"
		backend.delay = time.Second
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = rate.Limit{Max: 3, Window: time.Minute}
		})
		try := func(token string) string {
			return summary(v.verifyFrom(t.Context(), "192.0.2.1", nil, pair(token)))
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got := try("ended"); got != "401" {
					t.Errorf("the token that has ended: %s", got)
				}
			})
		}
		wg.Wait()
		if got := try("new"); got != cacheMiss {
			t.Errorf("a new token: %s", got)
		}
	})
}

// TestFailureNotWaitedFor: a client that leaves before the answer, and asks for it when it is cached, has failed all the
// same.
func TestFailureNotWaitedFor(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.delay = time.Second
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = rate.Limit{Max: 3, Window: time.Minute}
		})
		for i := range 3 {
			guess := pair(fmt.Sprint("guess-", i))
			impatient, leave := context.WithTimeout(t.Context(), time.Millisecond)
			v.verifyFrom(impatient, "192.0.2.1", nil, guess)
			leave()
		}
		time.Sleep(time.Second)
		if got := summary(v.verifyFrom(t.Context(), "192.0.2.1", nil, pair("guess-3"))); got != "429" {
			t.Errorf("after as many guesses as are allowed: %s", got)
		}
		if got := summary(v.verifyFrom(t.Context(), "192.0.2.2", nil, pair("guess-3"))); got != "401" {
			t.Errorf("another client: %s", got)
		}
	})
}

// TestFailuresAtOnce: to send every guess at once gains nothing. What waited for the in-flight limit is looked at again.
func TestFailuresAtOnce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.delay = 10 * time.Millisecond
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = rate.Limit{Max: 20, Window: time.Minute}
		})
		var (
			wg       sync.WaitGroup
			mu       sync.Mutex
			outcomes = make(map[string]int)
		)
		for i := range 800 {
			wg.Go(func() {
				got := summary(v.verifyFrom(t.Context(), "192.0.2.1", nil, pair(fmt.Sprint("guess-", i))))
				mu.Lock()
				defer mu.Unlock()
				outcomes[got]++
			})
		}
		wg.Wait()
		if judged := len(backend.asked); judged > 20+v.maxInflight {
			t.Errorf("%d of 800 guesses were judged: %v", judged, outcomes)
		}
	})
}

// TestThrottledClientDelaysNobody: a request that waited for the lookup of a client that then had failed too often gets a verdict
// all the same.
func TestThrottledClientDelaysNobody(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.delay = time.Second
		backend.users["good"] = "alice@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = rate.Limit{Max: 1, Window: time.Hour}
			c.maxInflight = 1
		})
		start := func(client, key string) chan string {
			got := make(chan string, 1)
			go func() { got <- summary(v.verifyFrom(t.Context(), client, nil, pair(key))) }()
			synctest.Wait()
			return got
		}
		guess := start("192.0.2.1", "guess")
		throttled := start("192.0.2.1", "good") // waits behind the guess, which then counts
		joined := start("192.0.2.2", "good")    // waits for the lookup of the client that will be throttled
		for name, c := range map[string]struct {
			got  chan string
			want string
		}{"guess": {guess, "401"}, "throttled": {throttled, "429"}, "joined": {joined, cacheMiss}} {
			if got := <-c.got; got != c.want {
				t.Errorf("%s: %s, want %s", name, got, c.want)
			}
		}
	})
}

// TestKnownBadCredentialsAreNotGuesses: services that go on sending keys that were rotated lock nobody out.
func TestKnownBadCredentialsAreNotGuesses(t *testing.T) {
	for _, negativeTTL := range []time.Duration{5 * time.Second, 0} {
		testutil.Bubble(t, func(t *testing.T) {
			backend := newDoubleBackend()
			v := newTestVerifier(t, backend, func(c *verifierConfig) {
				c.failures = rate.Limit{Max: 20, Window: time.Minute}
				c.lifetimes.NegativeTTL = negativeTTL
			})
			ask := func(key string) string {
				return summary(v.verifyFrom(t.Context(), "192.0.2.1", nil, pair(key)))
			}
			for half := range 600 {
				for service := range 5 {
					if got := ask(fmt.Sprint("rotated-", service)); got != "401" {
						t.Fatalf("negative_ttl %s: service %d: %s", negativeTTL, service, got)
					}
				}
				time.Sleep(time.Second / 2)
				if half%100 == 0 {
					fresh := fmt.Sprint("good-", half)
					backend.set(func(d *doubleBackend) { d.users[fresh] = "alice@example.com" })
					if got := ask(fresh); got != cacheMiss {
						t.Fatalf("negative_ttl %s: a good key after %d half seconds: %s", negativeTTL, half, got)
					}
				}
			}
			// Guessing is still charged.
			for i := range 30 {
				ask(fmt.Sprint("guess-", i))
			}
			if got := ask("guess-31"); got != "429" {
				t.Errorf("negative_ttl %s: after 30 guesses: %s", negativeTTL, got)
			}
		})
	}
}

// TestLimitsAreApart: handlers with the same backends and different limits do not share a count.
func TestLimitsAreApart(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		v := newTestVerifier(t, backend, nil)
		strict := rate.Limit{Max: 5, Window: 24 * time.Hour}
		usual := rate.Limit{Max: 20, Window: time.Minute}
		ask := func(limit rate.Limit, key string) string {
			v.failures = limit // as another handler with the same backends
			return summary(v.verifyFrom(t.Context(), "192.0.2.1", nil, pair(key)))
		}
		for i := range 5 {
			ask(strict, fmt.Sprint("guess-", i))
		}
		if got := ask(strict, "guess-5"); got != "429" {
			t.Errorf("past the strict limit: %s", got)
		}
		for i := range 20 {
			if got := ask(usual, fmt.Sprint("other-", i)); got != "401" {
				t.Fatalf("failure %d within the usual limit: %s", i, got)
			}
		}
		if got := ask(usual, "one-more"); got != "429" {
			t.Errorf("past the usual limit: %s", got)
		}
	})
}

// TestUnjudgedCredentialIsChargedOnce: a credential that the backend cannot judge is as good as a guess, and no more than one.
func TestUnjudgedCredentialIsChargedOnce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["good"] = "alice@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = rate.Limit{Max: 3, Window: time.Hour}
		})
		ask := func(key string) string { return summary(v.verifyFrom(t.Context(), "192.0.2.1", nil, pair(key))) }
		for i := range 4 {
			backend.faults[fmt.Sprint("odd-", i)] = errOfOneCredential
		}
		for range 100 {
			ask("odd-0")
			time.Sleep(time.Second)
		}
		if got := ask("good"); got != cacheMiss {
			t.Errorf("after one credential that cannot be judged: %s", got)
		}
		ask("odd-1")
		ask("odd-2")
		if got := ask("odd-3"); got != "429" {
			t.Errorf("after three of them: %s", got)
		}
	})
}

func TestFailuresOff(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		v := newTestVerifier(t, newDoubleBackend(), nil)
		for i := range 1000 {
			if got := summary(v.verifyFrom(t.Context(), "192.0.2.1", nil, pair(fmt.Sprint(i)))); got != "401" {
				t.Fatalf("failure %d: got %s", i, got)
			}
		}
	})
}
