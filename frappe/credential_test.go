package frappe_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

func TestParseCredential(t *testing.T) {
	pair := func(scheme frappe.Scheme, key, secret string) frappe.Credential {
		return frappe.Credential{Scheme: scheme, Key: key, Secret: secret}
	}
	encode := func(pair string) string { return base64.StdEncoding.EncodeToString([]byte(pair)) }
	for _, test := range []struct {
		name, header string
		want         frappe.Credential
	}{
		{"token", "token k:s", pair("token", "k", "s")},
		{"any case", "ToKeN k:s", pair("token", "k", "s")},
		{"leading white space", " \t token k:s", pair("token", "k", "s")},
		{"tab in a secret", "token k:\ts", pair("token", "k", "\ts")},
		{"Latin-1 in token", "token k\xe9y:s", pair("token", "kéy", "s")},
		{"UTF-8 in token is Latin-1 to Frappe", "token kéy:s", pair("token", "kÃ©y", "s")},
		{"UTF-8 in Basic", "Basic " + encode("kéy:s"), pair("basic", "kéy", "s")},
		{"Basic", "Basic azpz", pair("basic", "k", "s")},
		{"Basic in any case", "bASIC azpz", pair("basic", "k", "s")},
		{"stray characters", "Basic a.z_p-z", pair("basic", "k", "s")},
		{"stray characters in the padding", "Basic azpzcw.=.=", pair("basic", "k", "ss")},
		{"extra padding", "Basic azpzcw======", pair("basic", "k", "ss")},
		{"padding before the end of a quad", "Basic =a=z=pz", pair("basic", "k", "s")},
		{"stray characters after the padding", "Basic azpzcw==!.=", pair("basic", "k", "ss")},
		{"quoted in a way that Frappe accepts", "Basic b'XlrZXk6c2VjcmV0'", pair("basic", "mykey", "secret")},
		{"NUL in Basic", "Basic " + encode("k:s\x00"), pair("basic", "k", "s\x00")},
		{"trailing line break in Basic", "Basic " + encode("k:s\n"), pair("basic", "k", "s\n")},
		{"Bearer", "Bearer abc", frappe.Credential{Scheme: "bearer", Token: "abc"}},
		{"Bearer with a colon", "bearer k:s", frappe.Credential{Scheme: "bearer", Token: "k:s"}},
		{
			"longest", "Bearer " + strings.Repeat("x", 8185),
			frappe.Credential{Scheme: "bearer", Token: strings.Repeat("x", 8185)},
		},

		{name: "empty", header: ""},
		{name: "space", header: " "},
		{name: "scheme alone", header: "token"},
		{name: "scheme and a space", header: "token "},
		{name: "tab instead of a space", header: "token\tk:s"},
		{name: "two spaces", header: "token  k:s"},
		{name: "trailing space", header: "token k:s "},
		{name: "a comma and a second credential", header: "token k:s, token k:s"},
		{name: "empty key", header: "token :s"},
		{name: "empty secret", header: "token k:"},
		{name: "colon alone", header: "token :"},
		{name: "two colons", header: "token k:s:t"},
		{name: "no colon", header: "token ks"},
		{name: "Basic without a colon", header: "Basic " + encode("ks")},
		{name: "Basic with two colons", header: "Basic " + encode("k:s:t")},
		{name: "Basic with an empty key", header: "Basic " + encode(":s")},
		{name: "Basic without padding", header: "Basic azpzcw"},
		{name: "Basic with half the padding", header: "Basic azpzcw="},
		{name: "Basic of one sextet", header: "Basic azpza"},
		{name: "Basic that is not UTF-8", header: "Basic //46/w=="},
		{name: "Basic with a surrogate", header: "Basic " + encode("k:\xed\xa0\x80")},
		{name: "Basic with a character beyond ASCII", header: "Basic azpz\xe9"},
		{name: "Basic with one after the padding", header: "Basic azpzcw==\xe9"},
		{name: "Basic with data after the padding", header: "Basic azpzcw==azpz"},
		{name: "Basic with padding inside", header: "Basic az==pz"},
		{name: "Basic of nothing", header: "Basic !!!!"},
		{name: "Python's bytes", header: "Basic b'" + encode("k:s") + "'"},
		{name: "Python's bytes in double quotes", header: `Basic b"` + encode("k:s") + `"`},
		{name: "Kelvin sign for k", header: "to\u212aen k:s"},
		{name: "long s for s", header: "ba\u017fic azpz"},
		{name: "unknown scheme", header: "Digest k:s"},
		{name: "empty scheme", header: "  k:s"},
		{name: "too long", header: "Bearer " + strings.Repeat("x", 8186)},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := frappe.ParseCredential(test.header)
			if got != test.want || (err == nil) == (test.want == frappe.Credential{}) {
				t.Errorf("%#v %v, want key %q secret %q token %q", got, err, test.want.Key, test.want.Secret, test.want.Token)
			}
			if err != nil && !regexp.MustCompile(`^[ !#-\[\]-~]+$`).MatchString(err.Error()) {
				t.Errorf("%q is not an error_description of RFC 6750", err)
			}
		})
	}
}

