// Package challenge writes the challenges of a WWW-Authenticate header (RFC 9110 section 11.6.1).
package challenge

import "strings"

// Basic is a challenge for the scheme Basic (RFC 7617 section 2.1).
func Basic(realm string) string { return "Basic" + parameters("realm", realm, "charset", "UTF-8") }

// Token is a challenge for Frappe's scheme token.
func Token(realm string) string { return "token" + parameters("realm", realm) }

// Session is a challenge for a cookie. No such scheme is registered; this is the one of draft-broyer-http-cookie-auth, which
// browsers ignore.
func Session(realm, cookie string) string {
	return "Cookie" + parameters("realm", realm, "cookie-name", cookie)
}

// description is a further parameter for a challenge of a scheme that has none for it, as Bearer has.
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

	// Description says to developers what is wrong.
	Description string

	// Scope is the scopes that are needed, separated by spaces.
	Scope string

	// ResourceMetadata is the URL of the metadata of the protected resource.
	ResourceMetadata string
}

// String returns the challenge.
func (b Bearer) String() string {
	return "Bearer" + parameters("realm", b.Realm, "error", b.Error, "error_description", b.Description,
		"scope", b.Scope, "resource_metadata", b.ResourceMetadata)
}

// parameters returns those parameters of a challenge that are not empty, names and values in turn, the values as
// quoted-strings (RFC 9110 section 5.6.4).
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
