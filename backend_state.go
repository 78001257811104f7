package frappeauth

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/inflight"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// backendState is what all handlers that use a backend share, across reloads: the in-flight limit, the circuit breakers,
// and the sites known not to exist.
type backendState struct {
	name string

	// sites has one breaker for each site of the backend. If one site is in maintenance, the others may still work.
	sites *breaker.Group[string]

	// credentials has one breaker for each credential that the backend cannot verify. While it is open, that credential
	// is not sent to the backend; the site's breaker stays closed for all others.
	credentials *breaker.Group[verdicts.Key]

	unknownSites unknownSites
	limit        atomic.Pointer[inflight.Limit] // the highest limit among the verifiers that share the state
	watch        watch
}

// maxBreakers is how many sites, and how many credentials, of one backend have their own breaker.
const maxBreakers = 1024

func newBackendState(name string, limit int, random func() float64) *backendState {
	b := &backendState{
		name:         name,
		sites:        breaker.NewGroup[string](maxBreakers, random),
		credentials:  breaker.NewGroup[verdicts.Key](maxBreakers, random),
		unknownSites: newUnknownSites(),
	}
	b.resize(limit)
	return b
}

// resize sets the in-flight limit for new calls. Calls in flight are not affected.
func (b *backendState) resize(limit int) {
	if current := b.limit.Load(); current == nil || current.Max() != limit {
		b.limit.Store(inflight.New(limit))
	}
}

// backendName returns the backend's name. A nil receiver means that no backend granted, as for Guest.
func (b *backendState) backendName() string {
	if b == nil {
		return ""
	}
	return b.name
}

// checkBreakers returns an error if the breaker of the site or of the credential is open.
func (b *backendState) checkBreakers(site string, credential verdicts.Key, now time.Time) error {
	if err := b.sites.Check(site, now); err != nil {
		return err
	}
	return b.credentials.Check(credential, now)
}

// acquireProbes checks both breakers and claims the probes that are due.
func (b *backendState) acquireProbes(site string, credential verdicts.Key, now time.Time) (siteProbe, credentialProbe bool, err error) {
	if siteProbe, err = b.sites.Acquire(site, now); err != nil {
		return false, false, err
	}
	if credentialProbe, err = b.credentials.Acquire(credential, now); err != nil {
		b.sites.Cancel(site, siteProbe)
		return false, false, err
	}
	return siteProbe, credentialProbe, nil
}

const (
	// unknownSiteTTL is how long it is remembered that a backend does not have a site. A newly created site may get 404
	// for that long.
	unknownSiteTTL = time.Minute

	// maxUnknownSites is how many unknown sites are remembered.
	maxUnknownSites = 4096
)

// unknownSites are the sites that a backend recently said it does not have. Clients choose these names, so their number
// is bounded.
type unknownSites struct {
	mu    sync.Mutex
	sites *simplelru.LRU[string, int64] // when the backend was asked, on the clock of the state
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

// watch records when a backend last looked for changes at its source, on the clock of the state. Its zero value means
// that nothing watches.
type watch struct {
	watchers atomic.Int32 // more than one while a configuration replaces another
	last     atomic.Int64
}

// began records that a watch starts. It has not looked for changes yet.
func (w *watch) began(now int64) {
	if w.watchers.Add(1) == 1 {
		w.last.Store(now)
	}
}

// looked records that every change before now has been reported.
func (w *watch) looked(now int64) { w.last.Store(now) }

// ended records that a watch stops.
func (w *watch) ended() { w.watchers.Add(-1) }

// age returns how long ago the backend last looked for changes or, before its first look, started to watch. ok is false
// if nothing watches.
func (w *watch) age(now int64) (age time.Duration, ok bool) {
	return time.Duration(max(0, now-w.last.Load())), w.watchers.Load() > 0
}
