package verdicts

import (
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// maxRevocations is how many revocations are remembered. Beyond that, the older half is forgotten, and so is every
// verdict that was neither asked for nor looked up since.
const maxRevocations = 65_536

// Cache keeps grants of type G and denials. All methods may be called from many goroutines at once.
//
// A revocation takes constant time: it only records tags. A verdict with one of these tags is dropped at its next
// lookup if its backend was asked before the revocation.
type Cache[G Grant] struct {
	mu      sync.Mutex
	granted *simplelru.LRU[Key, G]
	denied  *simplelru.LRU[Key, Entry]
	former  *simplelru.LRU[Key, G] // grants that were revoked
	now     Moment
	revoked map[uint64]uint64 // tag to the revision of its revocation
	floor   uint64            // verdicts asked for before this revision are revoked
	size    int
}

// New returns a cache with room for one granted and one denied verdict. Call Resize to make room for more.
func New[G Grant]() *Cache[G] {
	c := &Cache[G]{revoked: make(map[uint64]uint64), size: 1}
	c.granted, _ = simplelru.NewLRU[Key, G](c.size, nil)
	c.denied, _ = simplelru.NewLRU[Key, Entry](c.size, nil)
	c.former, _ = simplelru.NewLRU[Key, G](c.size, nil)
	return c
}

// Lookup returns the verdict on a subject, granted or denied. Both are nil if there is none.
func (c *Cache[G]) Lookup(s Subject) (g G, d *Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if kept, ok := c.granted.Get(s.Key); ok {
		switch e := kept.entry(); {
		case e.Spelling != s.Spelling:
		case c.isRevoked(e):
			c.granted.Remove(s.Key)
			c.former.Add(s.Key, kept)
		default:
			e.Moment.revision = c.now.revision // the next lookup need not compare the tags again
			return kept, nil
		}
	}
	if kept, ok := c.denied.Get(s.Key); ok && kept.Spelling == s.Spelling {
		if !c.isRevoked(&kept) {
			return g, &kept
		}
		c.denied.Remove(s.Key)
	}
	return g, nil
}

// WasGood reports whether the last verdict on a subject was granted, even if it is too old to serve or was revoked
// since. It remembers as many such grants as the cache has room for.
func (c *Cache[G]) WasGood(s Subject) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, from := range []*simplelru.LRU[Key, G]{c.granted, c.former} {
		if g, ok := from.Peek(s.Key); ok && g.entry().Spelling == s.Spelling {
			return true
		}
	}
	return false
}

// Begin must be called before a backend is asked. Store the Moment with the verdict. The cache then detects a
// revocation that came while the backend was asked, and a verdict that is older than the cached one.
func (c *Cache[G]) Begin() Moment {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now.lookup++
	return c.now
}

// Revision returns the number of revocations so far.
func (c *Cache[G]) Revision() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.revision
}

// Grant caches a granted verdict, and replaces any other on the subject. It does nothing if the credential was revoked
// after the backend was asked, or if the cached verdict is newer. It reports whether it cached the verdict, and whether
// another verdict was evicted.
func (c *Cache[G]) Grant(s Subject, g G) (cached, evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := g.entry(); c.isSuperseded(s, e.Moment) || c.isRevoked(e) {
		return false, false
	}
	c.denied.Remove(s.Key)
	c.former.Remove(s.Key)
	return true, c.granted.Add(s.Key, g)
}

// Adopt is like Grant, for a verdict of another Caddy. It was made before any verdict that this Caddy is waiting for,
// so it never replaces one of them. read is the moment before the verdict was read.
func (c *Cache[G]) Adopt(s Subject, g G, read Moment) (cached, evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := g.entry()
	e.Moment = Moment{revision: read.revision}
	if kept, ok := c.granted.Peek(s.Key); ok && kept.entry().At >= e.At {
		return false, false
	}
	if kept, ok := c.denied.Peek(s.Key); ok && kept.At >= e.At {
		return false, false
	}
	if c.isRevoked(e) {
		return false, false
	}
	c.denied.Remove(s.Key)
	c.former.Remove(s.Key)
	return true, c.granted.Add(s.Key, g)
}

