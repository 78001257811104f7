package headers

import (
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RemoveCookie removes every cookie with a name from the Cookie headers. It does not change the bytes of other cookies,
// nor a header without the cookie. It removes a header in which nothing is left. Cookies end at every semicolon (RFC
// 6265 section 5.2), also within quotes, because some applications read them like that.
func RemoveCookie(header http.Header, name string) { TakeCookies(header, []string{name}) }

// TakeCookies removes every cookie with one of the names, as RemoveCookie does, and returns their names and values.
func TakeCookies(header http.Header, names []string) (taken [][2]string) {
	lines := header["Cookie"]
	kept := lines[:0:0]
	for _, line := range lines {
		var rest []string
		before := len(taken)
		for pair := range strings.SplitSeq(line, ";") {
			key, value, _ := strings.Cut(pair, "=")
			if key = strings.TrimFunc(key, aroundName); slices.Contains(names, key) {
				taken = append(taken, [2]string{key, strings.Trim(value, " \t")})
				continue
			}
			rest = append(rest, pair)
		}
		if len(taken) == before {
			kept = append(kept, line)
		} else if joined := strings.TrimLeft(strings.Join(rest, ";"), " \t"); strings.Trim(joined, "; \t") != "" {
			kept = append(kept, joined)
		}
	}
	if len(kept) == 0 {
		delete(header, "Cookie")
	} else {
		header["Cookie"] = kept
	}
	return taken
}

// aroundName reports whether an application may trim a character from the name of a cookie. Frappe reads each byte as a
// Latin-1 character, and a byte that is not UTF-8 may be a space in Latin-1.
func aroundName(r rune) bool { return r <= ' ' || r == utf8.RuneError || unicode.IsSpace(r) }
