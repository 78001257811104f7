package frappeauth

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// located is a finding with the handler it is about.
type located struct {
	where string
	frappe.Finding
}

// examineHandlers writes a table with the findings about each handler and the configuration around it. It writes nothing
// if there are none.
func examineHandlers(w io.Writer, config configuration, handlers []configured) (int, error) {
	var findings []located
	for _, c := range handlers {
		if f, ok := c.examineRoles(); ok {
			findings = append(findings, located{c.where, f})
		}
	}
	findings = append(findings, examineRoutes(config.http)...)
	findings = append(findings, examineWebhooks(config.http, handlers)...)
	if len(findings) == 0 {
		return 0, nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nHANDLER\tCHECK\tRESULT\tDETAIL")
	code := 0
	for _, f := range findings {
		if f.Result == frappe.ResultTrouble {
			code = exitTrouble
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.where, f.Check, f.Result, f.Detail)
	}
	return code, table.Flush()
}

// examineRoles checks that the required roles exist. There is no finding if no backend can list its roles.
func (c configured) examineRoles() (frappe.Finding, bool) {
	const check = "require role"
	if !c.requiresRole() {
		return frappe.Finding{}, false
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxRoleCheck)
	defer cancel()
	unknown, complete, err := unknownRoles(ctx, c.verifier.backends, c.Require)
	names := strings.Join(unknown, ", ")
	switch {
	case err != nil:
		return frappe.Warning(check, "the names of the roles could not be read: %v", err), true
	case len(unknown) == 0 && complete:
		return frappe.OK(check, "all of these exist: %s", strings.Join(requiredRoles(c.Require), ", ")), true
	case len(unknown) > 0 && complete && barred(c.Require, unknown):
		return frappe.Trouble(check, "no backend has %s, so nobody can pass; %s", names, adviceOnRoles), true
	case len(unknown) > 0 && complete:
		return frappe.Warning(check, "no backend has %s; %s", names, adviceOnRoles), true
	case len(unknown) > 0:
		return frappe.Warning(check, "only a backend that cannot list its roles could have %s; %s", names, adviceOnRoles), true
	}
	return frappe.Finding{}, false
}

// examineWebhooks reports webhooks that name a handler that does not exist.
func examineWebhooks(http any, handlers []configured) (findings []located) {
	names := make(map[string]bool)
	for _, c := range handlers {
		names[c.Name] = true
	}
	walkConfig(http, configPart{}, func(object map[string]any, at configPart) (goOn bool) {
		name, _ := object["handler_name"].(string)
		if object["handler"] == "frappe_auth_webhook" && name != "" && !names[name] {
			findings = append(findings, located{at.where(), frappe.Trouble("webhook", "no frappe_auth is named %s; correct `handler` of "+
				"frappe_auth_webhook or `name` of frappe_auth", name)})
		}
		return true
	})
	return findings
}
