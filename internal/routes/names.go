package routes

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// standardRoles are the standard roles of Frappe, ERPNext and HRMS whose names contain a space. A role that is missing
// here only gets no warning.
var standardRoles = []string{
	"Accounts Manager", "Accounts User", "Dashboard Manager", "Desk User", "Employee Self Service", "Expense Approver",
	"Fleet Manager", "Fulfillment User", "HR Manager", "HR User", "Inbox User", "Item Manager",
	"Knowledge Base Contributor", "Knowledge Base Editor", "Leave Approver", "Maintenance Manager", "Maintenance User",
	"Manufacturing Manager", "Manufacturing User", "Newsletter Manager", "Prepared Report User", "Projects Manager",
	"Projects User", "Purchase Manager", "Purchase Master Manager", "Purchase User", "Quality Manager", "Report Manager",
	"Sales Manager", "Sales Master Manager", "Sales User", "Script Manager", "Stock Manager", "Stock User",
	"Support Team", "System Manager", "Website Manager", "Workspace Manager",
}

// Names returns a finding about each name in the requirements that is probably misspelled: a role whose words are
// listed as several roles, or a user's e-mail address with capital letters.
func (p Protection) Names() (found []frappe.Finding) {
	for _, required := range p.requirements() {
		for _, role := range splitRoles(required.Roles) {
			finding := frappe.Warning("require role", "the words of the role %s are listed as several roles", role)
			found = append(found, finding.Advise("write its name in quotes: require role %q", role))
		}
		for _, user := range required.Users {
			if written := frappe.UserName(user); written != user {
				finding := frappe.Warning("require user",
					"%s has capital letters, and Frappe keeps e-mail addresses in lower case", user)
				found = append(found, finding.Advise("write require user %s", written))
			}
		}
	}
	return found
}

// splitRoles finds roles whose words a requirement lists as separate roles, because the quotes are missing.
func splitRoles(listed []string) (found []string) {
	for from := range listed {
		for to := from + 2; to <= min(len(listed), from+4); to++ {
			if joined := strings.Join(listed[from:to], " "); slices.Contains(standardRoles, joined) {
				found = append(found, joined)
			}
		}
	}
	return found
}

// names finds names in requirements that are probably misspelled.
func names(http any) (found []Finding) {
	for _, p := range Protections(http) {
		for _, finding := range p.Names() {
			found = append(found, Finding{Where: p.Where, Finding: finding})
		}
	}
	return found
}

// requirements returns the requirements among the options.
func (p Protection) requirements() (all []frappe.Requirement) {
	raw, err := json.Marshal(p.Options["require"])
	if err != nil || json.Unmarshal(raw, &all) != nil {
		return nil
	}
	return all
}
