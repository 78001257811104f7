package command

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/admin"
	"github.com/caddy-frappe/frappe-auth/internal/routes"
)

func (l loader) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [--config <file>] [--adapter <name>] [--site <url> [--site-name <name>]] [--url <url>]",
		Short: "Explains what happens to a credential",
		Long: `
Reads one credential from standard input, written as in an Authorization header, or prompts
for it without showing it. Explains step by step what every frappe_auth of the configuration
does with it: how it is parsed, what each backend answers, and why.

    printf 'token 2c6245becaa0961:61066224add85e6' | caddy frappe-auth check --config Caddyfile

A session is written as the header of its cookie, Cookie: sid=<session>.

--site asks that Frappe site instead of the configured backends. Without --config, it asks
only that site, about a credential of any scheme. --site-name is the name of the site on its
bench, if the bench does not find it by the host in the URL. --url is the URL of the request,
for backends whose site_name depends on it.

Nothing is cached and no failure is counted. No secret is shown, and at most four characters
of an API key.

Exit codes: 0 if every handler lets the credential pass, 2 if one refuses it, 3 if it could
not be verified, 1 if the command line or the configuration is wrong.`,
		RunE: caddycmd.WrapCommandFuncForCobra(l.check),
	}
	configFlags(cmd)
	cmd.Flags().String("site", "", "URL of a Frappe site to ask instead of the configured backends")
	cmd.Flags().String("site-name", "", "Name of the site on its bench")
	cmd.Flags().String("url", "", "URL of the request")
	return cmd
}

