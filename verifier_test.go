package frappeauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
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
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// TestConcurrentRequestsShareOneLookup: the backend is asked once about a credential, however many requests wait for
// the answer and even if some of the clients disconnect.
func TestConcurrentRequestsShareOneLookup(t *testing.T) {
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
		if got := v.get(t, pair("new")); got != cacheHit {
			t.Errorf("afterwards: %s", got)
		}
	})
}

// TestVerdictLifetimes: grants and denials serve for their ttl, and no grant outlives the expiry of its credential.
func TestVerdictLifetimes(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["pair"] = "alice@example.com"
		backend.users["oauth"] = "bob@example.com"
		backend.expiry["oauth"] = time.Now().Add(30 * time.Second)
		v := newTestVerifier(t, backend, nil)
		expect := func(token, want string) {
			t.Helper()
			if got := v.get(t, pair(token)); got != want {
				t.Errorf("%s: got %s, want %s", token, got, want)
			}
			synctest.Wait() // a refresh ahead
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

// TestRefreshAhead: while a credential is in steady use, its verdict is refreshed once before it expires, and no
// request waits for that.
func TestRefreshAhead(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["steady"] = "alice@example.com"
		v := newTestVerifier(t, backend, nil)
		v.get(t, pair("steady"))
		backend.set(func(d *doubleBackend) { d.delay = 3 * time.Second })
		for second := range 600 {
			time.Sleep(time.Second)
			start := time.Now()
			if got := v.get(t, pair("steady")); got != cacheHit || time.Since(start) != 0 {
				t.Fatalf("second %d: %s after %s", second, got, time.Since(start))
			}
		}
		if n := backend.timesAsked("steady"); n < 12 || n > 14 {
			t.Errorf("asked %d times in ten minutes at a ttl of one, want about one each 48 s", n)
		}

		// A refresh that fails is tried again after a while. A refresh that denies takes effect.
		asked := backend.timesAsked("steady")
		time.Sleep(time.Minute)
		backend.set(func(d *doubleBackend) { d.delay = 0 })
		v.get(t, pair("steady"))
		time.Sleep(48 * time.Second)
		backend.set(func(d *doubleBackend) { d.err = errDown })
		for range 100 {
			v.get(t, pair("steady"))
			synctest.Wait()
		}
		if n := backend.timesAsked("steady") - asked; n != 2 {
			t.Errorf("asked %d times, want one call that gave a verdict and one that did not", n)
		}
		backend.set(func(d *doubleBackend) { d.err = nil; delete(d.users, "steady") })
		time.Sleep(3 * time.Second)
		v.get(t, pair("steady"))
		synctest.Wait()
		if got := v.get(t, pair("steady")); got != "401" {
			t.Errorf("after a refresh that denied: %s", got)
		}
	})
}

// TestBackendOrder: the first backend that grants wins. If none grants and one is unavailable, the verdict is
// unavailable.
func TestBackendOrder(t *testing.T) {
	for _, test := range []struct {
		name   string
		states string // of each backend: g(rants), d(enies), u(navailable)
		want   string
		asked  string // which were asked
	}{
		{"the first grants", "gd", cacheMiss, "10"},
		{"the second grants", "dg", cacheMiss, "11"},
		{"the second grants, the first is unavailable", "ug", cacheMiss, "11"},
		{"both deny", "dd", "401", "11"},
		{"the second is unavailable", "du", "503", "11"},
		{"the first is unavailable", "ud", "503", "11"},
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
					c.backends = append(c.backends, backends.Loaded{Backend: d, Name: fmt.Sprint(i)})
				}
			})
			if got := v.get(t, pair("x")); got != test.want {
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

// panicking panics with a value that must not be shown.
type panicking struct{}

func (panicking) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	panic(c.Token)
}

// TestBackendPanics: a panic of a backend is unavailable, and its value is not shown.
func TestBackendPanics(t *testing.T) {
	v := newTestVerifier(t, panicking{}, nil)
	a := v.verifyFrom(t.Context(), "", nil, pair("s3cret"))
	if summary(a) != "503" || a.err.Error() != "the credential could not be verified: the backend panicked with a string" {
		t.Errorf("got %v", a.err)
	}
}

// TestInvalidUserNames: a grant for Guest, or for a name that no user of Frappe can have, is unavailable.
func TestInvalidUserNames(t *testing.T) {
	for _, user := range []string{"", frappe.Guest, "alice\n", "a\x00", strings.Repeat("x", frappe.MaxUserSize+1)} {
		backend := newDoubleBackend()
		backend.users["x"] = user
		v := newTestVerifier(t, backend, nil)
		if got := v.get(t, pair("x")); got != "503" {
			t.Errorf("%q: %s", user, got)
		}
	}
}

// TestHangingBackendTimesOut: a call of a backend that does not answer ends after a minute.
func TestHangingBackendTimesOut(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"], backend.delay = "alice@example.com", time.Hour
		v := newTestVerifier(t, backend, nil)
		began := time.Now()
		if got := v.get(t, pair("x")); got != "503" {
			t.Error(got)
		}
		if took := time.Since(began); took != backends.MaxCall {
			t.Errorf("it took %s", took)
		}
	})
}

