package frappeauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// cacheKey names a verdict: the first 128 bits (RFC 2104 section 5) of an HMAC-SHA256 over everything the verdict depends
// on, under a random key that lives as long as the cache. Nothing of a credential can be read from it.
type cacheKey [16]byte

// subject is what a verdict is about, as the cache names it.
type subject struct {
	// key is the same for all spellings of an API key or access token that differ in case only: MariaDB takes them for
	// the same, and one client could otherwise fill the cache with spellings of one good credential.
	key cacheKey

	// spelling tells these spellings apart. A verdict serves for the one that was asked only.
	spelling uint64

	// uncached is set where the API key or access token has characters that Frappe never puts into one. MariaDB's collation
	// takes letters with accents, raised digits and some control characters for others or for nothing, so a client could
	// keep such a verdict from being revoked.
	uncached bool
}

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
	macs sync.Pool // of *mac
	seed maphash.Seed

	mu      sync.Mutex
	granted *simplelru.LRU[cacheKey, *grant]
	denied  *simplelru.LRU[cacheKey, denial]
	now     moment
	revoked map[uint64]uint64 // tag to the revision of its revocation
	swept   uint64            // verdicts asked for before this revision come too late to be kept
	size    int
}

// mac is an HMAC with room for its input and output.
type mac struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
}

// newCache makes a cache of one verdict of each sort; resize makes room for more.
func newCache() *cache {
	secret := make([]byte, sha256.Size)
	rand.Read(secret) //nolint:errcheck // never fails (crypto/rand)
	c := &cache{
		macs: sync.Pool{New: func() any {
			m := &mac{Hash: hmac.New(sha256.New, secret), in: make([]byte, 0, 256)}
			m.Reset() // the first leaves the input in the hash's block, later ones restore the whole state
			return m
		}},
		seed:    maphash.MakeSeed(),
		revoked: make(map[uint64]uint64),
		size:    1,
	}
	c.granted, _ = simplelru.NewLRU[cacheKey, *grant](c.size, nil)
	c.denied, _ = simplelru.NewLRU[cacheKey, denial](c.size, nil)
	return c
}

// subject names what a verdict on a credential of the sites is about. Every field is preceded by its length, so no
// credential passes for another by moving characters across a border.
func (c *cache) subject(sites []string, cred *frappe.Credential) (s subject) {
	kind, claim := "pair", cred.Key
	if cred.Scheme == frappe.SchemeBearer { // the method would take a copy
		kind, claim = "bearer", cred.Token
	}
	s.uncached = isOdd(claim)
	m := c.macs.Get().(*mac)
	for _, site := range sites {
		m.add(site)
	}
	if s.uncached {
		m.add("odd")
		m.add(kind)
		m.add(claim)
	} else {
		m.add(kind)
		m.addFolded(claim)
	}
	m.add(cred.Secret)
	s.key = cacheKey(m.sum())
	c.macs.Put(m)
	s.spelling = maphash.String(c.seed, claim)
	return s
}

// isOdd reports whether a claim has a character that is none of RFC 6750 section 2.1, and so none of Frappe's.
func isOdd(claim string) bool {
	for i := range len(claim) {
		switch b := claim[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case strings.IndexByte("-._~+/=", b) >= 0:
		default:
			return true
		}
	}
	return false
}

// tag names a user, API key or access token in 64 bits, keyed. Two that share a tag are revoked together, which costs one
// more lookup. Tags ignore case, since MariaDB does when Frappe looks a credential up.
func (c *cache) tag(kind, name string) uint64 {
	m := c.macs.Get().(*mac)
	m.add("tag")
	m.add(kind)
	m.add(strings.ToLower(name))
	tag := binary.BigEndian.Uint64(m.sum())
	c.macs.Put(m)
	return tag
}

func (c *cache) userTag(user string) uint64 { return c.tag("user", user) }

// claimTag is the tag of what a credential claims: its API key or its access token.
func (c *cache) claimTag(cred *frappe.Credential) uint64 {
	if cred.Scheme == frappe.SchemeBearer {
		return c.tag("token", cred.Token)
	}
	return c.tag("key", cred.Key)
}

func (m *mac) add(field string) {
	m.in = binary.BigEndian.AppendUint32(m.in, uint32(len(field)))
	m.in = append(m.in, field...)
}

// addFolded is add, with ASCII letters in lower case.
func (m *mac) addFolded(field string) {
	start := len(m.in)
	m.add(field)
	for i := start; i < len(m.in); i++ {
		if b := m.in[i]; 'A' <= b && b <= 'Z' {
			m.in[i] = b + ('a' - 'A')
		}
	}
}

// sum ends the MAC and wipes what it was made from, which outlives the request in the pool. It returns the first 128 bits,
// which are valid until the next sum.
func (m *mac) sum() []byte {
	m.Write(m.in) //nolint:gosec // never fails (hash.Hash)
	m.Sum(m.out[:0])
	m.Reset()
	clear(m.in)
	m.in = m.in[:0]
	return m.out[:len(cacheKey{})]
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
