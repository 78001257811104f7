package static

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

// Line returns the line of a Caddyfile that adds a credential to the backend, with the SHA-256 of its secret part. That
// hash is enough for the random secrets that Frappe generates. It is an error if the user or a role cannot be written in
// a Caddyfile, or if no credential can belong to the user.
func Line(credential frappe.Credential, user string, roles []string) (string, error) {
	if err := CheckUser(user); err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(credential.Secret + credential.Token)) // one of them is empty
	hash := "sha256:" + hex.EncodeToString(sum[:])
	words := slices.Concat([]string{"bearer", hash, user}, roles)
	if !credential.Bearer() {
		words = slices.Concat([]string{"token", credential.Key, hash, user}, roles)
	}
	for i, word := range words {
		quoted, err := directive.Word(word)
		if err != nil {
			return "", err
		}
		words[i] = quoted
	}
	return strings.Join(words, " "), nil
}
