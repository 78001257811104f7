package frappeauth

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
)

// checkSchemes returns an error, and the name of the option that it is about, if an option concerns a scheme that is not
// accepted.
func (o *Options) checkSchemes() (option string, err error) {
	if len(o.TrustedOrigins) > 0 && !o.accepts(frappe.SchemeSession) {
		return "trusted_origins", errors.New("trusted_origins: only requests with a session are checked for their origin; add session to schemes")
	}
	return "", nil
}

// validateAccess reports what is wrong with the options on who may pass.
func (o *Options) validateAccess() error {
	for i := range o.Require {
		if err := o.Require[i].Validate(); err != nil {
			return err
		}
	}
	for _, origin := range o.TrustedOrigins {
		if err := browser.CheckOrigin(origin); err != nil {
			return fmt.Errorf("trusted_origins: %w", err)
		}
	}
	return nil
}

// protect prepares the protection against requests across sites, which only sessions need.
func (o *Options) protect() error {
	if !o.accepts(frappe.SchemeSession) {
		return nil
	}
	o.crossSite = new(browser.Protection)
	for _, origin := range o.TrustedOrigins {
		if err := o.crossSite.Trust(origin); err != nil {
			return err
		}
	}
	return nil
}

// sendToLogin makes a redirect to the login page of the refusal of a navigation without a session.
func (h *Handler) sendToLogin(r *http.Request, d *decision) {
	noSession := d.rejection == rejectNoCredential || d.rejection == rejectDeniedSession && !browser.WasSent(r)
	if h.login == nil || !noSession || r.Header["Authorization"] != nil || !browser.Navigation(r) {
		return
	}
	_, host := headers.Addressed(r)
	if location := h.login.Location(host, headers.OriginalURL(r)); location != "" {
		d.rejection, d.location = rejectToLogin, location
	}
}

// hideCredentials removes from a request whatever is a credential here.
func (h *Handler) hideCredentials(r *http.Request) {
	r.Header.Del("Authorization")
	if h.accepts(frappe.SchemeSession) {
		headers.RemoveCookie(r.Header, frappe.SessionCookie)
	}
}
