package database

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// fernetKey is a key of Fernet (https://github.com/fernet/spec), with which Frappe encrypts API secrets: 16 bytes to
// sign and 16 bytes to encrypt.
type fernetKey [32]byte

// dummyToken is a secret as Frappe stores it, and dummyKey is its key. They are the specification's example.
const dummyToken = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_" +
	"5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="

var dummyKey, _ = parseFernetKey("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=")

// parseFernetKey decodes a key as it is in site_config.json.
func parseFernetKey(text string) (*fernetKey, error) {
	raw, err := base64.URLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_").Replace(text)) // as Python does
	if err != nil || len(raw) != len(fernetKey{}) {
		return nil, errors.New("a Fernet key has 32 bytes in base64")
	}
	return (*fernetKey)(raw), nil
}

// decrypt returns the plain text of a token, or nil if the token was not made with the key. Its age does not matter.
func decrypt(key *fernetKey, token string) []byte {
	const version, header = 0x80, 1 + 8 + aes.BlockSize // version, time, initialization vector
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(token, "="))
	size := len(raw) - header - sha256.Size
	if err != nil || size < aes.BlockSize || size%aes.BlockSize != 0 || raw[0] != version {
		return nil
	}
	signed, signature := raw[:header+size], raw[header+size:]
	mac := hmac.New(sha256.New, key[:16])
	mac.Write(signed)
	if !hmac.Equal(mac.Sum(nil), signature) {
		return nil
	}
	block, err := aes.NewCipher(key[16:])
	if err != nil {
		return nil
	}
	plain := make([]byte, size)
	cipher.NewCBCDecrypter(block, raw[9:header]).CryptBlocks(plain, signed[header:])
	padding := int(plain[size-1])
	if padding == 0 || padding > aes.BlockSize {
		return nil
	}
	for _, b := range plain[size-padding:] {
		if int(b) != padding {
			return nil
		}
	}
	return plain[:size-padding]
}
