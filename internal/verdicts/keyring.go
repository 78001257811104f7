package verdicts

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"hash/maphash"
	"strings"
	"sync"
)

// Keyring computes the keys and tags of a cache. The secret of the keys is random and lives as long as the cache. All
// caches have the same secret for tags.
type Keyring struct {
	macs    *sync.Pool // of *mac, for keys
	tagMacs *sync.Pool // of *mac, for tags
	seed    maphash.Seed
}

// NewKeyring returns a keyring with a random secret for its keys and the given one for its tags.
func NewKeyring(tagSecret []byte) *Keyring {
	secret := make([]byte, sha256.Size)
	rand.Read(secret) //nolint:errcheck // never fails (crypto/rand)
	return &Keyring{macs: newMacs(secret), tagMacs: newMacs(tagSecret), seed: maphash.MakeSeed()}
}

func newMacs(secret []byte) *sync.Pool {
	return &sync.Pool{New: func() any {
		m := &mac{Hash: hmac.New(sha256.New, secret), in: make([]byte, 0, 256)}
		m.Reset() // the first Reset saves the state; later ones restore it, which also wipes the input from the hash's block
		return m
	}}
}

// Subject returns the subject of a credential for the sites. kind, claim and secret are its kind, its public part, and
// its secret if it has one. Every field is preceded by its length, so two credentials cannot collide by moving
// characters from one field to the next.
func (k *Keyring) Subject(sites []string, kind, claim, secret string) (s Subject) {
	s.Uncached = IsOdd(claim)
	m := k.macs.Get().(*mac)
	for _, site := range sites {
		m.add(site)
	}
	if s.Uncached {
		m.add("odd")
		m.add(kind)
		m.add(claim)
	} else {
		m.add(kind)
		m.addFolded(claim)
	}
	m.add(secret)
	s.Key = Key(m.sum())
	k.macs.Put(m)
	s.Spelling = maphash.String(k.seed, claim)
	return s
}

// Tag returns the tag of a kind and a name. Tags ignore case, as MariaDB does when Frappe looks up a credential.
func (k *Keyring) Tag(kind, name string) uint64 {
	m := k.tagMacs.Get().(*mac)
	m.add("tag")
	m.add(kind)
	m.add(strings.ToLower(name))
	tag := binary.BigEndian.Uint64(m.sum())
	k.tagMacs.Put(m)
	return tag
}

// IsOdd reports whether a claim has a character outside RFC 6750 section 2.1. Frappe never uses such characters.
func IsOdd(claim string) bool {
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

// mac is an HMAC with buffers for its input and output.
type mac struct {
	hash.Hash
	in  []byte
	out [sha256.Size]byte
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
	return m.out[:len(Key{})]
}
