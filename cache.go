package frappeauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// cacheKey names a verdict: the first 128 bits (RFC 2104 section 5) of an HMAC-SHA256 over everything the verdict
// depends on, under a random key that lives as long as the cache. Nothing of a credential can be read from it.
type cacheKey [16]byte

// grant is a granted verdict as the cache keeps it.
type grant struct {
	user    string
	detail  *detail // nil where the backend told no more than the user
	guard   *guard  // of the backend that granted
	expiry  int64   // of the credential, in Unix nanoseconds; 0: none
	at      int64   // when it was asked for, on the clock of the state
	renewal int64   // not to be asked for ahead of its end before this, on the same clock
	seq     uint64  // the cache's sequence when it was asked for
	byUser  uint64  // tag of the user
	byClaim uint64  // tag of the API key or access token
}

// detail is what some backends know of a user beside the name.
type detail struct {
	fullName string
	roles    []string
	roleList string // roles, joined by commas
	scopes   string // joined by spaces
}

// denial is a denied verdict as the cache keeps it.
type denial struct {
	at      int64
	seq     uint64
	byClaim uint64
}

// maxRevocations is how many revocations are remembered before the cache is swept for the verdicts they concern.
const maxRevocations = 4096

// cache keeps verdicts in two LRUs, so that a flood of bad credentials never evicts a good one. It knows nothing of
// time: whoever looks a verdict up decides whether it is still fresh.
//
// A revocation costs the same however many verdicts there are: it notes the tag of a user, API key or access token,
// and a verdict asked for before that is dropped when it is next looked up.
type cache struct {
	macs sync.Pool // of *mac

	mu      sync.Mutex
	granted *grants
	denied  *simplelru.LRU[cacheKey, denial]
	seq     uint64            // counts revocations
	revoked map[uint64]uint64 // tag to the sequence of its revocation
	swept   uint64            // verdicts asked for before this sequence come too late to be kept
	sizes   map[*verifier]int // what each user of the cache asked for
	size    int               // the largest of them
}

// mac is an HMAC with room for its input and output.
type mac struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
}

// newCache makes the cache of the backends with that fingerprint. All its keys and tags depend on them: the key of their
// MAC is made from the fingerprint, and from what is random.
func newCache(backends string) *cache {
	random := make([]byte, sha256.Size)
	rand.Read(random) //nolint:errcheck // never fails (crypto/rand)
	derive := hmac.New(sha256.New, random)
	derive.Write([]byte(backends))
	secret := derive.Sum(nil)
	c := &cache{
		granted: newGrants(1),
		macs: sync.Pool{New: func() any {
			m := &mac{Hash: hmac.New(sha256.New, secret), in: make([]byte, 0, 256)}
			m.Reset() // the first leaves the input in the hash's block, later ones restore the whole state
			return m
		}},
		revoked: make(map[uint64]uint64),
		sizes:   make(map[*verifier]int),
	}
	c.denied, _ = simplelru.NewLRU[cacheKey, denial](1, nil)
	return c
}

// key names the verdict on a credential of the sites. Every field is preceded by its length, so no credential passes for
// another by moving characters across a border.
func (c *cache) key(sites []string, cred *Credential) cacheKey {
	kind, text := "pair", cred.Secret
	if cred.Scheme == SchemeBearer { // the method would take a copy
		kind, text = "bearer", cred.Token
	}
	m := c.macs.Get().(*mac)
	for _, site := range sites {
		m.add(site)
	}
	m.add(kind)
	m.add(cred.Key)
	m.add(text)
	key := cacheKey(m.sum())
	c.macs.Put(m)
	return key
}

// tag names a user, API key or access token in 64 bits, keyed. Two that share a tag are revoked together, which costs
// a question to a backend and no more. Tags ignore case, since MariaDB does when Frappe looks a credential up.
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
func (c *cache) keyTag(key string) uint64   { return c.claimedTag("key", key) }
func (c *cache) tokenTag(t string) uint64   { return c.claimedTag("token", t) }

// claimedTag is the tag of an API key or access token as a client spells it. MariaDB's utf8mb4_unicode_ci also takes
// letters with accents, raised digits and some control characters for the same or for nothing, and with them a client
// could keep a verdict from being revoked. Frappe makes no such credentials, so those that are so spelled share one
// tag, which every revocation of the kind includes.
func (c *cache) claimedTag(kind, name string) uint64 {
	if strings.ContainsFunc(name, isOdd) {
		return c.oddTag(kind)
	}
	return c.tag(kind, name)
}

func (c *cache) oddTag(kind string) uint64 { return c.tag("odd "+kind, "") }

// isOdd reports whether a character is none of RFC 6750 section 2.1.
func isOdd(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~+/=", r)
}

// claimTag is the tag of what a credential claims: its API key or its access token.
func (c *cache) claimTag(cred Credential) uint64 {
	if cred.Bearer() {
		return c.tokenTag(cred.Token)
	}
	return c.keyTag(cred.Key)
}

