package headers

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RemoveCookie removes every cookie with a name from the Cookie headers. It does not change the bytes of other cookies,
// nor a header without the cookie. It removes a header in which nothing is left.
func RemoveCookie(header http.Header, name string) {
	lines := header["Cookie"]
	kept := make([]string, 0, len(lines))
	for _, line := range lines {
		if line, ok := withoutCookie(line, name); ok {
			kept = append(kept, line)
		}
	}
	switch {
	case len(lines) == 0:
	case len(kept) == 0:
		delete(header, "Cookie")
	default:
		header["Cookie"] = kept
	}
}

// withoutCookie returns a line without the cookie. ok is false if nothing is left. Cookies end at every semicolon (RFC
// 6265 section 5.2), also within quotes, because some applications read them like that.
func withoutCookie(line, name string) (rest string, ok bool) {
	var kept []string
	found := false
	for pair := range strings.SplitSeq(line, ";") {
		if key, _, _ := strings.Cut(pair, "="); strings.TrimFunc(key, aroundName) == name {
			found = true
			continue
		}
		kept = append(kept, pair)
	}
	if !found {
		return line, true
	}
	rest = strings.TrimLeft(strings.Join(kept, ";"), " \t")
	return rest, strings.Trim(rest, "; \t") != ""
}

// aroundName reports whether an application may trim a character from the name of a cookie. Frappe reads each byte as a
// Latin-1 character, and a byte that is not UTF-8 may be a space in Latin-1.
func aroundName(r rune) bool { return r <= ' ' || r == utf8.RuneError || unicode.IsSpace(r) }