// TestClientDisconnects: a client that disconnects gets no verdict. A request that waits for the lookup of another
// returns at once. The request that runs the lookup finishes it, for the others.
func TestClientDisconnects(t *testing.T) {
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
		}{{"the request that waits", leaves, 0}, {"the request that asks", asks, time.Second}} {
			if _, became, _ := rejectionOf((<-c.found).err, frappe.SchemeToken, true); became != outcomeClientGone {
				t.Errorf("%s: %v", c.name, became)
			}
			if took := time.Since(began); took != c.after {
				t.Errorf("%s was done after %s", c.name, took)
			}
		}
		if a := <-stays; summary(a) != cacheMiss {
			t.Errorf("the lookup did not finish: %s", summary(a))
		}
		if asked := backend.timesAsked("x"); asked != 1 {
			t.Errorf("the backend was asked %d times", asked)
		}

		// Every client disconnects.
		backend.users["y"] = "alice@example.com"
		leaving, leave = context.WithCancel(t.Context())
		asks = start(leaving, "y")
		leave()
		if _, became, _ := rejectionOf((<-asks).err, frappe.SchemeToken, true); became != outcomeClientGone {
			t.Error(became)
		}
		for _, token := range []string{"x", "y"} {
			if got := v.get(t, pair(token)); got != cacheHit {
				t.Errorf("%s: the lookup did not finish: %s", token, got)
			}
		}
	})
}

// TestGrantLifetimes: how long a grant serves from the cache, and for how long after that while the backend is
// unavailable.
func TestGrantLifetimes(t *testing.T) {
	for _, test := range []struct {
		name      string
		cred      func(now time.Time) frappe.Credential
		expiry    time.Duration // that the backend reports; 0: none
		ttl       time.Duration
		bearerTTL time.Duration // 0: the default
		serves    time.Duration // from the cache
		stale     time.Duration // after that
	}{
		{"pair", func(time.Time) frappe.Credential { return pair("x") }, 0, time.Hour, 0, time.Hour, time.Hour},
		{
			"access token with an expiry", func(time.Time) frappe.Credential { return bearer("x") }, 24 * time.Hour, time.Hour,
			0, time.Hour, time.Hour,
		},
		{
			"access token that expires within the ttl", func(time.Time) frappe.Credential { return bearer("x") },
			10 * time.Minute, time.Hour, 0, 10 * time.Minute, 0,
		},
		{
			"access token that expires after 2262", func(time.Time) frappe.Credential { return bearer("x") }, math.MaxInt64,
			time.Hour, 0, time.Hour, time.Hour,
		},
		{
			"access token without an expiry", func(time.Time) frappe.Credential { return bearer("x") }, 0, time.Hour, 0,
			time.Minute, 0,
		},
		{
			"access token without an expiry, short ttl", func(time.Time) frappe.Credential { return bearer("x") }, 0,
			10 * time.Second, 0, 10 * time.Second, 0,
		},
		{
			"access token without an expiry, bearer_ttl", func(time.Time) frappe.Credential { return bearer("x") }, 0, time.Hour,
			5 * time.Minute, 5 * time.Minute, 0,
		},
		{"JWT that expires soon", func(now time.Time) frappe.Credential {
			return bearer(unsigned(fmt.Sprintf(`{"exp":%d}`, now.Add(30*time.Second).Unix())))
		}, 0, time.Hour, 0, 30 * time.Second, 0},
		{"JWT that expires late", func(now time.Time) frappe.Credential {
			return bearer(unsigned(fmt.Sprintf(`{"exp":%d}`, now.Add(24*time.Hour).Unix())))
		}, 0, time.Hour, 0, time.Minute, 0},
		{"JWT that has expired", func(now time.Time) frappe.Credential {
			return bearer(unsigned(fmt.Sprintf(`{"exp":%d}`, now.Add(-time.Second).Unix())))
		}, 0, time.Hour, 0, 0, 0},
		{"JWT that expires before the expiry of the backend", func(now time.Time) frappe.Credential {
			return bearer(unsigned(fmt.Sprintf(`{"exp":%d}`, now.Add(30*time.Second).Unix())))
		}, time.Hour, time.Hour, 0, 30 * time.Second, 0},
		{"JWT that expires after the expiry of the backend", func(now time.Time) frappe.Credential {
			return bearer(unsigned(fmt.Sprintf(`{"exp":%d}`, now.Add(time.Hour).Unix())))
		}, 30 * time.Second, time.Hour, 0, 30 * time.Second, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				backend := newDoubleBackend()
				v := newTestVerifier(t, backend, func(c *verifierConfig) {
					c.lifetimes.TTL, c.lifetimes.StaleIfError = test.ttl, time.Hour
					if test.bearerTTL != 0 {
						c.lifetimes.BearerTTL = test.bearerTTL
					}
				})
				cred := test.cred(time.Now())
				name := cred.Key + cred.Token
				backend.users[name] = "alice@example.com"
				switch {
				case test.expiry == math.MaxInt64:
					backend.expiry[name] = time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
				case test.expiry != 0:
					backend.expiry[name] = time.Now().Add(test.expiry)
				}
				checkServes(t, v, backend, cred, test.serves, test.stale)
			})
		})
	}
}

// unsigned returns a JWT with that payload and a signature that nobody checks.
func unsigned(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(payload)) + "." + encode([]byte("signature"))
}

