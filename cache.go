package frappeauth

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
)

// grant is a granted verdict. Once it is in the cache, only renewal changes, and moment,
// which the cache guards.
type grant struct {
	user          string
	detail        *detail       // nil if the backend told only the user
	by            *backendState // the backend that granted
	expiry        int64         // of the credential, in Unix nanoseconds; 0: none
	expiryUnknown bool          // an access token or session whose expiry the backend cannot see
	session       bool          // the credential is a session
	spelling      uint64
	tags
	at      int64        // when the backend was asked, on the clock of the state
	moment  moment       // when the backend was asked, in the order of the cache
	renewal atomic.Int64 // earliest time of the next refresh ahead, on the clock of the state
}

// detail is what some backends know about a user besides the name.
type detail struct {
	fullName string
	roles    []string
	roleList string // roles, joined by commas
	scopes   string // joined by spaces
	client   string // that an access token was issued to
}

// denial is a denied verdict. It stays in the cache after it expires, because a client that repeats a credential known to
// be bad is not guessing and is not charged again.
type denial struct {
	spelling uint64
	tags
	at     int64
	moment moment
}

// moment is a position in the order of the lookups and revocations that a cache has seen.
type moment struct {
	lookup   uint64 // number of lookups so far
	revision uint64 // number of revocations so far
}

// maxRevocations is how many revocations are remembered. Beyond that, the cache is swept for the verdicts they concern.
const maxRevocations = 4096

// cache keeps verdicts in two LRUs, so that a flood of bad credentials never evicts a good one. It has no clock: the
// caller decides whether a verdict is still fresh.
//
// A revocation takes constant time: it records tags. A verdict with one of them that was asked for before the revocation is
// dropped at its next lookup.
type cache struct {
	keyring

	mu      sync.Mutex
	granted *simplelru.LRU[cacheKey, *grant]
	denied  *simplelru.LRU[cacheKey, denial]
	now     moment
	revoked map[uint64]uint64 // tag to the revision of its revocation
	swept   uint64            // verdicts asked for before this revision are not cached
	size    int
}

// newCache returns a cache with room for one granted and one denied verdict. Call resize to make room for more.
// tagSecret is that of its tags; nil: a random one.
func newCache(tagSecret []byte) *cache {
	c := &cache{
		keyring: newKeyring(tagSecret),
		revoked: make(map[uint64]uint64),
		size:    1,
	}
	c.granted, _ = simplelru.NewLRU[cacheKey, *grant](c.size, nil)
	c.denied, _ = simplelru.NewLRU[cacheKey, denial](c.size, nil)
	return c
}

// lookup returns the verdict on a subject, granted or denied. Both are nil if there is none.
func (c *cache) lookup(s subject) (g *grant, d *denial) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept, ok := c.granted.Get(s.key); ok && kept.spelling == s.spelling {
		if !c.isRevoked(kept.moment, kept.tags) {
			kept.moment.revision = c.now.revision // the next lookup need not compare the tags again
			return kept, nil
		}
		c.granted.Remove(s.key)
	}
	if kept, ok := c.denied.Get(s.key); ok && kept.spelling == s.spelling {
		if !c.isRevoked(kept.moment, kept.tags) {
			return nil, &kept
		}
		c.denied.Remove(s.key)
	}
	return nil, nil
}

// begin must be called before a backend is asked; store its moment with the verdict. The cache can then tell that a
// revocation came while the backend was asked, and that a verdict is older than the cached one.
func (c *cache) begin() moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.lookup++
	return c.now
}

// revision returns the number of revocations so far.
func (c *cache) revision() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.revision
}

// grant caches a granted verdict in place of any other on the subject. It does nothing if the credential was revoked
// after the backend was asked, or if the cached verdict is newer. It reports whether it did, and whether another verdict was
// evicted.
func (c *cache) grant(s subject, g *grant) (cached, evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isSuperseded(s, g.moment) || c.isTooLate(g.moment, g.tags) {
		return false, false
	}
	c.denied.Remove(s.key)
	return true, c.granted.Add(s.key, g)
}