// Deny removes the granted verdict on the subject and caches the denial, unless the cached verdict is newer. It does
// not cache the denial if the credential was revoked after the backend was asked. It reports whether another verdict
// was evicted.
func (c *Cache[G]) Deny(s Subject, d Entry) (evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isSuperseded(s, d.Moment) {
		return false
	}
	c.removeGrant(s)
	if c.isRevoked(&d) {
		return false
	}
	return c.denied.Add(s.Key, d)
}

// Forget removes the granted verdict on the subject, unless its backend was asked after that moment.
func (c *Cache[G]) Forget(s Subject, asked Moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.isSuperseded(s, asked) {
		c.removeGrant(s)
	}
}

func (c *Cache[G]) removeGrant(s Subject) {
	for _, from := range []*simplelru.LRU[Key, G]{c.granted, c.former} {
		if g, ok := from.Peek(s.Key); ok && g.entry().Spelling == s.Spelling {
			from.Remove(s.Key)
		}
	}
}

// isSuperseded reports whether the cached verdict is newer than one whose backend was asked at that moment.
func (c *Cache[G]) isSuperseded(s Subject, asked Moment) bool {
	if g, ok := c.granted.Peek(s.Key); ok && g.entry().Moment.lookup > asked.lookup {
		return true
	}
	d, ok := c.denied.Peek(s.Key)
	return ok && d.Moment.lookup > asked.lookup
}

// Revoked reports whether a verdict was revoked after its backend was asked, or may have been, because the revocations
// since then are no longer known.
func (c *Cache[G]) Revoked(g G) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.isRevoked(g.entry())
}

// isRevoked reports whether a verdict was revoked after its backend was asked, or may have been.
func (c *Cache[G]) isRevoked(e *Entry) bool {
	if e.Moment.revision == c.now.revision {
		return false
	}
	if e.Moment.revision < c.floor {
		return true
	}
	for _, tag := range e.Tags.All() {
		if c.revoked[tag] > e.Moment.revision {
			return true
		}
	}
	return false
}

// Revoke drops the verdicts that have one of the tags. Verdicts that are in flight are affected too.
func (c *Cache[G]) Revoke(tags []uint64) {
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
		c.forgetHalf()
	}
}

// forgetHalf forgets the older half of the revocations.
func (c *Cache[G]) forgetHalf() {
	revisions := slices.Sorted(maps.Values(c.revoked))
	c.floor = revisions[len(revisions)/2]
	maps.DeleteFunc(c.revoked, func(_, revision uint64) bool { return revision <= c.floor })
}

// Purge drops every verdict. Verdicts that are in flight are affected too.
func (c *Cache[G]) Purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.purge()
}

// PurgeOwn is like Purge. It returns the claims of the granted verdicts that were not adopted. It does nothing before
// the first backend is asked.
func (c *Cache[G]) PurgeOwn() (claims []uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now.lookup == 0 {
		return nil
	}
	for _, g := range c.granted.Values() {
		if e := g.entry(); e.Moment.lookup > 0 {
			claims = append(claims, e.Tags.Claim)
		}
	}
	c.purge()
	return claims
}

// purge takes the same time for any number of verdicts.
func (c *Cache[G]) purge() {
	if c.granted.Len() > 0 {
		c.former = c.granted
		c.granted, _ = simplelru.NewLRU[Key, G](c.size, nil)
	}
	c.denied, _ = simplelru.NewLRU[Key, Entry](c.size, nil)
	c.now.revision++
	c.floor = c.now.revision
	clear(c.revoked)
}

// Resize sets the maximum number of granted verdicts, and of denied ones.
func (c *Cache[G]) Resize(size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.size = size
	c.granted.Resize(size)
	c.denied.Resize(size)
	c.former.Resize(size)
}

// Fill returns how many granted and denied verdicts are cached, and the maximum of each.
func (c *Cache[G]) Fill() (granted, denied, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.granted.Len(), c.denied.Len(), c.size
}
