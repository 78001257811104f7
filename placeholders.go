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
)

// placeholders are the names of all that is published.
var placeholders = [...]string{
	"http.auth.user.id", "http.auth.user.scheme", "http.auth.user.full_name", "http.auth.user.roles", "http.auth.user.scopes",
	"http.auth.user.backend", "http.auth.user.json", "http.auth.frappe.cache", "http.auth.frappe.error", candidatePlaceholder,
}

// candidatePlaceholder names the API key that was claimed by a refused request.
const candidatePlaceholder = "http.auth.candidate.id"

// publication is what the placeholders stand for. It is made for every request, and so refers to what there is already.
type publication struct {
	user    string
	scheme  Scheme
	cache   string
	by      *guard   // of the backend that granted; nil: none did
	more    *detail  // of the user; nil: nothing is known
	refused *refusal // nil: the request passes
}

func (p publication) value(name string) (any, bool) {
	rest, ok := strings.CutPrefix(name, "http.auth.")
	if !ok {
		return nil, false
	}
	more := p.more
	if more == nil {
		more = &noDetail
	}
	switch rest {
	case "user.id":
		return p.user, true
	case "user.scheme":
		return string(p.scheme), true
	case "user.full_name":
		return oneLine(more.fullName), true
	case "user.roles":
		return oneLine(more.roleList), true
	case "user.scopes":
		return oneLine(more.scopes), true
	case "user.backend":
		return p.by.backend(), true
	case "user.json":
		return p.json(), true
	case "frappe.cache":
		return p.cache, true
	case "frappe.error":
		return p.refused.words(), true
	case "candidate.id":
		return oneLine(p.refused.candidate()), true
	}
	return nil, false
}

// mappedVar is the request's variable that says that a handler has mapped the placeholders.
const mappedVar = "frappe_auth.mapped"

// publish makes every placeholder known, so that none reaches an upstream as literal text. They are mapped rather than set,
// since most requests use few of them or none.
func (p publication) publish(r *http.Request, repl *caddy.Replacer) {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if _, mapped := vars[mappedVar]; mapped || vars == nil {
		p.set(repl)
		return
	}
	vars[mappedVar] = true
	// What is set comes before what is mapped.
	repl.DeleteByPrefix("http.auth.user.")
	repl.DeleteByPrefix("http.auth.frappe.")
	if p.refused != nil {
		repl.DeleteByPrefix("http.auth.candidate.")
	}
	repl.Map(func(name string) (any, bool) { return p.value(name) })
}

// set sets every placeholder, which comes before what an earlier handler has mapped.
func (p publication) set(repl *caddy.Replacer) {
	for _, name := range placeholders {
		if name == candidatePlaceholder && p.refused == nil {
			if _, known := repl.Get(name); known {
				continue // it is of another module, which refused
			}
		}
		if value, ok := p.value(name); ok {
			repl.Set(name, value)
		}
	}
}

// publishNobody makes every placeholder known, and empty, unless a handler has published already. What other modules have
// set, such as the user of basic_auth, stays.
func publishNobody(r *http.Request, repl *caddy.Replacer) {
	if caddyhttp.GetVar(r.Context(), mappedVar) != nil {
		return
	}
	caddyhttp.SetVar(r.Context(), mappedVar, true)
	repl.Map(publication{}.value)
}

// oneLine is text with a space for each control character and line separator, so that it fits on one line of a log and
// into the value of a header (RFC 9110 section 5.5). Bytes that are no UTF-8 become U+FFFD.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, text)
}

// json is the identity as one JSON object in printable ASCII, so that any name survives a header; empty where there is no
// user.
func (p publication) json() string {
	if p.user == "" {
		return ""
	}
	more := p.more
	if more == nil {
		more = &noDetail
	}
	object, err := json.Marshal(struct {
		ID       string   `json:"id"`
		Scheme   Scheme   `json:"scheme"`
		FullName string   `json:"full_name"`
		Roles    []string `json:"roles"`
		Scopes   []string `json:"scopes"`
		Backend  string   `json:"backend"`
	}{p.user, p.scheme, more.fullName, append([]string{}, more.roles...), strings.Fields(more.scopes), p.by.backend()})
	if err != nil {
		return "" // no value of these types fails
	}
	return escapeNonASCII(object)
}

// escapeNonASCII is JSON with an escape for every character that is not printable ASCII.
func escapeNonASCII(object []byte) string {
	var escaped strings.Builder
	for len(object) > 0 {
		r, size := utf8.DecodeRune(object)
		switch first, second := utf16.EncodeRune(r); {
		case r < 0x7f:
			escaped.WriteByte(object[0])
		case first != unicode.ReplacementChar:
			fmt.Fprintf(&escaped, `\u%04x\u%04x`, first, second)
		default:
			fmt.Fprintf(&escaped, `\u%04x`, r)
		}
		object = object[size:]
	}
	return escaped.String()
}

// noDetail is what is published of users of whom no more is known.
var noDetail detail