// TestOlderAnswerDoesNotReplaceNewer: the answer to an older lookup never replaces the answer to a newer one, in
// whatever order they arrive.
func TestOlderAnswerDoesNotReplaceNewer(t *testing.T) {
	for _, test := range []struct {
		name         string
		older, newer bool // whether the answer grants
	}{
		{"older grant, newer denial", true, false},
		{"older denial, newer grant", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				backend := newDoubleBackend()
				v := newTestVerifier(t, backend, nil)
				verdict := func(grants bool) {
					backend.set(func(d *doubleBackend) {
						delete(d.users, "x")
						if grants {
							d.users["x"] = "alice@example.com"
						}
					})
				}
				// The double judges when it is asked, and answers after its delay.
				slow := &slowBackend{doubleBackend: backend}
				v.backends[0].Backend = slow
				ask := func() string { return v.get(t, pair("x")) }

				verdict(test.older)
				slow.delay = 2 * time.Second
				var wg sync.WaitGroup
				wg.Go(func() { ask() })
				synctest.Wait()
				v.state.cache.revoke(frappe.Change{User: "bob@example.com"}) // the change of another user separates the lookups
				verdict(test.newer)
				slow.delay = time.Second
				wg.Go(func() { ask() })
				wg.Wait()
				want := "401"
				if test.newer {
					want = cacheHit
				}
				if got := ask(); got != want {
					t.Errorf("afterwards: %s, want %s", got, want)
				}
			})
		})
	}
}

// slowBackend decides, and then waits before it answers.
type slowBackend struct {
	*doubleBackend
	delay time.Duration
}

func (s *slowBackend) Verify(ctx context.Context, c frappe.Credential) (frappe.Identity, error) {
	delay := s.delay
	id, err := s.doubleBackend.Verify(ctx, c)
	time.Sleep(delay)
	return id, err
}

// TestUnixNanos: times that no int64 of nanoseconds holds become the first or the last that it holds.
func TestUnixNanos(t *testing.T) {
	for _, test := range []struct {
		year int
		want int64
	}{
		{1970, 0},
		{2262, time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()},
		{2263, math.MaxInt64},
		{9999, math.MaxInt64},
		{1, math.MinInt64},
	} {
		if got := unixNanos(time.Date(test.year, 1, 1, 0, 0, 0, 0, time.UTC)); got != test.want {
			t.Errorf("%d: %d, want %d", test.year, got, test.want)
		}
	}
}

// TestSessionLifetimes: how long the verdict on a session serves from the cache, and for how long after that while the
// backend is unavailable.
func TestSessionLifetimes(t *testing.T) {
	for _, test := range []struct {
		name       string
		sessionTTL time.Duration
		expiry     time.Duration // that the backend reports; 0: none
		serves     time.Duration
		stale      time.Duration // after that
	}{
		{"the default", 0, 0, time.Minute, 0},
		{"a short ttl", 10 * time.Second, 0, 10 * time.Second, 0},
		{"a long ttl", 30 * time.Minute, 0, 30 * time.Minute, 0},
		{"a known expiry", time.Minute, 24 * time.Hour, time.Minute, time.Hour},
		{"an expiry within the ttl", time.Minute, 30 * time.Second, 30 * time.Second, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				backend := newDoubleBackend()
				v := newTestVerifier(t, backend, func(c *verifierConfig) {
					c.lifetimes.TTL, c.lifetimes.StaleIfError = time.Hour, time.Hour
					if test.sessionTTL != 0 {
						c.lifetimes.SessionTTL = test.sessionTTL
					}
				})
				backend.users["x"] = "alice@example.com"
				if test.expiry != 0 {
					backend.expiry["x"] = time.Now().Add(test.expiry)
				}
				checkServes(t, v, backend, session("x"), test.serves, test.stale)
			})
		})
	}
}

// TestUnusedSessionIsNotRefreshed: Caddy asks about a session only on a request, so that nothing but its user keeps it
// alive in Frappe.
func TestUnusedSessionIsNotRefreshed(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		v := newTestVerifier(t, backend, nil)
		backend.users["x"] = "alice@example.com"
		for _, test := range []struct {
			idle  time.Duration // before the request
			asked int           // after it, and after a long time without another
		}{
			{0, 1},
			{30 * time.Second, 1},
			{25 * time.Second, 2}, // in the last fifth of a minute
			{10 * time.Second, 2},
		} {
			time.Sleep(test.idle)
			if got := v.get(t, session("x")); got != cacheHit && test.idle > 0 {
				t.Errorf("after another %s: %s", test.idle, got)
			}
			synctest.Wait()
			if n := backend.timesAsked("x"); n != test.asked {
				t.Errorf("after another %s: asked %d times, want %d", test.idle, n, test.asked)
			}
		}
		time.Sleep(240 * time.Hour)
		synctest.Wait()
		if n := backend.timesAsked("x"); n != 2 {
			t.Errorf("asked %d times, at last without a request", n)
		}
	})
}

// TestBackendWithoutSessionsIsNotAsked: a backend that does not support sessions is never asked about one.
func TestBackendWithoutSessionsIsNotAsked(t *testing.T) {
	backend := newDoubleBackend()
	v := newTestVerifier(t, backend, func(c *verifierConfig) { c.backends[0].Sessions = false })
	backend.users["x"] = "alice@example.com"
	if got := v.get(t, session("x")); got != "401" || backend.timesAsked("x") != 0 {
		t.Errorf("%s, asked %d times", got, backend.timesAsked("x"))
	}
}

