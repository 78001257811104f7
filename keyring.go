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

// cacheKey identifies a verdict. It is the first 128 bits (RFC 2104 section 5) of an HMAC-SHA256 over everything that the
// verdict depends on. The HMAC's key is random and lives as long as the cache, so the cacheKey reveals nothing about the
// credential.
type cacheKey [16]byte

// subject identifies what a verdict is about.
type subject struct {
	// key is the same for all spellings of an API key or access token that differ only in case. MariaDB treats them as
	// equal, and a client could otherwise fill the cache with spellings of one good credential.
	key cacheKey

	// spelling tells these spellings apart. A verdict applies only to the spelling that was asked about.
	spelling uint64

	// uncached is set if the API key or access token has characters that Frappe never uses. MariaDB's collation treats
	// accented letters, superscript digits and some control characters as equal to others or ignores them, so a
	// revocation could miss the verdict.
	uncached bool
}

// mac is an HMAC with buffers for its input and output.
type mac struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
}

// keyring computes the keys and tags of a cache. The secret of the keys is random and lives as long as the cache. That of the
// tags is the same in all Caddys that share a store, or else random, too.
type keyring struct {
	macs    *sync.Pool // of *mac, for keys
	tagMacs *sync.Pool // of *mac, for tags
	seed    maphash.Seed
}

// newKeyring returns a keyring with that secret for its tags; nil: a random one.
func newKeyring(tagSecret []byte) keyring {
	secret := make([]byte, sha256.Size)
	rand.Read(secret) //nolint:errcheck // never fails (crypto/rand)
	k := keyring{macs: newMacs(secret), seed: maphash.MakeSeed()}
	k.tagMacs = k.macs
	if tagSecret != nil {
		k.tagMacs = newMacs(tagSecret)
	}
	return k
}

func newMacs(secret []byte) *sync.Pool {
	return &sync.Pool{New: func() any {
		m := &mac{Hash: hmac.New(sha256.New, secret), in: make([]byte, 0, 256)}
		m.Reset() // the first Reset saves the state; later ones restore it, which also wipes the input from the hash's block
		return m
	}}
}

// subject returns the subject of a credential for the sites. Every field is preceded by its length, so two credentials
// cannot collide by moving characters from one field to the next.
func (k *keyring) subject(sites []string, cred *frappe.Credential) (s subject) {
	kind, claim := claimOf(cred)
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

// claimOf returns the kind of a credential and its public part, the whole of an access token or session id. It takes a
// pointer, because a method of a Credential would copy it.
func claimOf(cred *frappe.Credential) (kind, claim string) {
	switch cred.Scheme {
	case frappe.SchemeBearer:
		return "bearer", cred.Token
	case frappe.SchemeSession:
		return "session", cred.Session
	default:
		return "pair", cred.Key
	}
}

// isOdd reports whether a claim has a character outside RFC 6750 section 2.1. Frappe uses none of those.
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

func (m *mac) add(field string) {
	m.in = binary.BigEndian.AppendUint32(m.in, uint32(len(field)))
	m.in = append(m.in, field...)
}

// addFolded adds a field with its ASCII letters in lower case.
func (m *mac) addFolded(field string) {
	start := len(m.in)
	m.add(field)
	for i := start; i < len(m.in); i++ {
		if b := m.in[i]; 'A' <= b && b <= 'Z' {
			m.in[i] = b + ('a' - 'A')
		}
	}
}

// sum finishes the MAC and wipes its input, which would otherwise outlive the request in the pool. It returns the first
// 128 bits; they are valid until the next sum.
func (m *mac) sum() []byte {
	m.Write(m.in) //nolint:gosec // never fails (hash.Hash)
	m.Sum(m.out[:0])
	m.Reset()
	clear(m.in)
	m.in = m.in[:0]
	return m.out[:len(cacheKey{})]
}
