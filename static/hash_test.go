package static_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestHashes: every kind of hash that Caddy makes verifies its secret, and no other.
func TestHashes(t *testing.T) {
	cheap, err := bcrypt.GenerateFromPassword([]byte("s3cret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	longest := strings.Repeat("x", 72)
	atLimit, err := bcrypt.GenerateFromPassword([]byte(longest), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	argon, err := argon2id("s3cret")
	if err != nil {
		t.Fatal(err)
	}
	beyondBcrypt := longest + "y\x00z"
	argonLong, err := argon2id(beyondBcrypt)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("FRAPPE_AUTH_TEST_HASH", testutil.Hash("from the environment"))
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`
http://%s {
	frappe_auth {
		backend static {
			token sha %s sha@example.com
			token bcrypt %s bcrypt@example.com
			token limit %s limit@example.com
			token argon2id %s argon2id@example.com
			token long %s long@example.com
			token env {env.FRAPPE_AUTH_TEST_HASH} env@example.com
		}
		failures off
	}
	respond {http.auth.user.id}
}`, address, testutil.Hash("s3cret"), cheap, atLimit, argon, argonLong))
	for _, test := range []struct {
		key, secret string
		user        string
	}{
		{"sha", "s3cret", "sha@example.com"},
		{"sha", "S3cret", ""},
		{"SHA", "s3cret", ""},
		{"bcrypt", "s3cret", "bcrypt@example.com"},
		{"bcrypt", "s3cre", ""},
		{"bcrypt", "s3cret\x00", ""},
		{"bcrypt", "s3cret\x00s3cret", ""}, // bcrypt cannot tell it apart
		{"limit", longest, "limit@example.com"},
		{"limit", longest + "y", ""}, // bcrypt cannot tell it apart
		{"argon2id", "s3cret", "argon2id@example.com"},
		{"argon2id", "secret", ""},
		{"argon2id", "s3cret\x00", ""},
		{"long", beyondBcrypt, "long@example.com"},
		{"long", longest + "y", ""},
		{"long", longest, ""},
		{"env", "from the environment", "env@example.com"},
		{"unknown", "s3cret", ""},
	} {
		got := testutil.Get(t, "http://"+address,
			"Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(test.key+":"+test.secret)))
		if got.Body != test.user || (got.Status == 200) != (test.user != "") {
			t.Errorf("%s %q: %d %q, want %q", test.key, test.secret, got.Status, got.Body, test.user)
		}
	}
}

// argon2id hashes like `caddy hash-password --algorithm argon2id`, with less memory.
func argon2id(plaintext string) (string, error) {
	const small = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"
	hash, _, err := caddyauth.DecodeHash([]byte(small))
	if err != nil {
		return "", err
	}
	made, err := hash.Hash([]byte(plaintext))
	return string(made), err
}

// TestBrokenHashes: the whole hash is checked when the configuration is loaded, also if it comes from a placeholder.
func TestBrokenHashes(t *testing.T) {
	const (
		salt   = "c2FsdHNhbHRzYWx0c2FsdA"
		digest = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"
		bcrypt = "$2a$04$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG"
	)
	argon := func(version, parameters, salt, digest string) string {
		return "$argon2id$" + version + "$" + parameters + "$" + salt + "$" + digest
	}
	const notArgon, notBcrypt = "the hash is not a valid argon2id hash", "the hash is not a valid bcrypt hash"
	for _, test := range []struct{ name, hash, want string }{
		{"argon2id", argon("v=19", "m=64,t=1,p=1", salt, digest), ""},
		{"argon2id of Caddy's parameters", argon("v=19", "m=47104,t=1,p=1", salt, digest), ""},
		{"argon2id at its bounds", argon("v=19", "m=1048576,t=16,p=64", salt, digest), ""},
		{"argon2id, digest empty", argon("v=19", "m=64,t=1,p=1", salt, ""), notArgon},
		{"argon2id, digest of one byte", argon("v=19", "m=64,t=1,p=1", salt, "MA"), "has 1 bytes"},
		{
			"argon2id, digest cut off by a byte",
			argon("v=19", "m=64,t=1,p=1", salt, "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MA"), "has 31 bytes",
		},
		{"argon2id, digest cut off by a character", argon("v=19", "m=64,t=1,p=1", salt, digest[:42]), notArgon},
		{"argon2id, digest cut off in the middle", argon("v=19", "m=64,t=1,p=1", salt, digest[:32]), "has 24 bytes"},
		{"argon2id, digest missing", "$argon2id$v=19$m=64,t=1,p=1$" + salt, notArgon},
		{"argon2id, huge digest", argon("v=19", "m=64,t=1,p=1", salt, strings.Repeat("MDEy", 1000)), "has 3000 bytes"},
		{"argon2id, salt empty", argon("v=19", "m=64,t=1,p=1", "", digest), notArgon},
		{"argon2id, salt short", argon("v=19", "m=64,t=1,p=1", "c2FsdA", digest), "salt of the argon2id hash has 4 bytes"},
		{
			"argon2id, huge salt", argon("v=19", "m=64,t=1,p=1", strings.Repeat("MDEy", 100), digest),
			"salt of the argon2id hash has 300 bytes",
		},
		{"argon2id, terabytes", argon("v=19", "m=4294967295,t=1,p=1", salt, digest), "m=4294967295"},
		{"argon2id, above a gigabyte", argon("v=19", "m=1048577,t=1,p=1", salt, digest), "m=1048577"},
		{"argon2id, no memory", argon("v=19", "m=0,t=1,p=1", salt, digest), "m=0"},
		{"argon2id, too little memory for its lanes", argon("v=19", "m=64,t=1,p=9", salt, digest), "m=64"},
		{"argon2id, no passes", argon("v=19", "m=64,t=0,p=1", salt, digest), "t=0"},
		{"argon2id, too many passes", argon("v=19", "m=64,t=4294967295,p=1", salt, digest), "t=4294967295"},
		{"argon2id, no lanes", argon("v=19", "m=64,t=1,p=0", salt, digest), "p=0"},
		{"argon2id, too many lanes", argon("v=19", "m=65536,t=1,p=65", salt, digest), "p=65"},
		{"argon2id of another version", argon("v=16", "m=64,t=1,p=1", salt, digest), notArgon},
		{"argon2id without names of parameters", argon("19", "64,1,1", salt, digest), notArgon},
		{"argon2id, URL-safe base64", argon("v=19", "m=64,t=1,p=1", salt, "-"+digest[1:]), notArgon},
		{"argon2id with text after it", argon("v=19", "m=64,t=1,p=1", salt, digest) + "$x", notArgon},
		{"argon2i", "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + digest, `the algorithm "argon2i"`},
		{"bcrypt", bcrypt, ""},
		{"bcrypt at its bound", "$2a$16" + bcrypt[6:], ""},
		{"bcrypt, cut off by a character", bcrypt[:59], notBcrypt},
		{"bcrypt, cut off", bcrypt[:30], notBcrypt},
		{"bcrypt, cost cut off", "$2a$", notBcrypt},
		{"bcrypt, too long", bcrypt + "x", notBcrypt},
		{"bcrypt, another character", bcrypt[:59] + "!", notBcrypt},
		{"bcrypt, cost 3", "$2a$03" + bcrypt[6:], notBcrypt},
		{"bcrypt, cost 17", "$2a$17" + bcrypt[6:], "a cost of 17"},
		{"bcrypt, cost 31", "$2b$31" + bcrypt[6:], "a cost of 31"},
		{"bcrypt, cost 99", "$2a$99" + bcrypt[6:], notBcrypt},
		{"dollar", "$", "the hash names no algorithm"},
		{"dollars", "$$", "the hash names no algorithm"},
		{"dollar and a word", "$secret", `the algorithm "secret"`},
		{"SHA-crypt", "$6$salt$digest", `the algorithm "6"`},
		{"SHA-256", testutil.Hash("x"), ""},
		{"SHA-256, cut off", testutil.Hash("x")[:70], "write the hash as sha256:"},
		{"SHA-256 of nothing", "sha256:", "write the hash as sha256:"},
		{"plain secret", "61066224add85e6", "write the hash as sha256:"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("FRAPPE_AUTH_TEST_HASH", test.hash)
			const config = "http://localhost {\nfrappe_auth {\nbackend static {\ntoken key %s user@example.com\n}\n}\n}"
			_, _, adapting := testutil.Adapt(fmt.Sprintf(config, test.hash))
			validating := validate(t, fmt.Sprintf(config, "{env.FRAPPE_AUTH_TEST_HASH}"))
			for when, err := range map[string]error{"adapting": adapting, "loading": validating} {
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("when %s: %v, want %q", when, err, test.want)
				}
			}
			if test.want != "" && adapting != nil && !strings.HasSuffix(adapting.Error(), "at Caddyfile:4") {
				t.Errorf("no line: %v", adapting)
			}
		})
	}
}

// validate loads a Caddyfile that can be adapted, without running it.
func validate(t *testing.T, caddyfile string) error {
	t.Helper()
	adapted, _, err := testutil.Adapt(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	return testutil.Validate(t, adapted)
}

// TestPluginHash: a hash of an algorithm that a plugin adds is tried when the configuration is loaded.
func TestPluginHash(t *testing.T) {
	for hash, want := range map[string]string{"$reversed$terces": "", "$reversed$": "does not accept the hash"} {
		err := validate(t,
			"http://localhost {\nfrappe_auth {\nbackend static {\ntoken key "+hash+" user@example.com\n}\n}\n}")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", hash, err, want)
		}
	}
}

// reversedHash is an algorithm that a plugin could add.
type reversedHash struct{}

func init() { caddy.RegisterModule(reversedHash{}) }

// CaddyModule returns the Caddy module information.
func (reversedHash) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID: "http.authentication.hashes.reversed", New: func() caddy.Module { return new(reversedHash) },
	}
}

// Compare implements caddyauth.Comparer.
func (reversedHash) Compare(hashed, plaintext []byte) (bool, error) {
	digest, ok := strings.CutPrefix(string(hashed), "$reversed$")
	if !ok || digest == "" {
		return false, errors.New("broken")
	}
	letters := []byte(digest)
	slices.Reverse(letters)
	return bytes.Equal(letters, plaintext), nil
}
