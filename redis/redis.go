// Package redis lets several Caddys share verdicts, revocations and failures through Redis or Valkey, and hears from Redis
// which documents change in Frappe.
package redis

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() {
	caddy.RegisterModule(new(Store))
	caddy.RegisterModule(new(FrappeEvents))
}

// Store shares verdicts, revocations and failures between Caddys through Redis 6.2 or later, or Valkey. All Caddys with the
// same `secret` and `prefix` share.
//
// Redis sees neither users nor credentials: names are keyed hashes, and values are encrypted. Caddy starts and serves
// without Redis, too; requests never wait for a connection. One connection carries all commands, a second one follows the
// revocations. Handlers with the same URL and password share them, also across reloads.
//
// All keys begin with `{<prefix>}:`. In a Redis Cluster they are on one node; a Cluster therefore brings failover, but does
// not spread the load.
//
// Redis should not evict the revocations: use `maxmemory-policy noeviction` or `volatile-lru`, not one of `allkeys-*`. If they
// are lost, every Caddy drops its cached verdicts.
type Store struct {
	// The URL of Redis, such as `redis://redis.internal:6379/0`, `rediss://` for TLS, or `unix:///run/redis/redis.sock?db=1`.
	// `valkey://` and `valkeys://` mean the same as `redis://` and `rediss://`. More hosts follow as parameters:
	// `redis://a:6379?addr=b:6379&addr=c:6379` are nodes of a Cluster; with `&master_set=<name>` they are Sentinels. A user is
	// written as `redis://user@host`. Required. This option and all that follow but `timeout` may contain placeholders such as
	// `{env.*}` and `{file.*}`, which are replaced when the configuration is loaded.
	URL string `json:"url,omitempty"`

	// The password of the user in the URL, or of Redis's default user. It may also stand in the URL. A newline at the end is
	// removed. Default: none.
	Password string `json:"password,omitempty"`

	// The user of the Sentinels, if the URL has them. Default: their default user.
	SentinelUser string `json:"sentinel_user,omitempty"`

	// The password of the Sentinels. Default: that of Redis.
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// A PEM file with the CA of Redis's certificate, for `rediss://`. Default: the CAs that the system trusts.
	TLSCA string `json:"tls_ca,omitempty"`

	// A PEM file with the certificate that Caddy shows to Redis, which asks for one unless its `tls-auth-clients` is `no`. It
	// is read when the configuration is loaded. Default: none.
	TLSCert string `json:"tls_cert,omitempty"`

	// A PEM file with the key of that certificate.
	TLSKey string `json:"tls_key,omitempty"`

	// The name that the certificates of Redis, and of Sentinels and nodes of a Cluster, must be valid for. Default: the host
	// in the URL.
	TLSServerName string `json:"tls_server_name,omitempty"`

	// What names and values in Redis are protected with: at least 32 bytes, the same for all Caddys, such as the output of
	// `openssl rand -hex 32`. A newline at the end is removed. A Caddy with another secret shares nothing. Required.
	SharedSecret string `json:"secret,omitempty"`

	// What the names of all keys begin with: letters, digits, `_`, `-`, `.` and `:`. Default: `frappe_auth`.
	Prefix string `json:"prefix,omitempty"`

	// How long a request waits for one answer of Redis before it goes on without, 10 milliseconds to 5 seconds. For
	// all the answers that it needs, it waits three times as long at most. Default: `100ms`.
	RequestTimeout caddy.Duration `json:"timeout,omitempty"`

	connection *connection
	secret     []byte
	prefix     string // including the braces and the colon
}

const (
	minSecret      = 32
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
	secret, err := expand("secret", s.SharedSecret)
	if err != nil {
		return err
	}
	if err := checkSecret(secret); err != nil {
		return err
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
	s.secret, s.prefix, s.connection = []byte(secret), "{"+prefix+"}:", pooled.(*connection)
	return nil
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
		return errors.New("secret is missing; write secret {file./run/secrets/frappe_auth}, with the same 32 bytes or more on every Caddy; " +
			"openssl rand -hex 32 makes one")
	}
	return s.validateOptions()
}

// validateOptions reports what is wrong with an option that was given.
func (s *Store) validateOptions() error {
	if s.SharedSecret != "" && !strings.Contains(s.SharedSecret, "{") {
		if err := checkSecret(s.SharedSecret); err != nil {
			return err
		}
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
		return fmt.Errorf("secret: %d bytes are too few; it needs %d or more, such as the output of openssl rand -hex 32", len(secret), minSecret)
	}
	return nil
}

func checkPrefix(prefix string) error {
	if !validPrefix.MatchString(prefix) {
		return errors.New("prefix: use up to 64 letters, digits, and _ . : -")
	}
	return nil
}

// Timeout implements frappe.StoreTimeout.
func (s *Store) Timeout() time.Duration { return time.Duration(s.RequestTimeout) }

// Secret implements frappe.Store.
func (s *Store) Secret() []byte { return s.secret }

// String names the Redis, without a secret.
func (s *Store) String() string { return s.connection.address.String() }

// Interface guards
var (
	_ frappe.Store        = (*Store)(nil)
	_ frappe.StoreTimeout = (*Store)(nil)
	_ caddy.Provisioner   = (*Store)(nil)
	_ caddy.CleanerUpper  = (*Store)(nil)
	_ fmt.Stringer        = (*Store)(nil)
)