// TestStaleIfError: an expired grant serves while the backends are unavailable, until stale_if_error is over, but not
// after a revocation or the expiry of its credential.
func TestStaleIfError(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		for _, token := range []string{"steady", "revoked", "ending"} {
			backend.users[token] = token + "@example.com"
		}
		backend.expiry["ending"] = time.Now().Add(5 * time.Minute)
		core, logs := observer.New(zap.InfoLevel)
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.lifetimes.StaleIfError = 10 * time.Minute
			c.logger = zap.New(core)
		})
		expect := func(token, want string) {
			t.Helper()
			if got := v.get(t, pair(token)); got != want {
				t.Errorf("%s after %s: got %s, want %s", token, time.Duration(v.state.clock.At(time.Now())), got, want)
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

// TestOutageDrill is the outage of a site, second by second, as docs/freshness.md shows it: what a steady client gets,
// one with a new credential, one whose credential is revoked during the outage, and one with a bad credential.
func TestOutageDrill(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["steady"], backend.users["revoked"] = "alice@example.com", "bob@example.com"
		began := time.Now()
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.lifetimes.TTL, c.lifetimes.StaleIfError = 10*time.Second, time.Hour
		})
		v.get(t, pair("steady"))
		v.get(t, pair("revoked"))

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
				results[i] = v.get(t, pair(token))
				synctest.Wait() // a refresh ahead
			}
			fmt.Fprintf(&table, "%6d  %-4s  %-6s  %-8s  %-8s  %-6s\n", second, state, results[0], results[1], results[2],
				results[3])

			if results[0] != cacheHit && results[0] != cacheMiss && results[0] != cacheStale {
				t.Errorf("second %d: the steady client got %s", second, results[0])
			}
			if second >= 30 && results[2] != "503" && results[2] != "401" {
				t.Errorf("second %d: the revoked credential got %s", second, results[2])
			}
			if state == "up" && second < 10 && (results[1] != cacheMiss || results[3] != "401") {
				t.Errorf("second %d: %v", second, results)
			}
			time.Sleep(time.Until(began.Add(time.Duration(second+1) * time.Second)))
		}
		testutil.Golden(t, "testdata/outage.txt", table.String())
	})
}

// TestBreakerOpensAndProbes: after five failures in a row the breaker holds back calls for 1, 2, 4 … 10 seconds, and
// then lets one probe through at a time.
func TestBreakerOpensAndProbes(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.err = errDown
		v := newTestVerifier(t, backend, nil)
		asked := func() int { return backend.timesAsked("x") }
		try := func() verdict { return v.verifyFrom(t.Context(), "", nil, pair("x")) }
		for i := range breaker.Threshold {
			v.get(t, pair(fmt.Sprint("first-", i)))
		}
		for _, seconds := range []int{1, 2, 4, 8, 10, 10} {
			wait := time.Duration(seconds) * time.Second
			before := asked()
			for range 10 {
				a := try()
				if u := a.err.(*frappe.UnavailableError); asked() != before ||
					u.RetryAfter != wait { //nolint:errorlint // exactly this
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

// TestBreakerPerSite: a site that is down opens no breaker of another site of its bench.
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

// TestOneCredentialDoesNotOpenTheBreakerOfASite: a credential that Frappe cannot verify opens a breaker for itself, and
// none for other credentials, however often it is sent.
func TestOneCredentialDoesNotOpenTheBreakerOfASite(t *testing.T) {
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
				ask := func(cred frappe.Credential) string { return v.get(t, cred) }
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

// TestUnknownSites: the bench is asked once a minute about a site that it does not have, whatever the credential. The
// site is charged to the client, and does not evict the breaker of a real site.
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
		time.Sleep(time.Minute) // the time for which it is remembered
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

// TestInFlightLimit: the backend never gets more than max_inflight calls at once, unknown credentials leave places for
// known ones, and the queue is bounded in number and time.
func TestInFlightLimit(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		const places = 4
		backend := newDoubleBackend()
		backend.users["known"] = "alice@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) { c.maxInflight = places })
		v.get(t, pair("known"))
		time.Sleep(time.Minute) // its verdict expires
		backend.set(func(d *doubleBackend) { d.delay = 2 * time.Second })

		outcomes := make(map[string]int)
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 2 * places * backends.WaitingPerCall {
			wg.Go(func() {
				got := v.get(t, pair(fmt.Sprint("unknown-", i)))
				mu.Lock()
				outcomes[got]++
				mu.Unlock()
			})
		}
		synctest.Wait()
		start := time.Now()
		if got := v.get(t, pair("known")); got != cacheMiss || time.Since(start) > 2*time.Second {
			t.Errorf("a known credential in a flood: %s after %s", got, time.Since(start))
		}
		wg.Wait()
		if backend.most > places {
			t.Errorf("the backend saw %d at once", backend.most)
		}
		if waited := time.Since(start); waited > backends.MaxWait+2*time.Second {
			t.Errorf("the last waited %s", waited)
		}
		if outcomes["503"] == 0 || outcomes["401"] < places || len(outcomes) != 2 {
			t.Errorf("outcomes %v", outcomes)
		}
		if open := v.state.backends[0].Open(); len(open) > 0 {
			t.Error("being busy was taken for a failure of the backend")
		}
	})
}

// TestWatchedChangesDropVerdicts: a change that a backend reports drops its verdicts at once, and no report makes a
// verdict serve for longer than its ttl.
func TestWatchedChangesDropVerdicts(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := watchedDouble{doubleBackend: newDoubleBackend(), looks: make(chan []frappe.Change)}
		backend.users["x"] = "alice@example.com"
		v := newTestVerifier(t, backend, nil)
		age := func() time.Duration {
			synctest.Wait()
			age, ok := v.state.backends[0].Watch.Age(time.Now())
			if !ok {
				t.Fatal("the watch has no age")
			}
			return age
		}
		ask := func() string {
			a := v.get(t, pair("x"))
			synctest.Wait()
			return a
		}
		time.Sleep(time.Minute - 1)
		if got := age(); got != time.Minute-1 {
			t.Errorf("almost a minute without a look: age %s", got)
		}
		time.Sleep(time.Nanosecond)
		backend.looks <- nil // drops what was confirmed before
		synctest.Wait()
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

// TestFailureLimit: a client that has sent too many bad credentials gets 429 for new ones, while known good ones pass.
func TestFailureLimit(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["good"] = "alice@example.com"
		backend.users["later"] = "bob@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = rate.Limit{Max: 3, Window: time.Minute}
		})
		try := func(client, token string) string {
			return v.getFrom(t, client, pair(token))
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
		expect("a good credential that is new", bad, "later", "429")
		expect("a good credential that is known", bad, "good", cacheHit)
		expect("another client", other, "later", cacheMiss)
		expect("now that it is known", bad, "later", cacheHit)
		if asked := backend.timesAsked("guess-3"); asked != 0 {
			t.Errorf("the backend was asked %d times for a credential that was throttled", asked)
		}

		time.Sleep(20 * time.Second) // a third of the window, so one of three failures
		expect("a third of the window later", bad, "guess-4", "401")
		expect("and no more than one", bad, "guess-5", "429")

		time.Sleep(70 * time.Second)
		expect("a known credential past its ttl, in spite of the limit", bad, "good", cacheMiss)
	})
}

// TestConcurrentDenialsCountOnce: a page that requests all of its parts with an expired access token is charged one
// failure, as the backend is asked once. A new token of the client passes.
func TestConcurrentDenialsCountOnce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["new"] = "alice@example.com"
		backend.delay = time.Second
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = rate.Limit{Max: 3, Window: time.Minute}
		})
		try := func(token string) string {
			return v.getFrom(t, "192.0.2.1", pair(token))
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if got := try("ended"); got != "401" {
					t.Errorf("the expired token: %s", got)
				}
			})
		}
		wg.Wait()
		if got := try("new"); got != cacheMiss {
			t.Errorf("a new token: %s", got)
		}
	})
}

