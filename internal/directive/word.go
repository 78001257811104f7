package directive

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Word writes a text as one token of a Caddyfile. It adds quotes or backticks if Caddy would otherwise read a different
// text. Braces and line breaks are an error: Caddy always expands braces as placeholders, and a line break ends the
// line.
func Word(text string) (string, error) {
	if text != "" && !strings.ContainsAny(text, "{}\r\n") {
		for _, word := range []string{text, `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`, "`" + text + "`"} {
			// Some texts are read differently at the end of a line, so try both positions.
			tokens, err := caddyfile.Tokenize([]byte("token "+word+" "+word+"\nnext"), "")
			if err == nil && len(tokens) == 4 && tokens[1].Text == text && tokens[2].Text == text &&
				tokens[3].Text == "next" && tokens[3].Line == 2 {
				return word, nil
			}
		}
	}
	return "", fmt.Errorf("%q cannot be written in a Caddyfile; use a placeholder such as {env.NAME} for it", text)
}