func TestCredentialHidesSecret(t *testing.T) {
	for _, header := range []string{
		testutil.AlicePair, testutil.AliceBasic, testutil.AliceBearer, "token k:" + testutil.AliceSecret,
	} {
		c, err := frappe.ParseCredential(header)
		if err != nil {
			t.Fatal(err)
		}
		marshaled, err := json.Marshal(map[string]any{"credential": c})
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c), string(marshaled)} {
			if strings.Contains(shown, testutil.AliceSecret) || strings.Contains(shown, testutil.AliceKey) ||
				strings.Contains(shown, "641cc") {
				t.Errorf("shows %s", shown)
			}
		}
	}
}

// frappeParse returns the credential that Frappe reads from a header, as `key NUL secret` or `NUL token`, or an empty
// string if Frappe refuses it. It follows frappe/auth.py and Python's rules, and shares no code with ParseCredential.
func frappeParse(header string) string {
	parts := strings.Split(strings.TrimLeft(header, " \t"), " ")
	if len(parts) != 2 || len(header) > 8192 || parts[1] == "" || !sendable(header) {
		return ""
	}
	text := []rune{}
	for _, b := range []byte(parts[1]) {
		text = append(text, rune(b)) // Latin-1
	}
	var pair string
	switch scheme := lowerASCII(parts[0]); scheme {
	case "bearer":
		return "\x00" + string(text)
	case "token":
		pair = string(text)
	case "basic":
		decoded, ok := b64decode(parts[1])
		if !ok || !utf8.Valid(decoded) {
			return ""
		}
		pair = string(decoded)
	default:
		return ""
	}
	fields := strings.Split(pair, ":")
	if len(fields) != 2 || fields[0] == "" || fields[1] == "" {
		return ""
	}
	return fields[0] + "\x00" + fields[1]
}

// sendable reports whether an HTTP server reads such a header (RFC 9110 section 5.5).
func sendable(header string) bool {
	return !strings.ContainsFunc(header, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 32
		}
		return r
	}, s)
}

var (
	strayCharacters = regexp.MustCompile(`[^A-Za-z0-9+/=]`)
	completePadding = regexp.MustCompile(`^((?:=*[A-Za-z0-9+/]=*[A-Za-z0-9+/]=?[A-Za-z0-9+/]=*[A-Za-z0-9+/])*?)` +
		`(=*[A-Za-z0-9+/]=*[A-Za-z0-9+/](?:==|=?[A-Za-z0-9+/]=))`)
)

// b64decode is Python's base64.b64decode of a str, where all versions agree: drop what is not of the alphabet, ignore
// padding anywhere else than after the data, and want whole groups.
func b64decode(s string) ([]byte, bool) {
	for _, b := range []byte(s) {
		if b > 127 {
			return nil, false
		}
	}
	if dataAfterPadding(s) {
		return nil, false
	}
	padded := completePadding.MatchString(strayCharacters.ReplaceAllString(s, ""))
	s = strings.ReplaceAll(strayCharacters.ReplaceAllString(s, ""), "=", "")
	if padded {
		s += "===="[len(s)%4:]
	}
	decoded, err := base64.StdEncoding.DecodeString(s)
	return decoded, err == nil
}

// dataAfterPadding reports whether data follows a group that its padding completes. Python up to 3.14.3 stops there,
// and newer versions do not.
func dataAfterPadding(s string) bool {
	s = strayCharacters.ReplaceAllString(s, "")
	padded := completePadding.FindString(s)
	return padded != "" && strings.Trim(s[len(padded):], "=") != ""
}

