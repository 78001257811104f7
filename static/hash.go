package static

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/semaphore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

// hashesNamespace is the namespace of Caddy's modules for password hashes. Their names are the identifiers of the
// modular crypt format.
const hashesNamespace = "http.authentication.hashes."

// checkHash returns an error if a hash is invalid. It accepts a hash that contains placeholders.
func checkHash(hash string) error {
	if strings.Contains(hash, "{") {
		return nil
	}
	return checkExpandedHash(hash)
}

// checkExpandedHash returns an error if a hash is invalid. It checks the whole hash, because a comparison also accepts
// a truncated one: with a digest of one byte, one secret in 256 would match. It hashes nothing, so it is fast.
func checkExpandedHash(hash string) error {
	if !strings.HasPrefix(hash, "$") {
		_, err := parseSHA256(hash)
		return err
	}
	algorithm, _, _ := strings.Cut(hash[1:], "$")
	switch {
	case strings.HasPrefix(algorithm, "2"):
		return checkBcrypt(hash)
	case algorithm == "argon2id":
		return checkArgon2id(hash)
	case algorithm == "":
		return errors.New("the hash names no algorithm; copy the whole output of `caddy hash-password`")
	}
	if _, err := caddy.GetModule(hashesNamespace + algorithm); err != nil {
		return fmt.Errorf("this Caddy does not support hashes of the algorithm %q; use bcrypt or argon2id, as "+
			"`caddy hash-password` prints them", algorithm)
	}
	return nil
}

// maxBcryptCost is the highest bcrypt cost. A comparison then takes about 4 seconds.
const maxBcryptCost = 16

// bcryptForm matches a whole bcrypt hash: version, cost, 22 characters of salt and 31 of digest.
var bcryptForm = regexp.MustCompile(`^\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}$`)

func checkBcrypt(hash string) error {
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || !bcryptForm.MatchString(hash):
		return errors.New("the hash is not a valid bcrypt hash; copy the whole output of `caddy hash-password`")
	case cost > maxBcryptCost:
		return fmt.Errorf("the bcrypt hash has a cost of %d; use %d or less, because each step doubles the time of a "+
			"comparison", cost, maxBcryptCost)
	}
	return nil
}

// Limits for argon2id. RFC 9106 recommends 2 GiB or 64 MiB of memory, 1 or 3 passes, 4 lanes, a salt of 16 bytes and a
// digest of 32. Caddy's own hashes use 46 MiB, 1 pass and 1 lane.
const (
	maxArgon2Memory  = 1 << 20 // KiB
	maxArgon2Time    = 16
	maxArgon2Threads = 64
	minArgon2Salt    = 8 // bytes
	maxArgon2Salt    = 64
)

// argon2idForm matches an argon2id hash as caddyauth reads it, but more strictly: caddyauth also accepts parameters
// without their names.
var argon2idForm = regexp.MustCompile(
	`^\$argon2id\$v=19\$m=([0-9]{1,10}),t=([0-9]{1,10}),p=([0-9]{1,10})\$([A-Za-z0-9+/]+)\$[A-Za-z0-9+/]+$`)

func checkArgon2id(hash string) error {
	broken := errors.New("the hash is not a valid argon2id hash of version 19; copy the whole output of " +
		"`caddy hash-password`")
	parts := argon2idForm.FindStringSubmatch(hash)
	if parts == nil {
		return broken
	}
	number := func(text string) int {
		n, _ := strconv.Atoi(text) // at most ten digits
		return n
	}
	memory, passes, threads := number(parts[1]), number(parts[2]), number(parts[3])
	switch {
	case passes < 1 || passes > maxArgon2Time:
		return fmt.Errorf("the argon2id hash has t=%d; it must be between 1 and %d", passes, maxArgon2Time)
	case threads < 1 || threads > maxArgon2Threads:
		return fmt.Errorf("the argon2id hash has p=%d; it must be between 1 and %d", threads, maxArgon2Threads)
	case memory < 8*threads || memory > maxArgon2Memory:
		return fmt.Errorf("the argon2id hash has m=%d (KiB); with p=%d it must be between %d and %d", memory, threads,
			8*threads, maxArgon2Memory)
	}
	_, digest, err := caddyauth.DecodeHash([]byte(hash))
	if err != nil {
		return broken
	}
	switch salt := len(parts[4]) * 3 / 4; {
	case salt < minArgon2Salt || salt > maxArgon2Salt:
		return fmt.Errorf("the salt of the argon2id hash has %d bytes; it must have %d to %d: copy the whole hash", salt,
			minArgon2Salt, maxArgon2Salt)
	case len(digest) != 16 && len(digest) != 32 && len(digest) != 48 && len(digest) != 64:
		return fmt.Errorf("the digest of the argon2id hash has %d bytes instead of 16, 32, 48 or 64; it was probably cut "+
			"off: copy the whole hash", len(digest))
	}
	return nil
}

