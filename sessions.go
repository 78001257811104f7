package frappeauth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

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

// validateWho reports what is wrong with the options on who may pass.
func (o *Options) validateWho() error {
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
	noSession := d.rejection == rejectNoCredential || d.rejection == rejectDeniedSession
	if h.login == nil || !noSession || r.Header["Authorization"] != nil || !browser.Navigation(r) {
		return
	}
	_, host := addressed(r)
	if location := h.login.Location(host, originalURL(r)); location != "" {
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

// addressed returns the scheme and the host that the client asked for. As in Caddy's reverse_proxy, headers tell them only
// if they come from a trusted proxy.
func addressed(r *http.Request) (scheme, host string) {
	scheme, host = "https", r.Host
	if r.TLS == nil {
		scheme = "http"
	}
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return scheme, host
	}
	if sent := lastValue(r.Header, "X-Forwarded-Proto"); sent == "http" || sent == "https" {
		scheme = sent
	}
	if sent := lastValue(r.Header, "X-Forwarded-Host"); sent != "" && httpguts.ValidHostHeader(sent) {
		host = sent
	}
	return scheme, host
}

// lastValue returns the last value of a list in a header, which the nearest proxy added.
func lastValue(header http.Header, name string) string {
	values := header[name]
	if len(values) == 0 {
		return ""
	}
	last := values[len(values)-1]
	return strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
}

// originalURL returns the URL that the client sent, before any handler rewrote it.
func originalURL(r *http.Request) *url.URL {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		return original.URL
	}
	return r.URL
}
