package frappeauth

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "frappe-auth",
		Usage: "<command>",
		Short: "Explains credentials, and checks backends, of frappe_auth",
		Long: `
Tools for those who run the frappe_auth handler. They read the configuration and ask its
backends by themselves: no Caddy has to run, and a running one is not touched.`,
		CobraFunc: func(cmd *cobra.Command) {
			for _, sub := range []*cobra.Command{checkCommand(), hashCommand(), doctorCommand()} {
				sub.Args = noArguments
				// Exit codes speak for themselves; errors are logged, as Caddy's own.
				sub.SilenceErrors, sub.SilenceUsage = true, true
				cmd.AddCommand(sub)
			}
			cmd.Args = noCommand
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.SilenceErrors, cmd.SilenceUsage = true, true
			cmd.SetFlagErrorFunc(wrongUsage)
		},
	})
}

// wrongUsage prints what is wrong with the command line, and how the command is used. The exit code is then 1.
func wrongUsage(cmd *cobra.Command, err error) error {
	cmd.PrintErrf("Error: %v\n\n%s", err, cmd.UsageString())
	return err
}

// noArguments rejects arguments, without showing them: one may be a secret.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return wrongUsage(cmd, errors.New("unexpected argument; a credential is read from standard input, everything else is given by flags"))
}

// commandName is how the name of a command looks. Anything else is not shown, since it may be a secret.
var commandName = regexp.MustCompile(`^[a-z-]{1,20}$`)

// noCommand rejects a command that there is not.
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

// Exit codes, beside 1 for what is wrong with the command line or the configuration.
const (
	exitRefused     = 2
	exitUnavailable = 3
	exitTrouble     = 2
	headerExample   = "`token <api_key>:<api_secret>`, `Basic <base64>` or `Bearer <access_token>`"
)

func configFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", "", "Configuration file (default: the Caddyfile here)")
	cmd.Flags().StringP("adapter", "a", "", "Name of the config adapter")
}

// readCredential reads a credential from a file, or asks for it where a human is to type it in.
func readCredential(in, questions *os.File) (string, error) {
	var (
		line []byte
		err  error
	)
	if fd := int(in.Fd()); term.IsTerminal(fd) {
		fmt.Fprintln(questions, "The credential as an Authorization header carries it, "+headerExample+":")
		line, err = readHidden(fd)
	} else {
		line, err = bufio.NewReader(io.LimitReader(in, frappe.MaxHeaderSize+2)).ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
	}
	if err != nil {
		return "", fmt.Errorf("reading the credential: %w", err)
	}
	header := strings.TrimPrefix(withoutLineEnd(line), "Authorization: ")
	if header == "" {
		return "", errors.New("no credential on standard input; write it as " + headerExample)
	}
	return header, nil
}

// readHidden reads a line that is not shown, and leaves the terminal as it was also when interrupted.
func readHidden(fd int) ([]byte, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return nil, err
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	defer signal.Stop(interrupted)
	go func() {
		<-interrupted
		_ = term.Restore(fd, before)
		os.Exit(caddy.ExitCodeFailedStartup)
	}()
	return term.ReadPassword(fd)
}