// adopt is like grant, for a verdict of another Caddy. Its backend was asked before any that this Caddy is asking now, so it
// never replaces an answer to this Caddy. moment is from before the verdict was read.
func (c *cache) adopt(s subject, g *grant, read moment) (cached, evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g.moment = moment{revision: read.revision}
	if kept, ok := c.granted.Peek(s.key); ok && kept.at >= g.at {
		return false, false
	}
	if kept, ok := c.denied.Peek(s.key); ok && kept.at >= g.at {
		return false, false
	}
	if c.isTooLate(g.moment, g.tags) {
		return false, false
	}
	c.denied.Remove(s.key)
	return true, c.granted.Add(s.key, g)
}

// deny removes the granted verdict on the subject and caches the denial, unless the cached verdict is newer. It does not
// cache the denial if the credential was revoked after the backend was asked. It reports whether another verdict was
// evicted.
func (c *cache) deny(s subject, d denial) (evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isSuperseded(s, d.moment) {
		return false
	}
	c.removeGrant(s)
	if c.isTooLate(d.moment, d.tags) {
		return false
	}
	return c.denied.Add(s.key, d)
}

// forget removes the granted verdict on the subject, unless its backend was asked after that moment.
func (c *cache) forget(s subject, asked moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isSuperseded(s, asked) {
		c.removeGrant(s)
	}
}

func (c *cache) removeGrant(s subject) {
	if g, ok := c.granted.Peek(s.key); ok && g.spelling == s.spelling {
		c.granted.Remove(s.key)
	}
}

// isSuperseded reports whether the cached verdict is newer than one that was asked for at that moment.
func (c *cache) isSuperseded(s subject, asked moment) bool {
	if g, ok := c.granted.Peek(s.key); ok && g.moment.lookup > asked.lookup {
		return true
	}
	d, ok := c.denied.Peek(s.key)
	return ok && d.moment.lookup > asked.lookup
}

// isRevoked reports whether one of the tags was revoked after that moment.
func (c *cache) isRevoked(asked moment, t tags) bool {
	if asked.revision == c.now.revision {
		return false
	}
	for _, tag := range t.all() {
		if c.revoked[tag] > asked.revision {
			return true
		}
	}
	return false
}

// isTooLate reports whether a new verdict must not be cached. It is stricter than isRevoked, because revocations from
// before the last sweep are forgotten.
func (c *cache) isTooLate(asked moment, t tags) bool {
	return asked.revision < c.swept || c.isRevoked(asked, t)
}

// apply drops the verdicts that a revocation selects. Verdicts that a backend is being asked for right now are affected too.
func (c *cache) apply(r fleet.Revocation) {
	switch {
	case r.Everything:
		c.purge()
		return
	case len(r.Tags) == 0:
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.revision++
	for _, tag := range r.Tags {
		c.revoked[tag] = c.now.revision
	}
	if len(c.revoked) > maxRevocations {
		c.sweep()
	}
}

// purge drops every verdict. Verdicts that a backend is being asked for right now are affected too.
func (c *cache) purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted.Purge()
	c.denied.Purge()
	c.now.revision++
	c.forgetRevocations()
}

// sweep removes all revoked verdicts and then forgets the revocations.
func (c *cache) sweep() {
	for _, key := range c.granted.Keys() {
		if g, _ := c.granted.Peek(key); c.isRevoked(g.moment, g.tags) {
			c.granted.Remove(key)
		}
	}
	for _, key := range c.denied.Keys() {
		if d, _ := c.denied.Peek(key); c.isRevoked(d.moment, d.tags) {
			c.denied.Remove(key)
		}
	}
	c.forgetRevocations()
}

func (c *cache) forgetRevocations() {
	c.swept = c.now.revision
	clear(c.revoked)
}

// resize sets how many granted, and how many denied, verdicts fit.
func (c *cache) resize(size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size = size
	c.granted.Resize(size)
	c.denied.Resize(size)
}

// fill returns how many granted and denied verdicts are cached, and how many of each fit.
func (c *cache) fill() (granted, denied, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.granted.Len(), c.denied.Len(), c.size
}
