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
		id.Roles, err = c.roles(ctx, user)
	}
	if c.backend.RefuseDisabled && err == nil {
		id.FullName, err = c.enabledUser(ctx, user)
	}
	if err != nil {
		return frappe.Identity{}, c.laterFailure(ctx, err)
	}
	return id, nil
}

// laterFailure returns the error for a later request that failed. If the site refused it, the first request is
// repeated, because the credential may have ended since.
func (c request) laterFailure(ctx context.Context, err error) error {
	if _, refused := errors.AsType[*refusedError](err); refused {
		if _, again := c.loggedUser(ctx); errors.Is(again, frappe.ErrDenied) {
			return again
		}
	}
	return credentialSpecific(err)
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
	if err == nil && c.credential.session() {
		err = c.checkSession(a)
	}
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

// enabledUser returns the full name of the credential's owner, or ErrDenied if the user is disabled.
func (c request) enabledUser(ctx context.Context, user string) (string, error) {
	a, err := c.getLater(ctx, "User", pathUser+url.PathEscape(user), "")
	if err != nil {
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

// refusedError is the error for a later request that the site refused.
type refusedError struct{ error }

func (e *refusedError) Unwrap() error { return e.error }

// getLater sends a request after get_logged_user, with a name for errors. An answer without the requested data says
// nothing about the credential, and is a *refusedError.
func (c request) getLater(ctx context.Context, name, path, query string) (siteAnswer, error) {
	c.later = name
	a, err := c.get(ctx, path, query)
	if err != nil {
		return siteAnswer{}, err
	}
	var cause string
	switch {
	case a.status == http.StatusUnauthorized, a.body["session_expired"] != nil:
		cause = "the credential is refused, although get_logged_user accepts it"
	case a.status == http.StatusForbidden:
		cause = "the user is not permitted to read their own roles or User document"
	case a.status != http.StatusOK:
		cause = "this version of Frappe does not have it, or cannot read it; see the Error Log of the site"
	default:
		return a, nil
	}
	return siteAnswer{}, &refusedError{c.noVerdict(a.status, errors.New(cause))}
}
