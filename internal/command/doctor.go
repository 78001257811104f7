package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/routes"
	"github.com/caddy-frappe/frappe-auth/internal/version"
)

// maxExamination is how long the checks of one backend may take, or those of one handler.
const maxExamination = 30 * time.Second

func (l loader) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor --config <file> [--adapter <name>] [--json]",
		Short: "Checks the backends, and the configuration around frappe_auth",
		Long: `
Checks every backend of the configuration: whether it can be reached and is a Frappe site or
its database, the version of Frappe, the site's name, what the database's user may read, the
time zone and the clocks. Also checks whether the required roles exist, and the configuration
around frappe_auth: placeholders that are used before it, open routes to what is protected
elsewhere, headers that clash, descriptions that no client reaches, webhooks without a handler,
logins on another host that do not work.
The last table is the map: which routes of each site are protected by what, and which are open.
Prints the version and the results as tables, or with --json as one JSON object: version,
level, which is the worst of all findings, and findings, which has for each its level (ok,
warning or trouble), what it is about (backend, handler or configuration), where, the name of
the check, text, and advice if there is something to do that the text does not say.

Exit codes: 0 if all is well, warnings included; 2 if a check found trouble; 1 if the command
line or the configuration is wrong.`,
		RunE: caddycmd.WrapCommandFuncForCobra(l.doctor),
	}
	configFlags(cmd)
	cmd.Flags().Bool("json", false, "Print one JSON object instead of tables")
	return cmd
}

func (l loader) doctor(fl caddycmd.Flags) (int, error) {
	asJSON := fl.Bool("json")
	r, err := l.diagnose(fl.String("config"), fl.String("adapter"))
	switch {
	case err != nil && asJSON:
		err = errors.Join(err, failed(err).writeJSON(os.Stdout))
	case err == nil && asJSON:
		err = r.writeJSON(os.Stdout)
	case err == nil:
		fmt.Println(version.Line() + "\n")
		err = errors.Join(r.writeTables(os.Stdout), r.writeMap(os.Stdout))
	}
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return r.code(), nil
}

// diagnose reads a configuration and examines it.
func (l loader) diagnose(file, adapter string) (report, error) {
	ctx, cancel, err := newContext()
	if err != nil {
		return report{}, err
	}
	defer cancel()
	config, err := readConfiguration(file, adapter)
	if err != nil {
		return report{}, err
	}
	return l.examine(ctx, config)
}

// examine loads the handlers of a configuration, and checks them and the configuration around them.
func (l loader) examine(ctx caddy.Context, config configuration) (report, error) {
	configured, err := config.handlers()
	if err != nil {
		return report{}, err
	}
	handlers, err := l.load(ctx, configured)
	if err != nil {
		return report{}, err
	}
	return examine(config, handlers), nil
}

// examine checks each backend, store and feed, each handler, and the configuration around them. A backend, store or
// feed that several handlers share is checked once.
func examine(config configuration, handlers []loaded) (r report) {
	seen := make(map[string]bool)
	for _, handler := range handlers {
		for _, b := range handler.Parts() {
			name := b.Name + " " + b.Source
			if seen[name] {
				continue
			}
			seen[name] = true
			for _, f := range b.examine() {
				r.backends = append(r.backends, located{name, f})
			}
		}
	}
	for _, handler := range handlers {
		for _, f := range handler.examine() {
			r.handlers = append(r.handlers, located{handler.where, f})
		}
	}
	for _, f := range routes.Findings(config.http) {
		r.handlers = append(r.handlers, located{f.Where, f.Finding})
	}
	r.routes = routes.Map(config.http)
	return r
}

func (p Part) examine() []frappe.Finding {
	checker, ok := p.Module.(frappe.HealthChecker)
	if !ok {
		return []frappe.Finding{frappe.OK("configuration", "this module has no checks of its own")}
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxExamination)
	defer cancel()
	return checker.CheckHealth(ctx)
}

func (h loaded) examine() []frappe.Finding {
	ctx, cancel := context.WithTimeout(context.Background(), maxExamination)
	defer cancel()
	return append(h.CheckRequirements(ctx), h.CheckLogin(ctx, h.where)...)
}
