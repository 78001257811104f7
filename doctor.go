package frappeauth

import (
	"context"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// maxExamination is how long checking one backend may take.
const maxExamination = 30 * time.Second

func doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor --config <file> [--adapter <name>]",
		Short: "Checks the backends, and the configuration around frappe_auth",
		Long: `
Checks every backend of the configuration: whether it can be reached and is a Frappe site or
its database, the version of Frappe, the site's name, what the database's user may read, the
time zone and the clocks. Also checks whether the required roles exist, whether the user's
placeholders are used before frappe_auth sets them, and whether each webhook has a handler.
Prints the results as tables.

Exit codes: 0 if all is well, warnings included; 2 if a check found trouble; 1 if the command
line or the configuration is wrong.`,
		RunE: caddycmd.WrapCommandFuncForCobra(cmdDoctor),
	}
	configFlags(cmd)
	return cmd
}

func cmdDoctor(fl caddycmd.Flags) (int, error) {
	ctx, cancel, err := newToolContext()
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer cancel()
	config, err := readConfiguration(fl)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	parts, err := config.handlers()
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	handlers, err := loadHandlers(ctx, parts)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	code, err := examine(os.Stdout, handlers)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	whole, err := examineHandlers(os.Stdout, config, handlers)
	return max(code, whole), err
}

// examine writes a table with the findings about each backend. Handlers that share a backend get one entry.
func examine(w io.Writer, handlers []configured) (int, error) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BACKEND\tCHECK\tRESULT\tDETAIL")
	seen := make(map[string]bool)
	code := 0
	for _, c := range handlers {
		for _, b := range c.verifier.backends {
			name := b.name + " " + b.source()
			if seen[name] {
				continue
			}
			seen[name] = true
			for _, f := range findingsOf(b) {
				if f.Result == frappe.ResultTrouble {
					code = exitTrouble
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, f.Check, f.Result, f.Detail)
			}
		}
	}
	return code, table.Flush()
}

func findingsOf(b namedBackend) []frappe.Finding {
	checker, ok := b.Backend.(frappe.HealthChecker)
	if !ok {
		return []frappe.Finding{frappe.OK("configuration", "this backend has no checks of its own")}
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxExamination)
	defer cancel()
	return checker.CheckHealth(ctx)
}
