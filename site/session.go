package site

import (
	"errors"
	"net/http"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// EnableSessions implements frappe.SessionVerifier. The site always can.
func (s *Backend) EnableSessions() error { return nil }

// ReportsTokens implements frappe.TokenReporter. The site tells neither the scopes nor the client of an access token to
// whoever presents it.
func (s *Backend) ReportsTokens() bool { return false }

// checkSession returns ErrDenied if an answer says that the session has ended, whoever else the answer may be about. An
// app of the site may know the request by something other than its session, such as its address.
func (c request) checkSession(a siteAnswer) error {
	if a.body["session_expired"] != nil {
		return frappe.ErrDenied
	}
	if a.status != http.StatusExpectationFailed {
		return nil
	}
	// As measured on 15.44.2, this is how Frappe refuses the session of a user who was disabled without a logout, by a
	// script or with `bench disable-user`.
	var exception string
	if a.member("exc_type", &exception) == nil && exception == "ValidationError" {
		return frappe.ErrDenied
	}
	return &frappe.UnavailableError{
		Reason:             c.noVerdict(a.status, errors.New("this is not how Frappe refuses a session; does one of its apps? Its Error Log may say why")),
		CredentialSpecific: true,
	}
}

// Interface guards
var (
	_ frappe.SessionVerifier = (*Backend)(nil)
	_ frappe.TokenReporter   = (*Backend)(nil)
)
