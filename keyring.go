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

// mac is an HMAC with room for its input and output.
type mac struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
}

// keyring makes the names of what is in a cache. Its secret is random, and lives as long as the cache.
type keyring struct {
	macs *sync.Pool // of *mac
	seed maphash.Seed
}

func newKeyring() keyring {
	secret := make([]byte, sha256.Size)
	rand.Read(secret) //nolint:errcheck // never fails (crypto/rand)
	return keyring{
		macs: &sync.Pool{New: func() any {
			m := &mac{Hash: hmac.New(sha256.New, secret), in: make([]byte, 0, 256)}
			m.Reset() // the first leaves the input in the hash's block, later ones restore the whole state
			return m
		}},
		seed: maphash.MakeSeed(),
	}
}

// subject names what a verdict on a credential of the sites is about. Every field is preceded by its length, so no
// credential passes for another by moving characters across a border.
func (k *keyring) subject(sites []string, cred *frappe.Credential) (s subject) {
	kind, claim := "pair", cred.Key
	if cred.Scheme == frappe.SchemeBearer { // the method would take a copy
		kind, claim = "bearer", cred.Token
	}
	s.uncached = isOdd(claim)
	m := k.macs.Get().(*mac)
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
	k.macs.Put(m)
	s.spelling = maphash.String(k.seed, claim)
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
func (k *keyring) tag(kind, name string) uint64 {
	m := k.macs.Get().(*mac)
	m.add("tag")
	m.add(kind)
	m.add(strings.ToLower(name))
	tag := binary.BigEndian.Uint64(m.sum())
	k.macs.Put(m)
	return tag
}

func (k *keyring) userTag(user string) uint64 { return k.tag("user", user) }

// claimTag is the tag of what a credential claims: its API key or its access token.
func (k *keyring) claimTag(cred *frappe.Credential) uint64 {
	if cred.Scheme == frappe.SchemeBearer {
		return k.tag("token", cred.Token)
	}
	return k.tag("key", cred.Key)
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
