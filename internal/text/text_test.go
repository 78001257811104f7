package text_test

import (
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/text"
)

// TestOneLine: no text breaks a header or a line of a log.
func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "",
		"Jürgen 李":          "Jürgen 李",
		"a\r\nb\tc\x00\x7f": "a  b c  ",
		"a\u0085b\u2028c":   "a b c",
		"a\xffb":            "a\ufffdb",
	} {
		if got := text.OneLine(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

// TestJSON: what comes out is ASCII, and means the same.
func TestJSON(t *testing.T) {
	got, err := text.JSON(map[string]string{"name": "Jürgen 李 😀\n\x7f"})
	if want := `{"name":"J\u00fcrgen \u674e \ud83d\ude00\n\u007f"}`; err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}
