package frappeauth

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// FailureLimit is how many credentials of one client may be denied before its credentials are refused with status 429
// unless they are already known to be good. A client is Caddy's `{http.vars.client_ip}`, IPv6 by /64: behind another
// proxy, configure `trusted_proxies`, or all clients count as one.
//
// A credential counts when a backend denies it, or cannot judge it while it judges others, unless the credential is already
// known to be bad: a service that goes on sending a key that was revoked costs its neighbours nothing.
type FailureLimit struct {
	// How many denied credentials are allowed at once, 1 to 1000000; negative: any number. Default: 20.
	Max int `json:"max,omitempty"`

	// How long it takes until as many are allowed again, 1 second to 24 hours. Default: `1m`.
	Window caddy.Duration `json:"window,omitempty"`
}

const (
	defaultMaxFailures   = 20
	maxFailuresLimit     = 1_000_000
	defaultFailureWindow = caddy.Duration(time.Minute)
	minFailureWindow     = caddy.Duration(time.Second)
	maxFailureWindow     = caddy.Duration(24 * time.Hour)
)

// unlimited allows any number of failures.
var unlimited = FailureLimit{Max: -1}

// validate reports what is wrong with the configuration.
func (l FailureLimit) validate() error {
	if l.Max > maxFailuresLimit {
		return fmt.Errorf("failures: %d is more than %d", l.Max, maxFailuresLimit)
	}
	if err := directive.CheckDuration("failures", l.Window); err != nil {
		return err
	}
	if l.Window != 0 && (l.Window < minFailureWindow || l.Window > maxFailureWindow) {
		return fmt.Errorf("failures: %s is not between %s and %s",
			time.Duration(l.Window), time.Duration(minFailureWindow), time.Duration(maxFailureWindow))
	}
	return nil
}

// off reports whether clients may fail as often as they like.
func (l FailureLimit) off() bool { return l.Max < 0 }

// interval is how long it takes until one more failure is allowed.
func (l FailureLimit) interval() int64 { return int64(l.Window) / int64(l.Max) }

// tolerance is how far ahead of its rate a client may be and still try.
func (l FailureLimit) tolerance() int64 { return int64(l.Window) - l.interval() }

// maxThrottled is how many clients with failures are remembered; beyond it the one longest without is forgotten.
const maxThrottled = 65_536

// throttle counts failures by client. It is a leaky bucket (GCRA): a client may fail so many times at once, and then
// once in each fraction of the window.
type throttle struct {
	mu      sync.Mutex
	clients *simplelru.LRU[throttled, int64] // when the client's bucket will have run out, on the clock of the state
}

// throttled is a client under a limit. Handlers with the same backends may have different limits, and what a client did under
// one says nothing of the other.
type throttled struct {
	client netip.Prefix
	limit  FailureLimit
}

func newThrottle() *throttle {
	clients, _ := simplelru.NewLRU[throttled, int64](maxThrottled, nil)
	return &throttle{clients: clients}
}

// clientOf is whom failures of an address count against: an IPv4 address, or the /64 that an IPv6 address is of,
// since whoever has one mostly has them all. Addresses that cannot be read count together.
func clientOf(address string) netip.Prefix {
	addr, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	client, _ := addr.Prefix(bits)
	return client
}

// wait is how long a client with too many failures has to wait; 0: it may try.
func (t *throttle) wait(client netip.Prefix, now int64, limit FailureLimit) time.Duration {
	if limit.off() {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	empty, _ := t.clients.Get(throttled{client, limit})
	return time.Duration(max(0, empty-now-limit.tolerance()))
}

// failing is how many clients with failures are remembered.
func (t *throttle) failing() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.clients.Len()
}

// fail counts a failure.
func (t *throttle) fail(client netip.Prefix, now int64, limit FailureLimit) {
	if limit.off() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	empty, _ := t.clients.Get(throttled{client, limit})
	full := now + int64(limit.Window)
	t.clients.Add(throttled{client, limit}, min(full, max(empty, now)+limit.interval()))
}
