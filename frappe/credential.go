package frappe

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
)

// MaxHeaderSize is the longest Authorization header that is read, in bytes. Frappe's own credentials
// take about 50, a JWT for a site's auth_hooks some thousands.
const MaxHeaderSize = 8 << 10

// Scheme is the authentication scheme a credential came in. Schemes compare without case, as Frappe and
// RFC 9110 section 11.1 do; these constants are how Caddy's configuration and placeholders spell them.
type Scheme string

// The schemes Frappe reads from an Authorization header.
const (
	// SchemeToken is `token <api_key>:<api_secret>`.
	SchemeToken Scheme = "token"

	// SchemeBasic is `Basic base64(<api_key>:<api_secret>)`. It never carries a login password: Frappe
	// looks up API keys only.
	SchemeBasic Scheme = "basic"

	// SchemeBearer is `Bearer <access_token>`.
	SchemeBearer Scheme = "bearer"
)

// Credential is what an Authorization header claims, in canonical form: the pair in `token` and in `Basic`
// yields the same Key and Secret. All of it is what Frappe sees as text, so `token` and `Bearer`, which Frappe
// reads as Latin-1, and `Basic`, which it reads as UTF-8, are all UTF-8 here.
//
// A Credential prints, marshals and logs without its secret.
type Credential struct {
	// Scheme is how the credential was sent.
	Scheme Scheme

	// Key is the API key, the public half of a pair. Empty for a bearer credential.
	Key string

	// Secret is the API secret, the private half of a pair. Empty for a bearer credential.
	Secret string

	// Token is the access token of a bearer credential. Empty for a pair.
	Token string

	// Site is the name of the site that shall judge the credential, set for a backend that is SiteResolver and
	// empty for others.
	Site string
}

// Bearer reports whether the credential is an access token rather than a pair of API key and secret.
func (c Credential) Bearer() bool { return c.Scheme == SchemeBearer }

// String names the scheme and at most four characters of the API key, never a secret.
func (c Credential) String() string {
	if c.Bearer() {
		return "bearer credential"
	}
	return string(c.Scheme) + " credential of API key " + c.KeyPrefix()
}

// GoString is String, so that %#v shows no secret either.
func (c Credential) GoString() string { return c.String() }

// MarshalText is String, so that JSON and reflecting loggers show no secret either.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// KeyPrefix is as much of the API key as a log may show.
func (c Credential) KeyPrefix() string {
	const shown = 4
	if len(c.Key) <= shown {
		return "…"
	}
	return strings.ToValidUTF8(c.Key[:shown], "") + "…"
}

// MalformedError says why a header is no credential that Frappe would read. Its text is fixed, holds nothing
// of the header, and is fit for the error_description of RFC 6750.
type MalformedError struct {
	// Description says what is wrong and what to do.
	Description string
}

func (e *MalformedError) Error() string { return e.Description }

func malformed(description string) (Credential, error) {
	return Credential{}, &MalformedError{Description: description}
}

// ParseCredential reads the value of an Authorization header exactly as Frappe does (frappe/auth.py of 14 to 16):
// two parts at single spaces, the scheme in any case, one colon in a pair, base64 as lenient as Python's. What it
// refuses, with a *MalformedError, Frappe would never let in. What it returns is for a backend to judge.
func ParseCredential(header string) (Credential, error) {
	if len(header) > MaxHeaderSize {
		return malformed("the Authorization header is longer than 8192 bytes")
	}

	if !httpguts.ValidHeaderFieldValue(header) {
		return malformed("the Authorization header has a control character in it")
	}

	// gunicorn strips white space before a value and keeps it behind one.
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

// parseBasic reads the base64 of a pair.
func parseBasic(encoded string) (Credential, error) {
	pair, ok := decodeBase64(encoded)
	if ok && utf8.ValidString(pair) {
		c, err := parsePair(SchemeBasic, pair)
		if err == nil || !printedBytes(encoded) {
			return c, err
		}
	}
	switch {
	case printedBytes(encoded):
		return malformed("the base64 was sent as Python 3 prints bytes, b'...': " +
			"call .decode() on the result of base64.b64encode before putting it into the header")
	case !ok:
		return malformed("the credential is not base64 with its padding")
	}
	return malformed("the base64 does not decode to UTF-8 text")
}

// printedBytes reports whether s is how Python 3 prints bytes. Frappe's documentation builds its Basic example in a
// way that sends just this, and nothing else tells the user why it is refused.
func printedBytes(s string) bool {
	return len(s) >= 3 && s[0] == 'b' && (s[1] == '\'' || s[1] == '"') && s[len(s)-1] == s[1]
}

// parsePair splits key and secret at the only colon.
func parsePair(scheme Scheme, pair string) (Credential, error) {
	key, secret, found := strings.Cut(pair, ":")
	switch {
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

// decodeBase64 decodes as Python's base64.b64decode does by default (binascii.a2b_base64 without strict_mode): bytes
// outside the alphabet are dropped, everything behind a complete padding is ignored, and incomplete padding is an
// error. Go's decoder is strict, so a credential with a stray character would be refused where Frappe lets it in.
func decodeBase64(s string) (string, bool) {
	out := make([]byte, 0, 96) // enough for a pair of Frappe's, and not on the heap
	var (
		quad uint // sextets of the current group that were read
		bits byte // bits of the last sextet not yet written
		pads uint
	)
	for i := range len(s) {
		c := s[i]
		if c >= utf8.RuneSelf {
			return "", false // a str with other than ASCII is a ValueError in Python
		}
		if c == '=' {
			pads++
			if quad >= 2 && quad+pads >= 4 {
				// Python has checked the whole str for ASCII before it decodes.
				return string(out), isASCII(s[i:])
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

const noSextet = 0xff

// sextets maps a byte of the standard alphabet (RFC 4648 section 4) to its value, every other to noSextet.
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

// fromLatin1 is the text that WSGI (PEP 3333) makes of a header's bytes, and so what Frappe compares.
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

// ToLatin1 puts text from fromLatin1 back into a header's bytes.
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
