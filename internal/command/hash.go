package command

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/static"
)

func hashCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hash --user <user> [--role <role>]...",
		Short: "Prints a line for the static backend",
		Long: `
Reads one credential from standard input, written as in an Authorization header, or prompts
for it without showing it. Prints the line that adds the credential to the static backend:

    printf 'token 2c6245becaa0961:61066224add85e6' | caddy frappe-auth hash --user alice@example.com

The hash is SHA-256, which is enough for the random secrets that Frappe generates. For a
secret that a person chose, replace the hash by the output of caddy hash-password.`,
		RunE: caddycmd.WrapCommandFuncForCobra(cmdHash),
	}
	cmd.Flags().StringP("user", "u", "", "User that the credential belongs to, as Frappe spells it (required)")
	cmd.Flags().StringArrayP("role", "r", nil, "A role of the user; repeat for more")
	return cmd
}

func cmdHash(fl caddycmd.Flags) (int, error) {
	user := fl.String("user")
	if err := static.CheckUser(user); err != nil { // before asking for the credential
		return caddy.ExitCodeFailedStartup, fmt.Errorf("--user: %w", err)
	}
	roles, err := fl.GetStringArray("role")
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	header, err := readCredential(os.Stdin, os.Stderr)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	credential, err := frappe.ParseCredential(header)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("%w; write it as %s", err, headerExample)
	}
	line, err := static.Line(credential, user, roles)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	fmt.Println(line)
	return 0, nil
}
