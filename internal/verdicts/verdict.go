// Package verdicts is a cache of verdicts on credentials. Granted and denied verdicts have an LRU each, so that a flood
// of bad credentials never evicts a good one. The cache does not know what a verdict contains, and has no clock: the
// caller decides how long a verdict is fresh.
//
// The cache holds no credential. It finds a verdict by a keyed hash of everything that the verdict depends on, and
// revokes it by its tags, which are keyed hashes too.
//
// A slow answer must not undo a revocation that came while a backend was asked. So the caller calls Begin before it
// asks a backend and stores the Moment with the verdict. The cache then rejects a verdict that was revoked since, or
// that is older than the cached one.
package verdicts

// Subject identifies what a verdict is about.
type Subject struct {
	// Key is the same for all spellings of an API key or access token that differ only in case. MariaDB treats them as
	// equal, and a client could otherwise fill the cache with spellings of one good credential.
	Key Key

	// Spelling distinguishes these spellings. A verdict applies only to the spelling that the backend was asked about.
	Spelling uint64

	// Uncached is set if the API key or access token has characters that Frappe never uses (IsOdd). MariaDB's collation
	// treats accented letters, superscript digits and some control characters as equal to others or ignores them, so a
	// revocation could miss the verdict.
	Uncached bool
}

// Key is the first 128 bits (RFC 2104 section 5) of an HMAC-SHA256 over everything that a verdict depends on. The
// HMAC's key is random and lives as long as the cache, so the Key reveals nothing about the credential.
type Key [16]byte

// Tags identify what a verdict can be revoked by: a user, a credential or a site. Each is 64 bits of a keyed hash. If
// two names have the same tag, they are revoked together, which only costs one more backend call.
type Tags struct {
	User  uint64 // 0 for a denial
	Claim uint64 // of the API key, access token or session
	Hash  uint64 // of the hash of an access token; 0 for other credentials
	Site  uint64
}

// All returns every tag that revokes the verdict. The tag of a user or claim at a site is the XOR of the two tags.
func (t Tags) All() [7]uint64 {
	return [7]uint64{t.User, t.Claim, t.Hash, t.Site, t.User ^ t.Site, t.Claim ^ t.Site, t.Hash ^ t.Site}
}

// Moment is a position in the order of the lookups and revocations that a cache has seen.
type Moment struct {
	lookup   uint64 // number of lookups so far
	revision uint64 // number of revocations so far
}

// Lookup returns the number of the lookup, which is unique in a cache.
func (m Moment) Lookup() uint64 { return m.lookup }

// Entry is what the cache needs to know about a verdict. An Entry alone is a denial. The type of grants embeds it.
type Entry struct {
	// Spelling is the spelling of the Subject.
	Spelling uint64

	// Tags are what the verdict can be revoked by.
	Tags Tags

	// At is when the backend was asked, on the caller's clock.
	At int64

	// Moment is when the backend was asked, in the order of the cache. The lock of the cache guards it once the entry is
	// cached.
	Moment Moment
}

func (e *Entry) entry() *Entry { return e }

// Grant is a pointer to a type that embeds Entry.
type Grant interface{ entry() *Entry }