// TestBase64AsPythons: what several versions of Python decoded to which pair. Each character stands for a byte.
func TestBase64AsPythons(t *testing.T) {
	raw, err := os.ReadFile("testdata/base64.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct {
		Cases []struct {
			Base64          string
			Ends, Continues *string // by versions that stop at complete padding, and by those that do not; nil: refused
		}
	}
	if err := json.Unmarshal(raw, &recorded); err != nil {
		t.Fatal(err)
	}
	pairs, differ := 0, 0
	for _, test := range recorded.Cases {
		t.Run(test.Base64, func(t *testing.T) {
			want := ""
			switch {
			case test.Ends == nil || test.Continues == nil:
			case *test.Ends != *test.Continues:
				differ++
			case strings.Count(*test.Ends, ":") == 1 && isASCII(*test.Ends) && strings.Trim(*test.Ends, ":") == *test.Ends:
				want = *test.Ends
				pairs++
			}
			c, err := frappe.ParseCredential("Basic " + test.Base64)
			got := ""
			if err == nil {
				got = c.Key + ":" + c.Secret
			}
			if got != want {
				t.Errorf("%q %v, want %q", got, err, want)
			}
		})
	}
	if pairs < 50 || differ < 20 {
		t.Errorf("%d pairs and %d differences: the comparison says little", pairs, differ)
	}
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

func FuzzParseCredential(f *testing.F) {
	for _, c := range testutil.Corpus(f) {
		for _, header := range c.Authorization {
			f.Add(header)
		}
	}
	f.Add("Basic azpzcw==azpz")
	f.Add("Basic az==pz")
	f.Add("Basic =a=z=p=z")
	f.Add("Basic a=z=pzc=w==")
	f.Add("token k\xe9y:s")
	f.Fuzz(func(t *testing.T, header string) {
		c, err := frappe.ParseCredential(header)
		got := ""
		if err == nil {
			got = c.Key + "\x00" + c.Secret + c.Token
		}
		if want := frappeParse(header); got != want {
			t.Errorf("%q: %q %v, want %q", header, got, err, want)
		}
	})
}

// script does in Python what Frappe does with a header. It reads hexadecimal headers and writes JSON.
const script = `
import base64, json, sys
for line in sys.stdin:
    header = bytes.fromhex(line.strip()).decode("latin-1").lstrip(" \t").split(" ")
    out = None
    if len(header) == 2 and header[1]:
        scheme, value = header[0].lower(), header[1]
        try:
            if scheme == "bearer":
                out = "\0" + value
            elif scheme == "basic":
                key, secret = base64.b64decode(value).decode("utf-8").split(":")
                out = key + "\0" + secret if key and secret else None
            elif scheme == "token":
                key, secret = value.split(":")
                out = key + "\0" + secret if key and secret else None
        except ValueError:
            pass
    print(json.dumps(out))
`

// TestParseCredentialLikePython compares with the installed Python, on mutations of the corpus.
func TestParseCredentialLikePython(t *testing.T) {
	python := testutil.RequireProgram(t, "python3", "python3")
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // repeatable on purpose
	var seeds, headers []string
	for _, c := range testutil.Corpus(t) {
		seeds = append(seeds, c.Authorization...)
	}
	headers = append(headers, seeds...)
	const alphabet = "=+/Aaz09:. \t'\"b!\xe9\xff\x7f"
	for range 20_000 {
		header := []byte(seeds[random.IntN(len(seeds))])
		for range 1 + random.IntN(4) {
			at := random.IntN(len(header) + 1)
			char := alphabet[random.IntN(len(alphabet))]
			switch random.IntN(3) {
			case 0:
				header = append(header[:at], append([]byte{char}, header[at:]...)...)
			case 1:
				header = append(header[:at], header[min(at+1, len(header)):]...)
			case 2:
				if at < len(header) {
					header[at] = char
				}
			}
		}
		headers = append(headers, string(header))
	}
	var input strings.Builder
	for _, header := range headers {
		fmt.Fprintf(&input, "%x\n", header)
	}
	command := exec.CommandContext(t.Context(), python, "-c", script)
	command.Stdin = strings.NewReader(input.String())
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers := json.NewDecoder(strings.NewReader(string(output)))
	granted := 0
	for _, header := range headers {
		var want *string
		if err := answers.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if !sendable(header) {
			want = nil
		}
		if scheme, value, _ := strings.Cut(strings.TrimLeft(header, " \t"), " "); lowerASCII(scheme) == "basic" &&
			dataAfterPadding(value) {
			want = nil
		}
		c, err := frappe.ParseCredential(header)
		switch {
		case (err == nil) != (want != nil):
			t.Errorf("%q: %v, Python returns %v", header, err, want)
		case err == nil && c.Key+"\x00"+c.Secret+c.Token != *want:
			t.Errorf("%q: %q %q %q, Python returns %q", header, c.Key, c.Secret, c.Token, *want)
		}
		if want != nil {
			granted++
		}
	}
	if granted < len(headers)/20 {
		t.Errorf("only %d of %d headers are credentials, so the comparison tests too little", granted, len(headers))
	}
}
