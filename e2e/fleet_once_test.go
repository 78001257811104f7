package e2e

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// patient is how long requests wait for Redis where a test counts, so that a machine that is busy does not miscount.
const patient = "5s"

func noOptions(int) string { return "" }

// TestFleetAsksOnce: however many Caddys get a credential, and whatever the order, the site is asked about it once.
func TestFleetAsksOnce(t *testing.T) {
	t.Run("four Caddys, 1,000 credentials", func(t *testing.T) {
		site := newFleetSite(t)
		nodes := startFleet(t, 4, site.backend(), testutil.StartRedis(t), patient, noOptions)
		type request struct {
			node       *node
			credential string
		}
		var requests []request
		for i := range 1000 {
			for _, n := range nodes {
				requests = append(requests, request{n, goodPair(fmt.Sprint("key", i))})
			}
		}
		rand.Shuffle(len(requests), func(i, j int) { requests[i], requests[j] = requests[j], requests[i] })
		next := make(chan request)
		var clients sync.WaitGroup
		for range 16 {
			clients.Go(func() {
				for r := range next {
					if status, _ := r.node.get(t, r.credential); status != 200 {
						t.Errorf("%s: %d", r.credential, status)
					}
				}
			})
		}
		for _, r := range requests {
			next <- r
		}
		close(next)
		clients.Wait()
		total := 0
		for i := range 1000 {
			total += site.times(goodPair(fmt.Sprint("key", i)))
		}
		if total != 1000 {
			t.Errorf("the site was asked %d times", total)
		}
	})

	t.Run("ten Caddys, one new credential", func(t *testing.T) {
		site := newFleetSite(t)
		nodes := startFleet(t, 10, site.backend(), testutil.StartRedis(t), patient, noOptions)
		var requests sync.WaitGroup
		begin := make(chan struct{})
		for _, n := range nodes {
			for range 100 {
				requests.Go(func() {
					<-begin
					if status, _ := n.get(t, goodPair("new")); status != 200 {
						t.Errorf("%d", status)
					}
				})
			}
		}
		close(begin)
		requests.Wait()
		if n := site.times(goodPair("new")); n != 1 {
			t.Errorf("the site was asked %d times", n)
		}
	})
}
