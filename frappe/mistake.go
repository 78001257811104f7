package frappe

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Mistake returns the usual mistake that the form of a well-formed credential shows, and what to write instead. It is
// empty if the form shows none. Frappe may still accept such a credential, so it is only worth mentioning once the
// credential was denied.
//
// The text is fixed and depends on nothing but what the client sent. So it tells a client nothing about other
// credentials.
func (c Credential) Mistake() string {
	switch c.Scheme {
	case SchemeToken, SchemeBasic:
		return mistakeInPair(c.Key, c.Secret)
	case SchemeBearer:
		return mistakeInToken(c.Token)
	case SchemeSession:
	}
	return ""
}

func mistakeInPair(key, secret string) string {
	pair := key + ":" + secret
	switch {
	case strings.HasSuffix(pair, "\n") || strings.HasSuffix(pair, "\r"):
		return "the API secret ends with a line break, which `echo` adds; use `printf` in its place"
	case strings.ContainsFunc(pair, unicode.IsSpace):
		return "there is white space in the API key or the API secret; remove it"
	case strings.ContainsFunc(pair, func(r rune) bool { return r == '\ufeff' || unicode.Is(unicode.Cf, r) }):
		return "there is an invisible character in the API key or the API secret; copy them again"
	case quoted(pair) || quoted(key) || quoted(secret):
		return "there are quotes around the API key or the API secret; remove them"
	case strings.HasPrefix(pair, "<") || strings.HasSuffix(pair, ">"):
		return "the API key or the API secret is still in < and >; remove them"
	case strings.Contains(key, "@"):
		return "this looks like a login name and a password; Frappe takes only an API key and an API secret here, " +
			"which you generate in the Settings of the user"
	}
	return ""
}

// quoted reports whether a text begins or ends with a quotation mark.
func quoted(text string) bool { return strings.Trim(text, "\"'`") != text }

var (
	// pairLike matches what may be an API key and an API secret. An access token of Frappe has no colon, and neither has a
	// JWT.
	pairLike = regexp.MustCompile(`^[^:\s]+:[^:\s]+$`)

	// sessionLike matches a session id: 56 hexadecimal digits. Access tokens have 30 characters.
	sessionLike = regexp.MustCompile(`^[0-9a-f]{56}$`)
)

func mistakeInToken(token string) string {
	if pairLike.MatchString(token) {
		return "this looks like an API key and an API secret; write `token` in place of `Bearer`"
	}
	if pair, ok := decodeBase64(token); ok && pairLike.MatchString(strings.TrimRight(pair, "\r\n")) && printable(pair) {
		return "this looks like the base64 of an API key and an API secret; write `Basic` in place of `Bearer`"
	}
	switch {
	case sessionLike.MatchString(token):
		return "this looks like a session; send it as the cookie `sid`, where the scheme session is accepted"
	case quoted(token):
		return "there are quotes around the access token; remove them"
	}
	return ""
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(strings.TrimRight(text, "\r\n"), unicode.IsControl)
}
