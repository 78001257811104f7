package fleet

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// minSecret is the shortest secret, in bytes.
const minSecret = 32

// keys are derived from the secret of the store, each for one purpose (RFC 5869).
type keys struct {
	name, seal, tag []byte
}

func deriveKeys(secret []byte) (k keys, err error) {
	if len(secret) < minSecret {
		return keys{}, fmt.Errorf("the secret of the shared store has %d bytes; it needs %d or more", len(secret), minSecret)
	}
	for _, derived := range []struct {
		into *[]byte
		info string
	}{{&k.name, "frappe-auth name"}, {&k.seal, "frappe-auth seal"}, {&k.tag, "frappe-auth tag"}} {
		if *derived.into, err = hkdf.Key(sha256.New, secret, nil, derived.info, sha256.Size); err != nil {
			return keys{}, err
		}
	}
	return k, nil
}

// TagKey returns the key of the tags that revocations consist of. All Caddys of the fleet have the same.
func (k *keys) TagKey() []byte { return k.tag }

// nameOf returns the name of a value: a keyed hash of the fields, each preceded by its length.
func (k *keys) nameOf(kind string, fields ...string) string {
	mac := hmac.New(sha256.New, k.name)
	for _, field := range append([]string{kind}, fields...) {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(field)))) //nolint:gosec // fields are headers and options
		mac.Write([]byte(field))
	}
	return kind + ":" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// gcm returns the cipher for the value of a name. Each name has a key of its own, so that the random nonces of all values
// together cannot run into each other.
func (k *keys) gcm(name string) (cipher.AEAD, error) {
	mac := hmac.New(sha256.New, k.seal)
	mac.Write([]byte(name))
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealed encrypts a value for a name (AES-256-GCM).
func (k *keys) sealed(name string, plain []byte) ([]byte, error) {
	aead, err := k.gcm(name)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, []byte(name)), nil //nolint:gosec // the nonce is random (cipher.NewGCMWithRandomNonce)
}

var errSeal = errors.New("the value was not sealed under this name with this secret")

// opened returns the value that was sealed for a name.
func (k *keys) opened(name string, value []byte) ([]byte, error) {
	aead, err := k.gcm(name)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, value, []byte(name))
	if err != nil {
		return nil, errSeal
	}
	return plain, nil
}
