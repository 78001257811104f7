package fingerprint

import (
	"strings"
	"testing"
)

// TestOf: only the same values in the same places have the same fingerprint, and it shows none of them.
func TestOf(t *testing.T) {
	seen := make(map[string][]any)
	for _, values := range [][]any{
		nil, {""}, {"", ""}, {"secret"}, {"secret", ""}, {"sec", "ret"}, {[]string{"sec", "ret"}}, {map[string]string{"a": "secret"}},
	} {
		got, err := Of(values...)
		if again, _ := Of(values...); err != nil || got != again || len(got) != 64 || strings.Contains(got, "secret") {
			t.Errorf("%q: %q, then %q: %v", values, got, again, err)
		}
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %q have the same", values, other)
		}
		seen[got] = values
	}
	if got, err := Of(func() {}); err == nil {
		t.Errorf("of what JSON cannot hold: %q", got)
	}
}
