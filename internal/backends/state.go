package backends

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// State is the state of a backend that all its handlers share, across reloads: the in-flight limit, the circuit
// breakers, and the sites that are known not to exist. All methods may be called from many goroutines at once.
type State struct {
	// Name is the name of the backend.
	Name string

	// Watch records when the backend last checked for changes, if it watches for them.
	Watch Watch

	// sites has a breaker for each site of the backend. If one site is in maintenance, the others may still work.
	sites *breaker.Group[string]

	// credentials has a breaker for each credential that the backend cannot verify. While it is open, that credential
	// is not sent to the backend; the site's breaker stays closed for all others.
	credentials *breaker.Group[verdicts.Key]

	contact      contact
	unknownSites unknownSites
	limit        atomic.Pointer[inFlightLimit]
}

// maxBreakers is the highest number of sites, and of credentials, of one backend that have a breaker.
const maxBreakers = 1024

// NewState returns the state of a backend, with its in-flight limit. random returns numbers in [0, 1), for jitter.
func NewState(name string, limit int, random func() float64) *State {
	s := &State{
		Name:         name,
		sites:        breaker.NewGroup[string](maxBreakers, random),
		credentials:  breaker.NewGroup[verdicts.Key](maxBreakers, random),
		unknownSites: newUnknownSites(),
	}
	s.Resize(limit)
	return s
}

// Resize sets the in-flight limit for new calls. Calls in flight are not affected.
func (s *State) Resize(limit int) {
	if current := s.limit.Load(); current == nil || current.Max() != limit {
		s.limit.Store(newInFlightLimit(limit))
	}
}

// InFlight returns how many calls are in flight, and how many wait for the limit.
func (s *State) InFlight() (calls, waiting int64) {
	limit := s.limit.Load()
	return limit.InFlight(), limit.Waiting()
}

// Open returns the sites whose circuit breaker is open or half-open. The name of the only site is empty.
func (s *State) Open() []string { return s.sites.Open() }

// Once reports whether it is called for the first time in an outage of a site.
func (s *State) Once(site string) bool { return s.sites.Once(site) }

// Check returns an error if the breaker of the site or of the credential is open.
func (s *State) Check(site string, credential verdicts.Key, now time.Time) error {
	if err := s.sites.Check(site, now); err != nil {
		return err
	}
	return s.credentials.Check(credential, now)
}

// permit allows one call, whose outcome must be reported to the breakers. Then release must be called.
type permit struct {
	siteProbe, credentialProbe bool
	release                    func()
}

// acquire waits until the backend may be called.
func (s *State) acquire(b Loaded, c Call, now func() time.Time) (p permit, err error) {
	if err := s.Check(c.Credential.Site, c.Key, now()); err != nil {
		telemetry.CountRejection(s.Name, telemetry.ReasonCircuitOpen)
		return permit{}, err
	}
	group := c.Credential.Site
	if b.ByScheme {
		group = "pair"
		if c.Credential.Bearer() {
			group = "bearer"
		}
	}
	release, err := s.limit.Load().Acquire(group, c.Known)
	if err != nil {
		telemetry.CountRejection(s.Name, telemetry.ReasonBusy)
		return permit{}, &frappe.UnavailableError{Reason: err, RetryAfter: time.Second}
	}
	if err := c.Allow(); err != nil {
		release()
		telemetry.CountRejection(s.Name, telemetry.ReasonThrottled)
		return permit{}, err
	}
	p, err = s.acquireProbes(c.Credential.Site, c.Key, now())
	if err != nil {
		release()
		telemetry.CountRejection(s.Name, telemetry.ReasonCircuitOpen)
		return permit{}, err
	}
	p.release = release
	return p, nil
}

// acquireProbes checks both breakers and claims the probes that are due.
func (s *State) acquireProbes(site string, credential verdicts.Key, now time.Time) (p permit, err error) {
	if p.siteProbe, err = s.sites.Acquire(site, now); err != nil {
		return permit{}, err
	}
	if p.credentialProbe, err = s.credentials.Acquire(credential, now); err != nil {
		s.sites.Cancel(site, p.siteProbe)
		return permit{}, err
	}
	return p, nil
}

const (
	// unknownSiteTTL is how long an unknown site is remembered. Requests for a newly created site may get 404 for that
	// long.
	unknownSiteTTL = time.Minute

	// maxUnknownSites is how many unknown sites are remembered.
	maxUnknownSites = 4096
)

// unknownSites are the sites that a backend recently said it does not have. Clients choose these names, so their number
// is bounded.
type unknownSites struct {
	mu    sync.Mutex
	sites *simplelru.LRU[string, time.Time] // when the backend was asked
}

func newUnknownSites() unknownSites {
	sites, _ := simplelru.NewLRU[string, time.Time](maxUnknownSites, nil)
	return unknownSites{sites: sites}
}

func (u *unknownSites) add(site string, asked time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sites.Add(site, asked)
}

func (u *unknownSites) has(site string, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	asked, ok := u.sites.Get(site)
	return ok && now.Sub(asked) < unknownSiteTTL
}