// TestAbandonedGuessesCount: a client that disconnects before the answer is charged for it.
func TestAbandonedGuessesCount(t *testing.T) {
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
		if got := v.getFrom(t, "192.0.2.1", pair("guess-3")); got != "429" {
			t.Errorf("after as many guesses as are allowed: %s", got)
		}
		if got := v.getFrom(t, "192.0.2.2", pair("guess-3")); got != "401" {
			t.Errorf("another client: %s", got)
		}
	})
}

// TestConcurrentGuessesAreLimited: sending all guesses at once gains nothing, as the failure limit is checked again
// after the wait for the in-flight limit.
func TestConcurrentGuessesAreLimited(t *testing.T) {
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
				got := v.getFrom(t, "192.0.2.1", pair(fmt.Sprint("guess-", i)))
				mu.Lock()
				defer mu.Unlock()
				outcomes[got]++
			})
		}
		wg.Wait()
		if asked := len(backend.asked); asked > 20+v.maxInflight {
			t.Errorf("the backend was asked about %d of 800 guesses: %v", asked, outcomes)
		}
	})
}

// TestThrottledClientDoesNotAffectOthers: a request that waits for the lookup of a client that is throttled meanwhile
// gets a verdict.
func TestThrottledClientDoesNotAffectOthers(t *testing.T) {
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
			go func() { got <- v.getFrom(t, client, pair(key)) }()
			synctest.Wait()
			return got
		}
		guess := start("192.0.2.1", "guess")
		throttled := start("192.0.2.1", "good") // waits for the guess, which is charged then
		joined := start("192.0.2.2", "good")    // waits for the lookup of the client that is throttled then
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

