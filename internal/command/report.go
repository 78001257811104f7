package command

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/routes"
	"github.com/caddy-frappe/frappe-auth/internal/version"
)

// report has the findings about a configuration.
type report struct {
	backends []located
	handlers []located // including the configuration around them
	routes   []routes.Row
	fault    []located // why the configuration could not be loaded
}

// located is a finding about a backend or handler.
type located struct {
	where string
	frappe.Finding
}

// failed returns the report for a configuration that could not be loaded.
func failed(err error) report {
	return report{fault: []located{{Finding: frappe.Trouble("load", "%v", err)}}}
}

// code returns the exit code for a configuration that was loaded.
func (r report) code() int {
	if r.worst() == frappe.ResultTrouble {
		return exitTrouble
	}
	return 0
}

// worst returns the worst result of all findings.
func (r report) worst() frappe.Result {
	worst := frappe.ResultOK
	for _, findings := range [][]located{r.backends, r.handlers, r.fault} {
		for _, f := range findings {
			if f.Result == frappe.ResultTrouble || worst == frappe.ResultOK {
				worst = f.Result
			}
		}
	}
	return worst
}

// writeTables writes a table of the backends, and one of the handlers if there are findings about them.
func (r report) writeTables(w io.Writer) error {
	if err := writeTable(w, "BACKEND", r.backends); err != nil || len(r.handlers) == 0 {
		return err
	}
	return writeTable(w, "\nHANDLER", r.handlers)
}

// writeMap writes what the routes of each site lead to, and who gets there.
func (r report) writeMap(w io.Writer) error {
	if len(r.routes) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "\nSITE\tROUTE\tLEADS TO\tACCESS\n")
	for _, row := range r.routes {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row.Site, row.Route, row.LeadsTo, row.Access())
	}
	return table.Flush()
}

func writeTable(w io.Writer, title string, findings []located) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%s\tCHECK\tRESULT\tDETAIL\n", title)
	for _, f := range findings {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", f.where, f.Check, f.Result, f.Finding)
	}
	return table.Flush()
}

// jsonReport is the output of `doctor --json`.
type jsonReport struct {
	Version  string        `json:"version"`
	Level    string        `json:"level"` // the worst of all findings
	Findings []jsonFinding `json:"findings"`
	Routes   []routes.Row  `json:"routes,omitempty"`
}

type jsonFinding struct {
	Level  string `json:"level"`
	About  string `json:"about"`
	Where  string `json:"where,omitempty"`
	Check  string `json:"check"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
}

// writeJSON writes the report as one JSON object.
func (r report) writeJSON(w io.Writer) error {
	out := jsonReport{Version: version.Line(), Level: level(r.worst()), Findings: []jsonFinding{}, Routes: r.routes}
	for _, part := range []struct {
		about    string
		findings []located
	}{{"configuration", r.fault}, {"backend", r.backends}, {"handler", r.handlers}} {
		for _, f := range part.findings {
			out.Findings = append(out.Findings, jsonFinding{
				Level: level(f.Result), About: part.about, Where: f.where, Check: f.Check, Text: f.Detail, Advice: f.Advice,
			})
		}
	}
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

// level returns `ok`, `warning` or `trouble`.
func level(result frappe.Result) string { return strings.ToLower(string(result)) }
