// Package text makes text of any origin fit where only one line, or only ASCII, may stand.
package text

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// OneLine replaces each control character and line separator by a space, so that text fits on one line of a log and into
// a header value (RFC 9110 section 5.5). Bytes that are not UTF-8 become U+FFFD.
func OneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}

// JSON returns a value as JSON in printable ASCII, so that any name in it survives a header.
func JSON(value any) (string, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return "", err
	}
	var escaped strings.Builder
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		switch first, second := utf16.EncodeRune(r); {
		case r < 0x7f:
			escaped.WriteByte(raw[0])
		case first != unicode.ReplacementChar:
			fmt.Fprintf(&escaped, `\u%04x\u%04x`, first, second)
		default:
			fmt.Fprintf(&escaped, `\u%04x`, r)
		}
		raw = raw[size:]
	}
	return escaped.String(), nil
}
