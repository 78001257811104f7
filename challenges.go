package frappeauth

import (
	"net/http"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// schemes is the size of a table that is indexed by schemeIndex.
const schemes = 4

// schemeIndex returns a scheme's index in a table; 0 means no scheme.
func schemeIndex(s frappe.Scheme) int {
	switch s {
	case frappe.SchemeToken:
		return 1
	case frappe.SchemeBasic:
		return 2
	case frappe.SchemeBearer:
		return 3
	}
	return 0
}

// challengesFor returns the WWW-Authenticate lines of a rejection: RFC 9110 section 11.6.1, and for Bearer RFC 6750
// section 3.
func (o *Options) challengesFor(r *http.Request, rejected *rejection) []string {
	lines := make([]string, 0, len(o.Schemes))
	withoutBasic := len(o.Schemes) > 1 && fromScript(r)
	for _, scheme := range o.Schemes {
		line := o.challenges[schemeIndex(scheme)]
		switch {
		case scheme == frappe.SchemeBasic && withoutBasic:
			continue
		case rejected.status == http.StatusForbidden && (scheme != frappe.SchemeBearer || rejected.bearerError == ""):
			continue
		case rejected.status != http.StatusForbidden && rejected.status != http.StatusUnauthorized:
			continue
		}
		if scheme == frappe.SchemeBearer && rejected.bearerError != "" {
			line += `, error="` + rejected.bearerError + `"`
		}
		if rejected.describe {
			line += `, error_description=` + quoted(rejected.reason.Error())
		}
		lines = append(lines, line)
	}
	return lines
}

// fromScript reports whether a browser sent the request for something other than showing a page, most often for a script.
// A Basic challenge would then make the browser ask the user for a password.
func fromScript(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Dest") { // https://www.w3.org/TR/fetch-metadata/#sec-fetch-dest-header
	case "":
		return strings.EqualFold(r.Header.Get("X-Requested-With"), "XMLHttpRequest") // sent by older browsers and libraries
	case "document", "iframe", "frame":
		return false
	}
	return true
}

// challenge returns the challenge of one scheme, without an error.
func challenge(scheme frappe.Scheme, realm string) string {
	switch scheme {
	case frappe.SchemeBasic:
		return "Basic realm=" + quoted(realm) + `, charset="UTF-8"` // RFC 7617 section 2.1
	case frappe.SchemeBearer:
		return "Bearer realm=" + quoted(realm)
	default:
		return "token realm=" + quoted(realm)
	}
}

// quoted returns s as a quoted-string (RFC 9110 section 5.6.4).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