func parseSHA256(hash string) ([]byte, error) {
	digits, ok := strings.CutPrefix(hash, "sha256:")
	digest, err := hex.DecodeString(digits)
	if !ok || err != nil || len(digest) != sha256.Size {
		return nil, errors.New("write the hash as sha256: and 64 hexadecimal digits, " +
			"which `printf %s \"$SECRET\" | sha256sum` prints, or use the output of `caddy hash-password`")
	}
	return digest, nil
}

// hashGroup holds the hashes that have the same algorithm and parameters, so that comparing with any of them takes the
// same time.
type hashGroup struct {
	name  string
	hash  caddyauth.Comparer
	dummy []byte // one of the hashes, compared if the key is unknown or belongs to another group
}

// try compares once with a hash whose format only its module knows, so that a broken hash is an error when the
// configuration is loaded.
func (g *hashGroup) try(hash []byte) error {
	switch g.hash.(type) {
	case sha256Hash, bcryptHash, argon2idHash:
		return nil // already checked by their format
	}
	if _, err := g.hash.Compare(hash, []byte("x")); err != nil {
		return errors.New("the module of its algorithm does not accept the hash; copy the whole hash")
	}
	return nil
}

// group returns the group of a hash and the value to compare with. It creates the group if needed. In the modular crypt
// format, everything but the salt and the digest determines how long a comparison takes.
func (s *Backend) group(ctx caddy.Context, hash string) (*hashGroup, []byte, error) {
	var (
		name      string
		algorithm string
		value     = []byte(hash)
	)
	switch {
	case strings.HasPrefix(hash, "$2"):
		algorithm = "bcrypt"
		name = hash[:bytes.LastIndexByte(value, '$')]
	case strings.HasPrefix(hash, "$"):
		parts := strings.Split(hash, "$")
		algorithm = parts[1]
		name = strings.Join(parts[:max(2, len(parts)-2)], "$")
	default:
		digest, err := parseSHA256(hash)
		if err != nil {
			return nil, nil, err
		}
		name, value = "sha256", digest
	}
	for _, g := range s.groups {
		if g.name == name {
			return g, value, nil
		}
	}
	g := &hashGroup{name: name, hash: sha256Hash{}, dummy: value}
	if algorithm != "" {
		module, err := ctx.LoadModuleByID(hashesNamespace+algorithm, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("loading the algorithm of the hash: %w", err)
		}
		comparer, ok := module.(caddyauth.Comparer)
		if !ok {
			return nil, nil, fmt.Errorf("module %T cannot compare hashes", module)
		}
		g.hash = comparer
		switch algorithm {
		case "bcrypt":
			g.hash = bcryptHash{g.hash}
		case "argon2id":
			memory, _ := strconv.Atoi(argon2idForm.FindStringSubmatch(hash)[1]) // checkArgon2id has read it
			g.hash = argon2idHash{Comparer: g.hash, memory: int64(memory)}
		}
	}
	s.groups = append(s.groups, g)
	return g, value, nil
}

// sha256Hash compares a secret with a plain SHA-256 digest.
type sha256Hash struct{}

// Compare implements caddyauth.Comparer.
func (sha256Hash) Compare(hashed, plaintext []byte) (bool, error) {
	digest := sha256.Sum256(plaintext)
	return subtle.ConstantTimeCompare(hashed, digest[:]) == 1, nil
}

// bcryptHash compares a secret with a bcrypt hash, using Caddy's module.
type bcryptHash struct{ caddyauth.Comparer }

// Compare implements caddyauth.Comparer.
func (h bcryptHash) Compare(hashed, plaintext []byte) (bool, error) {
	same, err := h.Comparer.Compare(hashed, plaintext)
	return same && !bcryptAmbiguous(plaintext), err
}

// argon2Memory is the memory that all concurrent comparisons with argon2id hashes may use, in KiB. A hash that needs
// more is compared alone.
const argon2Memory = 256 << 10

// argon2Free is the memory that is left for comparisons, of all backends together.
var argon2Free = semaphore.NewWeighted(argon2Memory)

// argon2idHash compares a secret with an argon2id hash, using Caddy's module. Comparisons wait for their memory. The
// in-flight limit bounds how many wait.
type argon2idHash struct {
	caddyauth.Comparer
	memory int64 // of one comparison, in KiB
}

// Compare implements caddyauth.Comparer.
func (h argon2idHash) Compare(hashed, plaintext []byte) (bool, error) {
	memory := min(h.memory, argon2Memory)
	if err := argon2Free.Acquire(context.Background(), memory); err != nil {
		return false, err // cannot happen: the context never ends
	}
	defer argon2Free.Release(memory)
	return h.Comparer.Compare(hashed, plaintext)
}

// bcryptAmbiguous reports whether bcrypt cannot tell this secret from others, as Frappe does. bcrypt uses at most 72
// bytes of a secret, and repeats the secret with a NUL after each copy, so "s\x00s" and "s" have the same hash.
func bcryptAmbiguous(secret []byte) bool { return len(secret) > 72 || bytes.IndexByte(secret, 0) >= 0 }
