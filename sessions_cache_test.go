package frappeauth

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// session is the credential of a session.
func session(id string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeSession, Session: id}
}

// TestSessionFreshness: how long the verdict on a session serves, and whether also while the backend is unavailable.
func TestSessionFreshness(t *testing.T) {
	for _, test := range []struct {
		name       string
		sessionTTL time.Duration
		expiry     time.Duration // as the backend says; 0: it does not
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

// TestUnusedSession: only a request makes Caddy ask about a session, so nothing but its user keeps it alive in Frappe.
func TestUnusedSession(t *testing.T) {
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
			if got := summary(v.verifyFrom(t.Context(), "", nil, session("x"))); got != cacheHit && test.idle > 0 {
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
			t.Errorf("asked %d times, the last one without a request", n)
		}
	})
}

// TestKindsAreApart: a session, an access token and an API key with the same text are three credentials, and a change of one
// does not concern the others.
func TestKindsAreApart(t *testing.T) {
	backend := newDoubleBackend()
	v := newTestVerifier(t, backend, nil)
	backend.users["x"] = "alice@example.com"
	const hashOfX = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	credentials := []frappe.Credential{pair("x"), bearer("x"), session("x")}
	for _, test := range []struct {
		name   string
		change frappe.Change
		want   [3]string
	}{
		{"at first", frappe.Change{}, [3]string{cacheMiss, cacheMiss, cacheMiss}},
		{"no change", frappe.Change{}, [3]string{cacheHit, cacheHit, cacheHit}},
		{"the session ended", frappe.Change{Session: "x"}, [3]string{cacheHit, cacheHit, cacheMiss}},
		{"the token was revoked", frappe.Change{Token: "x"}, [3]string{cacheHit, cacheMiss, cacheHit}},
		{"the token was revoked by its hash", frappe.Change{Token: hashOfX}, [3]string{cacheHit, cacheMiss, cacheHit}},
		{"the hash of a token is none of a key", frappe.Change{Key: hashOfX}, [3]string{cacheHit, cacheHit, cacheHit}},
		{"the key was revoked", frappe.Change{Key: "x"}, [3]string{cacheMiss, cacheHit, cacheHit}},
		{"the user changed", frappe.Change{User: "alice@example.com"}, [3]string{cacheMiss, cacheMiss, cacheMiss}},
		{"another session ended", frappe.Change{Session: "y"}, [3]string{cacheHit, cacheHit, cacheHit}},
		{"a session with a character that Frappe never uses ended", frappe.Change{Session: "é"}, [3]string{cacheMiss, cacheMiss, cacheMiss}},
	} {
		v.state.cache.revoke(test.change)
		for i, cred := range credentials {
			if got := summary(v.verifyFrom(t.Context(), "", nil, cred)); got != test.want[i] {
				t.Errorf("%s: %s: %s, want %s", test.name, cred.Scheme, got, test.want[i])
			}
		}
	}
}

// TestBackendWithoutSessions: a backend that does not know sessions is never asked about one.
func TestBackendWithoutSessions(t *testing.T) {
	backend := newDoubleBackend()
	v := newTestVerifier(t, backend, func(c *verifierConfig) { c.backends[0].Sessions = false })
	backend.users["x"] = "alice@example.com"
	if got := summary(v.verifyFrom(t.Context(), "", nil, session("x"))); got != "401" || backend.timesAsked("x") != 0 {
		t.Errorf("%s, asked %d times", got, backend.timesAsked("x"))
	}
}
