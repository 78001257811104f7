package database

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
)

// encrypted returns a Fernet token.
func encrypted(t testing.TB, key *fernetKey, plain string) string {
	t.Helper()
	raw := make([]byte, 9+aes.BlockSize)
	rand.Read(raw[1:]) //nolint:errcheck // it never fails
	raw[0] = 0x80
	padding := aes.BlockSize - len(plain)%aes.BlockSize
	padded := append([]byte(plain), strings.Repeat(string(rune(padding)), padding)...)
	block, err := aes.NewCipher(key[16:])
	if err != nil {
		t.Fatal(err)
	}
	cipher.NewCBCEncrypter(block, raw[9:]).CryptBlocks(padded, padded)
	raw = append(raw, padded...)
	mac := hmac.New(sha256.New, key[:16])
	mac.Write(raw)
	return base64.URLEncoding.EncodeToString(mac.Sum(raw))
}

// TestFernet: the vectors of https://github.com/fernet/spec. Those about the age of a token are left out, because API
// secrets do not expire.
func TestFernet(t *testing.T) {
	const key = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4="
	const generated = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA=="
	for _, test := range []struct{ name, key, token, want string }{
		{"generate and verify", key, generated, "hello"},
		{"key in the other alphabet", "cw/0x689RpI+jtRR7oE8h/eQsKImvJapLeSbXpwF4e4=", generated, "hello"},
		{"another key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", generated, ""},
		{
			"incorrect mac", key,
			"gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==", "",
		},
		{"too short", key, "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA==", ""},
		{
			"invalid base64", key,
			"%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==", "",
		},
		{
			"payload size not multiple of block size", key,
			"gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm", "",
		},
		{
			"payload padding error", key,
			"gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==", "",
		},
		{
			"incorrect IV", key,
			"gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==", "",
		},
		{"very short payload size", key, "gAAAAABdnQ1TUKh2OE_ggbyCIxfg", ""},
		{"super short payload size", key, "gAAA", ""},
		{"another version", key, "gQ" + generated[2:], ""},
		{"empty", key, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			k, err := parseFernetKey(test.key)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(decrypt(k, test.token)); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
	for _, length := range []int{0, 1, 15, 16, 17, 1000} {
		k := new(fernetKey)
		rand.Read(k[:]) //nolint:errcheck // it never fails
		plain := strings.Repeat("x", length)
		if got := decrypt(k, encrypted(t, k, plain)); got == nil || string(got) != plain {
			t.Errorf("%d bytes are decrypted as %q", length, got)
		}
	}
	for _, broken := range []string{"", "cw_0x689", key + "AAAA", "!" + key[1:]} {
		if _, err := parseFernetKey(broken); err == nil {
			t.Errorf("the key %q is accepted", broken)
		}
	}
	if decrypt(dummyKey, dummyToken) == nil {
		t.Error("the dummy is not decrypted")
	}
}
