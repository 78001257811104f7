package static

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// CanMeet reports whether a listed credential meets the requirement. A placeholder may have any value, so it counts as a
// match. API keys have every scope.
func (s *Backend) CanMeet(required frappe.Requirement) bool {
	if required.Validate() != nil {
		return true // reported elsewhere
	}
	meets := func(user string, roles []string) bool {
		return matchesAny([]string{user}, required.Users) || matchesAny(roles, required.Roles)
	}
	return len(s.Tokens) > 0 && len(required.Scopes) > 0 ||
		slices.ContainsFunc(s.Tokens, func(t Token) bool { return meets(t.User, t.Roles) }) ||
		slices.ContainsFunc(s.Bearers, func(t Bearer) bool { return meets(t.User, t.Roles) })
}

func matchesAny(have, want []string) bool {
	return len(want) > 0 && slices.ContainsFunc(have, func(name string) bool {
		return slices.Contains(want, name) || strings.Contains(name, "{")
	})
}

// Only returns the backend of a configuration that has no other backend, else nil. Then only users that it lists can meet a
// requirement.
func Only(backends []json.RawMessage) *Backend {
	if len(backends) != 1 {
		return nil
	}
	var module struct {
		Name string `json:"backend"`
		Backend
	}
	if json.Unmarshal(backends[0], &module) != nil || module.Name != "static" {
		return nil
	}
	return &module.Backend
}
