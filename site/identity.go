package site

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// The methods of Frappe's API that are asked, as paths.
const (
	pathLoggedUser = "/api/method/frappe.auth.get_logged_user"
	pathRoles      = "/api/method/frappe.core.doctype.user.user.get_roles"
	pathUser       = "/api/resource/User/"
)

// identity asks all that is to be known of the credential's owner.
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

// onlyThis says of an answer to a further request that is no verdict that it concerns this user alone: the site has
// just answered the first. Users have a say in their names, which are part of what is asked.
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
		return &frappe.UnavailableError{Reason: notFound.onlyThis, CredentialSpecific: true}
	case errors.As(err, &unavailable):
		return &frappe.UnavailableError{Reason: unavailable.Reason, RetryAfter: unavailable.RetryAfter, CredentialSpecific: true}
	}
	return &frappe.UnavailableError{Reason: err, CredentialSpecific: true}
}

// unlessUnknownSite tells a site that the bench does not have from a credential that cannot be looked up, since Frappe
// and firewalls answer 404 to both. Where the answer does not name the site, as that of Frappe 15 does, it asks again without
// the credential: only a site that is not there answers 404 again. Otherwise one client's credential could make a tenant
// look unknown to everybody.
func (c request) unlessUnknownSite(ctx context.Context, err error) error {
	var notFound *notFoundError
	if !errors.As(err, &notFound) {
		return err
	}
	if notFound.named && c.site != "" {
		return frappe.ErrUnknownSite
	}
	guest := c
	guest.authorization = ""
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

// loggedUser is the verdict: the user whose credential it is.
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
		return "", c.noVerdict(a.status, errors.New("the answer names no user of Frappe's"))
	}
	return user, nil
}

// roles are the roles of the credential's owner.
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

// enabledUser is the full name of the credential's owner, or ErrDenied if the user is disabled.
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

// stillGranted takes a refusal of a further request for what it is: 401 says that the credential has ended since it
// was granted, 403 that its owner may not ask, which says nothing of the credential.
func (c request) stillGranted(a siteAnswer) error {
	switch a.status {
	case http.StatusUnauthorized:
		return frappe.ErrDenied
	case http.StatusForbidden:
		return c.noVerdict(a.status, errors.New("the user is not permitted to read the user's own roles or document"))
	}
	return nil
}
