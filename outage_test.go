package frappeauth

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestStale: an expired grant serves while the backends are unavailable, until stale_if_error is over, but not when revoked or ended.
func TestStale(t *testing.T) {
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
			if got := summary(v.verifyFrom(t.Context(), "", nil, pair(token))); got != want {
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

// TestOutageDrill is the outage of a site, second by second, as in docs/freshness.md: what a steady client, one with a
// credential nobody knows yet, one whose credential was revoked during the outage, and one with a bad credential get.
func TestOutageDrill(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["steady"], backend.users["revoked"] = "alice@example.com", "bob@example.com"
		began := time.Now()
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.lifetimes.TTL, c.lifetimes.StaleIfError = 10*time.Second, time.Hour
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
			time.Sleep(time.Until(began.Add(time.Duration(second+1) * time.Second)))
		}
		testutil.Golden(t, "testdata/outage.txt", table.String())
	})
}
