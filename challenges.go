package frappeauth

import (
	"net/http"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/challenge"
)

// schemes is the size of a table that is indexed by schemeIndex.
const schemes = 5

// schemeIndex returns a scheme's index in a table; 0 means no scheme.
func schemeIndex(s frappe.Scheme) int {
	switch s {
	case frappe.SchemeToken:
		return 1
	case frappe.SchemeBasic:
		return 2
	case frappe.SchemeBearer:
		return 3
	case frappe.SchemeSession:
		return 4
	}
	return 0
}

// setChallenges prepares the challenges of the accepted schemes.
func (o *Options) setChallenges() {
	o.scopes = o.requiredScopes()
	if o.resource != nil && len(o.resource.Scopes) > 0 {
		o.scopes = o.resource.Scopes
	}
	for scheme, line := range map[frappe.Scheme]string{
		frappe.SchemeBasic:   challenge.Basic(o.Realm),
		frappe.SchemeBearer:  challenge.Bearer{Realm: o.Realm}.String(),
		frappe.SchemeToken:   challenge.Token(o.Realm),
		frappe.SchemeSession: challenge.Session(o.Realm, frappe.SessionCookie),
	} {
		if o.accepts(scheme) {
			o.challenges[schemeIndex(scheme)] = line
		}
	}
}

// challengesFor returns the WWW-Authenticate lines of a rejection.
func (o *Options) challengesFor(r *http.Request, rejected *rejection) []string {
	if rejected.status != http.StatusForbidden && rejected.status != http.StatusUnauthorized {
		return nil
	}
	lines := make([]string, 0, len(o.Schemes))
	withoutBasic := len(o.Schemes) > 1 && browser.FromScript(r)
	for _, scheme := range o.Schemes {
		line := o.challenges[schemeIndex(scheme)]
		switch {
		case scheme == frappe.SchemeSession, scheme == frappe.SchemeBasic && withoutBasic:
			continue
		case rejected.status == http.StatusForbidden && (scheme != frappe.SchemeBearer || rejected.bearerError == ""):
			continue
		case scheme == frappe.SchemeBearer:
			line = o.bearerChallenge(r, rejected)
		case rejected.describe:
			line += challenge.Description(rejected.reason.Error())
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 && rejected.status == http.StatusUnauthorized { // RFC 9110 section 15.5.2
		return []string{o.challenges[schemeIndex(frappe.SchemeSession)]}
	}
	return lines
}

func (o *Options) bearerChallenge(r *http.Request, rejected *rejection) string {
	c := challenge.Bearer{Realm: o.Realm, Error: rejected.bearerError, Scope: strings.Join(o.scopes, " ")}
	if rejected.describe {
		c.Description = rejected.reason.Error()
	}
	if o.resource != nil {
		c.ResourceMetadata = o.resource.metadataURL(r)
	}
	return c.String()
}
