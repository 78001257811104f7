package frappeauth

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
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
	if err := static.CheckUser(user); err != nil {
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
	cred, err := frappe.ParseCredential(header)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("%w; write it as %s", err, headerExample)
	}
	hash := hashOf(cred)
	words := slices.Concat([]string{"bearer", hash, user}, roles)
	if !cred.Bearer() {
		words = slices.Concat([]string{"token", cred.Key, hash, user}, roles)
	}
	for i, word := range words {
		if words[i], err = caddyfileWord(word); err != nil {
			return caddy.ExitCodeFailedStartup, err
		}
	}
	fmt.Println(strings.Join(words, " "))
	return 0, nil
}

// hashOf returns the SHA-256 of a credential's secret part, in the format of the static backend.
func hashOf(cred frappe.Credential) string {
	sum := sha256.Sum256([]byte(cred.Secret + cred.Token)) // one of them is empty
	return "sha256:" + hex.EncodeToString(sum[:])
}

// caddyfileWord quotes a text as one token of a Caddyfile: as it is, or in quotes or backticks if Caddy would otherwise
// read something else. Text with braces or a line break is an error, because Caddy always expands braces as placeholders
// and a line break ends the line.
func caddyfileWord(text string) (string, error) {
	if text != "" && !strings.ContainsAny(text, "{}\r\n") {
		for _, word := range []string{text, `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`, "`" + text + "`"} {
			// Some texts are read differently at the end of a line, so try both positions.
			tokens, err := caddyfile.Tokenize([]byte("token "+word+" "+word+"\nnext"), "")
			if err == nil && len(tokens) == 4 && tokens[1].Text == text && tokens[2].Text == text && tokens[3].Text == "next" && tokens[3].Line == 2 {
				return word, nil
			}
		}
	}
	return "", fmt.Errorf("%q cannot be written in a Caddyfile; use a placeholder such as {env.NAME} for it", text)
}
