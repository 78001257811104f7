package directive_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// TestExpand: what has no value is an error that names the placeholder, and never what may be a password.
func TestExpand(t *testing.T) {
	t.Setenv("PLACEHOLDER_TEST", "value")
	t.Setenv("PLACEHOLDER_EMPTY", "")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, value, want, fails string }{
		{"none", "plain", "plain", ""},
		{"environment", "a {env.PLACEHOLDER_TEST} b", "a value b", ""},
		{"file", "{file." + file + "}", "from a file", ""},
		{"empty", "{env.PLACEHOLDER_EMPTY}", "", "option: the placeholder {env.PLACEHOLDER_EMPTY} is empty or unknown; set it where Caddy runs, or write the value itself"},
		{"no such file", "{file." + file + "x}", "", "the placeholder {file." + file + "x} is empty or unknown"},
		{"braces in a password", "hunter{s3cret}", "", "option: what stands in braces is no placeholder that is known when the configuration is loaded"},
		{"of a request", "{http.request.host}", "", "write one such as {env.NAME} or {file./path}"},
		{"brace that is not closed", "a{b", "a{b", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := directive.Expand("option", test.value)
			if test.fails == "" && (err != nil || got != test.want) {
				t.Errorf("%q, %v", got, err)
			}
			if test.fails != "" && (err == nil || got != "" || !strings.Contains(err.Error(), test.fails) || strings.Contains(err.Error(), "s3cret")) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
