package frappeauth

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/inflight"
)

// backendState stands before a backend, for all handlers that use it and across reloads: it bounds how many verifications the
// backend sees at once, and keeps verifications away from it while it fails.
type backendState struct {
	name string

	// sites has a breaker for each site of the backend. One in maintenance says nothing of the others.
	sites *breaker.Group[string]

	// credentials has a breaker for each credential that the backend cannot judge. It keeps such a credential from the
	// backend, while the breaker of the site stays closed for the others.
	credentials *breaker.Group[cacheKey]

	unknownSites unknownSites
	limit        atomic.Pointer[inflight.Limit] // as the verifiers that share the state ask for
	watch        watch
}

// maxBreakers is how many sites, and how many credentials, of a backend have a breaker of their own.
const maxBreakers = 1024

func newBackendState(name string, limit int, random func() float64) *backendState {
	g := &backendState{
		name:         name,
		sites:        breaker.NewGroup[string](maxBreakers, random),
		credentials:  breaker.NewGroup[cacheKey](maxBreakers, random),
		unknownSites: newUnknownSites(),
	}
	g.resize(limit)
	return g
}

// resize lets that many verifications be in flight from now on. Those that are in flight end as they began.
func (g *backendState) resize(limit int) {
	if current := g.limit.Load(); current == nil || current.Max() != limit {
		g.limit.Store(inflight.New(limit))
	}
}

// backendName names the one that granted; nil did not, as none did to Guest.
func (g *backendState) backendName() string {
	if g == nil {
		return ""
	}
	return g.name
}

// checkBreakers returns an error if the breaker of the site or of the credential is open.
func (g *backendState) checkBreakers(site string, credential cacheKey, now time.Time) error {
	if err := g.sites.Check(site, now); err != nil {
		return err
	}
	return g.credentials.Check(credential, now)
}

// acquireProbes is checkBreakers, and claims the probes that are due.
func (g *backendState) acquireProbes(site string, credential cacheKey, now time.Time) (siteProbe, credentialProbe bool, err error) {
	if siteProbe, err = g.sites.Acquire(site, now); err != nil {
		return false, false, err
	}
	if credentialProbe, err = g.credentials.Acquire(credential, now); err != nil {
		g.sites.Cancel(site, siteProbe)
		return false, false, err
	}
	return siteProbe, credentialProbe, nil
}

const (
	// unknownSiteTTL is how long a site that a backend does not have is remembered. A new site may go unnoticed for that long.
	unknownSiteTTL = time.Minute

	// maxUnknownSites is how many of them are remembered.
	maxUnknownSites = 4096
)

// unknownSites are the sites that a backend said lately it does not have. Clients make their names up.
type unknownSites struct {
	mu    sync.Mutex
	sites *simplelru.LRU[string, int64] // to when the backend was asked, on the clock of the state
}

func newUnknownSites() unknownSites {
	sites, _ := simplelru.NewLRU[string, int64](maxUnknownSites, nil)
	return unknownSites{sites: sites}
}

func (u *unknownSites) add(site string, now int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sites.Add(site, now)
}

func (u *unknownSites) has(site string, now int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	asked, ok := u.sites.Get(site)
	return ok && now-asked < int64(unknownSiteTTL)
}

// watch is when a backend last looked for changes at its source, on the clock of the state. Its zero value watches nothing.
type watch struct {
	watchers atomic.Int32 // several while a configuration replaces another
	last     atomic.Int64
}

// began says that a watch begins, which has not looked yet.
func (w *watch) began(now int64) {
	if w.watchers.Add(1) == 1 {
		w.last.Store(now)
	}
}

// looked says that every change before now was reported.
func (w *watch) looked(now int64) { w.last.Store(now) }

// ended takes back one began.
func (w *watch) ended() { w.watchers.Add(-1) }

// age is how long ago the backend looked for changes, or began to, while it is watched.
func (w *watch) age(now int64) (age time.Duration, ok bool) {
	return time.Duration(max(0, now-w.last.Load())), w.watchers.Load() > 0
}
