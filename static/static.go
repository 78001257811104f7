// Package static is the backend that verifies credentials against hashes in the configuration.
package static

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() {
	caddy.RegisterModule(Backend{})
}

// Backend verifies credentials against a list of hashes in the configuration. It needs no Frappe site. Use it for a few
// service accounts, for tests, or after another backend as a fallback while the site is down.
//
// API keys, secrets and tokens are compared case-sensitively. Sessions are not supported: with `schemes session`,
// another backend must verify them. Listed access tokens have no scopes and no client, so requiring one is an error
// when the configuration is loaded. API keys have every scope.
type Backend struct {
	// The API keys, with the hashes of their secrets. At least one key or access token is required.
	Tokens []Token `json:"tokens,omitempty"`

	// The access tokens, by their hashes.
	Bearers []Bearer `json:"bearers,omitempty"`

	index   [sha256.Size]byte // HMAC key for the map keys, so that the time of a lookup reveals nothing
	keys    map[[sha256.Size]byte]*listedPair
	bearers map[[sha256.Size]byte]*listedBearer
	groups  []*hashGroup
}

// Token is an API key and its secret.
type Token struct {
	// The API key. Placeholders such as `{env.*}` are allowed here and in every other field. Required, and must be
	// unique.
	Key string `json:"key"`

	// The hash of the API secret. Either `sha256:` and the 64 hexadecimal digits of its SHA-256, which is enough for the
	// random secrets that Frappe generates. Or the output of `caddy hash-password`: bcrypt with a cost of at most 16, or
	// argon2id with at most 1 GiB of memory, 16 passes and 64 lanes. A truncated hash is an error. Required.
	Hash string `json:"hash"`

	// The user that the key belongs to, as Frappe spells it. Required.
	User string `json:"user"`

	// The user's roles. Default: none.
	Roles []string `json:"roles,omitempty"`
}

// Bearer is an access token.
type Bearer struct {
	// The hash of the access token: `sha256:` and the 64 hexadecimal digits of its SHA-256. Required, and must be unique.
	Hash string `json:"hash"`

	// The user that the token belongs to, as Frappe spells it. Required.
	User string `json:"user"`

	// The user's roles. Default: none.
	Roles []string `json:"roles,omitempty"`
}

type listedPair struct {
	identity frappe.Identity
	hash     []byte
	group    *hashGroup
}

type listedBearer struct {
	identity frappe.Identity
	digest   []byte
}

// CaddyModule returns the Caddy module information.
func (Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.backends.static",
		New: func() caddy.Module { return new(Backend) },
	}
}

// UnmarshalJSON rejects unknown fields, as Caddy does, and says what to write instead.
func (s *Backend) UnmarshalJSON(raw []byte) error {
	type plain Backend
	return directive.DecodeJSON(raw, (*plain)(s), "backend static", s.block().Instead)
}

// Provision expands the placeholders and indexes the credentials.
func (s *Backend) Provision(ctx caddy.Context) error {
	if err := s.expand(); err != nil {
		return err
	}
	if err := s.validate(); err != nil {
		return err
	}
	rand.Read(s.index[:]) //nolint:errcheck // never fails (crypto/rand)
	s.keys = make(map[[sha256.Size]byte]*listedPair)
	for _, t := range s.Tokens {
		if err := checkExpandedHash(t.Hash); err != nil {
			return fmt.Errorf("API key %s: %w", t.Key, err)
		}
		group, hash, err := s.group(ctx, t.Hash)
		if err == nil {
			err = group.try(hash)
		}
		if err != nil {
			return fmt.Errorf("API key %s: %w", t.Key, err)
		}
		s.keys[s.indexOf([]byte(t.Key))] = &listedPair{
			identity: frappe.Identity{User: t.User, Roles: t.Roles},
			hash:     hash,
			group:    group,
		}
	}
	s.bearers = make(map[[sha256.Size]byte]*listedBearer)
	for _, b := range s.Bearers {
		digest, err := parseSHA256(b.Hash)
		if err != nil {
			return fmt.Errorf("access token of %s: %w", b.User, err)
		}
		s.bearers[s.indexOf(digest)] = &listedBearer{
			identity: frappe.Identity{User: b.User, Roles: b.Roles},
			digest:   digest,
		}
	}
	return nil
}

// expand replaces the placeholders.
func (s *Backend) expand() error {
	repl := caddy.NewReplacer()
	expand := func(fields ...*string) error {
		for _, field := range fields {
			expanded, err := repl.ReplaceOrErr(*field, true, true)
			if err != nil {
				return err
			}
			*field = expanded
		}
		return nil
	}
	for i := range s.Tokens {
		t := &s.Tokens[i]
		if err := expand(append(pointers(t.Roles), &t.Key, &t.Hash, &t.User)...); err != nil {
			return fmt.Errorf("token: %w", err)
		}
	}
	for i := range s.Bearers {
		b := &s.Bearers[i]
		if err := expand(append(pointers(b.Roles), &b.Hash, &b.User)...); err != nil {
			return fmt.Errorf("bearer: %w", err)
		}
	}
	return nil
}

