package backends_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// pinged is a backend for one site that counts its pings.
type pinged struct {
	answer func() (frappe.Identity, error)

	mu    sync.Mutex
	ping  func() error
	sites []string // of the pings
}

// then sets the answer to later pings.
func (p *pinged) then(ping func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ping = ping
}

// asked returns the sites of the pings so far.
func (p *pinged) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.sites)
}

func (p *pinged) Verify(context.Context, frappe.Credential) (frappe.Identity, error) {
	return p.answer()
}

func (p *pinged) Ping(_ context.Context, site string) error {
	p.mu.Lock()
	p.sites = append(p.sites, site)
	ping := p.ping
	p.mu.Unlock()
	return ping()
}

// severalSites is a pinged backend for several sites.
type severalSites struct{ *pinged }

func (severalSites) ResolvesSites() bool { return true }

func (severalSites) Site(*caddy.Replacer) (string, error) { return "", nil }

// contacted is a backend that is watched.
type contacted struct {
	*pinged
	state *backends.State
	b     backends.Loaded
	to    backends.Reporter
	calls byte
}

func newContacted(several bool) *contacted {
	c := &contacted{pinged: &pinged{ping: func() error { return nil }}}
	c.b = backends.Loaded{Backend: c.pinged, Name: "double"}
	if several {
		both := severalSites{c.pinged}
		c.b.Backend, c.b.Resolver = both, both
	}
	c.state = backends.NewState("double", 1, func() float64 { return 0 })
	c.to = backends.Reporter{Logger: zap.NewNop(), Now: time.Now}
	return c
}

// call asks about a new credential.
func (c *contacted) call(t *testing.T, site string, err error) {
	t.Helper()
	c.answer = func() (frappe.Identity, error) { return alice, err }
	c.calls++
	_, _ = c.state.Verify(c.b, c.to, backends.Call{
		Credential: frappe.Credential{
			Site: site,
		}, Key: verdicts.Key{c.calls}, Claim: uint64(c.calls), Lookup: uint64(c.calls),
		Allow: func() error { return nil }, Charge: func() {}, Span: trace.SpanFromContext(t.Context()),
	})
}

// TestUp: a backend is up unless the last attempt to reach it failed, however few credentials were tried.
func TestUp(t *testing.T) {
	down := errors.New("down")
	odd := &frappe.UnavailableError{Reason: errors.New("odd"), CredentialSpecific: true}
	for _, test := range []struct {
		name    string
		several bool
		answers []error
		up      bool
		verdict bool
	}{
		{"never asked", false, nil, true, false},
		{"granted", false, []error{nil}, true, true},
		{"denied", false, []error{frappe.ErrDenied}, true, true},
		{"one failure", false, []error{nil, down}, false, true},
		{"failures only", false, []error{down, down}, false, false},
		{"recovered", false, []error{down, frappe.ErrDenied}, true, true},
		{"one odd credential", false, []error{odd}, true, false},
		{"an odd one while it is down", false, []error{down, odd}, false, false},
		{"a site that does not exist", true, []error{down, frappe.ErrUnknownSite}, true, true},
		{"the only site does not exist", false, []error{nil, frappe.ErrUnknownSite}, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newContacted(test.several)
			for _, answer := range test.answers {
				c.call(t, "a.example", answer)
			}
			if _, ok := c.state.LastVerdict(); c.state.Up() != test.up || ok != test.verdict {
				t.Errorf("up: %v, a verdict: %v", c.state.Up(), ok)
			}
		})
	}
}

// TestPings: a backend is pinged at once, and then when nobody has called it for a while. A ping is no verdict.
func TestPings(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newContacted(false)
		down := func() error { return errors.New("down") }
		c.then(down)
		expect := func(when string, pings int, up bool) {
			t.Helper()
			synctest.Wait()
			if n := len(c.asked()); n != pings || c.state.Up() != up {
				t.Errorf("%s: %d pings, up: %v", when, n, c.state.Up())
			}
		}
		for range 2 { // two configurations with the same backend
			go c.state.KeepPinging(t.Context(), c.b, c.to)
			synctest.Wait()
		}
		expect("at first", 1, false)
		if _, ok := c.state.LastVerdict(); ok {
			t.Error("a ping counts as a verdict")
		}
		time.Sleep(backends.PingAfter)
		expect("still down", 2, false)
		c.then(func() error { return nil })
		time.Sleep(backends.PingAfter)
		expect("recovered", 3, true)
		for range 4 {
			time.Sleep(backends.PingAfter / 2)
			c.call(t, "", nil)
		}
		expect("in use", 3, true)
		c.then(func() error { panic("a bug") })
		time.Sleep(2 * backends.PingAfter)
		if c.state.Up() {
			t.Error("up although the ping panics")
		}
	})
}

// TestPingIsOlder: what a call found while a ping was in flight stays.
func TestPingIsOlder(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newContacted(false)
		c.then(func() error {
			time.Sleep(time.Second)
			return errors.New("down")
		})
		go c.state.KeepPinging(t.Context(), c.b, c.to)
		time.Sleep(time.Second / 2)
		c.call(t, "", nil)
		time.Sleep(time.Second)
		if !c.state.Up() {
			t.Error("the ping counts although it began before the call")
		}
	})
}

// TestPingsOfSeveralSites: a backend with several sites is pinged only while it fails, about the site that failed.
func TestPingsOfSeveralSites(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		c := newContacted(true)
		go c.state.KeepPinging(t.Context(), c.b, c.to)
		time.Sleep(2 * backends.PingAfter)
		if sites := c.asked(); len(sites) != 0 {
			t.Errorf("pinged about %q", sites)
		}
		c.call(t, "a.example", errors.New("down"))
		time.Sleep(2 * backends.PingAfter)
		if sites := c.asked(); !slices.Equal(sites, []string{"a.example"}) || !c.state.Up() {
			t.Errorf("pinged about %q, up: %v", sites, c.state.Up())
		}
	})
}

// TestUnloadedPing: a ping that fails since its configuration was unloaded says nothing about the backend.
func TestUnloadedPing(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c := newContacted(false)
		c.then(func() error {
			<-ctx.Done()
			return ctx.Err()
		})
		go c.state.KeepPinging(ctx, c.b, c.to)
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !c.state.Up() {
			t.Error("not up")
		}
	})
}
