package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-frappe/frappe-auth"
)

var (
	rounds   = flag.Int("rounds", 1, "how often each load is measured")
	duration = flag.Duration("duration", 500*time.Millisecond, "how long one measurement takes")
	rate     = flag.Int("rate", 2000, "requests per second of the flood")
)

// TestFlood measures what a flood of distinct bad credentials costs good clients, against the same flood of requests that
// plainly get 404, in interleaved rounds. It also sees that the site is never asked more than max_inflight times at once,
// and that no good client is refused.
func TestFlood(t *testing.T) {
	const maxInflight = 16
	var inside, most, asked atomic.Int64
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := inside.Add(1)
		defer inside.Add(-1)
		for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
		}
		asked.Add(1)
		time.Sleep(8 * time.Millisecond) // as Frappe takes
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") == "Bearer good" {
			io.WriteString(w, `{"message": "alice@example.com"}`)
			return
		}
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{}`)
	}))
	defer site.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt(fmt.Appendf(nil, `
{
	admin off
	persist_config off
	log {
		level ERROR
		output discard
	}
	servers {
		trusted_proxies static 127.0.0.1/32
	}
}
http://%s {
	respond /absent 404
	frappe_auth /protected %s {
		max_inflight %d
	}
	respond /protected ok
}`, address, site.URL, maxInflight), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	defer caddy.Stop() //nolint:errcheck // the process ends
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	get := func(path, authorization, from string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", authorization)
		r.Header.Set("X-Forwarded-For", from)
		resp, err := client.Do(r)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	if status := get("/protected", "Bearer good", "192.0.2.1"); status != 200 {
		t.Fatalf("a good client gets %d", status)
	}

	loads := []struct {
		name, path string
		addresses  int // that the flood comes from
	}{
		{"no flood", "", 0},
		{"plain 404", "/absent", 1},
		{"bad credentials from one address", "/protected", 1},
		{"plain 404 to 10,000 addresses", "/absent", 10_000},
		{"bad credentials from 10,000 addresses", "/protected", 10_000},
	}
	served := make([][]float64, len(loads))
	var serial atomic.Int64
	for range *rounds {
		for i, load := range loads {
			var (
				good, refused atomic.Int64
				stop          = make(chan struct{})
				wg            sync.WaitGroup
			)
			for range 4 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if get("/protected", "Bearer good", "192.0.2.1") == 200 {
							good.Add(1)
						} else {
							refused.Add(1)
						}
					}
				})
			}
			if load.path != "" {
				due := make(chan int64, 64)
				for range 64 {
					wg.Go(func() {
						for n := range due {
							get(load.path, fmt.Sprintf("Bearer bad-%d", n), fmt.Sprintf("198.18.%d.%d", n%int64(load.addresses)>>8, n%int64(load.addresses)&255))
						}
					})
				}
				wg.Go(func() {
					defer close(due)
					ticker := time.NewTicker(time.Millisecond)
					defer ticker.Stop()
					for start, sent := time.Now(), 0; ; {
						select {
						case <-stop:
							return
						case <-ticker.C:
						}
						for ; sent < int(time.Since(start).Seconds()*float64(*rate)); sent++ {
							select {
							case due <- serial.Add(1):
							default: // all are waiting for an answer: a flood does not wait for itself
							}
						}
					}
				})
			}
			time.Sleep(*duration)
			close(stop)
			wg.Wait()
			served[i] = append(served[i], float64(good.Load())/duration.Seconds())
			if refused.Load() > 0 {
				t.Errorf("%s: %d requests of good clients were refused", load.name, refused.Load())
			}
		}
	}
	if most.Load() > maxInflight {
		t.Errorf("the site was asked %d times at once", most.Load())
	}
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	median := func(values []float64) float64 {
		values = slices.Sorted(slices.Values(values))
		return values[len(values)/2]
	}
	for i, load := range loads {
		t.Logf("%-40s %8.0f requests of good clients per second", load.name, median(served[i]))
	}
	for _, pair := range [][2]int{{2, 1}, {4, 3}} {
		ratios := make([]float64, *rounds)
		for i := range ratios {
			ratios[i] = served[pair[0]][i] / served[pair[1]][i]
		}
		t.Logf("%s: %.2f of what the same load of 404 leaves", loads[pair[0]].name, median(ratios))
	}
	t.Logf("the site was asked %d times, %d at once at most, about %d flood requests; heap %d MiB", asked.Load(), most.Load(), serial.Load(), memory.HeapAlloc>>20)
}
