// Package database adds a backend to frappe_auth that reads a Frappe site's own database.
package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	frappeauth "github.com/caddy-frappe/frappe-auth"
)

func init() {
	caddy.RegisterModule(new(Backend))
}

// Backend verifies credentials against a Frappe site's own database, without asking Frappe: in about a millisecond, also
// while no worker is free. It refuses disabled users, knows when an access token expires, knows roles and full names,
// and sees within `refresh` what changes, so that verdicts about what did not change serve for an hour.
//
// It reads MariaDB and MySQL, PostgreSQL, and the SQLite of Frappe 16, of Frappe 13 to 16, and never writes. Keys and
// tokens compare with case. API secrets are decrypted with the site's encryption_key.
//
// What is configured here, and where it is read from if not, never is in a log.
type Backend struct {
	// The site's directory in the bench, such as `/home/frappe/frappe-bench/sites/erp.example.com`. Its site_config.json,
	// over the common_site_config.json beside it, says where the database is. Default: none; then db_name,
	// db_password and encryption_key are required. This and all that follows may have placeholders such as `{env.*}`.
	Site string `json:"site,omitempty"`

	// `mariadb` (also for MySQL), `postgres` or `sqlite`. Default: that of the site, or else `mariadb`.
	DBType string `json:"db_type,omitempty"`

	// The host of the database. Default: that of the site, or else `127.0.0.1`.
	DBHost string `json:"db_host,omitempty"`

	// The port of the database. Default: that of the site, or else the server's usual one.
	DBPort string `json:"db_port,omitempty"`

	// The Unix socket of MariaDB, or the directory of PostgreSQL's. Default: that of the site, or else by TCP.
	DBSocket string `json:"db_socket,omitempty"`

	// The name of the database. Default: that of the site.
	DBName string `json:"db_name,omitempty"`

	// The user of the database. One that may only read what is needed is best. Default: that of the site, or else its
	// db_name.
	DBUser string `json:"db_user,omitempty"`

	// The password of the database's user. Default: that of the site.
	DBPassword string `json:"db_password,omitempty"`

	// The key with which Frappe encrypts API secrets. Default: that of the site.
	EncryptionKey string `json:"encryption_key,omitempty"`

	// How often to look for changes, 100 milliseconds to 1 minute. Default: `1s`.
	Refresh caddy.Duration `json:"refresh,omitempty"`

	// How many connections to the database may be open, 1 to 100. Default: 4.
	MaxOpen int `json:"max_open,omitempty"`

	// How long the database may take, to connect and to answer, 10 milliseconds to 1 minute. Default: `5s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	fingerprint string
	siteDir     string // with its placeholders expanded
	source      *source
	now         func() time.Time
}

const (
	defaultRefresh = caddy.Duration(time.Second)
	minRefresh     = caddy.Duration(100 * time.Millisecond)
	maxRefresh     = caddy.Duration(time.Minute)
	defaultMaxOpen = 4
	maxMaxOpen     = 100
	defaultTimeout = caddy.Duration(5 * time.Second)
	minTimeout     = caddy.Duration(10 * time.Millisecond)
	maxTimeout     = caddy.Duration(time.Minute)
)

// sources holds each distinct database once, by its fingerprint.
var sources = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.backends.database",
		New: func() caddy.Module { return new(Backend) },
	}
}

// Provision reads the site's configuration and opens the database. That the database is away is no error.
func (b *Backend) Provision(ctx caddy.Context) error {
	if err := b.check(); err != nil {
		return err
	}
	b.setDefaults()
	settings, err := b.settings()
	if err != nil {
		return err
	}
	fingerprint := fmt.Sprintf("%s %d %d %d", settings.fingerprint(), b.Refresh, b.MaxOpen, b.Timeout)
	pooled, _, err := sources.LoadOrNew(fingerprint, func() (caddy.Destructor, error) {
		return newSource(settings, time.Duration(b.Timeout), time.Duration(b.Refresh), b.MaxOpen, ctx.Logger())
	})
	if err != nil {
		return err
	}
	b.fingerprint, b.source = fingerprint, pooled.(*source)
	return nil
}

// Cleanup closes the database, unless another configuration uses it.
func (b *Backend) Cleanup() error {
	if b.source == nil {
		return nil // provisioning failed
	}
	_, err := sources.Delete(b.fingerprint)
	return err
}

