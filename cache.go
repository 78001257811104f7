package frappeauth

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// grant is a granted verdict. It is not changed once it is in the cache, but for renewal.
type grant struct {
	user          string
	detail        *detail       // nil where the backend told no more than the user
	by            *backendState // of the backend that granted
	expiry        int64         // of the credential, in Unix nanoseconds; 0: none
	expiryUnknown bool          // an access token whose expiry the backend cannot see
	spelling      uint64
	byUser        uint64       // tag of the user
	byClaim       uint64       // tag of the API key or access token
	at            int64        // when the backend was asked, on the clock of the state
	moment        moment       // when the backend was asked, in the order of the cache
	renewal       atomic.Int64 // not to be asked for ahead of its end before this, on the clock of the state
}

// detail is what some backends know of a user beside the name.
type detail struct {
	fullName string
	roles    []string
	roleList string // roles, joined by commas
	scopes   string // joined by spaces
}

// denial is a denied verdict. It is kept after it no longer serves: a client that repeats a credential that is known to be
// bad does not guess.
type denial struct {
	spelling uint64
	byClaim  uint64
	at       int64
	moment   moment
}

// moment is a point in the order in which a cache sees lookups and revocations.
type moment struct {
	lookup   uint64 // counts lookups
	revision uint64 // counts revocations
}

// maxRevocations is how many revocations are remembered before the cache is swept for the verdicts they concern.
const maxRevocations = 4096

// cache keeps verdicts in two LRUs, so that a flood of bad credentials never evicts a good one. It knows nothing of
// time: the caller decides whether a verdict is still fresh.
//
// A revocation costs the same however many verdicts there are: it notes the tag of a user, API key or access token, and
// a verdict asked for before that is dropped when it is next looked up.
type cache struct {
	keyring

	mu      sync.Mutex
	granted *simplelru.LRU[cacheKey, *grant]
	denied  *simplelru.LRU[cacheKey, denial]
	now     moment
	revoked map[uint64]uint64 // tag to the revision of its revocation
	swept   uint64            // verdicts asked for before this revision come too late to be kept
	size    int
}

// newCache makes a cache of one verdict of each sort; resize makes room for more.
func newCache() *cache {
	c := &cache{
		keyring: newKeyring(),
		revoked: make(map[uint64]uint64),
		size:    1,
	}
	c.granted, _ = simplelru.NewLRU[cacheKey, *grant](c.size, nil)
	c.denied, _ = simplelru.NewLRU[cacheKey, denial](c.size, nil)
	return c
}

// lookup returns the verdict on a subject, if there is one: granted or denied.
func (c *cache) lookup(s subject) (g *grant, d *denial) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept, ok := c.granted.Get(s.key); ok && kept.spelling == s.spelling {
		if !c.isRevoked(kept.moment, kept.byUser, kept.byClaim) {
			return kept, nil
		}
		c.granted.Remove(s.key)
	}
	if kept, ok := c.denied.Get(s.key); ok && kept.spelling == s.spelling {
		if !c.isRevoked(kept.moment, kept.byClaim) {
			return nil, &kept
		}
		c.denied.Remove(s.key)
	}
	return nil, nil
}

// begin is to be called before a backend is asked, and its moment kept with the verdict. A revocation in between then
// concerns the verdict, and an older verdict never replaces a newer one.
func (c *cache) begin() moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.lookup++
	return c.now
}

// revision counts revocations.
func (c *cache) revision() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.revision
}

// grant keeps a granted verdict in place of any other on the subject, unless it was revoked after the backend was asked, or a
// verdict is kept for which the backend was asked later. It reports whether another verdict was evicted.
func (c *cache) grant(s subject, g *grant) (evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isSuperseded(s, g.moment) || c.isTooLate(g.moment, g.byUser, g.byClaim) {
		return false
	}
	c.denied.Remove(s.key)
	return c.granted.Add(s.key, g)
}

// deny removes the granted verdict on the subject and keeps the denied one, unless it was revoked after the backend was asked, or
// a verdict is kept for which the backend was asked later. It reports whether another verdict was evicted.
func (c *cache) deny(s subject, d denial) (evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isSuperseded(s, d.moment) {
		return false
	}
	c.removeGrant(s)
	if c.isTooLate(d.moment, d.byClaim) {
		return false
	}
	return c.denied.Add(s.key, d)
}

// forget removes the granted verdict on the subject, unless the backend was asked for it after that moment.
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

// isSuperseded reports whether a verdict asked for at that moment is older than the one that is kept.
func (c *cache) isSuperseded(s subject, asked moment) bool {
	if g, ok := c.granted.Peek(s.key); ok && g.moment.lookup > asked.lookup {
		return true
	}
	d, ok := c.denied.Peek(s.key)
	return ok && d.moment.lookup > asked.lookup
}

// isRevoked reports whether everything, or one of the tags, was revoked after that moment.
func (c *cache) isRevoked(asked moment, tags ...uint64) bool {
	if asked.revision == c.now.revision {
		return false
	}
	for _, tag := range tags {
		if c.revoked[tag] > asked.revision {
			return true
		}
	}
	return false
}

// isTooLate is isRevoked for a verdict that is to be kept: revocations from before the last sweep are forgotten.
func (c *cache) isTooLate(asked moment, tags ...uint64) bool {
	return asked.revision < c.swept || c.isRevoked(asked, tags...)
}

// revoke drops the verdicts that a change selects, also those that a backend is being asked for.
func (c *cache) revoke(change frappe.Change) {
	// Frappe makes no such key or token. Which spellings its database takes for this one is not known here.
	if change.Everything || isOdd(change.Key) || isOdd(change.Token) {
		c.purge()
		return
	}
	var tags []uint64
	if change.User != "" {
		tags = append(tags, c.userTag(change.User))
	}
	if change.Key != "" {
		tags = append(tags, c.tag("key", change.Key))
	}
	if change.Token != "" {
		tags = append(tags, c.tag("token", change.Token))
	}
	if len(tags) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.revision++
	for _, tag := range tags {
		c.revoked[tag] = c.now.revision
	}
	if len(c.revoked) > maxRevocations {
		c.sweep()
	}
}

// purge drops every verdict, also those that a backend is being asked for.
func (c *cache) purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted.Purge()
	c.denied.Purge()
	c.now.revision++
	c.forgetRevocations()
}

// sweep removes the verdicts that were revoked, and forgets the revocations.
func (c *cache) sweep() {
	for _, key := range c.granted.Keys() {
		if g, _ := c.granted.Peek(key); c.isRevoked(g.moment, g.byUser, g.byClaim) {
			c.granted.Remove(key)
		}
	}
	for _, key := range c.denied.Keys() {
		if d, _ := c.denied.Peek(key); c.isRevoked(d.moment, d.byClaim) {
			c.denied.Remove(key)
		}
	}
	c.forgetRevocations()
}

func (c *cache) forgetRevocations() {
	c.swept = c.now.revision
	clear(c.revoked)
}

// resize makes room for that many verdicts of each sort.
func (c *cache) resize(size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size = size
	c.granted.Resize(size)
	c.denied.Resize(size)
}

// fill is how many verdicts are kept, and how many of each sort there is room for.
func (c *cache) fill() (granted, denied, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.granted.Len(), c.denied.Len(), c.size
}