// TestKnownBadCredentialsAreNotGuesses: services that keep sending old keys after a rotation do not lock out their
// neighbours.
func TestKnownBadCredentialsAreNotGuesses(t *testing.T) {
	for _, negativeTTL := range []time.Duration{5 * time.Second, 0} {
		testutil.Bubble(t, func(t *testing.T) {
			backend := newDoubleBackend()
			v := newTestVerifier(t, backend, func(c *verifierConfig) {
				c.failures = rate.Limit{Max: 20, Window: time.Minute}
				c.lifetimes.NegativeTTL = negativeTTL
			})
			ask := func(key string) string {
				return v.getFrom(t, "192.0.2.1", pair(key))
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

// TestFailureLimitsAreSeparate: handlers with the same backends and different limits do not share a count.
func TestFailureLimitsAreSeparate(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		v := newTestVerifier(t, backend, nil)
		strict := rate.Limit{Max: 5, Window: 24 * time.Hour}
		usual := rate.Limit{Max: 20, Window: time.Minute}
		ask := func(limit rate.Limit, key string) string {
			v.failures = limit // as another handler with the same backends
			return v.getFrom(t, "192.0.2.1", pair(key))
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

// TestUnverifiableCredentialCountsOnce: a credential that the backend cannot verify is charged as one guess.
func TestUnverifiableCredentialCountsOnce(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["good"] = "alice@example.com"
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.failures = rate.Limit{Max: 3, Window: time.Hour}
		})
		ask := func(key string) string { return v.getFrom(t, "192.0.2.1", pair(key)) }
		for i := range 4 {
			backend.faults[fmt.Sprint("odd-", i)] = errOfOneCredential
		}
		for range 100 {
			ask("odd-0")
			time.Sleep(time.Second)
		}
		if got := ask("good"); got != cacheMiss {
			t.Errorf("after one credential that cannot be verified: %s", got)
		}
		ask("odd-1")
		ask("odd-2")
		if got := ask("odd-3"); got != "429" {
			t.Errorf("after three of them: %s", got)
		}
	})
}

// TestFailureLimitOff: without a limit no number of bad credentials throttles a client.
func TestFailureLimitOff(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		v := newTestVerifier(t, newDoubleBackend(), nil)
		for i := range 1000 {
			if got := v.getFrom(t, "192.0.2.1", pair(fmt.Sprint(i))); got != "401" {
				t.Fatalf("failure %d: got %s", i, got)
			}
		}
	})
}

// TestModel runs random requests, revocations, outages and steps of the clock against a model of what may be granted.
// The credential must have been good within the last ttl, or in an outage within ttl and stale_if_error. It is never
// granted after a revocation that was reported, nor after its expiry. An access token whose expiry the backend does not
// report must have been good within bearer_ttl, and is never granted from a stale entry.
func TestModel(t *testing.T) {
	const (
		ttl         = 20 * time.Second
		bearerTTL   = 8 * time.Second
		negativeTTL = 3 * time.Second
		stale       = 40 * time.Second
		credentials = 12
		users       = 4
	)
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(uint64(seed), 1)) //nolint:gosec // repeatable on purpose
				backend := newDoubleBackend()
				v := newTestVerifier(t, backend, func(c *verifierConfig) {
					c.cacheSize = 8
					c.lifetimes = verdicts.Lifetimes{TTL: ttl, BearerTTL: bearerTTL, NegativeTTL: negativeTTL, StaleIfError: stale}
				})
				type state struct {
					good     bool
					lastGood time.Time // when it was last good
					goodAt   int       // in which step
					revoked  time.Time // when it was last reported as changed
					reported int       // in which step
					ends     time.Time
				}
				model := make([]state, credentials)
				token := func(i int) string { return fmt.Sprint("token-", i) }
				// A third each: pairs, access tokens with an expiry that the backend reports, and access tokens
				// without.
				const pairs, withExpiry, withoutExpiry = 0, 1, 2
				kind := func(i int) int { return i % 3 }
				cred := func(i int) frappe.Credential {
					if kind(i) == pairs {
						return pair(token(i))
					}
					return bearer(token(i))
				}
				change := func(i int) frappe.Change {
					if kind(i) == pairs {
						return frappe.Change{Key: token(i)}
					}
					return frappe.Change{Token: token(i)}
				}
				user := func(i int) string { return fmt.Sprint("user ", i%users) }
				set := func(i, step int, good bool) {
					if model[i].good {
						model[i].lastGood, model[i].goodAt = time.Now(), step
					}
					model[i].good = good
					backend.set(func(d *doubleBackend) {
						delete(d.users, token(i))
						delete(d.expiry, token(i))
						if good {
							d.users[token(i)] = user(i)
							model[i].ends = time.Time{}
							if kind(i) == withExpiry {
								model[i].ends = time.Now().Add(time.Duration(random.IntN(60)) * time.Second)
								d.expiry[token(i)] = model[i].ends
							}
						}
					})
				}
				var lastOutage, lastFound time.Time // when the backend was last down, and last granted
				down := false

				for step := range 3000 {
					i := random.IntN(credentials)
					switch random.IntN(20) {
					case 0: // a silent change
						set(i, step, !model[i].good)
					case 1: // a reported change of a credential
						set(i, step, !model[i].good)
						v.state.cache.revoke(change(i))
						model[i].revoked, model[i].reported = time.Now(), step
					case 2: // all credentials of a user end, which is reported
						for j := i % users; j < credentials; j += users {
							set(j, step, false)
							model[j].revoked, model[j].reported = time.Now(), step
						}
						v.state.cache.revoke(frappe.Change{User: user(i)})
					case 7: // everything may have changed
						if random.IntN(4) > 0 {
							break
						}
						for j := range credentials {
							if random.IntN(2) == 0 {
								set(j, step, false)
							}
							if !model[j].good {
								model[j].revoked, model[j].reported = time.Now(), step
							}
						}
						v.state.cache.revoke(frappe.Change{Everything: true})
					case 3:
						down = !down
						backend.set(func(d *doubleBackend) {
							d.err, d.delay = nil, time.Duration(random.IntN(2000))*time.Millisecond
							if down {
								d.err = errDown
							}
						})
					case 4, 5, 6:
						time.Sleep(time.Duration(random.IntN(8000)) * time.Millisecond)
					default:
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(100+random.IntN(3000))*time.Millisecond)
						asked := time.Now()
						a := v.verifyFrom(ctx, "", nil, cred(i))
						cancel()
						if a.err != nil {
							break
						}
						m, now := model[i], time.Now()
						lastGood, goodAt := m.lastGood, m.goodAt
						if m.good {
							lastGood, goodAt = now, step
						}
						bound := ttl
						if kind(i) == withoutExpiry {
							bound = bearerTTL
						} else if a.cache == cacheStale {
							bound += stale
						}
						switch {
						case kind(i) == withoutExpiry && a.cache == cacheStale:
							t.Fatalf("%s was granted from stale, although it may have expired", token(i))
						case a.user != user(i):
							t.Fatalf("%s is %v's", token(i), a.user)
						case asked.Sub(lastGood) > bound:
							t.Fatalf("%s was granted (%s), but was last good %s ago", token(i), a.cache, asked.Sub(lastGood))
						case goodAt <= m.reported && !m.revoked.IsZero():
							t.Fatalf("%s was granted (%s), but its end was reported %s ago", token(i), a.cache, now.Sub(m.revoked))
						case m.good && !m.ends.IsZero() && !asked.Before(m.ends) &&
							(asked.Sub(m.lastGood) > bound || m.goodAt <= m.reported): // unless it was good before, without that expiry
							t.Fatalf("%s was granted (%s), but ended %s ago", token(i), a.cache, asked.Sub(m.ends))
						case a.cache == cacheStale && lastFound.After(lastOutage):
							t.Fatalf("%s was granted from stale, but the last outage was over", token(i))
						}
						if a.cache == cacheMiss {
							lastFound = now
						}
					}
					if down {
						lastOutage = time.Now()
					}
				}
				time.Sleep(backends.MaxCall) // the lookups that no request waits for
			})
		})
	}
}

