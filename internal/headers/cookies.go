package headers

import (
	"net/http"
	"strings"
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
		if key, _, _ := strings.Cut(pair, "="); strings.TrimSpace(key) == name {
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
