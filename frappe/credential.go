package frappe

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// MaxHeaderSize is the longest Authorization header that is accepted, in bytes. Frappe's own credentials take about 50
// bytes; a JWT for a site's auth_hooks takes a few thousand.
const MaxHeaderSize = 8 << 10

// Scheme is the authentication scheme of a credential. Schemes are compared without case, as in Frappe and RFC 9110
// section 11.1. These constants are the spellings in Caddy's configuration and placeholders.
type Scheme string

// The schemes that Frappe reads from an Authorization header, and SchemeSession.
const (
	// SchemeToken is `token <api_key>:<api_secret>`.
	SchemeToken Scheme = "token"

	// SchemeBasic is `Basic base64(<api_key>:<api_secret>)`. It cannot carry a login name and password: Frappe only looks
	// up API keys.
	SchemeBasic Scheme = "basic"

	// SchemeBearer is `Bearer <access_token>`.
	SchemeBearer Scheme = "bearer"

	// SchemeSession is the cookie `sid` of a user who is logged in to Frappe.
	SchemeSession Scheme = "session"
)

// Credential is what an Authorization header contains, in canonical form: the same pair has the same Key and Secret
// whether it was sent as `token` or as `Basic`. All fields are UTF-8 and hold the text that Frappe sees. Frappe reads
// `token` and `Bearer` as Latin-1, and `Basic` as UTF-8.
//
// Printing, marshaling or logging a Credential never shows its secret.
type Credential struct {
	// Scheme is how the credential was sent.
	Scheme Scheme

	// Key is the API key, the public half of a pair. Empty for any other credential.
	Key string

	// Secret is the API secret, the private half of a pair. Empty for any other credential.
	Secret string

	// Token is the access token of a bearer credential. Empty for any other credential.
	Token string

	// Session is the session id of a session credential. Empty for any other credential.
	Session string

	// Site is the name of the site to verify the credential with. It is set for a SiteResolver and empty for other
	// backends.
	Site string
}

// Bearer reports whether the credential is an access token.
func (c Credential) Bearer() bool { return c.Scheme == SchemeBearer }

// String names the scheme and at most four characters of the API key, never a secret.
func (c Credential) String() string {
	switch c.Scheme {
	case SchemeBearer:
		return "bearer credential"
	case SchemeSession:
		return "session"
	default:
		return string(c.Scheme) + " credential of API key " + c.KeyPrefix()
	}
}

// GoString returns String, so that %#v does not show the secret.
func (c Credential) GoString() string { return c.String() }

// MarshalText returns String, so that JSON and loggers that use reflection do not show the secret.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// KeyPrefix returns as much of the API key as a log may show.
func (c Credential) KeyPrefix() string {
	const shown = 4
	if len(c.Key) <= shown {
		return "…"
	}
	return strings.ToValidUTF8(c.Key[:shown], "") + "…"
}

// MalformedError says why Frappe would not read a header as a credential. Its text is fixed and contains nothing from
// the header, so it can be sent as the error_description of RFC 6750.
type MalformedError struct {
	// Description says what is wrong and what to do.
	Description string
}

func (e *MalformedError) Error() string { return e.Description }

func malformed(description string) (Credential, error) {
	return Credential{}, &MalformedError{Description: description}
}

// ParseCredential parses the value of an Authorization header exactly as Frappe does (frappe/auth.py of 14 to 16): two
// parts separated by a single space, the scheme in any case, one colon in a pair, and base64 as lenient as Python's.
// Where versions of Python differ, it accepts only what all of them read alike. The error is a *MalformedError. A
// returned credential still has to be verified by a backend.
func ParseCredential(header string) (Credential, error) {
	if len(header) > MaxHeaderSize {
		return malformed("the Authorization header is longer than 8192 bytes")
	}

	if !httpguts.ValidHeaderFieldValue(header) {
		return malformed("the Authorization header has a control character in it")
	}

	// gunicorn strips white space before a value and keeps white space after it.
	header = strings.TrimLeft(header, " \t")
	scheme, rest, found := strings.Cut(header, " ")
	switch {
	case !found:
		return malformed("a scheme and a credential are needed, separated by one space")
	case strings.Contains(rest, " "):
		return malformed("there must be exactly one space, the one between scheme and credential")
	case rest == "":
		return malformed("the credential after the scheme is empty")
	}

	switch {
	case !isASCII(scheme):
		// EqualFold would take the Kelvin sign for a k and the long s for an s; Python does not.
	case strings.EqualFold(scheme, string(SchemeToken)):
		return parsePair(SchemeToken, fromLatin1(rest))
	case strings.EqualFold(scheme, string(SchemeBasic)):
		return parseBasic(rest)
	case strings.EqualFold(scheme, string(SchemeBearer)):
		return Credential{Scheme: SchemeBearer, Token: fromLatin1(rest)}, nil
	}
	return malformed("the scheme is none of token, Basic and Bearer")
}

