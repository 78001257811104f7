package static

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() { directive.Register(new(Backend).block()) }

// UnmarshalCaddyfile sets up the backend from Caddyfile tokens. Syntax:
//
//	static {
//	    token  <api_key> <hash> <user> [<role>...]
//	    bearer <hash> <user> [<role>...]
//	}
func (s *Backend) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume backend name
	if err := s.block().Read(d); err != nil {
		return err
	}
	if len(s.Tokens)+len(s.Bearers) == 0 {
		return d.WrapErr(errNothingListed)
	}
	return nil
}

func (s *Backend) block() directive.Block {
	listed := newListed()
	return directive.Block{
		Owner: "backend static",
		Options: map[string]directive.Option{
			"token": func(d *caddyfile.Dispenser) error {
				args := d.RemainingArgs()
				if len(args) < 3 {
					return d.Err("write token <api_key> <hash> <user> [<role>...]")
				}
				if err := directive.CheckSeparators(args); err != nil {
					return d.Errf("token: %w", err)
				}
				s.Tokens = append(s.Tokens, Token{Key: args[0], Hash: args[1], User: args[2], Roles: args[3:]})
				if err := listed.addToken(s.Tokens[len(s.Tokens)-1]); err != nil {
					return d.WrapErr(err)
				}
				return directive.NoBlock(d, "token")
			},
			"bearer": func(d *caddyfile.Dispenser) error {
				args := d.RemainingArgs()
				if len(args) < 2 {
					return d.Err("write bearer <hash> <user> [<role>...]")
				}
				if err := directive.CheckSeparators(args); err != nil {
					return d.Errf("bearer: %w", err)
				}
				s.Bearers = append(s.Bearers, Bearer{Hash: args[0], User: args[1], Roles: args[2:]})
				if err := listed.addBearer(s.Bearers[len(s.Bearers)-1]); err != nil {
					return d.WrapErr(err)
				}
				return directive.NoBlock(d, "bearer")
			},
		},
		Repeatable: []string{"token", "bearer"},
		Instead: map[string]string{
			"basic": "write token <api_key> <hash> <user>", "user": "write token <api_key> <hash> <user>",
			"roles": "write the roles after the user: token <api_key> <hash> <user> [<role>...]",
		},
	}
}

// validate returns an error if the configuration is wrong. It accepts any placeholder.
func (s *Backend) validate() error {
	if len(s.Tokens) == 0 && len(s.Bearers) == 0 {
		return errNothingListed
	}
	listed := newListed()
	for _, t := range s.Tokens {
		if err := listed.addToken(t); err != nil {
			return err
		}
	}
	for _, b := range s.Bearers {
		if err := listed.addBearer(b); err != nil {
			return err
		}
	}
	return nil
}

var errNothingListed = errors.New("the static backend lists no credential; add a line `token <api_key> <hash> " +
	"<user>` or `bearer <hash> <user>`")

// listed holds the credentials read so far, to find duplicates.
type listed struct {
	keys   map[string]bool
	hashes map[string]bool // of access tokens
}

func newListed() listed { return listed{keys: make(map[string]bool), hashes: make(map[string]bool)} }

func (l listed) addToken(t Token) error {
	switch {
	case t.Key == "" || strings.Contains(t.Key, ":"):
		return fmt.Errorf("token: an API key must not be empty or contain a colon: %q", t.Key)
	case l.keys[t.Key]:
		return fmt.Errorf("token: API key %s is given twice", t.Key)
	}
	l.keys[t.Key] = true
	if err := CheckUser(t.User); err != nil {
		return fmt.Errorf("token: API key %s: %w", t.Key, err)
	}
	if err := checkHash(t.Hash); err != nil {
		return fmt.Errorf("token: API key %s: %w", t.Key, err)
	}
	return nil
}

func (l listed) addBearer(b Bearer) error {
	if err := CheckUser(b.User); err != nil {
		return fmt.Errorf("bearer: %w", err)
	}
	hash := strings.ToLower(b.Hash)
	if l.hashes[hash] {
		return fmt.Errorf("bearer: a token of %s is given twice", b.User)
	}
	l.hashes[hash] = true
	if strings.Contains(b.Hash, "{") {
		return nil
	}
	if _, err := parseSHA256(b.Hash); err != nil {
		return fmt.Errorf("bearer: token of %s: %w", b.User, err)
	}
	return nil
}

// CheckUser returns an error if no listed credential can belong to a user with that name.
func CheckUser(user string) error {
	switch {
	case user == "":
		return errors.New("a user is required")
	case user == frappe.Guest:
		return errors.New("the user must not be Guest; to let requests without a credential pass, use `anonymous`")
	case !frappe.ValidUser(user):
		return fmt.Errorf("%q is not a valid user name", user)
	}
	return nil
}

// Line returns the line of a Caddyfile that adds a credential to the backend, with the SHA-256 hash of its secret part.
// That hash is enough for the random secrets that Frappe generates. Line returns an error if the user or a role cannot
// be written in a Caddyfile, or if no credential can belong to the user.
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

// Interface guard
var _ caddyfile.Unmarshaler = (*Backend)(nil)
