// Package rate limits failures by client.
package rate

import (
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// MaxClients is how many clients with failures are remembered. Beyond it, the one whose last failure was first is forgotten.
const MaxClients = 65_536

// Limit is how many failures a client may have at once, and how long it takes until it may have as many again.
type Limit struct {
	// Max is the number of failures; negative: any number.
	Max int

	// Window is the time in which Max failures are forgotten, one after the other.
	Window time.Duration
}

// Unlimited allows any number of failures.
var Unlimited = Limit{Max: -1}

// interval is how long it takes until one more failure is allowed.
func (l Limit) interval() int64 { return int64(l.Window) / int64(l.Max) }

// tolerance is how far ahead of its rate a client may be and still try.
func (l Limit) tolerance() int64 { return int64(l.Window) - l.interval() }

// Limiter counts failures by client. It is a leaky bucket (GCRA): a client may have Max failures at once, and then one in
// each fraction of the window. Times are nanoseconds on a clock of the caller's choice.
type Limiter struct {
	mu      sync.Mutex
	buckets *simplelru.LRU[bucket, int64] // when the bucket will have run out
}

// bucket is a client under a limit. What a client did under one limit says nothing of another.
type bucket struct {
	client netip.Prefix
	limit  Limit
}

// New makes a limiter.
func New() *Limiter {
	buckets, _ := simplelru.NewLRU[bucket, int64](MaxClients, nil)
	return &Limiter{buckets: buckets}
}

// ClientOf is the client that an address belongs to: an IPv4 address, or the /64 of an IPv6 address, since one client usually
// has all of it. Addresses that cannot be read are one client.
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

// Wait is how long a client with too many failures has to wait. 0: it may try.
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

// Clients is how many clients with failures are remembered.
func (l *Limiter) Clients() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buckets.Len()
}