// TestModelConcurrently checks from many goroutines, for the race detector, that a request that begins after a reported
// revocation is not granted.
func TestModelConcurrently(t *testing.T) {
	backend := newDoubleBackend()
	v := newTestVerifier(t, backend, nil)
	var (
		wg   sync.WaitGroup
		mu   sync.RWMutex // held for writing while a change is made and reported
		good [8]bool
	)
	for worker := range 8 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 2)) //nolint:gosec // repeatable on purpose
			for range 3000 {
				i := random.IntN(len(good))
				token := fmt.Sprint(i)
				if random.IntN(20) == 0 {
					mu.Lock()
					good[i] = !good[i]
					backend.set(func(d *doubleBackend) {
						delete(d.users, token)
						if good[i] {
							d.users[token] = "user " + token
						}
					})
					v.state.cache.revoke(frappe.Change{Key: token})
					mu.Unlock()
					continue
				}
				mu.RLock()
				a := v.verifyFrom(t.Context(), "", nil, pair(token))
				if (a.err == nil) != good[i] {
					t.Errorf("%s: %v, but good is %t", token, a.err, good[i])
				}
				mu.RUnlock()
			}
		})
	}
	wg.Wait()
}

// doubleBackend is a backend with users and faults that a test controls.
type doubleBackend struct {
	mu     sync.Mutex
	users  map[string]string // API key or access token to user
	expiry map[string]time.Time
	delay  time.Duration
	err    error            // the answer in place of a verdict
	faults map[string]error // the same, for one API key or access token
	asked  map[string]int
	inside int
	most   int // simultaneous verifications
}

func newDoubleBackend() *doubleBackend {
	return &doubleBackend{
		users: make(map[string]string), expiry: make(map[string]time.Time), asked: make(map[string]int),
		faults: make(map[string]error),
	}
}

func (d *doubleBackend) Verify(ctx context.Context, c frappe.Credential) (frappe.Identity, error) {
	name := c.Key + c.Token + c.Session
	d.mu.Lock()
	d.asked[name]++
	d.inside++
	d.most = max(d.most, d.inside)
	delay := d.delay
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.inside--
		d.mu.Unlock()
	}()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return frappe.Identity{}, ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return frappe.Identity{}, d.err
	}
	if err := d.faults[name]; err != nil {
		return frappe.Identity{}, err
	}
	user, ok := d.users[name]
	if !ok {
		return frappe.Identity{}, frappe.ErrDenied
	}
	return frappe.Identity{User: user, Expiry: d.expiry[name]}, nil
}

// set changes the double.
func (d *doubleBackend) set(change func(d *doubleBackend)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *doubleBackend) timesAsked(token string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[token]
}

var errDown = errors.New("down")

// watchedDouble also reports the changes that the test sends.
type watchedDouble struct {
	*doubleBackend
	looks chan []frappe.Change
}

func (w watchedDouble) Watch(ctx context.Context, observe func([]frappe.Change)) {
	for {
		select {
		case changes := <-w.looks:
			observe(changes)
		case <-ctx.Done():
			return
		}
	}
}

