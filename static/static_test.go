package static_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	_ "github.com/caddy-frappe/frappe-auth" // the handler that the backend is for
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestMain fails the test run if a secret was logged anywhere in it.
func TestMain(m *testing.M) { os.Exit(testutil.Main(m)) }

// TestPlaceholders: every field accepts them, and their values are checked like literal ones.
func TestPlaceholders(t *testing.T) {
	for name, value := range map[string]string{
		"KEY": testutil.AliceKey, "HASH": testutil.Hash(testutil.AliceSecret), "USER": "alice@example.com",
		"ROLE": "Employee", "NO_HASH": "sha256:12", "BRACES": "$2a$04${}",
		"SPOILT": "$2a$04$" + strings.Repeat("x", 52) + "!", "GUEST": "Guest", "COLON": "a:b",
		"NESTED": "{env.FRAPPE_AUTH_TEST_ROLE}", "EMPTY": "",
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
		{"a value is not expanded again", "token {KEY} {HASH} {NESTED}", "{env.FRAPPE_AUTH_TEST_ROLE}|"},
		{"not a hash", "token {KEY} {NO_HASH} {USER}", "write the hash as sha256:"},
		{"not a bcrypt hash", "token {KEY} {BRACES} {USER}", "the hash is not a valid bcrypt hash"},
		{"not a bcrypt hash, of the right length", "token {KEY} {SPOILT} {USER}", "the hash is not a valid bcrypt hash"},
		{"not a hash of a token", "bearer {NO_HASH} {USER}", "write the hash as sha256:"},
		{"Guest", "token {KEY} {HASH} {GUEST}", "the user must not be Guest"},
		{"key with a colon", "token {COLON} {HASH} {USER}", "must not be empty or contain a colon"},
		{"the same key twice", "token {KEY} {HASH} {USER}\ntoken " + testutil.AliceKey + " {HASH} {USER}", "is given twice"},
		{
			"the same token twice", "bearer {HASH} {USER}\nbearer " + testutil.Hash(testutil.AliceSecret) + " {USER}",
			"is given twice",
		},
		{"unset variable", "token {KEY} {HASH} {UNSET}", "FRAPPE_AUTH_TEST_UNSET"},
		{"empty variable", "token {KEY} {HASH} {USER} {EMPTY}", "FRAPPE_AUTH_TEST_EMPTY"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lines := regexp.MustCompile(`\{([A-Z_]+)\}`).ReplaceAllString(test.line, "{env.FRAPPE_AUTH_TEST_$1}")
			address := testutil.FreeAddress(t)
			err := testutil.NewCaddy(t).TryLoad(fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend static {\n%s\n}\n}\nrespond "+
				"{http.auth.user.id}|{http.auth.user.roles}\n}", address, lines))
			if err != nil {
				if !strings.Contains(err.Error(), test.want) {
					t.Errorf("error %v, want %s", err, test.want)
				}
				if strings.Contains(err.Error(), testutil.Hash(testutil.AliceSecret)) {
					t.Error("the error shows a hash")
				}
				return
			}
			authorization := testutil.AlicePair
			if strings.HasPrefix(lines, "bearer") {
				authorization = "Bearer " + testutil.AliceSecret
			}
			if got := testutil.Get(t, "http://"+address, "Authorization: "+authorization); got.Body != test.want {
				t.Errorf("%d %q, want %q", got.Status, got.Body, test.want)
			}
		})
	}
}
