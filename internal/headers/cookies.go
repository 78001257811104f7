package headers

import (
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// RemoveCookie removes every cookie of that name from the Cookie headers. It leaves every byte of the other cookies as it
// is, and a header without the cookie altogether. A header in which nothing is left is removed.
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

// withoutCookie returns a line without the cookie. ok is false if nothing is left of it. Cookies end at every semicolon
// (RFC 6265 section 5.2), also within quotes, where some applications look for them.
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

// aroundName reports whether an application may take a character off the name of a cookie. Frappe takes each byte for a
// character of Latin-1, in which a byte that is no UTF-8 may be a space.
func aroundName(r rune) bool { return r <= ' ' || r == utf8.RuneError || unicode.IsSpace(r) }
