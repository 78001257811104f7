// Package redis lets several Caddys share verdicts, revocations and failures through Redis or Valkey, and hears from
// Redis which documents change in Frappe.
package redis

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
)

func init() {
	caddy.RegisterModule(new(Store))
	caddy.RegisterModule(new(FrappeEvents))
}

// Store shares verdicts, revocations and failures between Caddys through Redis 6.2 or later, or Valkey. All Caddys with
// the same `secret` and `prefix` share.
//
// Redis sees neither users nor credentials: names are keyed hashes, and values are encrypted. Caddy starts and serves
// without Redis, too; requests never wait for a connection. One connection carries all commands, a second one waits for
// revocations. Handlers with the same URL and password share them, also across reloads.
//
// All keys begin with `{<prefix>}:`. In a Redis Cluster they are on one node; a Cluster therefore brings failover, but
// does not spread the load.
//
// Redis should not evict the state that holds the revocations: use `maxmemory-policy noeviction` or `volatile-lru`, not
// one of `allkeys-*`. If it is lost, every Caddy drops its cached verdicts once.
type Store struct {
	// The URL of Redis, such as `redis://redis.internal:6379/0`, `rediss://` for TLS, or
	// `unix:///run/redis/redis.sock?db=1`. `valkey://` and `valkeys://` mean the same as `redis://` and `rediss://`.
	// More hosts follow as parameters: `redis://a:6379?addr=b:6379&addr=c:6379` are nodes of a Cluster; with
	// `&master_set=<name>` they are Sentinels. A user is written as `redis://user@host`. Required. This option and all
	// that follow but `timeout` may contain placeholders such as `{env.*}` and `{file.*}`, which are replaced when the
	// configuration is loaded.
	URL string `json:"url,omitempty"`

	// The password of the user in the URL, or of Redis's default user. It may also stand in the URL. A newline at the
	// end is removed. Default: none.
	Password string `json:"password,omitempty"`

	// The user of the Sentinels, if the URL has them. Default: their default user.
	SentinelUser string `json:"sentinel_user,omitempty"`

	// The password of the Sentinels. Default: that of Redis.
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// A PEM file with the CA of Redis's certificate, for `rediss://`. Default: the CAs that the system trusts.
	TLSCA string `json:"tls_ca,omitempty"`

	// A PEM file with the certificate that Caddy shows to Redis, which asks for one unless its `tls-auth-clients` is `no`.
	// It is read when the configuration is loaded. Default: none.
	TLSCert string `json:"tls_cert,omitempty"`

	// A PEM file with the key of that certificate.
	TLSKey string `json:"tls_key,omitempty"`

	// The name that the certificates of Redis, and of Sentinels and nodes of a Cluster, must be valid for. Default: the
	// host in the URL.
	TLSServerName string `json:"tls_server_name,omitempty"`

	// What names and values in Redis are protected with: at least 32 bytes, the same for all Caddys, such as the output
	// of `openssl rand -hex 32`. A newline at the end is removed. A Caddy with another secret shares nothing. Required.
	SharedSecret string `json:"secret,omitempty"`

	// The secrets before it, 3 at most. Results and revocations are read under them, too, and revocations are also
	// published under them, so that a new secret can be rolled out without missing a revocation. Default: none.
	OldSecrets []string `json:"old_secrets,omitempty"`

	// What the names of all keys begin with: letters, digits, `_`, `-`, `.` and `:`. Default: `frappe_auth`.
	Prefix string `json:"prefix,omitempty"`

	// How long a request waits for one answer of Redis before it goes on without, 10 milliseconds to 5 seconds. For
	// all the answers that it needs, it waits three times as long at most. Default: `100ms`.
	RequestTimeout caddy.Duration `json:"timeout,omitempty"`

	connection *connection
	secrets    [][]byte // the new one first
	place      fleet.Place
}

const (
	minSecret      = 32
	maxOldSecrets  = 3
	defaultPrefix  = "frappe_auth"
	defaultTimeout = caddy.Duration(100 * time.Millisecond)
	minTimeout     = 10 * time.Millisecond
	maxTimeout     = 5 * time.Second
)

var validPrefix = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)

// CaddyModule returns the Caddy module information.
func (*Store) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.stores.redis",
		New: func() caddy.Module { return new(Store) },
	}
}

// UnmarshalJSON rejects unknown fields, as Caddy does, and says what to write instead.
func (s *Store) UnmarshalJSON(raw []byte) error {
	type plain Store
	return directive.DecodeJSON(raw, (*plain)(s), "share redis", s.block().Instead)
}

