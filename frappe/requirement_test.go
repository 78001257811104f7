package frappe_test

import (
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

func TestRequirementMetBy(t *testing.T) {
	alice := frappe.Identity{User: "alice@example.com", Roles: []string{"All", "Employee"}}
	all, onlyOpenID := alice, alice
	all.Scopes, all.Client = []string{"all", "openid"}, "mcp"
	onlyOpenID.Scopes, onlyOpenID.Client = []string{"openid"}, "other"
	for _, test := range []struct {
		name     string
		required frappe.Requirement
		id       frappe.Identity
		scheme   frappe.Scheme
		want     bool
	}{
		{"role", frappe.Requirement{Roles: []string{"X", "Employee"}}, alice, frappe.SchemeToken, true},
		{"no such role", frappe.Requirement{Roles: []string{"X"}}, alice, frappe.SchemeToken, false},
		{"user", frappe.Requirement{Users: []string{"alice@example.com"}}, alice, frappe.SchemeToken, true},
		{"another user", frappe.Requirement{Users: []string{"bob@example.com"}}, alice, frappe.SchemeToken, false},
		{
			"user or role",
			frappe.Requirement{Users: []string{"bob@example.com"}, Roles: []string{"Employee"}},
			alice, frappe.SchemeBasic, true,
		},
		{"nothing", frappe.Requirement{}, alice, frappe.SchemeToken, false},

		{"scope of a token", frappe.Requirement{Scopes: []string{"x", "all"}}, all, frappe.SchemeBearer, true},
		{"scope that a token lacks", frappe.Requirement{Scopes: []string{"all"}}, onlyOpenID, frappe.SchemeBearer, false},
		{
			"scope of a token with unknown scopes",
			frappe.Requirement{Scopes: []string{"all"}},
			alice, frappe.SchemeBearer, false,
		},
		{"part of a scope", frappe.Requirement{Scopes: []string{"open"}}, onlyOpenID, frappe.SchemeBearer, false},
		{"scope in another case", frappe.Requirement{Scopes: []string{"OpenID"}}, onlyOpenID, frappe.SchemeBearer, false},
		{"scope, for an API key", frappe.Requirement{Scopes: []string{"all"}}, alice, frappe.SchemeToken, true},
		{"scope, for an API key by Basic", frappe.Requirement{Scopes: []string{"all"}}, alice, frappe.SchemeBasic, true},
		{"scope, for a session", frappe.Requirement{Scopes: []string{"all"}}, alice, frappe.SchemeSession, true},

		{"client of a token", frappe.Requirement{Clients: []string{"x", "mcp"}}, all, frappe.SchemeBearer, true},
		{"another client", frappe.Requirement{Clients: []string{"mcp"}}, onlyOpenID, frappe.SchemeBearer, false},
		{
			"client of a token with an unknown client",
			frappe.Requirement{Clients: []string{"mcp", ""}},
			alice, frappe.SchemeBearer, false,
		},
		{"client, for an API key", frappe.Requirement{Clients: []string{"mcp"}}, alice, frappe.SchemeToken, false},
		{"client, for a session", frappe.Requirement{Clients: []string{"mcp"}}, alice, frappe.SchemeSession, false},
		{
			"client or user, for a session",
			frappe.Requirement{Clients: []string{"mcp"}, Users: []string{"alice@example.com"}},
			alice, frappe.SchemeSession, true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := test.required.MetBy(&test.id, test.scheme); got != test.want {
				t.Errorf("%s: got %t", test.required, got)
			}
		})
	}
}

// TestValidScope: the grammar of RFC 6749 section 3.3.
func TestValidScope(t *testing.T) {
	for scope, want := range map[string]bool{
		"all": true, "openid": true, "https://example.com/scope": true, "!#$[]~": true,
		"": false, "two words": false, `quo"te`: false, `back\slash`: false, "über": false, "tab\t": false, "\x7f": false,
	} {
		if got := frappe.ValidScope(scope); got != want {
			t.Errorf("%q: %t", scope, got)
		}
	}
}