// newTestVerifier returns a verifier with one backend. It uses the real clock, which in a bubble is the bubble's.
func newTestVerifier(t testing.TB, b frappe.Backend, adjust func(*verifierConfig)) *verifier {
	t.Helper()
	conf := verifierConfig{
		stateConfig: stateConfig{
			backends:    []backends.Loaded{{Backend: b, Name: "double", Sessions: true}},
			fingerprint: fmt.Sprintf("%s %p", t.Name(), new(int)),
			registry:    fleet.NewRegistry(time.Now, rand.Float64),
			maxInflight: 16,
			now:         time.Now,
			random:      func() float64 { return 0.5 }, // no jitter
		},
		cacheSize: 1000,
		lifetimes: verdicts.Lifetimes{TTL: time.Minute, NegativeTTL: 5 * time.Second},
		failures:  rate.Unlimited,
		logger:    testutil.Logged.Logger(),
	}
	if adjust != nil {
		adjust(&conf)
	}
	for _, ttl := range []*time.Duration{&conf.lifetimes.BearerTTL, &conf.lifetimes.SessionTTL} {
		if *ttl == 0 { // the test did not set it
			*ttl = min(conf.lifetimes.TTL, time.Minute)
		}
	}
	v := startVerifier(t, t.Context(), conf)
	t.Cleanup(func() {
		if err := v.close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func startVerifier(t testing.TB, ctx context.Context, conf verifierConfig) *verifier {
	t.Helper()
	v, err := newVerifier(conf)
	if err != nil {
		t.Fatal(err)
	}
	v.start(ctx)
	return v
}

// verifyFrom is verify with the verifier's own limit, for a client at that address.
func (v *verifier) verifyFrom(ctx context.Context, address string, sites []string, cred frappe.Credential) verdict {
	return v.verify(ctx, caller{client: address}, sites, &cred)
}

// summary is what a client of the verifier gets, in a word.
func summary(a verdict) string {
	var (
		unavailable *frappe.UnavailableError
		throttled   *throttledError
	)
	switch {
	case a.err == nil:
		return a.cache
	case errors.Is(a.err, frappe.ErrDenied):
		return "401"
	case errors.Is(a.err, frappe.ErrUnknownSite):
		return "404"
	case errors.As(a.err, &throttled):
		return "429"
	case errors.As(a.err, &unavailable):
		return "503"
	}
	return a.err.Error()
}

// checkServes makes the backend grant a credential and then be unavailable. It checks how long the verdict serves, and
// for how long after that it serves stale.
func checkServes(t *testing.T, v *verifier, backend *doubleBackend, cred frappe.Credential, serves,
	stale time.Duration,
) {
	t.Helper()
	ask := func() string {
		got := v.get(t, cred)
		synctest.Wait()
		return got
	}
	start := time.Now()
	if got := ask(); got != cacheMiss {
		t.Fatalf("at first: %s", got)
	}
	backend.set(func(d *doubleBackend) { d.err = errDown })
	at := func(after time.Duration, want string) {
		t.Helper()
		time.Sleep(time.Until(start.Add(after)))
		if got := ask(); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
	if serves > 0 {
		at(serves-1, cacheHit)
	}
	if stale > 0 {
		at(serves, cacheStale)
		at(serves+stale-1, cacheStale)
	}
	at(serves+stale, "503")
}

// siteDouble is a backend for several sites. One of them is down.
type siteDouble struct{ down string }

func (d siteDouble) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	if c.Site == d.down {
		return frappe.Identity{}, errDown
	}
	return frappe.Identity{User: "alice@example.com"}, nil
}

// tenantsDouble is a bench with a site that is down, and one that may be created. It has no other sites.
type tenantsDouble struct {
	down, created string
	asked         map[string]int
}

func (*tenantsDouble) ResolvesSites() bool { return true }

func (*tenantsDouble) Site(*caddy.Replacer) (string, error) { return "", errors.New("not used") }

func (d *tenantsDouble) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	if d.asked == nil {
		d.asked = make(map[string]int)
	}
	d.asked[c.Site]++
	switch c.Site {
	case d.down:
		return frappe.Identity{}, errDown
	case d.created:
		return frappe.Identity{User: "alice@example.com"}, nil
	}
	return frappe.Identity{}, fmt.Errorf("%s: %w", c.Site, frappe.ErrUnknownSite)
}

// revoke drops what a change selects, and waits until the other Caddys are told.
func (s *state) revoke(ctx context.Context, change frappe.Change) error {
	s.drop(change)
	return s.publish(ctx)
}

// revoke drops what a change selects, in this cache only.
func (c *cache) revoke(change frappe.Change) { c.apply(c.revocation(change)) }

// get is what a client gets for a credential, in a word.
func (v *verifier) get(t testing.TB, cred frappe.Credential) string {
	t.Helper()
	return v.getFrom(t, "", cred)
}

// getFrom is get for a client at that address.
func (v *verifier) getFrom(t testing.TB, address string, cred frappe.Credential) string {
	t.Helper()
	return summary(v.verifyFrom(t.Context(), address, nil, cred))
}

// pair is the credential of an API key.
func pair(key string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeToken, Key: key, Secret: "secret"}
}

// bearer is the credential of an access token.
func bearer(token string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeBearer, Token: token}
}

// session is the credential of a session.
func session(id string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeSession, Session: id}
}

var errOfOneCredential = &frappe.UnavailableError{
	Reason:             errors.New("the secret cannot be decrypted"),
	CredentialSpecific: true,
}
