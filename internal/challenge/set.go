package challenge

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Set is what the challenges of one protected area have in common.
type Set struct {
	// Schemes are the accepted schemes. Their order is the order of the challenges.
	Schemes []frappe.Scheme

	// Realm is the name of the protected area.
	Realm string

	// Scopes are what the Bearer challenge asks for where there is no good credential.
	Scopes []string

	// Required are what the Bearer challenge asks for where the credential is good and does not suffice. A client that has no
	// more than Scopes asks for a new authorization with these (RFC 6750 section 3.1).
	Required []string
}

// Lines returns the WWW-Authenticate lines of a response with a status. details is what the Bearer challenge says besides; the
// others say its Description too. For a script there is no Basic challenge if there can be another, because it would open the
// browser's login box.
func (s Set) Lines(status int, script bool, details Bearer) []string {
	if status != http.StatusForbidden && status != http.StatusUnauthorized {
		return nil
	}
	var lines []string
	for _, scheme := range s.Schemes {
		switch {
		case scheme == frappe.SchemeSession, scheme == frappe.SchemeBasic && script && len(s.Schemes) > 1:
		case scheme == frappe.SchemeBearer && (status == http.StatusUnauthorized || details.Error != ""):
			scopes := s.Scopes
			if status == http.StatusForbidden {
				scopes = s.Required
			}
			details.Realm, details.Scope = s.Realm, strings.Join(scopes, " ")
			lines = append(lines, details.String())
		case status == http.StatusForbidden:
		case scheme == frappe.SchemeBasic:
			lines = append(lines, Basic(s.Realm)+description(details.Description))
		case scheme == frappe.SchemeToken:
			lines = append(lines, Token(s.Realm)+description(details.Description))
		}
	}
	if len(lines) == 0 && status == http.StatusUnauthorized { // RFC 9110 section 15.5.2
		return []string{Session(s.Realm, frappe.SessionCookie)}
	}
	return lines
}

// ScopesOf returns all scopes that requirements name, each once.
func ScopesOf(requirements []frappe.Requirement) (names []string) {
	for _, required := range requirements {
		for _, scope := range required.Scopes {
			if !slices.Contains(names, scope) {
				names = append(names, scope)
			}
		}
	}
	return names
}
