package frappeauth

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// TestModel runs random requests, revocations, outages and steps of the clock against a model of what may be granted:
// a grant must have been true within its ttl, or within ttl and stale_if_error of an outage; never after a revocation
// that was reported; never past the credential's own end; and an access token whose end the backend does not see within
// bearer_ttl, never stale.
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
					goodAt   int       // the step of that
					revoked  time.Time // when it was last reported as changed
					reported int       // the step of that
					ends     time.Time
				}
				model := make([]state, credentials)
				token := func(i int) string { return fmt.Sprint("token-", i) }
				// A third each: pairs, access tokens whose end the backend sees, and those whose end it does not see.
				const pairs, endSeen, endUnseen = 0, 1, 2
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
							if kind(i) == endSeen {
								model[i].ends = time.Now().Add(time.Duration(random.IntN(60)) * time.Second)
								d.expiry[token(i)] = model[i].ends
							}
						}
					})
				}
				var lastOutage, lastFound time.Time // when the backend last was down, and last granted
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
					case 2: // all of a user's credentials end, reported
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
						if kind(i) == endUnseen {
							bound = bearerTTL
						} else if a.cache == cacheStale {
							bound += stale
						}
						switch {
						case kind(i) == endUnseen && a.cache == cacheStale:
							t.Fatalf("%s was granted from stale, though nobody knows whether it has expired", token(i))
						case a.user != user(i):
							t.Fatalf("%s is %v's", token(i), a.user)
						case asked.Sub(lastGood) > bound:
							t.Fatalf("%s was granted (%s), but was last good %s ago", token(i), a.cache, asked.Sub(lastGood))
						case goodAt <= m.reported && !m.revoked.IsZero():
							t.Fatalf("%s was granted (%s), but its end was reported %s ago", token(i), a.cache, now.Sub(m.revoked))
						case m.good && !m.ends.IsZero() && !asked.Before(m.ends) &&
							(asked.Sub(m.lastGood) > bound || m.goodAt <= m.reported): // or it was good without that end, before
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
				time.Sleep(backends.MaxCall) // what nobody waits for any more
			})
		})
	}
}

// TestModelConcurrently does the like from many goroutines, for the race detector: after a reported revocation no
// request that begins later is granted.
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
