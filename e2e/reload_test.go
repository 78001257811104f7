package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestReloadUnderLoad: a reload fails no request that Caddy has read. The verdicts survive it, unless it changes the
// backend.
func TestReloadUnderLoad(t *testing.T) {
	url, asked := testutil.CountingSite(t)
	other, askedOther := testutil.CountingSite(t)
	// Over TCP, a reload of Caddy may reset connections that are not accepted yet. A Unix socket is passed on.
	socket := filepath.Join(t.TempDir(), "s")
	transport := &testutil.AcrossReloads{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	client := &http.Client{Transport: transport}
	config := func(url, options string) string {
		return fmt.Sprintf("http://localhost {\nlog\nbind unix/%s\nfrappe_auth %s {\n%s\n}\nrespond {http.auth.user.id}\n}",
			socket, url, options)
	}
	c := testutil.RunCaddy(t, config(url, ""))

	const credentials, workers, reloads = 50, 8, 20
	var (
		wg       sync.WaitGroup
		stop     = make(chan struct{})
		served   atomic.Int64
		progress = make(chan struct{}, 1) // something was served
	)
	for worker := range workers {
		wg.Go(func() {
			for i := worker; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				status, err := bearerStatus(t, client, "http://localhost", fmt.Sprint(i%credentials))
				if err != nil || status != http.StatusOK {
					t.Errorf("a request got status %d, %v", status, err)
				}
				served.Add(1)
				select {
				case progress <- struct{}{}:
				default:
				}
			}
		})
	}
	// None of these changes the backend.
	for i := range reloads {
		for target := served.Load() + 200; served.Load() < target; {
			<-progress
		}
		c.Load(config(url, []string{"", "realm Other", "cache {\nttl 10m\n}", "cache {\nsize 100\n}", "max_inflight 4"}[i%5]))
	}
	close(stop)
	wg.Wait()
	again := transport.Again.Load()
	t.Logf("%d requests were served, %d of them sent again", served.Load(), again)
	if again > reloads*workers {
		t.Errorf("%d requests had to be sent again in %d reloads of %d connections", again, reloads, workers)
	}
	// A request whose answer got lost was sent again, so that it would be in the log twice.
	if handled := strings.Count(c.Logs(), `"msg":"handled request"`); int64(handled) != served.Load() {
		t.Errorf("Caddy handled %d requests, of which %d were answered", handled, served.Load())
	}
	if n := asked.Load(); n != credentials {
		t.Errorf("the site was asked %d times about %d credentials", n, credentials)
	}

	c.Load(config(other, ""))
	mustBearer(t, client, "http://localhost", "1")
	if n := askedOther.Load(); n != 1 {
		t.Errorf("the other site was asked %d times: verdicts of the one before still serve", n)
	}
	c.Load(config(url, ""))
	mustBearer(t, client, "http://localhost", "1")
	if n := asked.Load(); n != credentials+1 {
		t.Error("verdicts outlived a configuration without their backend")
	}
}

// bearerStatus sends an access token, and returns the status.
func bearerStatus(t *testing.T, client *http.Client, url, token string) (status int, err error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// mustBearer sends an access token that must be granted.
func mustBearer(t *testing.T, client *http.Client, url, token string) {
	t.Helper()
	if status, err := bearerStatus(t, client, url, token); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v", status, err)
	}
}

// TestReloadsLeakNothing: after many reloads there are as many goroutines as before, and as much heap.
func TestReloadsLeakNothing(t *testing.T) {
	reloads := 1000
	if testing.Short() {
		reloads = 50
	}
	url, _ := testutil.CountingSite(t)
	address := testutil.FreeAddress(t)
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
}`, address, url, 1000+i%7, testutil.Hash("x"))
	}
	c := testutil.RunCaddy(t, config(0))
	measure := func() (goroutines int, heap uint64) {
		mustBearer(t, testutil.Client, "http://"+address, "y")
		testutil.Client.CloseIdleConnections()
		var stats runtime.MemStats
		for range 5 {
			runtime.GC()
		}
		runtime.ReadMemStats(&stats)
		return runtime.NumGoroutine(), stats.HeapInuse
	}
	for i := range 50 {
		c.Load(config(i)) // so that Caddy has all that it keeps
	}
	goroutines, heap := measure()
	for i := range reloads {
		c.Load(config(i))
		if i%100 == 0 {
			mustBearer(t, testutil.Client, "http://"+address, fmt.Sprint(i))
		}
	}
	var after int
	var heapAfter uint64
	testutil.Holds(10*time.Second, func() bool {
		after, heapAfter = measure()
		return after <= goroutines+2
	})
	t.Logf("%d reloads: goroutines %d, then %d; heap %d KiB, then %d KiB", reloads, goroutines, after, heap>>10,
		heapAfter>>10)
	if after > goroutines+2 {
		t.Errorf("%d goroutines, then %d", goroutines, after)
	}
	if heapAfter > heap+heap/2+8<<20 {
		t.Errorf("%d bytes of heap, then %d", heap, heapAfter)
	}
}

// TestReloadReadsPlaceholdersAgain: a backend with a placeholder that has another value is another backend.
func TestReloadReadsPlaceholdersAgain(t *testing.T) {
	address := testutil.FreeAddress(t)
	config := fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend static {\n"+
		"bearer {env.FRAPPE_AUTH_TEST_TOKEN} alice@example.com\n}\ncache {\nttl 1h\n}\n}\nrespond {http.auth.user.id}\n}",
		address)
	t.Setenv("FRAPPE_AUTH_TEST_TOKEN", testutil.Hash("first"))
	testutil.RunCaddy(t, config)
	if got := testutil.Get(t, "http://"+address, "Authorization: Bearer first"); got.Status != 200 {
		t.Fatalf("at first: %d", got.Status)
	}
	t.Setenv("FRAPPE_AUTH_TEST_TOKEN", testutil.Hash("second"))
	testutil.RunCaddy(t, config)
	testutil.Client.CloseIdleConnections()
	if got := testutil.Get(t, "http://"+address, "Authorization: Bearer first"); got.Status != 401 {
		t.Errorf("after the token was replaced: %d", got.Status)
	}
}
