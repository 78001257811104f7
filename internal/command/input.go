package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/admin"
)

// headerExample shows how a credential is written.
const headerExample = "`token <api_key>:<api_secret>`, `Basic <base64>` or `Bearer <access_token>`"

// readCredential reads one credential from a file, written as in an Authorization header or as a whole Cookie header.
// If the file is a terminal, it prompts on questions and hides what is typed.
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
	header := strings.TrimPrefix(admin.TrimLineBreak(line), "Authorization: ")
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
