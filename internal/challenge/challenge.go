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

// Client has the properties of a client that its challenges depend on.
type Client struct {
	// Basic is set if a Basic challenge may be sent. It makes a browser ask the user for a password.
	Basic bool

	// SentToken is set if the request has a credential other than a Basic one.
	SentToken bool

	// Cookie is the name of the cookie with its session.
	Cookie string
}

// Lines returns the WWW-Authenticate lines of a response with a status. details are further parameters of the Bearer
// challenge; the others also have its Description.
//
// A client gets only what it can use. Many read a single challenge: Docker's client prefers Bearer, and GNU wget takes
// the last one and aborts if it does not know it. So a client that may use Basic gets Bearer only if it sent a token,
// or if the Bearer challenge leads to metadata, and then after Basic. No client acts on token, so it is sent only if
// there is nothing else.
func (s Set) Lines(status int, to Client, details Bearer) []string {
	details.Realm, details.Scope = s.Realm, strings.Join(s.Scopes, " ")
	bearer := slices.Index(s.Schemes, frappe.SchemeBearer)
	switch {
	case status == http.StatusForbidden && bearer >= 0 && details.Error != "":
		details.Scope = strings.Join(s.Required, " ")
		return []string{details.String()}
	case status != http.StatusUnauthorized:
		return nil
	}
	var lines []string
	basic := slices.Index(s.Schemes, frappe.SchemeBasic)
	if basic >= 0 && (to.Basic || len(s.Schemes) == 1) { // RFC 9110 section 15.5.2: a 401 has a challenge
		lines = append(lines, Basic(s.Realm)+description(details.Description))
	}
	discovers := details.ResourceMetadata != ""
	switch {
	case bearer < 0, len(lines) > 0 && !to.SentToken && !discovers:
	case bearer < basic && !discovers:
		lines = append([]string{details.String()}, lines...)
	default:
		lines = append(lines, details.String())
	}
	switch {
	case len(lines) > 0:
		return lines
	case slices.Contains(s.Schemes, frappe.SchemeToken):
		return []string{Token(s.Realm) + description(details.Description)}
	}
	return []string{Session(s.Realm, to.Cookie)}
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
