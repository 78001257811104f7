// Package challenge writes the challenges of a WWW-Authenticate header (RFC 9110 section 11.6.1).
package challenge

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Basic returns a challenge for the scheme Basic (RFC 7617 section 2.1).
func Basic(realm string) string { return "Basic" + parameters("realm", realm, "charset", "UTF-8") }

// Token returns a challenge for Frappe's scheme token.
func Token(realm string) string { return "token" + parameters("realm", realm) }

// Session returns a challenge for a cookie. No such scheme is registered. This one is from
// draft-broyer-http-cookie-auth, and browsers ignore it.
func Session(realm, cookie string) string {
	return "Cookie" + parameters("realm", realm, "cookie-name", cookie)
}

// description returns an additional parameter for a challenge of a scheme other than Bearer.
func description(text string) string {
	if text == "" {
		return ""
	}
	return "," + parameters("error_description", text)
}

// Bearer is a challenge for the scheme Bearer (RFC 6750 section 3 and RFC 9728 section 5.1). Empty fields are left out.
type Bearer struct {
	// Realm is the name of the protected area.
	Realm string

	// Error is an error code of RFC 6750 section 3.1.
	Error string

	// Description tells developers what is wrong.
	Description string

	// Scope lists the required scopes, separated by spaces.
	Scope string

	// ResourceMetadata is the URL of the metadata of the protected resource.
	ResourceMetadata string
}

// String returns the challenge.
func (b Bearer) String() string {
	return "Bearer" + parameters("realm", b.Realm, "error", b.Error, "error_description", b.Description,
		"scope", b.Scope, "resource_metadata", b.ResourceMetadata)
}

// parameters returns the parameters of a challenge, given as names and values in turn, without empty ones. The values
// become quoted-strings (RFC 9110 section 5.6.4).
func parameters(pairs ...string) string {
	var b strings.Builder
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(" " + pairs[i] + `="` + escaper.Replace(pairs[i+1]) + `"`)
	}
	return b.String()
}

var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Set is the challenges of one protected area.
type Set struct {
	// Schemes are the accepted schemes. Their order is the order of the challenges.
	Schemes []frappe.Scheme

	// Realm is the name of the protected area.
	Realm string

	// Scopes are the scopes of the Bearer challenge if there is no good credential.
	Scopes []string

	// Required are the scopes of the Bearer challenge if a good credential does not have the required scopes. A client
	// that has only Scopes then asks for a new authorization with these (RFC 6750 section 3.1).
	Required []string
}

// Lines returns the WWW-Authenticate lines of a response with a status. details are further parameters of the Bearer
// challenge; the others also have its Description. A script gets no Basic challenge if there is another one, because it
// would open the browser's login box.
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

// ScopesOf returns all scopes that requirements name, without duplicates.
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
