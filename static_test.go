package frappeauth_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

// TestStaticHashes: every hash that Caddy makes, and none that a trick can pass for.
func TestStaticHashes(t *testing.T) {
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
	t.Setenv("FRAPPE_AUTH_TEST_HASH", hashed("from the environment"))
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf(`
http://%s {
	frappe_auth {
		backend static {
			token sha %s sha@example.com
			token bcrypt %s bcrypt@example.com
			token limit %s limit@example.com
			token argon2id %s argon2id@example.com
			token env {env.FRAPPE_AUTH_TEST_HASH} env@example.com
		}
		failures off
	}
	respond {http.auth.user.id}
}`, address, hashed("s3cret"), cheap, atLimit, argon))
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
		{"bcrypt", "s3cret\x00s3cret", ""}, // the same to bcrypt
		{"limit", longest, "limit@example.com"},
		{"limit", longest + "y", ""}, // the same to bcrypt
		{"argon2id", "s3cret", "argon2id@example.com"},
		{"argon2id", "secret", ""},
		{"env", "from the environment", "env@example.com"},
		{"unknown", "s3cret", ""},
	} {
		got := get(t, "http://"+address, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(test.key+":"+test.secret)))
		if got.body != test.user || (got.status == 200) != (test.user != "") {
			t.Errorf("%s %q: %d %q, want %q", test.key, test.secret, got.status, got.body, test.user)
		}
	}
}

// argon2id is what `caddy hash-password --algorithm argon2id` makes, with less memory.
func argon2id(plaintext string) (string, error) {
	hash, _, err := caddyauth.DecodeHash([]byte("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"))
	if err != nil {
		return "", err
	}
	made, err := hash.Hash([]byte(plaintext))
	return string(made), err
}
