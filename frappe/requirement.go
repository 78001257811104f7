package frappe

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Requirement is met by a user who is in users, who has at least one of roles, whose credential has at least one of
// scopes, or whose access token was issued to one of clients. At least one name is required.
type Requirement struct {
	// Names of roles, as Frappe spells them. Default: none.
	Roles []string `json:"roles,omitempty"`

	// Names of users, as Frappe spells them. Default: none.
	Users []string `json:"users,omitempty"`

	// OAuth scopes, as the OAuth Client in Frappe lists them. An access token must have been issued with one of them. API
	// keys and sessions have every scope of their user, as in Frappe, so they always meet this. It is an error when the
	// configuration is loaded if a backend cannot see scopes. Default: none.
	Scopes []string `json:"scopes,omitempty"`

	// Client ids of OAuth Clients. An access token must have been issued to one of them. API keys and sessions were issued
	// to no client, so they never meet this. It is an error when the configuration is loaded if a backend cannot see the
	// client of a token. Default: none.
	Clients []string `json:"clients,omitempty"`
}

// Validate returns an error if the requirement names nothing, if a name is empty, or if no token can have a scope.
func (r *Requirement) Validate() error {
	if len(r.Roles) == 0 && len(r.Users) == 0 && len(r.Scopes) == 0 && len(r.Clients) == 0 {
		return errors.New("require: name at least one role, user, scope or client")
	}
	if slices.Contains(slices.Concat(r.Roles, r.Users, r.Clients), "") {
		return errors.New("require: a name is empty; remove it, or write the name")
	}
	for _, scope := range r.Scopes {
		if !ValidScope(scope) {
			return fmt.Errorf("require scope: %q is not a scope; write one name, such as all or openid, without quotes or "+
				"backslashes", scope)
		}
	}
	return nil
}

// MetBy reports whether the requirement is met by the owner of a credential of that scheme.
func (r *Requirement) MetBy(id *Identity, scheme Scheme) bool {
	return slices.ContainsFunc(r.Users, func(name string) bool { return UserName(name) == id.User || name == id.User }) ||
		overlap(r.Roles, id.Roles) ||
		len(r.Scopes) > 0 && (scheme != SchemeBearer || overlap(r.Scopes, id.Scopes)) ||
		id.Client != "" && slices.Contains(r.Clients, id.Client)
}

// UserName returns the name of a user as Frappe stores it, with e-mail addresses in lower case.
func UserName(name string) string {
	if strings.Contains(name, "@") {
		return strings.ToLower(name)
	}
	return name
}

func overlap(wanted, had []string) bool {
	return slices.ContainsFunc(wanted, func(name string) bool { return slices.Contains(had, name) })
}

// String describes who meets the requirement, as in `role System Manager or user alice@example.com`.
func (r Requirement) String() string {
	var parts []string
	for _, kind := range []struct {
		name  string
		names []string
	}{{"role", r.Roles}, {"user", r.Users}, {"scope", r.Scopes}, {"client", r.Clients}} {
		for _, name := range kind.names {
			parts = append(parts, kind.name+" "+name)
		}
	}
	return strings.Join(parts, " or ")
}

// ValidScope reports whether a name is a scope-token of RFC 6749 section 3.3.
func ValidScope(name string) bool {
	return name != "" &&
		!strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}
