// Package rate limits the failures of each client.
package rate

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// MaxClients is how many clients with failures are remembered. Beyond that, the client used least recently is
// forgotten.
const MaxClients = 65_536

// Limit is how many failures a client may have in a window of time.
type Limit struct {
	// Max is the number of failures. Any negative number means no limit.
	Max int

	// Window is the time in which Max failures are forgotten, one after another.
	Window time.Duration
}

// Unlimited allows any number of failures.
var Unlimited = Limit{Max: -1}

// interval is how long it takes until one more failure is allowed.
func (l Limit) interval() int64 { return int64(l.Window) / int64(l.Max) }

// tolerance is how far ahead of its rate a client may be before it has to wait.
func (l Limit) tolerance() int64 { return int64(l.Window) - l.interval() }

// Limiter counts the failures of each client. It is a leaky bucket (GCRA): a client may have Max failures at once, and
// then one in every Window/Max. Times are nanoseconds of the caller's clock.
type Limiter struct {
	mu      sync.Mutex
	buckets *simplelru.LRU[bucket, int64] // when the bucket will be empty
}

// bucket identifies a client under a limit. Failures under one limit do not count under another.
type bucket struct {
	client netip.Prefix
	limit  Limit
}

// New returns a limiter without failures.
func New() *Limiter {
	buckets, _ := simplelru.NewLRU[bucket, int64](MaxClients, nil)
	return &Limiter{buckets: buckets}
}

// ClientOf returns the client that an address belongs to: an IPv4 address, or the /64 of an IPv6 address, because one
// client usually has all of it. All invalid addresses are one client.
func ClientOf(address string) netip.Prefix {
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

// Wait returns how long a client with too many failures has to wait, or 0 if it may try now.
func (l *Limiter) Wait(client netip.Prefix, limit Limit, now int64) time.Duration {
	if limit.Max < 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	empty, _ := l.buckets.Get(bucket{client, limit})
	return time.Duration(max(0, empty-now-limit.tolerance()))
}

// Charge counts a failure.
func (l *Limiter) Charge(client netip.Prefix, limit Limit, now int64) {
	if limit.Max < 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	empty, _ := l.buckets.Get(bucket{client, limit})
	full := now + int64(limit.Window)
	l.buckets.Add(bucket{client, limit}, min(full, max(empty, now)+limit.interval()))
}

// Clients returns how many clients with failures are remembered.
func (l *Limiter) Clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buckets.Len()
}