func pointers(texts []string) []*string {
	to := make([]*string, len(texts))
	for i := range texts {
		to[i] = &texts[i]
	}
	return to
}

// String says how many credentials are listed.
func (s *Backend) String() string {
	return fmt.Sprintf("credentials listed: %d", len(s.Tokens)+len(s.Bearers))
}

// CheckHealth implements frappe.HealthChecker. There is nothing to check, since everything is in the configuration.
func (s *Backend) CheckHealth(context.Context) []frappe.Finding {
	return []frappe.Finding{frappe.OK("configuration", "nothing to check: all credentials are in the configuration")}
}

// Fingerprint implements frappe.Fingerprinter: the values of placeholders may change.
func (s *Backend) Fingerprint() string {
	return fmt.Sprintf("%q %q", s.Tokens, s.Bearers)
}

// Verify implements frappe.Backend.
func (s *Backend) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	if c.Bearer() {
		return s.verifyBearer(c.Token)
	}
	return s.verifyPair(c.Key, []byte(c.Secret))
}

// verifyPair compares once in every group, so that the time reveals neither whether the key is known nor which group it
// belongs to.
func (s *Backend) verifyPair(key string, secret []byte) (frappe.Identity, error) {
	known := s.keys[s.indexOf([]byte(key))]
	granted := false
	for _, g := range s.groups {
		hash, applies := g.dummy, known != nil && known.group == g
		if applies {
			hash = known.hash
		}
		same, err := g.hash.Compare(hash, secret)
		if applies {
			if err != nil {
				return frappe.Identity{}, &frappe.UnavailableError{
					Reason:             fmt.Errorf("comparing with the %s hash of the secret failed", g.name),
					CredentialSpecific: true,
				}
			}
			granted = same
		}
	}
	if !granted {
		return frappe.Identity{}, frappe.ErrDenied
	}
	return known.identity, nil
}

func (s *Backend) verifyBearer(token string) (frappe.Identity, error) {
	digest := sha256.Sum256([]byte(token))
	known := s.bearers[s.indexOf(digest[:])]
	var hash [sha256.Size]byte
	if known != nil {
		copy(hash[:], known.digest)
	}
	if subtle.ConstantTimeCompare(hash[:], digest[:]) != 1 || known == nil {
		return frappe.Identity{}, frappe.ErrDenied
	}
	return known.identity, nil
}

func (s *Backend) indexOf(name []byte) (sum [sha256.Size]byte) {
	mac := hmac.New(sha256.New, s.index[:])
	mac.Write(name)
	mac.Sum(sum[:0])
	return sum
}

// ReportsTokens implements frappe.TokenReporter. Listed access tokens have neither scopes nor a client.
func (s *Backend) ReportsTokens() bool { return len(s.Bearers) == 0 }

// RoleNames implements frappe.RoleLister. Only roles of listed credentials exist.
func (s *Backend) RoleNames(context.Context) (names []string, err error) {
	for _, t := range s.Tokens {
		names = append(names, t.Roles...)
	}
	for _, b := range s.Bearers {
		names = append(names, b.Roles...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// CanMeet reports whether any listed credential meets the requirement. A placeholder may have any value, so it counts
// as a match. API keys have every scope.
func (s *Backend) CanMeet(required frappe.Requirement) bool {
	if required.Validate() != nil {
		return true // reported elsewhere
	}
	meets := func(user string, roles []string, scheme frappe.Scheme) bool {
		return required.MetBy(&frappe.Identity{User: user, Roles: roles}, scheme) ||
			len(required.Users) > 0 && isOpen(user) || len(required.Roles) > 0 && slices.ContainsFunc(roles, isOpen)
	}
	return slices.ContainsFunc(s.Tokens, func(t Token) bool { return meets(t.User, t.Roles, frappe.SchemeToken) }) ||
		slices.ContainsFunc(s.Bearers, func(t Bearer) bool { return meets(t.User, t.Roles, frappe.SchemeBearer) })
}

// isOpen reports whether a name has a placeholder.
func isOpen(name string) bool { return strings.Contains(name, "{") }

// Only returns the static backend of a configuration that has no other backend, or else nil. Only users that it lists
// can meet a requirement of that configuration.
func Only(backends []json.RawMessage) *Backend {
	if len(backends) != 1 {
		return nil
	}
	type plain Backend
	var module struct {
		Name string `json:"backend"`
		plain
	}
	if json.Unmarshal(backends[0], &module) != nil || module.Name != "static" {
		return nil
	}
	return (*Backend)(&module.plain)
}

// Interface guards
var (
	_ frappe.Backend       = (*Backend)(nil)
	_ frappe.RoleLister    = (*Backend)(nil)
	_ frappe.TokenReporter = (*Backend)(nil)
	_ frappe.Fingerprinter = (*Backend)(nil)
	_ caddy.Provisioner    = (*Backend)(nil)
)
