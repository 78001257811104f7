package frappeauth

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestClientOf(t *testing.T) {
	for _, test := range []struct{ address, client string }{
		{"192.0.2.7", "192.0.2.7/32"},
		{"::ffff:192.0.2.7", "192.0.2.7/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"", "invalid Prefix"},
		{"@", "invalid Prefix"},
	} {
		if client := clientOf(test.address).String(); client != test.client {
			t.Errorf("%q counts as %s, want %s", test.address, client, test.client)
		}
	}
}

func TestFailuresOfAClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["good"] = "alice@example.com"
		backend.users["later"] = "bob@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = FailureLimit{Max: 3, Window: caddy.Duration(time.Minute)}
		})
		try := func(client, token string) string {
			return outcome(v.verifyFrom(t.Context(), client, nil, bearer(token)))
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
			expect("a failure within the limit", bad, fmt.Sprint("guess ", i), "401")
		}
		expect("one more", bad, "guess 3", "429")
		expect("a denial that is cached, past the limit", bad, "guess 1", "429")
		expect("a good credential nobody has seen", bad, "later", "429")
		expect("a good credential that is known", bad, "good", cacheHit)
		expect("another client", other, "later", cacheMiss)
		expect("now that it is known", bad, "later", cacheHit)
		if asked := backend.timesAsked("guess 3"); asked != 0 {
			t.Errorf("the backend was asked %d times for a credential that was throttled", asked)
		}

		time.Sleep(20 * time.Second) // on the clock of the bubble: a third of the window, one of three failures
		expect("a third of the window later", bad, "guess 4", "401")
		expect("and no more than one", bad, "guess 5", "429")

		time.Sleep(70 * time.Second)
		expect("a known credential past its ttl is asked for, limit or not", bad, "good", cacheMiss)
	})
}

// TestFailureOfManyRequests: a page whose parts are all asked for with an access token that has ended is one failure, as the
// backend is asked once. The client's new token is let in.
func TestFailureOfManyRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["new"] = "alice@example.com"
		backend.delay = time.Second
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = FailureLimit{Max: 3, Window: caddy.Duration(time.Minute)}
		})
		try := func(token string) string {
			return outcome(v.verifyFrom(t.Context(), "192.0.2.1", nil, bearer(token)))
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
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.delay = time.Second
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = FailureLimit{Max: 3, Window: caddy.Duration(time.Minute)}
		})
		for i := range 3 {
			guess := bearer(fmt.Sprint("guess ", i))
			impatient, leave := context.WithTimeout(t.Context(), time.Millisecond)
			v.verifyFrom(impatient, "192.0.2.1", nil, guess)
			leave()
		}
		time.Sleep(time.Second)
		if got := outcome(v.verifyFrom(t.Context(), "192.0.2.1", nil, bearer("guess 3"))); got != "429" {
			t.Errorf("after as many guesses as are allowed: %s", got)
		}
		if got := outcome(v.verifyFrom(t.Context(), "192.0.2.2", nil, bearer("guess 3"))); got != "401" {
			t.Errorf("another client: %s", got)
		}
	})
}

func TestFailuresOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVerifier(t, newDoubleBackend(), nil)
		for i := range 1000 {
			if got := outcome(v.verifyFrom(t.Context(), "192.0.2.1", nil, bearer(fmt.Sprint(i)))); got != "401" {
				t.Fatalf("failure %d: got %s", i, got)
			}
		}
	})
}

func TestThrottleIsBounded(t *testing.T) {
	th := newThrottle()
	limit := FailureLimit{Max: 20, Window: caddy.Duration(time.Minute)}
	for i := range 2 * maxThrottled {
		th.fail(clientOf(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)), 0, limit)
	}
	if n := th.clients.Len(); n != maxThrottled {
		t.Errorf("%d clients are remembered, want %d", n, maxThrottled)
	}
}