func (m *mac) add(field string) {
	m.in = binary.BigEndian.AppendUint32(m.in, uint32(len(field)))
	m.in = append(m.in, field...)
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

// lookupGranted copies the granted verdict of that key to g, if there is one.
func (c *cache) lookupGranted(k cacheKey, g *grant) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.granted.get(k)
	if kept == nil {
		return false
	}
	if c.isRevoked(kept.seq, kept.byUser, kept.byClaim) {
		c.granted.remove(k)
		return false
	}
	*g = *kept
	return true
}

// lookup returns the verdict of that key, if there is one: granted, or else denied.
func (c *cache) lookup(k cacheKey) (g grant, granted bool, d denial, denied bool) {
	if granted = c.lookupGranted(k, &g); granted {
		return g, true, d, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if d, denied = c.denied.Get(k); denied && c.isRevoked(d.seq, d.byClaim) {
		c.denied.Remove(k)
		denied = false
	}
	return g, false, d, denied
}

// sequence is to be taken before a backend is asked, and kept with the verdict: a revocation between the question
// and the answer then concerns the answer.
func (c *cache) sequence() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seq
}

// grant keeps a granted verdict, unless it was revoked after it was asked for, and forgets a denied one. evicted says that
// another had to make room.
func (c *cache) grant(k cacheKey, g grant) (evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.denied.Remove(k)
	if g.seq >= c.swept && !c.isRevoked(g.seq, g.byUser, g.byClaim) {
		evicted = c.granted.add(k, g)
	}
	return evicted
}

// deny forgets a granted verdict, and keeps the denied one if it is to, unless what it is about changed after it was
// asked for. evicted is as of grant.
func (c *cache) deny(k cacheKey, d denial, keep bool) (evicted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted.remove(k)
	if keep && d.seq >= c.swept && !c.isRevoked(d.seq, d.byClaim) {
		evicted = c.denied.Add(k, d)
	}
	return evicted
}

// claimRenewal reports whether the caller is to renew the granted verdict ahead of its end. Nobody else is until next.
func (c *cache) claimRenewal(k cacheKey, now, next int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	g := c.granted.peek(k)
	if g == nil || g.renewal > now {
		return false
	}
	g.renewal = next
	return true
}

// isRevoked reports whether one of the tags was revoked after that sequence.
func (c *cache) isRevoked(seq uint64, tags ...uint64) bool {
	if seq == c.seq {
		return false
	}
	for _, tag := range tags {
		if c.revoked[tag] > seq {
			return true
		}
	}
	return false
}

// revoke drops the verdicts that bear one of the tags, also those that are being asked for.
func (c *cache) revoke(tags ...uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	for _, tag := range tags {
		c.revoked[tag] = c.seq
	}
	if len(c.revoked) > maxRevocations {
		c.sweep()
	}
}

// revokeChange drops the verdicts that a change selects.
func (c *cache) revokeChange(change Change) {
	if change.Everything {
		c.purge()
		return
	}
	var tags []uint64
	if change.User != "" {
		tags = append(tags, c.userTag(change.User))
	}
	if change.Key != "" {
		tags = append(tags, c.keyTag(change.Key), c.oddTag("key"))
	}
	if change.Token != "" {
		tags = append(tags, c.tokenTag(change.Token), c.oddTag("token"))
	}
	c.revoke(tags...)
}

// purge drops every verdict, also those that are being asked for.
func (c *cache) purge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.granted.purge()
	c.denied.Purge()
	c.seq++
	c.swept = c.seq
	clear(c.revoked)
}

// sweep removes the verdicts that were revoked, and forgets the revocations.
func (c *cache) sweep() {
	for k, g := range c.granted.all() {
		if c.isRevoked(g.seq, g.byUser, g.byClaim) {
			c.granted.remove(k)
		}
	}
	for _, k := range c.denied.Keys() {
		if d, ok := c.denied.Peek(k); ok && c.isRevoked(d.seq, d.byClaim) {
			c.denied.Remove(k)
		}
	}
	c.swept = c.seq
	clear(c.revoked)
}

// join says how many verdicts of each sort the verifier wants kept.
func (c *cache) join(v *verifier, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sizes[v] = size
	c.resize()
}

// leave takes back join.
func (c *cache) leave(v *verifier) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sizes, v)
	c.resize()
}

// fill is how many verdicts are kept, and how many of each sort there may be.
func (c *cache) fill() (granted, denied, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.granted.len(), c.denied.Len(), c.size
}

// users are the verifiers that use the cache.
func (c *cache) users() []*verifier {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Keys(c.sizes))
}

// serves reports whether a verifier of that name uses the cache.
func (c *cache) serves(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for v := range c.sizes {
		if v.name == name {
			return true
		}
	}
	return false
}

func (c *cache) resize() {
	c.size = 1
	for _, size := range c.sizes {
		c.size = max(c.size, size)
	}
	c.granted.resize(c.size)
	c.denied.Resize(c.size)
}
