// Package input reads what an operator gives to a tool: a credential, and the URL of a request.
package input

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/term"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// HeaderExample shows how a credential is written.
const HeaderExample = "`token <api_key>:<api_secret>`, `Basic <base64>` or `Bearer <access_token>`"

// cookiePrefix is what a line with a session begins with.
const cookiePrefix = "Cookie: "

// Credential reads one credential, written as in an Authorization header or as the whole Cookie header, from a file. If the file is a terminal, it
// asks for the credential on questions, and what is typed is not shown.
func Credential(in, questions *os.File) (string, error) {
	var (
		line []byte
		err  error
	)
	if fd := int(in.Fd()); term.IsTerminal(fd) {
		fmt.Fprintln(questions, "Enter the credential as in an Authorization header, "+HeaderExample+":")
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
	header := strings.TrimPrefix(Line(line), "Authorization: ")
	if header == "" {
		return "", errors.New("no credential on standard input; write it as " + HeaderExample)
	}
	return header, nil
}

// Cookie returns the value of a line that is a Cookie header, which may hold a session.
func Cookie(line string) (value string, ok bool) {
	if len(line) < len(cookiePrefix) || !strings.EqualFold(line[:len(cookiePrefix)], cookiePrefix) {
		return "", false
	}
	return line[len(cookiePrefix):], true
}

// Parse parses a line as a request's Authorization or Cookie header.
func Parse(line string) (frappe.Credential, error) {
	cookie, ok := Cookie(line)
	if !ok {
		return frappe.ParseCredential(line)
	}
	if session, ok := frappe.ParseSession([]string{cookie}); ok {
		return session, nil
	}
	return frappe.Credential{}, errors.New("the first cookie `sid` is missing, or is no session of Frappe, which has lower-case letters and digits only; " +
		"write `Cookie: sid=<session>`")
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

// Line returns a line without its line break.
func Line(line []byte) string {
	return string(bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")))
}

// Replacer returns a replacer with the placeholders of a request for a URL. Without a URL, there are none of a request.
func Replacer(requestURL string) (*caddy.Replacer, error) {
	repl := caddy.NewReplacer()
	if requestURL == "" {
		return repl, nil
	}
	u, err := url.Parse(requestURL)
	if err != nil || u.Host == "" {
		return nil, errors.New("not the URL of a request")
	}
	if _, err := directive.Port(u); err != nil {
		return nil, err
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Host: u.Host, RequestURI: u.RequestURI(), Header: make(http.Header)}
	caddyhttp.PrepareRequest(r, repl, noResponse{}, new(caddyhttp.Server))
	return repl, nil
}

// noResponse stands in for the response of a request that was never sent.
type noResponse struct{ http.ResponseWriter }

// Header implements http.ResponseWriter.
func (noResponse) Header() http.Header { return http.Header{} }