func (l loader) check(fl caddycmd.Flags) (int, error) {
	repl, err := admin.NewReplacer(fl.String("url"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, errors.New("--url: write the URL of a request, " +
			"such as https://files.example.com/")
	}
	ctx, cancel, err := newContext()
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer cancel()
	configured, err := toCheck(fl)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	handlers, err := l.load(ctx, configured)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	header, err := readCredential(os.Stdin, os.Stderr)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	return explain(os.Stdout, handlers, repl, header), nil
}

// toCheck returns the handlers to check. With --site, that site replaces their backends. Without --config, it then
// returns one handler for that site.
func toCheck(fl caddycmd.Flags) ([]routes.Protection, error) {
	site, name := fl.String("site"), fl.String("site-name")
	if site == "" && name != "" {
		return nil, errors.New("--site-name needs --site; in a configuration, write site_name in the block of backend site")
	}
	if err := checkSiteFlag(site); err != nil {
		return nil, err
	}
	ask := func(roles bool) []any {
		return []any{map[string]any{"backend": "site", "urls": []string{site}, "site_name": name, "roles": roles}}
	}
	if site != "" && fl.String("config") == "" {
		all := []frappe.Scheme{frappe.SchemeBasic, frappe.SchemeBearer, frappe.SchemeToken, frappe.SchemeSession}
		return []routes.Protection{{
			Module: routes.HandlerModule, Options: map[string]any{"backends": ask(false), "schemes": all},
			Where: "with every scheme, for --site",
		}}, nil
	}
	config, err := readConfiguration(fl.String("config"), fl.String("adapter"))
	if err != nil {
		return nil, err
	}
	handlers, err := config.handlers()
	if err != nil {
		return nil, err
	}
	for _, handler := range handlers {
		if site != "" {
			handler.Options["backends"] = ask(handler.Options["require"] != nil)
		}
	}
	return handlers, nil
}

// explain writes step by step what happens to a credential, and returns the exit code.
func explain(w io.Writer, handlers []loaded, repl *caddy.Replacer, header string) (code int) {
	fmt.Fprintln(w, "Credential")
	cred, err := admin.ParseCredential(header)
	if _, malformed := errors.AsType[*frappe.MalformedError](err); malformed {
		hint := ""
		if !strings.Contains(header, " ") {
			hint = "; write it as " + headerExample
		}
		fmt.Fprintf(w, "  malformed: %v%s\n\nEvery handler answers 401, and no backend is asked.\n", err, hint)
		return exitRefused
	}
	if err != nil {
		fmt.Fprintf(w,
			"  none: %v\n\nEvery handler answers 401, or with `anonymous` lets the request pass as Guest. "+
				"No backend is asked.\n", err)
		return exitRefused
	}
	describe(w, cred)
	for _, handler := range handlers {
		fmt.Fprintf(w, "\nHandler %s\n", handler.where)
		code = max(code, handler.explain(w, repl, header, cred))
	}
	return code
}

// describe writes what was parsed from the credential, and what is unusual about it.
func describe(w io.Writer, cred frappe.Credential) {
	fmt.Fprintf(w, "  scheme      %s\n", cred.Scheme)
	switch cred.Scheme {
	case frappe.SchemeSession:
		fmt.Fprintf(w, "  session     %d characters\n", len(cred.Session))
	case frappe.SchemeBearer:
		fmt.Fprintf(w, "  token       %d characters\n", len(cred.Token))
		if strings.Count(cred.Token, ".") == 2 {
			fmt.Fprintln(w,
				"              Three parts separated by dots look like a JWT; Frappe accepts one only if an app has auth_hooks "+
					"for it.")
		}
	default:
		describePair(w, cred)
	}
	if mistake := cred.Mistake(); mistake != "" {
		fmt.Fprintf(w, "              %s%s.\n", strings.ToUpper(mistake[:1]), mistake[1:])
	}
}

func describePair(w io.Writer, cred frappe.Credential) {
	fmt.Fprintf(w, "  API key     %s, %d characters\n", cred.KeyPrefix(), len(cred.Key))
	fmt.Fprintf(w, "  API secret  %d characters\n", len(cred.Secret))
	if cred.Mistake() != "" {
		return
	}
	for _, part := range []struct{ name, text string }{{"key", cred.Key}, {"secret", cred.Secret}} {
		if _, err := hex.DecodeString(part.text + "0"); err != nil || len(part.text) != frappeHash {
			fmt.Fprintf(w,
				"              Frappe generates an API %s of %d hexadecimal digits; check that exactly this was copied\n",
				part.name, frappeHash)
		}
	}
}

// frappeHash is the length of the keys and secrets that Frappe generates (generate_hash, User.generate_keys).
const frappeHash = 15

// explain writes what one handler does with a credential, without its cache.
func (h loaded) explain(w io.Writer, repl *caddy.Replacer, header string, cred frappe.Credential) int {
	asked := 0
	d := h.Check(context.Background(), header, repl, func(a Answer) {
		asked++
		a.explain(w, asked, cred)
	})
	for _, required := range d.Requirements {
		met := "met"
		if !required.Met {
			met = "not met"
		}
		fmt.Fprintf(w, "  requires %s: %s\n", required.Text, met)
	}
	for _, finding := range h.names {
		fmt.Fprintf(w, "  %s: %s\n", finding.Result, finding)
	}
	switch {
	case d.Reason == nil && asked == 0:
		fmt.Fprintf(w,
			"  It does not accept sessions; accepted: %s. The request passes as %s, like one without a credential.\n",
			join(h.Schemes()), d.User)
		return 0
	case d.Reason == nil:
		fmt.Fprintf(w, "  It lets the request pass, as %s.\n", d.User)
		return 0
	case d.Status == http.StatusUnauthorized && asked == 0: // the credential is well-formed, so its scheme was the reason
		fmt.Fprintf(w, "  %v; accepted: %s\n  It answers 401, and no backend is asked.\n", d.Reason, join(h.Schemes()))
	case d.Status == http.StatusBadRequest:
		fmt.Fprintf(w, "  The site depends on the request; set --url to the URL of the request.\n  It answers 400.\n")
	case d.Status == http.StatusServiceUnavailable:
		fmt.Fprintln(w, "  It answers 503: no backend granted, and one was unavailable.")
		return exitUnavailable
	case d.Status == http.StatusForbidden:
		fmt.Fprintf(w, "  It answers %d: %v.\n", d.Status, d.Reason)
	default:
		fmt.Fprintf(w, "  It answers %d.\n", d.Status)
	}
	return exitRefused
}

// explain writes one backend's answer.
func (a Answer) explain(w io.Writer, number int, cred frappe.Credential) {
	fmt.Fprintf(w, "  %d. %s", number, a.Backend)
	if a.Source != "" {
		fmt.Fprintf(w, ": %s", a.Source)
	}
	if a.Site != "" {
		fmt.Fprintf(w, ", site %s", a.Site)
	}
	fmt.Fprintln(w)
	took := a.Took.Round(10 * time.Microsecond)
	switch {
	case a.Err == nil:
		fmt.Fprintf(w, "     granted in %s: %s\n", took, a.Identity.User)
		describeIdentity(w, a.Identity)
	case errors.Is(a.Err, frappe.ErrDenied):
		fmt.Fprintf(w, "     denied in %s: %s\n", took, whyDenied(cred))
	case errors.Is(a.Err, frappe.ErrUnknownSite):
		fmt.Fprintf(w, "     no such site, after %s\n", took)
	default:
		fmt.Fprintf(w, "     unavailable, after %s: %v\n", took, a.Err)
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
	switch cred.Scheme {
	case frappe.SchemeSession:
		return "the session is unknown, has expired or was logged out, or Frappe does not let the user in from this machine"
	case frappe.SchemeBearer:
		return "the token is unknown, expired or revoked, its client does not have its scopes, or the user is disabled"
	default:
		return "the API key is unknown, the secret is wrong, or the user is disabled"
	}
}

func join(schemes []frappe.Scheme) string {
	names := make([]string, len(schemes))
	for i, scheme := range schemes {
		names[i] = string(scheme)
	}
	return strings.Join(names, ", ")
}
