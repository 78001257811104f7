// Package roles finds mistakes in the roles that requirements name.
package roles

import (
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// standard are standard roles of Frappe, ERPNext and HRMS whose names contain a space. A role that is missing here only
// means that its warning is missing.
var standard = []string{
	"Accounts Manager", "Accounts User", "Dashboard Manager", "Desk User", "Employee Self Service", "Expense Approver", "Fleet Manager",
	"Fulfillment User", "HR Manager", "HR User", "Inbox User", "Item Manager", "Knowledge Base Contributor", "Knowledge Base Editor",
	"Leave Approver", "Maintenance Manager", "Maintenance User", "Manufacturing Manager", "Manufacturing User", "Newsletter Manager",
	"Prepared Report User", "Projects Manager", "Projects User", "Purchase Manager", "Purchase Master Manager", "Purchase User",
	"Quality Manager", "Report Manager", "Sales Manager", "Sales Master Manager", "Sales User", "Script Manager", "Stock Manager",
	"Stock User", "Support Team", "System Manager", "Website Manager", "Workspace Manager",
}

// split finds Frappe roles that a requirement lists word by word, because the quotes are missing.
func split(listed []string) (found []string) {
	for from := range listed {
		for to := from + 2; to <= min(len(listed), from+4); to++ {
			if joined := strings.Join(listed[from:to], " "); slices.Contains(standard, joined) {
				found = append(found, joined)
			}
		}
	}
	return found
}

// barred reports whether nobody can meet one of the requirements, because it names only unknown roles.
func barred(requirements []frappe.Requirement, unknown []string) bool {
	return slices.ContainsFunc(requirements, func(required frappe.Requirement) bool {
		return len(required.Users) == 0 && len(required.Scopes) == 0 && len(required.Clients) == 0 && len(required.Roles) > 0 &&
			!slices.ContainsFunc(required.Roles, func(role string) bool { return !slices.Contains(unknown, role) })
	})
}

// allRequired returns all roles that the requirements name, each once.
func allRequired(requirements []frappe.Requirement) (names []string) {
	for _, required := range requirements {
		names = append(names, required.Roles...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
