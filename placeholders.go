package frappeauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
)

// decisionVar is the request variable that holds the newest decision on the request.
const decisionVar = "frappe_auth.decision"

// publish sets every placeholder, so that none reaches an upstream as literal text. It removes what other modules have
// set, such as the user of basic_auth.
func (o reporting) publish(r *http.Request, d *decision) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.DeleteByPrefix("http.auth.user.")
	repl.DeleteByPrefix("http.auth.frappe.")
	if d.rejection != nil {
		repl.DeleteByPrefix("http.auth.candidate.")
	}
	if published(r) == nil {
		o.mapPlaceholders(r, repl)
	}
	caddyhttp.SetVar(r.Context(), decisionVar, d)
}

// publishNobody sets every placeholder to the empty string, unless a handler has published a decision. It keeps what
// other modules have set.
func (o reporting) publishNobody(r *http.Request) {
	if published(r) == nil {
		o.mapPlaceholders(r, r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer))
		caddyhttp.SetVar(r.Context(), decisionVar, new(decision))
	}
}

// published returns the newest decision that a handler has published on the request, or nil.
func published(r *http.Request) *decision {
	d, _ := caddyhttp.GetVar(r.Context(), decisionVar).(*decision)
	return d
}

// mapPlaceholders maps the placeholders to the newest decision on the request. It does not set them one by one, because
// most requests use few of them or none.
func (o reporting) mapPlaceholders(r *http.Request, repl *caddy.Replacer) {
	ctx, tooLarge := r.Context(), o.tooLarge
	repl.Map(func(name string) (any, bool) {
		d, ok := caddyhttp.GetVar(ctx, decisionVar).(*decision)
		if !ok {
			return nil, false
		}
		if name == "http.auth.user.json" {
			object, complete := d.json()
			if !complete {
				tooLarge()
			}
			return object, true
		}
		return d.placeholder(name)
	})
}

// placeholder returns the value of a placeholder. ok is false for other modules' placeholders.
func (d *decision) placeholder(name string) (value any, ok bool) {
	rest, ok := strings.CutPrefix(name, "http.auth.")
	if !ok {
		return nil, false
	}
	switch rest {
	case "user.id":
		return d.user(), true
	case "user.path":
		return pathSegment(d.user()), true
	case "user.scheme":
		if d.user() == "" {
			return "", true
		}
		return string(d.scheme), true
	case "user.full_name":
		return oneLine(d.profile().fullName), true
	case "user.roles":
		return oneLine(d.profile().roleList), true
	case "user.scopes":
		return oneLine(d.profile().scopes), true
	case "user.backend":
		return d.backend(), true
	case "frappe.cache":
		return d.verdict.cache, true
	case "frappe.error":
		return d.errorText(), true
	case "candidate.id":
		return oneLine(d.candidate()), true
	}
	return nil, false
}

// maxJSON is the size of an identity as JSON, in bytes. Servers take request headers of 8 KiB (nginx, Apache), one line
// of which may also hold other things.
const maxJSON = 4 << 10

// json returns the identity as one JSON object in printable ASCII, so that any name survives a header. It is empty if
// there is no user. complete is false if something was left out because the object would be too large.
func (d *decision) json() (object string, complete bool) {
	if d.user() == "" {
		return "", true
	}
	known := d.profile()
	id := struct {
		ID       string        `json:"id"`
		Scheme   frappe.Scheme `json:"scheme"`
		FullName string        `json:"full_name"`
		Roles    []string      `json:"roles"`
		Scopes   []string      `json:"scopes"`
		Backend  string        `json:"backend"`
	}{d.user(), d.scheme, known.fullName, append([]string{}, known.roles...), strings.Fields(known.scopes), d.backend()}
	for _, leaveOut := range []func(){
		func() {}, func() { id.Roles = nil }, func() { id.Scopes, id.FullName = nil, "" },
	} {
		leaveOut()
		raw, err := json.Marshal(id)
		if err != nil {
			return "", false // no value of these types fails
		}
		if object = escapeJSON(raw); len(object) <= maxJSON {
			break
		}
	}
	return object, id.Roles != nil
}

// pathSegment returns a user's name as one segment of a path: different names are different segments, also on Windows
// and in a URL. Letters, digits and most signs of an e-mail address stay; other bytes are percent-encoded, as are a dot
// at the start, which would hide a folder, and one at the end.
func pathSegment(name string) string {
	var segment strings.Builder
	for i := 0; i < len(name); {
		r, size := utf8.DecodeRuneInString(name[i:])
		letter := name[i : i+size]
		plain := unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("@._+-=~", r)
		if plain && (r != '.' || i > 0 && i < len(name)-1) {
			segment.WriteString(letter)
		} else {
			for _, b := range []byte(letter) {
				fmt.Fprintf(&segment, "%%%02X", b)
			}
		}
		i += size
	}
	return segment.String()
}

// escapeJSON escapes everything in JSON that is not printable ASCII.
func escapeJSON(raw []byte) string {
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
	return escaped.String()
}

// oneLine replaces each control character and line separator by a space, so that text fits on one line of a log and
// into a header value (RFC 9110 section 5.5). Bytes that are not UTF-8 become U+FFFD.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}

// userHeader is the request header that tells the next handler who the user is. The zero value is no header.
type userHeader struct {
	name string
	// variable is a request variable. It is set once a handler has set the header, or one that an upstream could take
	// for it.
	variable string
}

func newUserHeader(name string) userHeader {
	if name == "" {
		return userHeader{}
	}
	return userHeader{name: http.CanonicalHeaderKey(name), variable: "frappe_auth.user_header." + headers.Fold(name)}
}

// checkUserHeader returns an error if a header must not be used as the user header. Empty: there is none.
func checkUserHeader(name string) error {
	if name == "" {
		return nil
	}
	if err := headers.CheckName(name); err != nil {
		advice := "use a header of its own, such as X-Frappe-User"
		if strings.ContainsAny(name, " :{") {
			advice = "write only the name of a header, such as X-Frappe-User, since its value is always the user"
		}
		return fmt.Errorf("user_header: %w; %s", err, advice)
	}
	return nil
}

// scrub removes from a request whatever an upstream could take for the header.
func (u userHeader) scrub(r *http.Request) {
	if u.name != "" {
		headers.Scrub(r, u.name)
	}
}

// scrubUnlessSet is like scrub, but keeps what another handler has set.
func (u userHeader) scrubUnlessSet(r *http.Request) {
	if u.name != "" && caddyhttp.GetVar(r.Context(), u.variable) == nil {
		headers.Scrub(r, u.name)
	}
}

// set sets the header for the next handlers.
func (u userHeader) set(r *http.Request, user string) {
	if u.name != "" {
		r.Header.Set(u.name, user)
		caddyhttp.SetVar(r.Context(), u.variable, true)
	}
}

// removeCredentials removes the Authorization header and, with sessions, the cookie of the session. A header beside a
// session that was granted is of a scheme that is not accepted here, so it is the application's.
func removeCredentials(header http.Header, d *decision, sessions bool) {
	if d.user() == "" || d.scheme != frappe.SchemeSession {
		header.Del("Authorization")
	}
	if sessions {
		headers.RemoveCookie(header, frappe.SessionCookie)
	}
}
