package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestOneQuestionForAll: however many wait for a credential, a backend is asked once, also when some of them leave.
func TestOneQuestionForAll(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["new"] = "alice@example.com"
		backend.delay = time.Second
		v := newTestVerifier(t, backend, nil)

		leaving, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		answers := make([]verdict, 1000)
		for i := range answers {
			ctx := t.Context()
			if i%10 == 0 {
				ctx = leaving
			}
			wg.Go(func() { answers[i] = v.verifyFrom(ctx, "", nil, pair("new")) })
		}
		synctest.Wait() // all of them wait
		leave()
		wg.Wait()
		for i, a := range answers {
			switch {
			case i%10 == 0 && !errors.Is(a.err, context.Canceled):
				t.Fatalf("client %d left and got %v", i, a.err)
			case i%10 != 0 && (a.err != nil || a.user != "alice@example.com"):
				t.Fatalf("client %d got %v %v", i, a.user, a.err)
			}
		}
		if n := backend.timesAsked("new"); n != 1 {
			t.Errorf("the backend was asked %d times", n)
		}
		if a := v.verifyFrom(t.Context(), "", nil, pair("new")); a.cache != cacheHit {
			t.Errorf("afterwards: %s", summary(a))
		}
	})
}

// TestExpiry: how long verdicts serve.
func TestExpiry(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["pair"] = "alice@example.com"
		backend.users["oauth"] = "bob@example.com"
		backend.expiry["oauth"] = time.Now().Add(30 * time.Second)
		v := newTestVerifier(t, backend, nil)
		expect := func(token, want string) {
			t.Helper()
			if got := summary(v.verifyFrom(t.Context(), "", nil, pair(token))); got != want {
				t.Errorf("%s: got %s, want %s", token, got, want)
			}
			synctest.Wait() // a renewal ahead
		}
		expect("pair", cacheMiss)
		expect("oauth", cacheMiss)
		expect("unknown", "401")
		asked := backend.timesAsked("unknown")
		time.Sleep(5*time.Second - 1)
		expect("unknown", "401")
		if n := backend.timesAsked("unknown"); n != asked {
			t.Error("a denial was not cached")
		}
		time.Sleep(time.Nanosecond)
		expect("unknown", "401")
		if n := backend.timesAsked("unknown"); n != asked+1 {
			t.Error("a denial was cached for longer than its ttl")
		}

		time.Sleep(25*time.Second - 1) // a nanosecond before the access token expires
		expect("oauth", cacheHit)
		time.Sleep(time.Nanosecond)
		expect("oauth", "401")
		expect("pair", cacheHit)

		time.Sleep(30 * time.Second)
		expect("pair", cacheMiss)
	})
}

// TestRenewalAhead: a credential that is used steadily is asked for again before its verdict expires, once, and nobody
// waits for it.
func TestRenewalAhead(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["steady"] = "alice@example.com"
		v := newTestVerifier(t, backend, nil)
		v.verifyFrom(t.Context(), "", nil, pair("steady"))
		backend.set(func(d *doubleBackend) { d.delay = 3 * time.Second })
		for second := range 600 {
			time.Sleep(time.Second)
			start := time.Now()
			if a := v.verifyFrom(t.Context(), "", nil, pair("steady")); a.cache != cacheHit || time.Since(start) != 0 {
				t.Fatalf("second %d: %s after %s", second, summary(a), time.Since(start))
			}
		}
		if n := backend.timesAsked("steady"); n < 12 || n > 14 {
			t.Errorf("asked %d times in ten minutes at a ttl of one, want about one each 48 s", n)
		}

		// A renewal that fails is tried again, sparingly, and one that denies takes effect.
		asked := backend.timesAsked("steady")
		time.Sleep(time.Minute)
		backend.set(func(d *doubleBackend) { d.delay = 0 })
		v.verifyFrom(t.Context(), "", nil, pair("steady"))
		time.Sleep(48 * time.Second)
		backend.set(func(d *doubleBackend) { d.err = errDown })
		for range 100 {
			v.verifyFrom(t.Context(), "", nil, pair("steady"))
			synctest.Wait()
		}
		if n := backend.timesAsked("steady") - asked; n != 2 {
			t.Errorf("asked %d times, want one call that gave a verdict and one that did not", n)
		}
		backend.set(func(d *doubleBackend) { d.err = nil; delete(d.users, "steady") })
		time.Sleep(3 * time.Second)
		v.verifyFrom(t.Context(), "", nil, pair("steady"))
		synctest.Wait()
		if got := summary(v.verifyFrom(t.Context(), "", nil, pair("steady"))); got != "401" {
			t.Errorf("after a renewal that denied: %s", got)
		}
	})
}

// TestOrderOfBackends: the first that grants wins, and if none does and one is unavailable, so is the verdict.
func TestOrderOfBackends(t *testing.T) {
	for _, test := range []struct {
		name   string
		states string // of each backend: g(rants), d(enies), u(navailable)
		want   string
		asked  string // which were asked
	}{
		{"first grants", "gd", cacheMiss, "10"},
		{"second grants", "dg", cacheMiss, "11"},
		{"second grants while the first is away", "ug", cacheMiss, "11"},
		{"none grants", "dd", "401", "11"},
		{"one is away", "du", "503", "11"},
		{"the other is away", "ud", "503", "11"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var doubles []*doubleBackend
			v := newTestVerifier(t, nil, func(c *verifierConfig) {
				c.backends = nil
				for i, state := range test.states {
					d := newDoubleBackend()
					switch state {
					case 'g':
						d.users["x"] = fmt.Sprintf("user of %d", i)
					case 'u':
						d.err = errDown
					}
					doubles = append(doubles, d)
					c.backends = append(c.backends, backends.Backend{Backend: d, Name: fmt.Sprint(i)})
				}
			})
			if got := summary(v.verifyFrom(t.Context(), "", nil, pair("x"))); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			asked := ""
			for _, d := range doubles {
				asked += fmt.Sprint(d.timesAsked("x"))
			}
			if asked != test.asked {
				t.Errorf("asked %s, want %s", asked, test.asked)
			}
		})
	}
}

// panicking panics with something that must not be shown.
type panicking struct{}

func (panicking) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	panic(c.Token)
}

func TestPanicOfABackend(t *testing.T) {
	v := newTestVerifier(t, panicking{}, nil)
	a := v.verifyFrom(t.Context(), "", nil, pair("s3cret"))
	if summary(a) != "503" || a.err.Error() != "the credential could not be verified: the backend panicked with a string" {
		t.Errorf("got %v", a.err)
	}
}

// TestUsersThatNobodyIs: a backend that grants must name a user of Frappe's, and Guest owns no credential.
func TestUsersThatNobodyIs(t *testing.T) {
	for _, user := range []string{"", frappe.Guest, "alice\n", "a\x00", strings.Repeat("x", frappe.MaxUserSize+1)} {
		backend := newDoubleBackend()
		backend.users["x"] = user
		v := newTestVerifier(t, backend, nil)
		if a := v.verifyFrom(t.Context(), "", nil, pair("x")); summary(a) != "503" {
			t.Errorf("%q: %s", user, summary(a))
		}
	}
}

// TestLongestVerification: a backend that does not answer is given up after a minute.
func TestLongestVerification(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"], backend.delay = "alice@example.com", time.Hour
		v := newTestVerifier(t, backend, nil)
		began := time.Now()
		if a := v.verifyFrom(t.Context(), "", nil, pair("x")); summary(a) != "503" {
			t.Error(summary(a))
		}
		if took := time.Since(began); took != backends.MaxCall {
			t.Errorf("it took %s", took)
		}
	})
}

// TestClientGoesAway: whoever leaves gets no verdict. Who waits for another's stops at once; who asked sees the verification
// through, for those who stay.
func TestClientGoesAway(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"], backend.delay = "alice@example.com", time.Second
		v := newTestVerifier(t, backend, nil)
		leaving, leave := context.WithCancel(t.Context())
		start := func(ctx context.Context, token string) (found chan verdict) {
			found = make(chan verdict, 1)
			go func() { found <- v.verifyFrom(ctx, "", nil, pair(token)) }()
			synctest.Wait()
			return found
		}
		began := time.Now()
		asks, leaves, stays := start(leaving, "x"), start(leaving, "x"), start(t.Context(), "x")
		leave()
		for _, c := range []struct {
			name  string
			found chan verdict
			after time.Duration
		}{{"who waits", leaves, 0}, {"who asked", asks, time.Second}} {
			if rejected, became, _ := new(Options).judge(leaving, new(<-c.found), frappe.SchemeToken); rejected != rejectClientGone || became != outcomeClientGone {
				t.Errorf("%s: %v", c.name, became)
			}
			if took := time.Since(began); took != c.after {
				t.Errorf("%s was done after %s", c.name, took)
			}
		}
		if a := <-stays; summary(a) != cacheMiss {
			t.Errorf("the verification did not go on: %s", summary(a))
		}
		if asked := backend.timesAsked("x"); asked != 1 {
			t.Errorf("the backend was asked %d times", asked)
		}

		// Nobody stays.
		backend.users["y"] = "alice@example.com"
		leaving, leave = context.WithCancel(t.Context())
		asks = start(leaving, "y")
		leave()
		if rejected, became, _ := new(Options).judge(leaving, new(<-asks), frappe.SchemeToken); rejected != rejectClientGone || became != outcomeClientGone {
			t.Error(became)
		}
		for _, token := range []string{"x", "y"} {
			if a := v.verifyFrom(t.Context(), "", nil, pair(token)); a.cache != cacheHit {
				t.Errorf("%s: the verification did not go on: %s", token, summary(a))
			}
		}
	})
}
