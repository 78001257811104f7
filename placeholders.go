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
)

// decisionVar is the request's variable with the newest decision on it.
const decisionVar = "frappe_auth.decision"

// publish makes every placeholder known, so that none reaches an upstream as literal text. What other modules have set, such
// as the user of basic_auth, it removes.
func publish(r *http.Request, d *decision) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.DeleteByPrefix("http.auth.user.")
	repl.DeleteByPrefix("http.auth.frappe.")
	if d.rejection != nil {
		repl.DeleteByPrefix("http.auth.candidate.")
	}
	if !published(r) {
		mapPlaceholders(r, repl)
	}
	caddyhttp.SetVar(r.Context(), decisionVar, d)
}

// publishNobody makes every placeholder known, and empty, unless a handler has published a decision. What other modules have
// set stays.
func publishNobody(r *http.Request) {
	if !published(r) {
		mapPlaceholders(r, r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer))
		caddyhttp.SetVar(r.Context(), decisionVar, new(decision))
	}
}

// published reports whether a handler has published a decision on the request.
func published(r *http.Request) bool { return caddyhttp.GetVar(r.Context(), decisionVar) != nil }

// mapPlaceholders lets the placeholders stand for the newest decision on the request. They are mapped rather than set, since
// most requests use few of them or none.
func mapPlaceholders(r *http.Request, repl *caddy.Replacer) {
	ctx := r.Context()
	repl.Map(func(name string) (any, bool) {
		d, ok := caddyhttp.GetVar(ctx, decisionVar).(*decision)
		if !ok {
			return nil, false
		}
		return d.placeholder(name)
	})
}

// placeholder is what a placeholder stands for.
func (d *decision) placeholder(name string) (any, bool) {
	rest, ok := strings.CutPrefix(name, "http.auth.")
	if !ok {
		return nil, false
	}
	switch rest {
	case "user.id":
		return d.user(), true
	case "user.scheme":
		if d.user() == "" {
			return "", true
		}
		return string(d.credential.Scheme), true
	case "user.full_name":
		return oneLine(d.detail().fullName), true
	case "user.roles":
		return oneLine(d.detail().roleList), true
	case "user.scopes":
		return oneLine(d.detail().scopes), true
	case "user.backend":
		return d.backend(), true
	case "user.json":
		return d.json(), true
	case "frappe.cache":
		return d.verdict.cache, true
	case "frappe.error":
		return d.words(), true
	case "candidate.id":
		return oneLine(d.candidate()), true
	}
	return nil, false
}

// words say why the request does not go on; of one that does, nothing.
func (d *decision) words() string {
	if d.rejection == nil {
		return ""
	}
	return d.reason.Error()
}

// candidate is the API key that was claimed. A request that goes on has none.
func (d *decision) candidate() string {
	if d.rejection == nil {
		return ""
	}
	return d.credential.Key
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
func (d *decision) json() string {
	if d.user() == "" {
		return ""
	}
	more := d.detail()
	object, err := json.Marshal(struct {
		ID       string        `json:"id"`
		Scheme   frappe.Scheme `json:"scheme"`
		FullName string        `json:"full_name"`
		Roles    []string      `json:"roles"`
		Scopes   []string      `json:"scopes"`
		Backend  string        `json:"backend"`
	}{d.user(), d.credential.Scheme, more.fullName, append([]string{}, more.roles...), strings.Fields(more.scopes), d.backend()})
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
