package directive_test

import (
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// TestFingerprint: only equal values have the same fingerprint, and it reveals none of them.
func TestFingerprint(t *testing.T) {
	seen := make(map[string][]any)
	for _, values := range [][]any{
		nil,
		{""},
		{"", ""},
		{"secret"},
		{"secret", ""},
		{"sec", "ret"},
		{[]string{"sec", "ret"}},
		{map[string]string{"a": "secret"}},
	} {
		got, err := directive.Fingerprint(values...)
		if again, _ := directive.Fingerprint(values...); err != nil || got != again || len(got) != 64 ||
			strings.Contains(got, "secret") {
			t.Errorf("%q: %q, then %q: %v", values, got, again, err)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q have the same fingerprint", values, other)
		}
		seen[got] = values
	}
	if got, err := directive.Fingerprint(func() {}); err == nil {
		t.Errorf("for a value that JSON cannot represent: %q", got)
	}
}
