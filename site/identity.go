package site

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// The paths of the API methods that are called.
const (
	pathLoggedUser = "/api/method/frappe.auth.get_logged_user"
	pathRoles      = "/api/method/frappe.core.doctype.user.user.get_roles"
	pathUser       = "/api/resource/User/"
)

// identity asks for everything that the configuration needs to know about the credential's owner.
func (c request) identity(ctx context.Context) (frappe.Identity, error) {
	user, err := c.loggedUser(ctx)
	if err != nil {
		return frappe.Identity{}, c.unlessUnknownSite(ctx, err)
	}
	id := frappe.Identity{User: user}
	if c.backend.Roles {
		if id.Roles, err = c.roles(ctx, user); err != nil {
			return frappe.Identity{}, credentialSpecific(err)
		}
	}
	if c.backend.RefuseDisabled {
		if id.FullName, err = c.enabledUser(ctx, user); err != nil {
			return frappe.Identity{}, credentialSpecific(err)
		}
	}
	return id, nil
}

// credentialSpecific marks the error of a later request as specific to this credential, since the site has just
// answered the first request. The later requests contain user names, which users choose.
func credentialSpecific(err error) error {
	var (
		next        *nextAddressError
		notFound    *notFoundError
		unavailable *frappe.UnavailableError
	)
	switch {
	case errors.Is(err, frappe.ErrDenied), errors.As(err, &next):
		return err
	case errors.As(err, &notFound):
		return &frappe.UnavailableError{Reason: notFound.ifSiteExists, CredentialSpecific: true}
	case errors.As(err, &unavailable):
		return &frappe.UnavailableError{
			Reason: unavailable.Reason, RetryAfter: unavailable.RetryAfter, CredentialSpecific: true,
		}
	}
	return &frappe.UnavailableError{Reason: err, CredentialSpecific: true}
}

// unlessUnknownSite distinguishes a missing site from a credential that cannot be looked up, because Frappe and
// firewalls answer 404 to both. If the answer does not name the site, as in Frappe 15, it asks again without the
// credential: only a missing site answers 404 again. Otherwise one client's credential could make a tenant look unknown
// to everybody.
func (c request) unlessUnknownSite(ctx context.Context, err error) error {
	var notFound *notFoundError
	if !errors.As(err, &notFound) {
		return err
	}
	if notFound.named && c.site != "" {
		return frappe.ErrUnknownSite
	}
	guest := c
	guest.credential = credential{}
	_, again := guest.loggedUser(ctx)
	var next *nextAddressError
	switch {
	case errors.As(again, &next):
		return again
	case !errors.As(again, &notFound):
		return credentialSpecific(err)
	case c.site != "" && !notFound.socketIO:
		return frappe.ErrUnknownSite
	}
	return err
}

// loggedUser returns the user that the credential belongs to, or ErrDenied.
func (c request) loggedUser(ctx context.Context) (string, error) {
	a, err := c.get(ctx, pathLoggedUser, "")
	if err != nil {
		return "", err
	}
	if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden {
		return "", frappe.ErrDenied
	}
	var user string
	if err := a.member("message", &user); err != nil {
		return "", c.noVerdict(a.status, err)
	}
	switch {
	case user == frappe.Guest:
		return "", frappe.ErrDenied
	case !frappe.ValidUser(user):
		return "", c.noVerdict(a.status, errors.New("the answer does not name a valid Frappe user"))
	}
	return user, nil
}

// roles returns the roles of the credential's owner.
func (c request) roles(ctx context.Context, user string) ([]string, error) {
	a, err := c.get(ctx, pathRoles, url.Values{"uid": {user}}.Encode())
	if err != nil {
		return nil, err
	}
	if err := c.stillGranted(a); err != nil {
		return nil, err
	}
	var roles []string
	if err := a.member("message", &roles); err != nil {
		return nil, c.noVerdict(a.status, err)
	}
	return roles, nil
}

// enabledUser returns the full name of the credential's owner, or ErrDenied if the user is disabled.
func (c request) enabledUser(ctx context.Context, user string) (string, error) {
	a, err := c.get(ctx, pathUser+url.PathEscape(user), "")
	if err != nil {
		return "", err
	}
	if err := c.stillGranted(a); err != nil {
		return "", err
	}
	var doc struct {
		Name     string `json:"name"`
		Enabled  *int   `json:"enabled"`
		FullName string `json:"full_name"`
	}
	if err := a.member("data", &doc); err != nil {
		return "", c.noVerdict(a.status, err)
	}
	switch {
	case doc.Name != user || doc.Enabled == nil:
		return "", c.noVerdict(a.status, errors.New("the answer does not say whether the user is enabled"))
	case *doc.Enabled != 1:
		return "", frappe.ErrDenied
	}
	return doc.FullName, nil
}

// stillGranted interprets a refusal of a later request. 401 means that the credential has expired or been revoked since
// the first request. 403 means that its owner may not make this request, which says nothing about the credential;
// checkSession has already handled the 403 of a session that has ended.
func (c request) stillGranted(a siteAnswer) error {
	switch a.status {
	case http.StatusUnauthorized:
		return frappe.ErrDenied
	case http.StatusForbidden:
		return c.noVerdict(a.status, errors.New("the user is not permitted to read their own roles or User document"))
	}
	return nil
}
