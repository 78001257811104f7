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
		Short: "Tests credentials and backends of frappe_auth",
		Long: `
Tools for operators of the frappe_auth handler. They read the configuration and ask its
backends directly. Caddy does not have to run, and a running Caddy is not affected.`,
		CobraFunc: func(cmd *cobra.Command) {
			for _, sub := range []*cobra.Command{checkCommand(), hashCommand(), doctorCommand()} {
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
	})
}

// wrongUsage prints what is wrong with the command line and how to use the command. The exit code is then 1.
func wrongUsage(cmd *cobra.Command, err error) error {
	cmd.PrintErrf("Error: %v\n\n%s", err, cmd.UsageString())
	return err
}

// noArguments rejects arguments. It does not print them, since one may be a secret.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return wrongUsage(cmd, errors.New("unexpected argument; write the credential to standard input, and everything else as flags"))
}

// commandName matches what looks like the name of a command. Anything else may be a secret and is not printed.
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

// Exit codes. 1 means that the command line or the configuration is wrong.
const (
	exitRefused     = 2
	exitUnavailable = 3
	exitTrouble     = 2
	headerExample   = "`token <api_key>:<api_secret>`, `Basic <base64>` or `Bearer <access_token>`"
)

func configFlags(cmd *cobra.Command) {
	cmd.Flags().StringP("config", "c", "", "Configuration file (default: Caddyfile in the current directory)")
	cmd.Flags().StringP("adapter", "a", "", "Name of the config adapter")
}

// readCredential reads a credential from a file, or prompts for it if the file is a terminal.
func readCredential(in, questions *os.File) (string, error) {
	var (
		line []byte
		err  error
	)
	if fd := int(in.Fd()); term.IsTerminal(fd) {
		fmt.Fprintln(questions, "Enter the credential as in an Authorization header, "+headerExample+":")
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

// readHidden reads a line without echoing it. It restores the terminal even when interrupted.
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
