package frappeauth_test

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddyserver/caddy/v2"
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
	beyondBcrypt := longest + "y\x00z"
	argonLong, err := argon2id(beyondBcrypt)
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
			token long %s long@example.com
			token env {env.FRAPPE_AUTH_TEST_HASH} env@example.com
		}
		failures off
	}
	respond {http.auth.user.id}
}`, address, hashed("s3cret"), cheap, atLimit, argon, argonLong))
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
		{"argon2id", "s3cret\x00", ""},
		{"long", beyondBcrypt, "long@example.com"},
		{"long", longest + "y", ""},
		{"long", longest, ""},
		{"env", "from the environment", "env@example.com"},
		{"unknown", "s3cret", ""},
	} {
		got := get(t, "http://"+address, "Authorization: Basic "+base64.StdEncoding.EncodeToString([]byte(test.key+":"+test.secret)))
		if got.body != test.user || (got.status == 200) != (test.user != "") {
			t.Errorf("%s %q: %d %q, want %q", test.key, test.secret, got.status, got.body, test.user)
		}
	}
}

// TestStaticPlaceholders: every field takes them, and what they stand for is checked as if it were written out.
func TestStaticPlaceholders(t *testing.T) {
	for name, value := range map[string]string{
		"KEY": aliceKey, "HASH": hashed(aliceSecret), "USER": "alice@example.com", "ROLE": "Employee",
		"NO_HASH": "sha256:12", "BRACES": "$2a$04${}", "SPOILT": "$2a$04$" + strings.Repeat("x", 52) + "!", "GUEST": "Guest", "COLON": "a:b", "NESTED": "{env.FRAPPE_AUTH_TEST_ROLE}", "EMPTY": "",
	} {
		t.Setenv("FRAPPE_AUTH_TEST_"+name, value)
	}
	for _, test := range []struct {
		name, line string
		want       string // user and roles, or part of the error
	}{
		{"every field of a token", "token {KEY} {HASH} {USER} {ROLE}", "alice@example.com|Employee"},
		{"every field of a bearer", "bearer {HASH} {USER} {ROLE}", "alice@example.com|Employee"},
		{"within a field", "token {KEY} {HASH} x{USER} a{ROLE}b", "xalice@example.com|aEmployeeb"},
		{"what a placeholder stands for is no template", "token {KEY} {HASH} {NESTED}", "{env.FRAPPE_AUTH_TEST_ROLE}|"},
		{"no hash", "token {KEY} {NO_HASH} {USER}", "write the hash as sha256:"},
		{"no bcrypt hash", "token {KEY} {BRACES} {USER}", "the hash is no bcrypt hash"},
		{"no bcrypt hash, of the right length", "token {KEY} {SPOILT} {USER}", "the hash is no bcrypt hash"},
		{"no hash of a token", "bearer {NO_HASH} {USER}", "write the hash as sha256:"},
		{"Guest", "token {KEY} {HASH} {GUEST}", "no credential is Guest's"},
		{"key with a colon", "token {COLON} {HASH} {USER}", "neither empty nor has it a colon"},
		{"the same key twice", "token {KEY} {HASH} {USER}\ntoken " + aliceKey + " {HASH} {USER}", "is given twice"},
		{"the same token twice", "bearer {HASH} {USER}\nbearer " + hashed(aliceSecret) + " {USER}", "is given twice"},
		{"unset variable", "token {KEY} {HASH} {UNSET}", "FRAPPE_AUTH_TEST_UNSET"},
		{"empty variable", "token {KEY} {HASH} {USER} {EMPTY}", "FRAPPE_AUTH_TEST_EMPTY"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lines := regexp.MustCompile(`\{([A-Z_]+)\}`).ReplaceAllString(test.line, "{env.FRAPPE_AUTH_TEST_$1}")
			address := freeAddress(t)
			c := &runningCaddy{t: t, log: filepath.Join(t.TempDir(), "log")}
			err := c.tryLoad(fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend static {\n%s\n}\n}\nrespond {http.auth.user.id}|{http.auth.user.roles}\n}", address, lines))
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %s", err, test.want)
				}
				if strings.Contains(err.Error(), hashed(aliceSecret)) {
					t.Error("the error shows a hash")
				}
				return
			}
			defer caddy.Stop()
			authorization := aliceToken
			if strings.HasPrefix(lines, "bearer") {
				authorization = "Bearer " + aliceSecret
			}
			if got := get(t, "http://"+address, "Authorization: "+authorization); got.body != test.want {
				t.Errorf("%d %q, want %q", got.status, got.body, test.want)
			}
		})
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
