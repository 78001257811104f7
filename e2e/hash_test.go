package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestHashCommand: the line it writes lets in whose credential it was made from.
func TestHashCommand(t *testing.T) {
	for _, test := range []struct {
		name, input string
		header      string
	}{
		{"token", "token " + aliceKey + ":" + aliceSecret, tokenHeader},
		{"Basic", "Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg==", tokenHeader},
		{"Bearer", "Bearer " + aliceToken, bearerHeader},
	} {
		t.Run(test.name, func(t *testing.T) {
			line, code := command(t, test.input, "hash", "--user", "alice@example.com", "--role", `The "Report" Manager`)
			if code != 0 {
				t.Fatal(line)
			}
			address := testutil.FreeAddress(t)
			start(t, "", "http://"+address+" {\nfrappe_auth {\nbackend static {\n"+line+"}\n}\nrespond `{http.auth.user.id} {http.auth.user.roles}`\n}")
			if _, got := ask(t, "GET", "http://"+address, "", test.header); got != `alice@example.com The "Report" Manager` {
				t.Errorf("%s lets in %s", line, got)
			}
		})
	}
	for name, test := range map[string]struct {
		input string
		args  []string
	}{
		"no user":        {"Bearer x", nil},
		"Guest":          {"Bearer x", []string{"--user", "Guest"}},
		"algorithm":      {"token a:b", []string{"--user", "a", "--algorithm", "argon2id"}},
		"malformed":      {"a:b", []string{"--user", "a"}},
		"nothing":        {"", []string{"--user", "a"}},
		"braces":         {"Bearer x", []string{"--user", "a", "--role", "{x}"}},
		"line break":     {"Bearer x", []string{"--user", "a", "--role", "a\nb"}},
		"secret as args": {"", []string{"--user", "a", aliceKey}},
	} {
		if screen, code := command(t, test.input, append([]string{"hash"}, test.args...)...); code != 1 {
			t.Errorf("%s: exit code %d, %s", name, code, screen)
		}
	}
}

// TestHashCommandQuotes: whatever white space and quotes a role has, the line lets in whose credential it was made from.
func TestHashCommandQuotes(t *testing.T) {
	var lines strings.Builder
	roles := []string{"System Manager", "no\u00a0break", "ideo\u3000graphic", "#1", "<<END", `back\slash\`, "`ticks`", `"quotes"`, "Größe"}
	for i, role := range roles {
		line, code := command(t, fmt.Sprintf("token key%d:secret", i), "hash", "--user", "alice@example.com", "--role", role)
		if code != 0 {
			t.Fatalf("%q: %s", role, line)
		}
		lines.WriteString(line)
	}
	address := testutil.FreeAddress(t)
	start(t, "", "http://"+address+" {\nfrappe_auth {\nbackend static {\n"+lines.String()+"}\n}\nrespond {http.auth.user.roles}\n}")
	for i, role := range roles {
		if _, got := ask(t, "GET", "http://"+address, "", fmt.Sprintf("Authorization: token key%d:secret", i)); got != role {
			t.Errorf("%q becomes %q", role, got)
		}
	}
}
