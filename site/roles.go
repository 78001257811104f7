package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
)

const pathRoles = "/api/method/frappe.core.doctype.user.user.get_roles"

// maxSitesWithoutGetRoles is how many sites are remembered not to have get_roles.
const maxSitesWithoutGetRoles = 1024

// roles returns the roles of the credential's owner. It first uses the method that worked for the site before, and the
// other one if the site refuses, because Frappe 17 no longer has get_roles.
func (c request) roles(ctx context.Context, user string) ([]string, error) {
	without, name := c.backend.sitesWithoutGetRoles, c.siteName()
	ask, askOther := c.rolesByMethod, c.rolesByDocuments
	known := without.Contains(name)
	if known {
		ask, askOther = askOther, ask
	}
	roles, err := ask(ctx, user)
	if _, refused := errors.AsType[*refusedError](err); !refused {
		return roles, err
	}
	roles, otherErr := askOther(ctx, user)
	switch {
	case otherErr != nil:
		return nil, fmt.Errorf("%w; %w", err, otherErr)
	case known:
		without.Remove(name)
	default:
		without.Add(name, struct{}{})
	}
	return roles, nil
}

// rolesByMethod calls get_roles, which Frappe 16 and older have.
func (c request) rolesByMethod(ctx context.Context, user string) ([]string, error) {
	a, err := c.getLater(ctx, "get_roles", pathRoles, url.Values{"uid": {user}}.Encode())
	if err != nil {
		return nil, err
	}
	var roles []string
	if err := a.member("message", &roles); err != nil {
		return nil, c.noVerdict(a.status, err)
	}
	return roles, nil
}

// automaticRoles are the roles that Frappe assigns without an entry in the user's document (frappe/permissions.py).
var automaticRoles = []string{"Administrator", "All", "Desk User", "Guest"}

// rolesByDocuments reads what get_roles reads: all roles for Administrator; for any other user the roles of the user's
// document, which Frappe shares with its user, and the type of the user. It takes two requests, since the roles and the
// type are in different documents, and users may not read the type of theirs, only search for it.
func (c request) rolesByDocuments(ctx context.Context, user string) ([]string, error) {
	var roles []string
	if user == "Administrator" {
		all, err := c.list(ctx, "Role", []string{"name"})
		for _, role := range all {
			roles = append(roles, role.Name)
		}
		return roles, err
	}
	rows, err := c.list(ctx, "Has Role", []string{"parent", "role"}, is("parent", user), is("parenttype", "User"))
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		if row.Parent != user {
			return nil, c.noVerdict(http.StatusOK, errors.New("the site answered with the roles of another user"))
		}
		if !slices.Contains(automaticRoles, row.Role) {
			roles = append(roles, row.Role)
		}
	}
	roles = append(roles, "All", "Guest")
	systemUsers, err := c.list(ctx, "User", []string{"name"}, is("name", user), is("user_type", "System User"))
	switch {
	case err != nil:
		return nil, err
	case len(systemUsers) == 0:
		return roles, nil
	case systemUsers[0].Name != user:
		return nil, c.noVerdict(http.StatusOK, errors.New("the site answered with another user"))
	}
	return append(roles, "Desk User"), nil
}

// document has the fields that are read from documents of several types.
type document struct {
	Name   string `json:"name"`
	Parent string `json:"parent"`
	Role   string `json:"role"`
}

// The function is returns a filter for documents whose field has a value.
func is(field, value string) [3]string { return [3]string{field, "=", value} }

// list returns the documents of a type that filters select. It only needs the permission to read them.
func (c request) list(ctx context.Context, doctype string, fields []string, filters ...[3]string) ([]document, error) {
	fieldsJSON, _ := json.Marshal(fields) // strings can always be marshaled
	query := url.Values{"fields": {string(fieldsJSON)}, "limit_page_length": {"0"}}
	if len(filters) > 0 {
		filtersJSON, _ := json.Marshal(filters)
		query.Set("filters", string(filtersJSON))
	}
	if doctype == "Has Role" {
		query.Set("parent", "User") // its permissions apply
	}
	a, err := c.getLater(ctx, doctype, "/api/resource/"+url.PathEscape(doctype), query.Encode())
	if err != nil {
		return nil, err
	}
	var documents []document
	if err := a.member("data", &documents); err != nil {
		return nil, c.noVerdict(a.status, err)
	}
	return documents, nil
}
