package frappe

import "strings"

// SessionCookie is the name of the cookie that holds the id of a user's session.
const SessionCookie = "sid"

// maxSessionSize is the longest session id, in bytes. Frappe's column holds 255 characters; its ids take 56.
const maxSessionSize = 255

// ParseSession returns the session in the values of a request's Cookie headers. It reads them as Frappe does
// (werkzeug's parse_cookie): it takes the first cookie `sid` and removes quotes around its value. ok is false if there
// is no such cookie, or if its value is not a ValidSession; for users who are not logged in, Frappe sets it to `Guest`.
// The returned session still has to be verified by a backend.
func ParseSession(cookies []string) (c Credential, ok bool) {
	// gunicorn joins headers of the same name with a comma.
	for rest := strings.Join(cookies, ","); rest != ""; {
		var name, value string
		name, value, rest = cutCookie(rest)
		if name != SessionCookie {
			if trimLatin1(name) == SessionCookie { // only some versions of Werkzeug read this as `sid`
				return Credential{}, false
			}
			continue
		}
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		if !ValidSession(value) {
			return Credential{}, false
		}
		return Credential{Scheme: SchemeSession, Session: value}, true
	}
	return Credential{}, false
}

// ValidSession reports whether a session id has the form of Frappe's: at most 255 lower-case ASCII letters and digits,
// and not `guest`. Such an id needs no quotes in a Cookie header. Frappe generates lower-case hexadecimal digits only.
// On MariaDB, Frappe also finds a session by its id in capitals, but then keeps it in its cache after the logout
// (measured on 15.44.2), so an id in capitals is rejected.
func ValidSession(id string) bool {
	return id != "" && len(id) <= maxSessionSize && !strings.EqualFold(id, Guest) &&
		!strings.ContainsFunc(id, notInSession)
}

// cutCookie returns the first cookie of a Cookie header and what follows it. A semicolon within quotes does not end the
// value.
func cutCookie(header string) (name, value, rest string) {
	end := strings.IndexAny(header, "=;")
	if end < 0 {
		return strings.Trim(header, space), "", ""
	}
	name = strings.Trim(header[:end], space)
	if header[end] == ';' {
		return name, "", header[end+1:]
	}
	header = strings.Trim(header[end+1:], space)
	quoted := quotedPrefix(header)
	if after := strings.Trim(header[quoted:], space); quoted > 0 && (after == "" || after[0] == ';') {
		return name, header[:quoted], strings.TrimPrefix(after, ";")
	}
	value, rest, _ = strings.Cut(header, ";")
	return name, strings.Trim(value, space), rest
}

// space is white space in ASCII. Other white space, such as a no-break space in UTF-8, is part of a name or a value.
const space = " \t\n\v\f\r"

// trimLatin1 trims white space as Python does, which reads each byte as a Latin-1 character.
func trimLatin1(s string) string {
	isSpace := func(c byte) bool { return strings.IndexByte(space+"\x1c\x1d\x1e\x1f\x85\xa0", c) >= 0 }
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// quotedPrefix returns the length of the quoted string that s begins with, or 0.
func quotedPrefix(s string) int {
	if !strings.HasPrefix(s, `"`) {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

func notInSession(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }
