package frappeauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func hashCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hash --user <user> [--role <role>]... [--algorithm <name>]",
		Short: "Makes a line for the static backend",
		Long: `
Reads one credential, as an Authorization header carries it, from standard input, or asks
for it without showing it, and writes the line that makes it known to the static backend:

    printf 'token 2c6245becaa0961:61066224add85e6' | caddy frappe-auth hash --user alice@example.com

--algorithm is sha256, bcrypt or argon2id. SHA-256 is enough for what Frappe makes, which is
random; give a secret that a human made up to bcrypt or argon2id. Access tokens are always
hashed with SHA-256.`,
		RunE: caddycmd.WrapCommandFuncForCobra(cmdHash),
	}
	cmd.Flags().StringP("user", "u", "", "User whose credential it is, as Frappe spells it (required)")
	cmd.Flags().StringArrayP("role", "r", nil, "A role of the user; repeat for more")
	cmd.Flags().String("algorithm", "sha256", "Hash of an API secret: sha256, bcrypt or argon2id")
	return cmd
}

func cmdHash(fl caddycmd.Flags) (int, error) {
	user := fl.String("user")
	if err := checkUser(user); err != nil {
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
	cred, err := ParseCredential(header)
	if err != nil {
		return caddy.ExitCodeFailedStartup, fmt.Errorf("%w; write it as %s", err, headerExample)
	}
	hash, err := hashOf(cred, fl.String("algorithm"))
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
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

// hashOf is the hash of a credential's secret part as the static backend takes it.
func hashOf(cred Credential, algorithm string) (string, error) {
	digest := func(secret string) string {
		sum := sha256.Sum256([]byte(secret))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	if cred.Bearer() {
		if algorithm != "sha256" {
			return "", errors.New("--algorithm: access tokens are hashed with sha256")
		}
		return digest(cred.Token), nil
	}
	switch algorithm {
	case "sha256":
		return digest(cred.Secret), nil
	case "bcrypt":
		if bcryptAmbiguous([]byte(cred.Secret)) {
			return "", errors.New("--algorithm: bcrypt reads 72 bytes of a secret at most; use argon2id")
		}
		hash, err := caddyauth.BcryptHash{}.Hash([]byte(cred.Secret))
		return string(hash), err
	case "argon2id":
		// Its parameters can only be set by a hash that has them: those of `caddy hash-password`.
		salt := base64.RawStdEncoding.EncodeToString([]byte(rand.Text())[:16])
		like, _, err := caddyauth.DecodeHash([]byte("$argon2id$v=19$m=47104,t=1,p=1$" + salt + "$" + strings.Repeat("A", 43)))
		if err != nil {
			return "", err
		}
		hash, err := like.Hash([]byte(cred.Secret))
		return string(hash), err
	}
	return "", fmt.Errorf("--algorithm: %q is none of sha256, bcrypt and argon2id", algorithm)
}

// caddyfileWord writes a text as one token of a Caddyfile: as it is, or in quotes or backticks where Caddy would otherwise read
// something else. Braces are placeholders wherever they stand, and a line break would end the line.
func caddyfileWord(text string) (string, error) {
	if text != "" && !strings.ContainsAny(text, "{}\r\n") {
		for _, word := range []string{text, `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`, "`" + text + "`"} {
			// Some texts are read otherwise at the end of a line.
			tokens, err := caddyfile.Tokenize([]byte("token "+word+" "+word+"\nnext"), "")
			if err == nil && len(tokens) == 4 && tokens[1].Text == text && tokens[2].Text == text && tokens[3].Text == "next" && tokens[3].Line == 2 {
				return word, nil
			}
		}
	}
	return "", fmt.Errorf("%q cannot stand in a Caddyfile as it is: give it as a placeholder", text)
}
