package frappeauth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

func checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [--config <file>] [--adapter <name>] [--site <url>] [--url <url>]",
		Short: "Explains what happens to a credential",
		Long: `
Reads one credential from standard input, written as in an Authorization header, or prompts
for it without showing it. Explains step by step what every frappe_auth of the configuration
does with it: how it is parsed, what each backend answers, and why.

    printf 'token 2c6245becaa0961:61066224add85e6' | caddy frappe-auth check --config Caddyfile

--site asks that Frappe site instead of the configured backends. Without --config, it asks
only that site, with default options. --url is the URL of the request, for backends whose
site_name depends on it.

Nothing is cached and no failure is counted. No secret is shown, and at most four characters
of an API key.

Exit codes: 0 if every handler lets the credential pass, 2 if one refuses it, 3 if it could
not be verified, 1 if the command line or the configuration is wrong.`,
		RunE: caddycmd.WrapCommandFuncForCobra(cmdCheck),
	}
	configFlags(cmd)
	cmd.Flags().String("site", "", "URL of a Frappe site to ask instead of the configured backends")
	cmd.Flags().String("url", "", "URL of the request")
	return cmd
}

func cmdCheck(fl caddycmd.Flags) (int, error) {
	repl, err := replacerFor(fl.String("url"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, errors.New("--url: write the URL of a request, such as https://files.example.com/")
	}
	ctx, cancel, err := newToolContext()
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer cancel()
	parts, err := toCheck(fl)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	handlers, err := loadHandlers(ctx, parts)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	header, err := readCredential(os.Stdin, os.Stderr)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return explain(os.Stdout, handlers, repl, header), nil
}

// toCheck returns the handlers to check. With --site, that site replaces their backends. With --site and without
// --config, it returns one handler for that site.
func toCheck(fl caddycmd.Flags) ([]configPart, error) {
	site := fl.String("site")
	ask := func(roles bool) []any {
		return []any{map[string]any{"backend": "site", "urls": []string{site}, "roles": roles}}
	}
	if site != "" && fl.String("config") == "" {
		return []configPart{{
			module: "http.handlers.frappe_auth", json: map[string]any{"backends": ask(false)}, label: "with default options, for --site",
		}}, nil
	}
	config, err := readConfiguration(fl)
	if err != nil {
		return nil, err
	}
	parts, err := config.handlers()
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		if site != "" {
			part.json["backends"] = ask(part.json["require"] != nil)
		}
	}
	return parts, nil
}

// explain writes step by step what happens to a credential, and returns the exit code.
func explain(w io.Writer, handlers []configured, repl *caddy.Replacer, header string) (code int) {
	fmt.Fprintln(w, "Credential")
	cred, err := frappe.ParseCredential(header)
	if err != nil {
		fmt.Fprintf(w, "  malformed: %v\n\nEvery handler answers 401, and no backend is asked.\n", err)
		return exitRefused
	}
	describe(w, cred)
	for _, c := range handlers {
		fmt.Fprintf(w, "\nHandler %s\n", c.where)
		code = max(code, c.explain(w, repl, header, cred))
	}
	return code
}

// describe writes what was parsed and what is unusual about it.
func describe(w io.Writer, cred frappe.Credential) {
	fmt.Fprintf(w, "  scheme      %s\n", cred.Scheme)
	if cred.Bearer() {
		fmt.Fprintf(w, "  token       %d characters\n", len(cred.Token))
		if strings.Count(cred.Token, ".") == 2 {
			fmt.Fprintln(w, "              Three parts separated by dots look like a JWT; Frappe accepts one only if an app has auth_hooks for it.")
		}
		return
	}
	fmt.Fprintf(w, "  API key     %s, %d characters\n", cred.KeyPrefix(), len(cred.Key))
	fmt.Fprintf(w, "  API secret  %d characters\n", len(cred.Secret))
	if strings.Contains(cred.Key, "@") {
		fmt.Fprintln(w, "              This looks like a login name and a password. Frappe takes only an API key and an API secret here:")
		fmt.Fprintln(w, "              generate them in the user's form, under Settings, API Access.")
		return
	}
	for _, part := range []struct{ name, text string }{{"key", cred.Key}, {"secret", cred.Secret}} {
		if _, err := hex.DecodeString(part.text + "0"); err != nil || len(part.text) != frappeHash {
			fmt.Fprintf(w, "              Frappe generates an API %s of %d hexadecimal digits; check that exactly this was copied\n", part.name, frappeHash)
		}
	}
}

// frappeHash is the length of the keys and secrets that Frappe generates (generate_hash, User.generate_keys).
const frappeHash = 15

// explain writes what one handler does with a header, without using its cache.
func (c configured) explain(w io.Writer, repl *caddy.Replacer, header string, cred frappe.Credential) int {
	asked := 0
	d := c.decide(context.Background(), &attempt{headers: []string{header}, repl: repl, uncharged: true, trace: func(s step) {
		asked++
		explainStep(w, asked, s, cred)
	}})
	if g := d.verdict.grant; g != nil {
		for _, required := range c.Require {
			met := "met"
			if !required.metBy(g) {
				met = "not met"
			}
			fmt.Fprintf(w, "  requires %s: %s\n", required, met)
		}
	}
	switch {
	case d.rejection == nil:
		fmt.Fprintf(w, "  It lets the request pass, as %s.\n", d.user())
		return 0
	case errors.Is(d.reason, errNotAccepted):
		fmt.Fprintf(w, "  %v; accepted: %s\n  It answers 401, and no backend is asked.\n", d.reason, join(c.Schemes))
	case d.rejection == rejectNoSite:
		fmt.Fprintf(w, "  The site depends on the request, and --url names none.\n  It answers 400.\n")
	case d.outcome == outcomeUnavailable:
		fmt.Fprintln(w, "  It answers 503: no backend granted, and one was unavailable.")
		return exitUnavailable
	case d.outcome == outcomeForbidden:
		fmt.Fprintf(w, "  It answers %d: %v.\n", d.status, d.reason)
	default:
		fmt.Fprintf(w, "  It answers %d.\n", d.status)
	}
	return exitRefused
}

// explainStep writes one backend's answer.
func explainStep(w io.Writer, number int, s step, cred frappe.Credential) {
	fmt.Fprintf(w, "  %d. %s", number, s.backend.name)
	if source := s.backend.source(); source != "" {
		fmt.Fprintf(w, ": %s", source)
	}
	if s.site != "" {
		fmt.Fprintf(w, ", site %s", s.site)
	}
	fmt.Fprintln(w)
	took := s.took.Round(10 * time.Microsecond)
	switch {
	case s.err == nil:
		fmt.Fprintf(w, "     granted in %s: %s\n", took, s.identity.User)
		describeIdentity(w, s.identity)
	case errors.Is(s.err, frappe.ErrDenied):
		fmt.Fprintf(w, "     denied in %s: %s\n", took, whyDenied(cred))
	case errors.Is(s.err, frappe.ErrUnknownSite):
		fmt.Fprintf(w, "     no such site, after %s\n", took)
	default:
		fmt.Fprintf(w, "     unavailable, after %s: %v\n", took, s.err)
	}
}

func describeIdentity(w io.Writer, id frappe.Identity) {
	for _, line := range []struct{ name, text string }{
		{"full name", id.FullName},
		{"roles", strings.Join(id.Roles, ", ")},
		{"scopes", strings.Join(id.Scopes, " ")},
	} {
		if line.text != "" {
			fmt.Fprintf(w, "     %s: %s\n", line.name, line.text)
		}
	}
	if !id.Expiry.IsZero() {
		fmt.Fprintf(w, "     expires: %s\n", id.Expiry.UTC().Format(time.RFC3339))
	}
}

// whyDenied lists the possible causes of a denial. Backends do not tell them apart.
func whyDenied(cred frappe.Credential) string {
	if cred.Bearer() {
		return "the token is unknown, expired or revoked, its client does not have its scopes, or the user is disabled"
	}
	return "the API key is unknown, the secret is wrong, or the user is disabled"
}

func join(schemes []frappe.Scheme) string {
	names := make([]string, len(schemes))
	for i, scheme := range schemes {
		names[i] = string(scheme)
	}
	return strings.Join(names, ", ")
}
