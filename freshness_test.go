package frappeauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// unsigned makes an unsigned token with that payload.
func unsigned(payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"HS256"}`)) + "." + encode([]byte(payload)) + "." + encode([]byte("signature"))
}

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

// TestFreshness: how long a grant serves from the cache, and whether also while the backend is unavailable.
func TestFreshness(t *testing.T) {
	for _, test := range []struct {
		name      string
		cred      func(now time.Time) frappe.Credential
		expiry    time.Duration // as the backend says; 0: it does not
		ttl       time.Duration
		bearerTTL time.Duration // 0: the default
		serves    time.Duration // in all
		stale     time.Duration // after that
	}{
		{"pair", func(time.Time) frappe.Credential { return pair("x") }, 0, time.Hour, 0, time.Hour, time.Hour},
		{"token whose expiry is known", func(time.Time) frappe.Credential { return bearer("x") }, 24 * time.Hour, time.Hour, 0, time.Hour, time.Hour},
		{"token that expires within its ttl", func(time.Time) frappe.Credential { return bearer("x") }, 10 * time.Minute, time.Hour, 0, 10 * time.Minute, 0},
		{"token that expires beyond 2262", func(time.Time) frappe.Credential { return bearer("x") }, math.MaxInt64, time.Hour, 0, time.Hour, time.Hour},
		{"token whose expiry is not known", func(time.Time) frappe.Credential { return bearer("x") }, 0, time.Hour, 0, time.Minute, 0},
		{"the same with a short ttl", func(time.Time) frappe.Credential { return bearer("x") }, 0, 10 * time.Second, 0, 10 * time.Second, 0},
		{"the same with a bearer_ttl", func(time.Time) frappe.Credential { return bearer("x") }, 0, time.Hour, 5 * time.Minute, 5 * time.Minute, 0},
		{"JWT that ends soon", func(now time.Time) frappe.Credential {
			return bearer(unsigned(fmt.Sprintf(`{"exp":%d}`, now.Add(30*time.Second).Unix())))
		}, 0, time.Hour, 0, 30 * time.Second, 0},
		{"JWT that ends late", func(now time.Time) frappe.Credential {
			return bearer(unsigned(fmt.Sprintf(`{"exp":%d}`, now.Add(24*time.Hour).Unix())))
		}, 0, time.Hour, 0, time.Minute, 0},
		{"JWT that ended", func(now time.Time) frappe.Credential {
			return bearer(unsigned(fmt.Sprintf(`{"exp":%d}`, now.Add(-time.Second).Unix())))
		}, 0, time.Hour, 0, 0, 0},
		{"JWT that ends before the backend says", func(now time.Time) frappe.Credential {
			return bearer(unsigned(fmt.Sprintf(`{"exp":%d}`, now.Add(30*time.Second).Unix())))
		}, time.Hour, time.Hour, 0, 30 * time.Second, 0},
		{"JWT that ends after the backend says", func(now time.Time) frappe.Credential {
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

// TestOlderAnswer: an answer to an older lookup never replaces that to a newer one, whichever comes first.
func TestOlderAnswer(t *testing.T) {
	for _, test := range []struct {
		name         string
		older, newer bool // whether it grants
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
				ask := func() string { return summary(v.verifyFrom(t.Context(), "", nil, pair("x"))) }

				verdict(test.older)
				slow.delay = 2 * time.Second
				var wg sync.WaitGroup
				wg.Go(func() { ask() })
				synctest.Wait()
				v.state.cache.revoke(frappe.Change{User: "bob@example.com"}) // of somebody else: it separates the lookups
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

// slowBackend answers some time after it has judged.
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

// TestSpellings: all spellings of a key that differ in case take one place in the cache, and a verdict serves for the spelling
// that was asked.
func TestSpellings(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		v := newTestVerifier(t, backend, func(c *verifierConfig) { c.cacheSize = 10 })
		ask := func(key string) string { return summary(v.verifyFrom(t.Context(), "", nil, pair(key))) }
		for i := range 9 {
			backend.users[fmt.Sprint("good-", i)] = "bob@example.com"
			ask(fmt.Sprint("good-", i))
		}
		const key = "abcdefghijklmnop"
		spelling := func(i int) string {
			text := []byte(key)
			for bit := range text {
				if i>>bit&1 == 1 {
					text[bit] -= 'a' - 'A'
				}
			}
			return string(text)
		}
		for i := range 1000 {
			backend.users[spelling(i)] = "alice@example.com"
			if got := ask(spelling(i)); got != cacheMiss {
				t.Fatalf("%s: %s: a verdict on another spelling served", spelling(i), got)
			}
		}
		for i := range 9 {
			if got := ask(fmt.Sprint("good-", i)); got != cacheHit {
				t.Errorf("spellings of one key pushed out another: %s", got)
			}
		}
		if got := ask(spelling(999)); got != cacheHit {
			t.Errorf("the last spelling: %s", got)
		}

		// A spelling that is denied (on PostgreSQL) says nothing of the other.
		backend.set(func(d *doubleBackend) { delete(d.users, strings.ToUpper(key)) })
		if got := ask(strings.ToUpper(key)); got != "401" {
			t.Errorf("a bad spelling: %s", got)
		}
		if got := ask(spelling(999)); got != cacheHit {
			t.Errorf("after a bad spelling was denied: %s", got)
		}
		if got := summary(v.verifyFrom(t.Context(), "", nil, frappe.Credential{Scheme: frappe.SchemeToken, Key: spelling(999), Secret: "SECRET"})); got != cacheMiss {
			t.Errorf("secrets compare with case: %s", got)
		}
	})
}

// TestOddCredentialsAreNotCached: which credentials MariaDB takes for others is not known for characters that Frappe never uses.
func TestOddCredentialsAreNotCached(t *testing.T) {
	for _, key := range []string{"kéy", "key²", "key\u00ad", "ＫＥＹ", "key ", "key,", "key\t"} {
		backend := newDoubleBackend()
		backend.users[key] = "alice@example.com"
		v := newTestVerifier(t, backend, nil)
		for range 3 {
			if got := summary(v.verifyFrom(t.Context(), "", nil, pair(key))); got != cacheMiss {
				t.Errorf("%q: %s", key, got)
			}
		}
		for range 3 {
			v.verifyFrom(t.Context(), "", nil, pair(key+"é"))
		}
		if granted, denied, _ := v.state.cache.Fill(); granted+denied != 0 {
			t.Errorf("%q: %d granted and %d denied verdicts are kept", key, granted, denied)
		}
	}
}

var errOfOneCredential = &frappe.UnavailableError{Reason: errors.New("the secret cannot be decrypted"), CredentialSpecific: true}
