package frappeauth

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/text"
)

// decisionVar is the request variable that holds the newest decision on the request.
const decisionVar = "frappe_auth.decision"

// publish sets every placeholder, so that none reaches an upstream as literal text. It removes what other modules have
// set, such as the user of basic_auth.
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

// publishNobody sets every placeholder to the empty string, unless a handler has published a decision. It keeps what
// other modules have set.
func publishNobody(r *http.Request) {
	if !published(r) {
		mapPlaceholders(r, r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer))
		caddyhttp.SetVar(r.Context(), decisionVar, new(decision))
	}
}

// published reports whether a handler has published a decision on the request.
func published(r *http.Request) bool { return caddyhttp.GetVar(r.Context(), decisionVar) != nil }

// mapPlaceholders maps the placeholders to the newest decision on the request. It does not set them one by one, because
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

// placeholder returns the value of a placeholder. ok is false for other modules' placeholders.
func (d *decision) placeholder(name string) (value any, ok bool) {
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
		return string(d.scheme), true
	case "user.full_name":
		return text.OneLine(d.detail().fullName), true
	case "user.roles":
		return text.OneLine(d.detail().roleList), true
	case "user.scopes":
		return text.OneLine(d.detail().scopes), true
	case "user.backend":
		return d.backend(), true
	case "user.json":
		return d.json(), true
	case "frappe.cache":
		return d.verdict.cache, true
	case "frappe.error":
		return d.errorText(), true
	case "candidate.id":
		return text.OneLine(d.candidate()), true
	}
	return nil, false
}

// errorText returns why the request was rejected; empty if it was not.
func (d *decision) errorText() string {
	if d.rejection == nil {
		return ""
	}
	return d.reason.Error()
}

// candidate returns the API key that a rejected request sent; empty if the request goes on.
func (d *decision) candidate() string {
	if d.rejection == nil {
		return ""
	}
	return d.key
}

// json returns the identity as one JSON object in printable ASCII, so that any name survives a header. It is empty if
// there is no user.
func (d *decision) json() string {
	if d.user() == "" {
		return ""
	}
	more := d.detail()
	object, err := text.JSON(struct {
		ID       string        `json:"id"`
		Scheme   frappe.Scheme `json:"scheme"`
		FullName string        `json:"full_name"`
		Roles    []string      `json:"roles"`
		Scopes   []string      `json:"scopes"`
		Backend  string        `json:"backend"`
	}{d.user(), d.scheme, more.fullName, append([]string{}, more.roles...), strings.Fields(more.scopes), d.backend()})
	if err != nil {
		return "" // no value of these types fails
	}
	return object
}
