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

// TestDecodeJSON: an unknown field and a value of another kind are errors that say what to write.
func TestDecodeJSON(t *testing.T) {
	type inner struct {
		Names []string `json:"names,omitempty"`
	}
	type outer struct {
		Size  int     `json:"size"`
		On    bool    `json:"on"`
		Inner []inner `json:"inner"`
		Text  *string `json:"text"`
	}
	instead := map[string]string{"former": "write size", "elsewhere": "write it elsewhere"}
	for raw, want := range map[string]string{
		`{"size": 3, "on": true, "inner": [{"names": ["a"]}], "text": "b"}`: "",
		`{"former": 3}`:              "thing has no option former; write size",
		`{"sizes": 3}`:               "thing has no field sizes; did you mean size?",
		`{"inner": [{"name": "a"}]}`: "thing has no field name; did you mean names?",
		`{"elsewere": 3}`:            "thing has no field elsewere; if you mean elsewhere, write it elsewhere",
		`{"xyz": 3}`:                 "thing has no field xyz",
		`{"size": "3"}`:              "thing: size must be a number, not a text",
		`{"on": "yes"}`:              "thing: on must be true or false, not a text",
		`{"text": ["b"]}`:            "thing: text must be a text in quotes, not a list",
		`{"inner": {"names": []}}`:   "thing: inner must be a list in [ ], not an object",
		`{"inner": ["a"]}`:           "thing: inner must be an object in { }, not a text",
	} {
		err := directive.DecodeJSON([]byte(raw), new(outer), "thing", instead)
		if (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: got %v, want %s", raw, err, want)
		}
	}
}