// parseBasic parses the base64 of a pair.
func parseBasic(encoded string) (Credential, error) {
	pair, ok := decodeBase64(encoded)
	if ok && utf8.ValidString(pair) {
		c, err := parsePair(SchemeBasic, pair)
		if err == nil || !printedBytes(encoded) {
			return c, err
		}
	}
	switch {
	case strings.Count(encoded, ":") == 1:
		return malformed("Basic takes the base64 of an API key and an API secret; " +
			"write `token` in place of `Basic`, or encode them")
	case printedBytes(encoded):
		return malformed("the base64 was sent as Python 3 prints bytes, b'...': " +
			"call .decode() on the result of base64.b64encode before putting it into the header")
	case !ok:
		return malformed("the credential is not base64 that ends with its padding")
	}
	return malformed("the base64 does not decode to UTF-8 text")
}

// printedBytes reports whether s looks like bytes printed by Python 3. The Basic example in Frappe's documentation
// sends exactly this, and nothing else tells the user why it is refused.
func printedBytes(s string) bool {
	return len(s) >= 3 && s[0] == 'b' && (s[1] == '\'' || s[1] == '"') && s[len(s)-1] == s[1]
}

// parsePair splits key and secret at the only colon.
func parsePair(scheme Scheme, pair string) (Credential, error) {
	key, secret, found := strings.Cut(pair, ":")
	switch {
	case !found && scheme == SchemeToken:
		return malformed("an API key and an API secret are needed, joined by one colon; " +
			"an access token is sent with `Bearer`")
	case !found:
		return malformed("an API key and an API secret are needed, joined by one colon")
	case strings.Contains(secret, ":"):
		return malformed("there must be exactly one colon, the one between API key and API secret")
	case key == "":
		return malformed("the API key before the colon is empty")
	case secret == "":
		return malformed("the API secret after the colon is empty")
	}
	return Credential{Scheme: scheme, Key: key, Secret: secret}, nil
}

// decodeBase64 decodes like Python's base64.b64decode by default (binascii.a2b_base64 without strict_mode): it drops
// bytes outside the alphabet and returns false for incomplete padding. Go's decoder is strict and would refuse a
// credential with a stray character that Frappe accepts. Complete padding ends the data in Python up to 3.14.3, while
// newer versions drop it and decode what follows. So no more data may follow.
func decodeBase64(s string) (string, bool) {
	out := make([]byte, 0, 96) // enough for a pair that Frappe generates, and stays on the stack
	var (
		quad uint // number of sextets read in the current group
		bits byte // bits of the last sextet that are not yet written
		pads uint
	)
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			return "", false // Python raises ValueError for a non-ASCII str
		}
		if c == '=' {
			pads++
			if quad >= 2 && quad+pads >= 4 {
				return string(out), !strings.ContainsFunc(s[i:], dataOrNotASCII)
			}
			continue
		}
		sextet := sextets[c]
		if sextet == noSextet {
			continue
		}
		pads = 0
		switch quad {
		case 0:
			bits = sextet
		case 1:
			out = append(out, bits<<2|sextet>>4)
			bits = sextet & 0x0f
		case 2:
			out = append(out, bits<<4|sextet>>2)
			bits = sextet & 0x03
		case 3:
			out = append(out, bits<<6|sextet)
		}
		quad = (quad + 1) % 4
	}
	return string(out), quad == 0
}

// dataOrNotASCII reports whether Python would decode r or refuse it. It drops any other character.
func dataOrNotASCII(r rune) bool { return r >= utf8.RuneSelf || sextets[r] != noSextet }

const noSextet = 0xff

// sextets maps each byte of the standard alphabet (RFC 4648 section 4) to its value, and every other byte to noSextet.
var sextets = func() (table [utf8.RuneSelf]byte) {
	for i := range table {
		table[i] = noSextet
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" {
		table[c] = byte(i)
	}
	return table
}()

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// fromLatin1 returns the text that WSGI (PEP 3333) makes of a header's bytes. This is what Frappe compares.
func fromLatin1(s string) string {
	if isASCII(s) {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}

// ToLatin1 is the inverse of fromLatin1: it returns the bytes of the header.
func ToLatin1(s string) string {
	if isASCII(s) {
		return s
	}
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}
