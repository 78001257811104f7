package directive_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// TestWord: what Caddy would split or change is quoted.
func TestWord(t *testing.T) {
	for text, want := range map[string]string{
		"alice@example.com": "alice@example.com",
		"System Manager":    `"System Manager"`,
		"tab\there":         "\"tab\there\"",
		"no\u00a0break":     "\"no\u00a0break\"",
		"ideo\u3000graphic": "\"ideo\u3000graphic\"",
		"next\u0085line":    "\"next\u0085line\"",
		"vertical\vtab":     "\"vertical\vtab\"",
		"#1":                `"#1"`,
		"a#1":               "a#1",
		`"quoted"`:          `"\"quoted\""`,
		"`ticked`":          "\"`ticked`\"",
		"tick`inside":       "tick`inside",
		`back\slash`:        `back\slash`,
		`ends in \`:         "`ends in \\`",
		`\<`:                `"\<"`,
		`\"`:                "`\\\"`",
		"<<END":             `"<<END"`,
		"a<<b":              "a<<b",
		"Größe":             "Größe",
		"":                  "",
		"{x}":               "",
		"a}":                "",
		"line\nbreak":       "",
		"cr\rhere":          "",
		"\xff":              "",
		"both ` and \\\"":   "",
	} {
		got, err := directive.Word(text)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q %v, want %q", text, got, err, want)
		}
	}
}

// FuzzWord: Caddy reads back what was written, in a whole block of a Caddyfile.
func FuzzWord(f *testing.F) {
	for _, text := range []string{
		"a b", "\u2028", `\"`, "<<x", "#", "`", `"`, "{", "\\", "a\\", "\ufeff", "import", "&(x)",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		word, err := directive.Word(text)
		if err != nil {
			if utf8.ValidString(text) && text != "" && !strings.ContainsAny(text, "{}\r\n`\\\"") {
				t.Errorf("%q is refused: %v", text, err)
			}
			return
		}
		if word == text && strings.ContainsFunc(text, unicode.IsSpace) {
			t.Errorf("%q is not quoted", text)
		}
		blocks, err := caddyfile.Parse("Caddyfile",
			[]byte("localhost {\n\tdirective {\n\t\ttoken "+word+" "+word+"\n\t\tnext\n\t}\n}\n"))
		if err != nil {
			t.Fatalf("%q, written %q: %v", text, word, err)
		}
		d := caddyfile.NewDispenser(blocks[0].Segments[0])
		for d.Next() && d.Val() != "token" {
		}
		if args := d.RemainingArgs(); len(args) != 2 || args[0] != text || args[1] != text {
			t.Errorf("%q, written %q, is read as %q", text, word, args)
		}
		if !d.Next() || d.Val() != "next" {
			t.Errorf("%q, written %q, swallows the next line", text, word)
		}
	})
}
