// Package command implements `caddy frappe-auth`. Its commands read a configuration and call its backends, without a
// running Caddy.
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// Checker checks what a loaded handler or provider does.
type Checker interface {
	// Name returns the option `name`.
	Name() string

	// Schemes returns the accepted schemes.
	Schemes() []frappe.Scheme

	// Parts returns the modules that the handler uses: the backends in the order in which they are asked, the shared store
	// and the feeds.
	Parts() []Part

	// Check decides about a header without the cache, and does not count a failure. It calls answered with the answer of
	// each backend.
	Check(ctx context.Context, header string, repl *caddy.Replacer, answered func(Answer)) Decision

	// CheckRequirements checks the names in the requirements, and that the required roles exist.
	CheckRequirements(ctx context.Context) []frappe.Finding

	// CheckLogin checks that users can log in on the ERP's host, if they must. where says which requests reach the
	// handler.
	CheckLogin(ctx context.Context, where string) []frappe.Finding
}

// Part is a module that a handler uses.
type Part struct {
	Module any
	Name   string
	Source string // empty if the module does not name it
}

// Answer is the answer of a backend about a credential.
type Answer struct {
	Backend  string
	Source   string
	Site     string // empty if the backend serves only one
	Identity frappe.Identity
	Err      error
	Took     time.Duration
}

// Decision is what a handler does with a request.
type Decision struct {
	Status       int           // of the response; 200 if the request is accepted
	Reason       error         // nil if the request is accepted
	User         string        // empty unless the request is accepted
	Requirements []Requirement // empty unless a backend granted
}

// Requirement is a line `require`.
type Requirement struct {
	Text string
	Met  bool
}

// Root returns the command `caddy frappe-auth`, for caddycmd.RegisterCommand. open returns a loaded frappe_auth handler
// or provider as a Checker.
func Root(open func(module any) Checker) caddycmd.Command {
	l := loader{open: open}
	return caddycmd.Command{
		Name:  "frappe-auth",
		Usage: "<command>",
		Short: "Tests credentials and backends of frappe_auth",
		Long: `
Tools for operators of the frappe_auth handler. They read the configuration and ask its
backends directly. Caddy does not have to run, and a running Caddy is not affected.`,
		CobraFunc: func(cmd *cobra.Command) {
			for _, sub := range []*cobra.Command{
				l.initCommand(), l.checkCommand(), hashCommand(), l.doctorCommand(), versionCommand(),
			} {
				sub.Args = noArguments
				// Caddy logs the error, so cobra must not print it as well.
				sub.SilenceErrors, sub.SilenceUsage = true, true
				cmd.AddCommand(sub)
			}
			cmd.Args = noCommand
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetFlagErrorFunc(wrongUsage)
		},
	}
}

// Exit codes. 1, caddy.ExitCodeFailedStartup, means that the command line or the configuration is wrong.
const (
	exitRefused     = 2
	exitUnavailable = 3
	exitTrouble     = 2
)

// wrongUsage prints what is wrong with the command line, and the usage of the command. The exit code is then 1.
func wrongUsage(cmd *cobra.Command, err error) error {
	cmd.PrintErrf("Error: %v\n\n%s", err, cmd.UsageString())
	return err
}

// noArguments rejects arguments. It does not print them, because they may be secret.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return wrongUsage(cmd, errors.New("unexpected argument; "+meant(cmd, args[0])))
}

// meant says how to write what an argument probably is.
func meant(cmd *cobra.Command, argument string) string {
	has := func(flag string) bool { return cmd.Flags().Lookup(flag) != nil }
	info, err := os.Stat(argument)
	switch {
	case isURL(argument) && has("site"):
		return "write --site before the URL of a site"
	case err == nil && info.IsDir() && has("bench"):
		return "write --bench before the path of a bench"
	case has("output") && (err == nil || looksLikeFile.MatchString(argument)):
		return "write --output before the file to write"
	case has("config") && (err == nil || looksLikeFile.MatchString(argument)):
		return "write --config before the configuration file"
	case has("user") && strings.Contains(argument, "@") && !strings.ContainsAny(argument, ": "):
		return "write --user before the user"
	case readsCredential[cmd.Name()]:
		return "write the credential to standard input, and everything else as flags"
	}
	return "write everything as flags"
}

// looksLikeFile matches names of configuration files.
var looksLikeFile = regexp.MustCompile(`(?i)(^|[/\\])(caddyfile[^/\\]*|[^/\\:]*\.(caddyfile|conf|json|yaml))$`)

// readsCredential has the commands that read a credential from standard input.
var readsCredential = map[string]bool{"check": true, "hash": true}

// commandName matches text that looks like the name of a command. Anything else may be a secret and is not printed.
var commandName = regexp.MustCompile(`^[a-z-]{1,20}$`)

// noCommand rejects a command that does not exist.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range cmd.Commands() {
		names = append(names, sub.Name())
	}
	problem := "unknown command"
	if commandName.MatchString(args[0]) {
		problem += " " + args[0]
	}
	if nearest, ok := directive.Nearest(args[0], names); ok {
		return wrongUsage(cmd, fmt.Errorf("%s; did you mean %s?", problem, nearest))
	}
	return wrongUsage(cmd, errors.New(problem))
}

func configFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", "", "Configuration file (default: Caddyfile in the current directory)")
	cmd.Flags().StringP("adapter", "a", "", "Name of the config adapter")
}