// Provision begins to connect. A Redis that is down is not an error.
func (s *Store) Provision(caddy.Context) error {
	if err := s.validate(); err != nil {
		return err
	}
	if s.RequestTimeout == 0 {
		s.RequestTimeout = defaultTimeout
	}
	if s.Prefix == "" {
		s.Prefix = defaultPrefix
	}
	var secrets [][]byte
	for _, secret := range append([]string{s.SharedSecret}, s.OldSecrets...) {
		expanded, err := expand("secret", secret)
		if err == nil {
			err = checkSecret(expanded)
		}
		if err != nil {
			return err
		}
		secrets = append(secrets, []byte(expanded))
	}
	prefix, err := expand("prefix", s.Prefix)
	if err != nil {
		return err
	}
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	to, err := newAddress(s.access(), "{"+prefix+"}")
	if err != nil {
		return err
	}
	pooled, _, err := connections.LoadOrNew(to.key, func() (caddy.Destructor, error) { return connect(to), nil })
	if err != nil {
		return err
	}
	s.secrets, s.place, s.connection = secrets, to.place(prefix), pooled.(*connection)
	return nil
}

// place says where stores with an address and a prefix share. The user, the password and the name that this client
// gives itself are no part of it.
func (a *address) place(prefix string) fleet.Place {
	public, _ := url.Parse(a.shown) // it was parsed before
	public.User = nil
	query := public.Query()
	query.Del("client_name")
	query.Del("db")
	public.RawQuery = query.Encode()
	if public.Scheme != "unix" {
		public.Path = "" // the database
	}
	return fleet.Place{Server: public.String(), Database: strconv.Itoa(a.option.SelectDB), Prefix: prefix}
}

// Cleanup closes the connection, unless another configuration still uses it.
func (s *Store) Cleanup() error {
	if s.connection == nil {
		return nil // provisioning failed
	}
	_, err := connections.Delete(s.connection.address.key)
	return err
}

// validate returns an error if the options are wrong. Options with placeholders are checked when these are known.
func (s *Store) validate() error {
	if err := s.access().check(); err != nil {
		return err
	}
	if s.SharedSecret == "" {
		return errors.New("secret is missing; write secret {file./run/secrets/frappe_auth}, with the same 32 bytes or " +
			"more on every Caddy; openssl rand -hex 32 makes one")
	}
	return s.validateOptions()
}

// validateOptions reports what is wrong with an option that was given.
func (s *Store) validateOptions() error {
	for i, secret := range append([]string{s.SharedSecret}, s.OldSecrets...) {
		if (secret == "" && i == 0) || strings.Contains(secret, "{") {
			continue
		}
		if err := checkSecret(secret); err != nil {
			return err
		}
	}
	if len(s.OldSecrets) > maxOldSecrets {
		return fmt.Errorf("secret: %d old secrets are too many; give the new one and up to %d old ones",
			len(s.OldSecrets), maxOldSecrets)
	}
	if s.Prefix != "" && !strings.Contains(s.Prefix, "{") {
		if err := checkPrefix(s.Prefix); err != nil {
			return err
		}
	}
	if err := directive.CheckDuration("timeout", s.RequestTimeout); err != nil {
		return err
	}
	if timeout := time.Duration(s.RequestTimeout); timeout != 0 && (timeout < minTimeout || timeout > maxTimeout) {
		return fmt.Errorf("timeout: %s is not between %s and %s", timeout, minTimeout, maxTimeout)
	}
	return nil
}

func checkSecret(secret string) error {
	if len(secret) < minSecret {
		return fmt.Errorf("secret: %d bytes are too few; it needs %d or more, such as the output of openssl rand -hex 32",
			len(secret), minSecret)
	}
	return nil
}

func checkPrefix(prefix string) error {
	if !validPrefix.MatchString(prefix) {
		return errors.New("prefix: use up to 64 letters, digits, and _ . : -")
	}
	return nil
}

// readSecrets reads the option secret: the new one, and those before it.
func (s *Store) readSecrets(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Err("secret needs a text; write secret <new> [<old>...]")
	}
	s.SharedSecret, s.OldSecrets = args[0], append([]string(nil), args[1:]...)
	return directive.NoBlock(d, "secret")
}

// Place implements fleet.Module.
func (s *Store) Place() fleet.Place { return s.place }

// Secrets implements fleet.Module.
func (s *Store) Secrets() [][]byte { return s.secrets }

// String names the Redis, without a secret.
func (s *Store) String() string { return s.connection.address.String() }

// Interface guards
var (
	_ caddy.Provisioner  = (*Store)(nil)
	_ caddy.CleanerUpper = (*Store)(nil)
)
