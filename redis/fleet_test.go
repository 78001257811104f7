package redis

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestOneTurn: Caddys that wait for another, which gets no verdict to share, go on as soon as it is done. None of them waits
// for a second one.
func TestOneTurn(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		const caddys = 20
		var fleets [caddys]*fleet.Fleet
		for i := range fleets {
			f, err := fleet.New(fleet.Config{
				Secret: []byte(secret), Apply: func(fleet.Revocation) {}, Keep: func() time.Duration { return time.Hour },
				Now: time.Now, Random: rand.Float64,
			})
			if err != nil {
				t.Fatal(err)
			}
			store := open(t, &Store{URL: server.url(), RequestTimeout: caddy.Duration(maxTimeout)})
			t.Cleanup(f.Attach(store, zap.NewNop()))
			fleets[i] = f
		}
		name := fleets[0].Name("a bad credential")
		unlock := fleets[0].Exchange().Lock(name, func() bool { return false })

		var (
			waiters sync.WaitGroup
			done    atomic.Bool // the first Caddy has asked
			waiting atomic.Int64
			turns   [caddys]atomic.Int64 // since then
		)
		for i, f := range fleets[1:] {
			waiters.Go(func() {
				first := true
				f.Exchange().Lock(name, func() bool {
					if done.Load() {
						turns[i].Add(1)
					}
					if first {
						waiting.Add(1)
						first = false
					}
					return false
				}) // the lock is kept: those who asked at once are slow
			})
		}
		testutil.Eventually(t, "all wait", func() bool { return waiting.Load() == caddys-1 })
		unlock()
		done.Store(true)
		waiters.Wait()
		for i := range turns {
			if n := turns[i].Load(); n > 2 { // one that was under way, and one that saw the lock released
				t.Errorf("Caddy %d looked %d times more", i, n)
			}
		}
	})
}
