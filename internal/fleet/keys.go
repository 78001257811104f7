package fleet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// protocol names the version of what Caddys share. It is part of all keys and of what they are derived from, so that
// another version stands beside this one, as another secret does.
const protocol = "1"

const (
	// minSecret is the shortest secret, in bytes.
	minSecret = 32

	// maxSecrets is how many secrets a fleet may have at once: a new one, and those before it.
	maxSecrets = 4

	// versionSize is the length of the nonce that a sealed value begins with. It tells values of one name apart.
	versionSize = 12

	// sealSize is how much longer a sealed value is than its content.
	sealSize = versionSize + 16
)

// TagKey returns the key of the tags that revocations consist of. It is no secret: tags leave the process only within a
// sealed state. So they are the same under an old and a new secret.
func TagKey() []byte { return []byte("frappe-auth fleet tags, version " + protocol) }

// keys protect what is stored under one secret, at one place. They are derived from both, so that nothing that was
// sealed for another prefix or database opens here.
type keys struct {
	prefix     string // of the names of all keys in the store
	name, seal []byte
}

func deriveKeys(place Place, secret []byte) (k keys, err error) {
	if len(secret) < minSecret {
		return keys{}, fmt.Errorf("the secret of the shared store has %d bytes; it needs %d or more", len(secret), minSecret)
	}
	k.prefix = "{" + place.Prefix + "}:" + protocol + ":"
	for _, derived := range []struct {
		into *[]byte
		use  string
	}{{&k.name, "name"}, {&k.seal, "seal"}} {
		info := string(appendFields(nil, "frappe-auth fleet", protocol, derived.use, place.Prefix, place.Database))
		if *derived.into, err = hkdf.Key(sha256.New, secret, nil, info, sha256.Size); err != nil {
			return keys{}, err
		}
	}
	return k, nil
}

// appendFields appends fields, each preceded by its length.
func appendFields(to []byte, fields ...string) []byte {
	for _, field := range fields {
		to = binary.BigEndian.AppendUint32(to, uint32(len(field))) //nolint:gosec // fields are headers and options
		to = append(to, field...)
	}
	return to
}

// digest returns a keyed hash of the fields.
func (k *keys) digest(fields ...string) []byte {
	mac := hmac.New(sha256.New, k.name)
	mac.Write(appendFields(nil, fields...))
	return mac.Sum(nil)
}

// id is a digest as the store's keys contain it.
func (k *keys) id(fields ...string) string {
	return base64.RawURLEncoding.EncodeToString(k.digest(fields...)[:16])
}

// key returns the name of a key in the store. kind is a letter.
func (k *keys) key(kind, id string) string { return k.prefix + kind + ":" + id }

// cipher returns the cipher for the value of a key. Each key of the store has a key of its own, so that the random
// nonces of all values together cannot run into each other.
func (k *keys) cipher(key string) cipher.AEAD {
	mac := hmac.New(sha256.New, k.seal)
	mac.Write([]byte(key))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // the key has 32 bytes
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block has 16 bytes
	}
	return aead
}

// sealed encrypts and authenticates the value of a key (AES-256-GCM).
func (k *keys) sealed(key string, plain []byte) []byte {
	//nolint:gosec // the nonce is random (cipher.NewGCMWithRandomNonce)
	return k.cipher(key).Seal(nil, nil, plain, []byte(key))
}

// opened returns what was sealed for a key. ok is false if it was not sealed for this key with this secret.
func (k *keys) opened(key, value string) (plain []byte, ok bool) {
	plain, err := k.cipher(key).Open(nil, nil, []byte(value), []byte(key))
	return plain, err == nil
}