func (b *Backend) setDefaults() {
	if b.Refresh == 0 {
		b.Refresh = defaultRefresh
	}
	if b.MaxOpen == 0 {
		b.MaxOpen = defaultMaxOpen
	}
	if b.Timeout == 0 {
		b.Timeout = defaultTimeout
	}
	if b.now == nil {
		b.now = time.Now
	}
}

// check reports what is wrong with the options.
func (b *Backend) check() error {
	switch {
	case b.Refresh != 0 && (b.Refresh < minRefresh || b.Refresh > maxRefresh):
		return fmt.Errorf("refresh: %s is not between %s and %s", time.Duration(b.Refresh), time.Duration(minRefresh), time.Duration(maxRefresh))
	case b.MaxOpen < 0 || b.MaxOpen > maxMaxOpen:
		return fmt.Errorf("max_open: %d is not between 1 and %d", b.MaxOpen, maxMaxOpen)
	case b.Timeout != 0 && (b.Timeout < minTimeout || b.Timeout > maxTimeout):
		return fmt.Errorf("timeout: %s is not between %s and %s", time.Duration(b.Timeout), time.Duration(minTimeout), time.Duration(maxTimeout))
	case b.Site == "" && b.DBName == "":
		return errors.New("give the site's directory, such as /home/frappe/frappe-bench/sites/erp.example.com, " +
			"or db_name, db_password and encryption_key")
	case b.DBType == "sqlite" && b.Site == "":
		return errors.New("give the site's directory: SQLite's file is in it")
	}
	return nil
}

// settings is the site's own configuration with what is configured here over it.
func (b *Backend) settings() (*settings, error) {
	repl := caddy.NewReplacer()
	site, err := repl.ReplaceOrErr(b.Site, true, true)
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	b.siteDir = site
	var conf siteConfig
	if site != "" {
		if conf, err = readSiteConfig(site); err != nil {
			return nil, err
		}
	}
	var port string
	for _, option := range []struct {
		name  string
		value string
		into  *string
	}{
		{"db_type", b.DBType, &conf.DBType},
		{"db_host", b.DBHost, &conf.DBHost},
		{"db_port", b.DBPort, &port},
		{"db_socket", b.DBSocket, &conf.DBSocket},
		{"db_name", b.DBName, &conf.DBName},
		{"db_user", b.DBUser, &conf.DBUser},
		{"db_password", b.DBPassword, &conf.DBPassword},
		{"encryption_key", b.EncryptionKey, &conf.EncryptionKey},
	} {
		if option.value == "" {
			continue
		}
		if *option.into, err = repl.ReplaceOrErr(option.value, true, true); err != nil {
			return nil, fmt.Errorf("%s: a placeholder in it is unknown or empty", option.name)
		}
	}
	if b.DBHost != "" && b.DBSocket == "" {
		conf.DBSocket = "" // a host that is given here is meant
	}
	if port != "" {
		conf.DBPort = json.RawMessage(strconv.Quote(port))
	}
	return conf.complete(site)
}

// Verify implements frappeauth.Backend.
func (b *Backend) Verify(ctx context.Context, c frappeauth.Credential) (frappeauth.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.Timeout))
	defer cancel()
	s, leave, err := b.source.enter()
	if err != nil {
		return frappeauth.Identity{}, err
	}
	defer leave()
	if c.Bearer() {
		return s.verifyToken(ctx, c.Token, b.now())
	}
	return s.verifyPair(ctx, c.Key, c.Secret)
}

// Watch implements frappeauth.Watcher.
func (b *Backend) Watch(ctx context.Context, observe func([]frappeauth.Change)) {
	b.source.poller.watch(ctx, observe)
}

// String names the database.
func (b *Backend) String() string { return b.source.settings.String() }

// Fingerprint implements frappeauth.Fingerprinter: the site's configuration may have changed.
func (b *Backend) Fingerprint() string { return b.fingerprint }

// Interface guards
var (
	_ frappeauth.Backend       = (*Backend)(nil)
	_ frappeauth.Watcher       = (*Backend)(nil)
	_ frappeauth.Fingerprinter = (*Backend)(nil)
	_ caddy.Provisioner        = (*Backend)(nil)
	_ caddy.CleanerUpper       = (*Backend)(nil)
)
