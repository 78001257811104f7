package frappeauth

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestFleetModel runs several verifiers with wrong clocks over one store, while connections are cut, messages are late, and the
// store loses what it holds. A grant is forbidden if the credential was last good longer ago than the ttl; if its revocation
// was published and delivered before the request; or if this Caddy revoked it itself.
func TestFleetModel(t *testing.T) {
	const (
		ttl         = 20 * time.Second
		caddys      = 4
		credentials = 8
		// heard is how long after a revocation each Caddy that is not cut off has heard of it, or knows that it has not.
		heard = 8 * time.Second
	)
	seeds := 40
	if testing.Short() {
		seeds = 8
	}
	var mu sync.Mutex
	sources := make(map[string]int)
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(uint64(seed), 3)) //nolint:gosec // repeatable on purpose
				store, backend := testutil.NewStore(), newDoubleBackend()
				var (
					fleet [caddys]sharer
					away  [caddys]bool
					cutAt [caddys]time.Time // when the connection was last cut or restored
				)
				for i := range fleet {
					skew := time.Duration(random.IntN(6000)-3000) * time.Millisecond
					fleet[i] = newSharer(t, store, backend, func(c *verifierConfig) {
						c.lifetimes.TTL, c.lifetimes.BearerTTL = ttl, ttl
						c.cacheSize = 6
						c.now = func() time.Time { return time.Now().Add(skew) }
					})
				}
				type credential struct {
					good      bool
					ended     time.Time // when it was last good
					goodStep  int
					published time.Time // of the last revocation that the store has taken
					here      [caddys]int
					step      int // of the last publication
				}
				model := make([]credential, credentials)
				key := func(i int) string { return fmt.Sprint("key-", i) }
				for step := 1; step < 1500; step++ {
					i, n := random.IntN(credentials), random.IntN(caddys)
					m, v := &model[i], fleet[n]
					switch random.IntN(24) {
					case 0, 1: // it becomes good, or ends without a word
						if m.good {
							m.ended, m.goodStep = time.Now(), step
						}
						m.good = !m.good
						backend.set(func(d *doubleBackend) {
							delete(d.users, key(i))
							if m.good {
								d.users[key(i)] = "user " + key(i)
							}
						})
					case 2, 3: // it ends, and one Caddy is told
						if m.good {
							m.ended, m.goodStep = time.Now(), step
						}
						m.good = false
						backend.set(func(d *doubleBackend) { delete(d.users, key(i)) })
						change := frappe.Change{Key: key(i)}
						if random.IntN(8) == 0 {
							change = frappe.Change{User: "user " + key(i)}
						}
						err := v.state.revoke(t.Context(), change)
						m.here[n] = step
						if err == nil {
							m.published, m.step = time.Now(), step
						}
					case 4: // a connection is cut, or restored
						cutAt[n], away[n] = time.Now(), random.IntN(2) == 0
						v.client.SetAway(away[n])
					case 5:
						v.client.SetReadOnly(random.IntN(3) == 0)
					case 6: // messages are late
						most := random.IntN(60)
						late := rand.New(rand.NewPCG(uint64(seed), uint64(step))) //nolint:gosec // the same
						var mu sync.Mutex
						v.client.SetDelay(func() time.Duration {
							mu.Lock()
							defer mu.Unlock()
							return time.Duration(late.IntN(most+1)) * time.Millisecond
						})
					case 7:
						switch random.IntN(12) {
						case 0:
							store.Flush()
						case 1:
							store.LoseLog()
						case 2:
							store.LoseEntries(1 + random.IntN(3))
						case 3:
							store.Trim(1 + random.IntN(3))
						}
					case 8, 9, 10, 11:
						time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond)
					case 12:
						backend.set(func(d *doubleBackend) { d.delay = time.Duration(random.IntN(300)) * time.Millisecond })
					default:
						asked := time.Now()
						a := v.verifyFrom(t.Context(), "", nil, pair(key(i)))
						mu.Lock()
						sources[summary(a)]++
						mu.Unlock()
						if a.err != nil || m.good {
							break
						}
						switch {
						case asked.Sub(m.ended) > ttl:
							t.Fatalf("step %d: %s was granted (%s), but was last good %s ago", step, key(i), a.cache, asked.Sub(m.ended))
						case m.here[n] > 0 && m.here[n] >= m.goodStep:
							t.Fatalf("step %d: %s was granted (%s) by Caddy %d, which has revoked it", step, key(i), a.cache, n)
						case m.step > 0 && m.step >= m.goodStep && asked.Sub(m.published) > heard &&
							(a.cache == cacheShared || !away[n] && asked.Sub(cutAt[n]) > heard):
							t.Fatalf("step %d: %s was granted (%s) by Caddy %d, but its revocation was published %s ago", step, key(i), a.cache, n, asked.Sub(m.published))
						}
					}
				}
				for _, v := range fleet {
					v.client.SetDelay(nil)
				}
				time.Sleep(backends.MaxCall)
			})
		})
	}
	for _, source := range []string{cacheHit, cacheMiss, cacheShared, "401"} {
		if sources[source] < 100 {
			t.Errorf("only %d answers were %s: %v", sources[source], source, sources)
		}
	}
}
