package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// doubleBackend is a backend whose users, and whose faults, a test controls.
type doubleBackend struct {
	mu     sync.Mutex
	users  map[string]string // API key or access token to user
	expiry map[string]time.Time
	delay  time.Duration
	err    error            // what it answers instead of a verdict
	faults map[string]error // the same, for one API key or access token
	asked  map[string]int
	inside int
	most   int // simultaneous verifications
}

func newDoubleBackend() *doubleBackend {
	return &doubleBackend{users: make(map[string]string), expiry: make(map[string]time.Time), asked: make(map[string]int), faults: make(map[string]error)}
}

func (d *doubleBackend) Verify(ctx context.Context, c frappe.Credential) (frappe.Identity, error) {
	name := c.Key + c.Token + c.Session
	d.mu.Lock()
	d.asked[name]++
	d.inside++
	d.most = max(d.most, d.inside)
	delay := d.delay
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.inside--
		d.mu.Unlock()
	}()
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return frappe.Identity{}, ctx.Err()
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return frappe.Identity{}, d.err
	}
	if err := d.faults[name]; err != nil {
		return frappe.Identity{}, err
	}
	user, ok := d.users[name]
	if !ok {
		return frappe.Identity{}, frappe.ErrDenied
	}
	return frappe.Identity{User: user, Expiry: d.expiry[name]}, nil
}

// set changes the double.
func (d *doubleBackend) set(change func(d *doubleBackend)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *doubleBackend) timesAsked(token string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked[token]
}

var errDown = errors.New("down")

// watchedDouble also reports what changes, as the test tells it.
type watchedDouble struct {
	*doubleBackend
	looks chan []frappe.Change
}

func (w watchedDouble) Watch(ctx context.Context, observe func([]frappe.Change)) {
	for {
		select {
		case changes := <-w.looks:
			observe(changes)
		case <-ctx.Done():
			return
		}
	}
}

// newTestVerifier makes a verifier of one backend on the real clock, which is that of the bubble in a synctest.
func newTestVerifier(t testing.TB, b frappe.Backend, adjust func(*verifierConfig)) *verifier {
	t.Helper()
	conf := verifierConfig{
		stateConfig: stateConfig{
			backends:    []backends.Backend{{Backend: b, Name: "double", Sessions: true}},
			fingerprint: fmt.Sprintf("%s %p", t.Name(), new(int)),
			maxInflight: 16,
			now:         time.Now,
			random:      func() float64 { return 0.5 }, // no jitter
		},
		cacheSize: 1000,
		lifetimes: verdicts.Lifetimes{TTL: time.Minute, NegativeTTL: 5 * time.Second},
		failures:  rate.Unlimited,
		logger:    testutil.Logged.Logger(),
	}
	if adjust != nil {
		adjust(&conf)
	}
	for _, ttl := range []*time.Duration{&conf.lifetimes.BearerTTL, &conf.lifetimes.SessionTTL} {
		if *ttl == 0 { // the test did not set it
			*ttl = min(conf.lifetimes.TTL, time.Minute)
		}
	}
	v := startVerifier(t, t.Context(), conf)
	t.Cleanup(func() {
		if err := v.close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

func startVerifier(t testing.TB, ctx context.Context, conf verifierConfig) *verifier { //nolint:revive // of a configuration that ends before the test
	t.Helper()
	v, err := newVerifier(conf)
	if err != nil {
		t.Fatal(err)
	}
	v.start(ctx)
	return v
}

// verifyFrom is verify with the verifier's own limit, for a client at that address.
func (v *verifier) verifyFrom(ctx context.Context, address string, sites []string, cred frappe.Credential) verdict {
	return v.verify(ctx, caller{client: address}, sites, &cred)
}

// pair is the credential of an API key.
func pair(key string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeToken, Key: key, Secret: "secret"}
}

// bearer is the credential of an access token.
func bearer(token string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeBearer, Token: token}
}

// summary is what a client of the verifier gets, in a word.
func summary(a verdict) string {
	var (
		unavailable *frappe.UnavailableError
		throttled   *throttledError
	)
	switch {
	case a.err == nil:
		return a.cache
	case errors.Is(a.err, frappe.ErrDenied):
		return "401"
	case errors.Is(a.err, frappe.ErrUnknownSite):
		return "404"
	case errors.As(a.err, &throttled):
		return "429"
	case errors.As(a.err, &unavailable):
		return "503"
	}
	return a.err.Error()
}

// checkServes has a backend grant a credential and then be unavailable. It checks for how long the verdict serves, and for how
// long after that it serves stale.
func checkServes(t *testing.T, v *verifier, backend *doubleBackend, cred frappe.Credential, serves, stale time.Duration) {
	t.Helper()
	ask := func() string {
		got := summary(v.verifyFrom(t.Context(), "", nil, cred))
		synctest.Wait()
		return got
	}
	start := time.Now()
	if got := ask(); got != cacheMiss {
		t.Fatalf("at first: %s", got)
	}
	backend.set(func(d *doubleBackend) { d.err = errDown })
	at := func(after time.Duration, want string) {
		t.Helper()
		time.Sleep(time.Until(start.Add(after)))
		if got := ask(); got != want {
			t.Errorf("after %s: %s, want %s", after, got, want)
		}
	}
	if serves > 0 {
		at(serves-1, cacheHit)
	}
	if stale > 0 {
		at(serves, cacheStale)
		at(serves+stale-1, cacheStale)
	}
	at(serves+stale, "503")
}

// siteDouble is a backend of several sites, one of which is down.
type siteDouble struct{ down string }

func (d siteDouble) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	if c.Site == d.down {
		return frappe.Identity{}, errDown
	}
	return frappe.Identity{User: "alice@example.com"}, nil
}

// tenantsDouble is a bench with a site that is down and one that may be created. It has no others.
type tenantsDouble struct {
	down, created string
	asked         map[string]int
}

func (*tenantsDouble) ResolvesSites() bool { return true }

func (*tenantsDouble) Site(*caddy.Replacer) (string, error) { return "", errors.New("not used") }

func (d *tenantsDouble) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	if d.asked == nil {
		d.asked = make(map[string]int)
	}
	d.asked[c.Site]++
	switch c.Site {
	case d.down:
		return frappe.Identity{}, errDown
	case d.created:
		return frappe.Identity{User: "alice@example.com"}, nil
	}
	return frappe.Identity{}, fmt.Errorf("%s: %w", c.Site, frappe.ErrUnknownSite)
}

// revoke drops what a change selects, and waits until the other Caddys are told.
func (s *state) revoke(ctx context.Context, change frappe.Change) error {
	s.drop(change)
	return s.publish(ctx)
}

// revoke drops what a change selects, in this cache only.
func (c *cache) revoke(change frappe.Change) { c.apply(c.revocation(change)) }
