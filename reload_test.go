package frappeauth_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// countingSite grants every credential to alice, and counts.
func countingSite(t *testing.T) (url string, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	site := jsonSite(t, map[string]func(*http.Request) (int, string){
		loggedUser: func(*http.Request) (int, string) {
			asked.Add(1)
			return 200, `{"message":"alice@example.com"}`
		},
	})
	return site.URL, asked
}

// TestReloadUnderLoad: a reload fails no request and asks for no verdict again, whatever else it changes; one that
// changes the backend asks for all of them.
func TestReloadUnderLoad(t *testing.T) {
	url, asked := countingSite(t)
	other, askedOther := countingSite(t)
	// Over TCP a reload of Caddy may reset connections that nobody has accepted yet; a Unix socket is passed on.
	socket := filepath.Join(t.TempDir(), "s")
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	config := func(url, options string) string {
		return fmt.Sprintf("http://localhost {\nbind unix/%s\nfrappe_auth %s {\n%s\n}\nrespond {http.auth.user.id}\n}", socket, url, options)
	}
	c := runCaddy(t, config(url, ""))

	const credentials = 50
	var (
		wg      sync.WaitGroup
		stop    atomic.Bool
		served  atomic.Int64
		failed  atomic.Int64
		workers = 8
	)
	for worker := range workers {
		wg.Go(func() {
			for i := worker; !stop.Load(); i++ {
				r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost", nil)
				r.Header.Set("Authorization", fmt.Sprintf("Bearer %d", i%credentials))
				resp, err := client.Do(r)
				if err != nil {
					continue // Caddy closed a connection that was just opened, before it read the request
				}
				if resp.StatusCode != http.StatusOK {
					failed.Add(1)
				}
				resp.Body.Close()
				served.Add(1)
			}
		})
	}
	// Each of these leaves the backend alone.
	for i := range 20 {
		for target := served.Load() + 200; served.Load() < target; {
			runtime.Gosched()
		}
		c.load(config(url, []string{"", "realm Other", "cache {\nttl 10m\n}", "cache {\nsize 100\n}", "max_inflight 4"}[i%5]))
	}
	stop.Store(true)
	wg.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d requests failed, %d were served", failed.Load(), served.Load())
	}
	if n := asked.Load(); n != credentials {
		t.Errorf("the site was asked %d times about %d credentials", n, credentials)
	}

	c.load(config(other, ""))
	askAfterReload(t, client, "http://localhost", "1")
	if n := askedOther.Load(); n != 1 {
		t.Errorf("the other site was asked %d times: verdicts of the one before still serve", n)
	}
	c.load(config(url, ""))
	askAfterReload(t, client, "http://localhost", "1")
	if n := asked.Load(); n != credentials+1 {
		t.Error("verdicts outlived a configuration without their backend")
	}
}

// askAfterReload asks with an access token, again where Caddy closed a connection before it read the request.
func askAfterReload(t *testing.T, client *http.Client, url, token string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for range 10 {
		var resp *http.Response
		if resp, err = client.Do(r); err == nil {
			resp.Body.Close()
			return
		}
	}
	t.Fatal(err)
}

// TestReloadsLeakNothing: goroutines and heap return to where they were.
func TestReloadsLeakNothing(t *testing.T) {
	reloads := 1000
	if testing.Short() {
		reloads = 50
	}
	url, _ := countingSite(t)
	address := freeAddress(t)
	config := func(i int) string {
		return fmt.Sprintf(`
http://%s {
	frappe_auth {
		backend site %s {
			timeout %dms
		}
		backend static {
			bearer %s bob@example.com
		}
	}
	frappe_auth_webhook /hook s3cret
	respond {http.auth.user.id}
}`, address, url, 1000+i%7, hashed("x"))
	}
	c := runCaddy(t, config(0))
	measure := func() (goroutines int, heap uint64) {
		askAfterReload(t, clientWithoutMagic, "http://"+address, "y")
		clientWithoutMagic.CloseIdleConnections()
		var stats runtime.MemStats
		for range 5 {
			runtime.GC()
		}
		runtime.ReadMemStats(&stats)
		return runtime.NumGoroutine(), stats.HeapInuse
	}
	for i := range 50 {
		c.load(config(i)) // what Caddy itself keeps
	}
	goroutines, heap := measure()
	for i := range reloads {
		c.load(config(i))
		if i%100 == 0 {
			askAfterReload(t, clientWithoutMagic, "http://"+address, fmt.Sprint(i))
		}
	}
	var after int
	var heapAfter uint64
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if after, heapAfter = measure(); after <= goroutines+2 {
			break
		}
	}
	t.Logf("%d reloads: goroutines %d, then %d; heap %d KiB, then %d KiB", reloads, goroutines, after, heap>>10, heapAfter>>10)
	if after > goroutines+2 {
		t.Errorf("%d goroutines, then %d", goroutines, after)
	}
	if heapAfter > heap+heap/2+8<<20 {
		t.Errorf("%d bytes of heap, then %d", heap, heapAfter)
	}
}
