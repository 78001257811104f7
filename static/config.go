package static

import (
	"errors"
	"fmt"
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
			"roles": "write the roles behind the user: token <api_key> <hash> <user> [<role>...]",
		},
	}
}

// validate returns an error if the configuration is wrong. Placeholders are assumed to be right.
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

var errNothingListed = errors.New("the static backend lists no credential; add a line `token <api_key> <hash> <user>` or `bearer <hash> <user>`")

// listed holds the credentials listed so far, to find those that are listed twice.
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

// CheckUser returns an error if no listed credential can belong to a user of that name.
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

// Interface guard
var _ caddyfile.Unmarshaler = (*Backend)(nil)
