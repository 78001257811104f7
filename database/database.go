// Package database adds a backend to frappe_auth that reads a Frappe site's own database.
package database

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

func init() {
	caddy.RegisterModule(new(Backend))
}

// Backend verifies credentials against a Frappe site's own database, without asking Frappe: in about a millisecond, also
// while no worker is free. It refuses disabled users, knows when an access token expires, and knows roles and full names.
//
// It reads MariaDB and MySQL, PostgreSQL, and the SQLite of Frappe 16, of Frappe 13 to 16, and never writes. Keys and
// tokens compare with case. API secrets are decrypted with the site's encryption_key. A site that has none yet serves
// access tokens.
//
// Once per `poll_interval` it looks for changes and drops the cached verdicts that they concern: new keys and secrets; users
// that were disabled, enabled, renamed or deleted, or whose roles changed; access tokens that were revoked, refreshed or
// deleted; OAuth clients that were deleted or whose scopes changed. A role that was disabled, another time zone, a restored
// backup, a deletion that leaves no trace in `tabDeleted Document` and a `modified` that was put back drop every verdict.
// Deletions without a trace and old times are found by counting rows, which takes a hundredth of the time at most: with each
// look on a small site, every few seconds with 100,000 users.
//
// These take up to the cache's `ttl`: what SQL changes without `modified`, a renamed role, and a deletion without a trace at
// the very moment at which another row was added to the same table. Nothing takes longer.
//
// The site's configuration is read again with each look, and when the database refuses the login: a new password, address
// or encryption_key needs no reload of Caddy. All verdicts are then dropped. While `site_config.json` is broken, the
// settings that were read before stay in use.
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

	// A file in PEM form with the CA of the server's certificate. With it, connections by TCP use TLS, and the server's
	// certificate must be from that CA and for db_host. Default: that of the site, or else no TLS with MariaDB, and with
	// PostgreSQL TLS without verification where the server has it.
	DBSSLCA string `json:"db_ssl_ca,omitempty"`

	// A file in PEM form with the certificate that the server wants to see of Caddy. It needs db_ssl_ca and db_ssl_key.
	// Default: that of the site, or else none.
	DBSSLCert string `json:"db_ssl_cert,omitempty"`

	// A file in PEM form with the key of db_ssl_cert. Default: that of the site, or else none.
	DBSSLKey string `json:"db_ssl_key,omitempty"`

	// The key with which Frappe encrypts API secrets. Default: that of the site. A site without one has no API secrets
	// yet; it is used as soon as Frappe writes it.
	EncryptionKey string `json:"encryption_key,omitempty"`

	// How often to look for changes, 100 milliseconds to 1 minute. A look takes less than a millisecond, where Frappe has its
	// index on `modified`. Default: `1s`.
	PollInterval caddy.Duration `json:"poll_interval,omitempty"`

	// How many connections to the database may be open, 1 to 100. Default: 4.
	MaxOpenConns int `json:"max_open_conns,omitempty"`

	// How long the database may take, to connect and to answer, 10 milliseconds to 1 minute. Default: `5s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	fingerprint string
	siteDir     string // with its placeholders expanded
	source      *source
	logger      *zap.Logger
	now         func() time.Time
}

const (
	defaultPollInterval = caddy.Duration(time.Second)
	minPollInterval     = caddy.Duration(100 * time.Millisecond)
	maxPollInterval     = caddy.Duration(time.Minute)
	defaultMaxOpenConns = 4
	maxOpenConnsLimit   = 100
	defaultTimeout      = caddy.Duration(5 * time.Second)
	minTimeout          = caddy.Duration(10 * time.Millisecond)
	maxTimeout          = caddy.Duration(time.Minute)
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

// Provision reads the site's configuration and opens the database. A database that is away is no error.
func (b *Backend) Provision(ctx caddy.Context) error {
	if err := b.validate(); err != nil {
		return err
	}
	b.setDefaults()
	conf, err := b.expand()
	if err != nil {
		return err
	}
	found, err := conf.settings()
	if err != nil {
		return err
	}
	b.siteDir, b.logger = conf.site, ctx.Logger()
	if found.key == nil {
		b.logger.Warn("the site has no encryption_key, so that no API key can be verified; access tokens can; "+
			"it is read as soon as Frappe writes it to site_config.json, with the first secret that it stores", zap.String("site", conf.site))
	}
	options := *b
	options.source, options.logger = nil, nil
	fingerprint, err := conf.fingerprint(b.PollInterval, b.MaxOpenConns, b.Timeout)
	if err != nil {
		return err
	}
	pooled, loaded, err := sources.LoadOrNew(fingerprint, func() (caddy.Destructor, error) {
		return newSource(found, options.readSettings, time.Duration(b.Timeout), time.Duration(b.PollInterval), b.MaxOpenConns, b.logger)
	})
	if err != nil {
		return err
	}
	b.fingerprint, b.source = fingerprint, pooled.(*source)
	if loaded {
		b.source.use(b.logger)
	}
	return nil
}

// Cleanup closes the database, unless another configuration uses it.
func (b *Backend) Cleanup() error {
	if b.source == nil {
		return nil // provisioning failed
	}
	b.source.release(b.logger)
	_, err := sources.Delete(b.fingerprint)
	return err
}

func (b *Backend) setDefaults() {
	if b.PollInterval == 0 {
		b.PollInterval = defaultPollInterval
	}
	if b.MaxOpenConns == 0 {
		b.MaxOpenConns = defaultMaxOpenConns
	}
	if b.Timeout == 0 {
		b.Timeout = defaultTimeout
	}
	if b.now == nil {
		b.now = time.Now
	}
}

// validate reports what is wrong with the options.
func (b *Backend) validate() error {
	for _, option := range []struct {
		name             string
		value, low, high caddy.Duration
	}{
		{"poll_interval", b.PollInterval, minPollInterval, maxPollInterval},
		{"timeout", b.Timeout, minTimeout, maxTimeout},
	} {
		switch value := time.Duration(option.value); {
		case value > 0 && value < time.Millisecond:
			return fmt.Errorf(`%s: %d without a unit is %[2]d nanoseconds; write "%[2]ds" for seconds`, option.name, value)
		case option.value != 0 && (option.value < option.low || option.value > option.high):
			return fmt.Errorf("%s: %s is not between %s and %s", option.name, value, time.Duration(option.low), time.Duration(option.high))
		}
	}
	switch {
	case b.MaxOpenConns < 0 || b.MaxOpenConns > maxOpenConnsLimit:
		return fmt.Errorf("max_open_conns: %d is not between 1 and %d", b.MaxOpenConns, maxOpenConnsLimit)
	case b.Site == "" && b.DBName == "":
		return errors.New("give the site's directory, such as " + exampleSite + ", or db_name, db_password and encryption_key")
	case b.DBType == "sqlite" && b.Site == "":
		return errors.New("give the site's directory: SQLite's file is in it")
	}
	return nil
}

// expanded is the options with their placeholders replaced, as they stand over the site's own configuration.
type expanded struct {
	site    string
	options map[string]string // by their names in site_config.json
}

// texts are the options that site_config.json has too.
func (b *Backend) texts() map[string]*string {
	return map[string]*string{
		"db_type": &b.DBType, "db_host": &b.DBHost, "db_port": &b.DBPort, "db_socket": &b.DBSocket, "db_name": &b.DBName,
		"db_user": &b.DBUser, "db_password": &b.DBPassword, "db_ssl_ca": &b.DBSSLCA, "db_ssl_cert": &b.DBSSLCert,
		"db_ssl_key": &b.DBSSLKey, "encryption_key": &b.EncryptionKey,
	}
}

// expand replaces the placeholders of the options.
func (b *Backend) expand() (*expanded, error) {
	repl := caddy.NewReplacer()
	e := &expanded{options: make(map[string]string)}
	var err error
	if e.site, err = repl.ReplaceOrErr(b.Site, true, true); err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	for name, value := range b.texts() {
		if *value == "" {
			continue
		}
		if e.options[name], err = repl.ReplaceOrErr(*value, true, true); err != nil {
			return nil, fmt.Errorf("%s: a placeholder in it is unknown or empty", name)
		}
	}
	return e, nil
}

// readSettings reads the settings as they are now.
func (b *Backend) readSettings() (*settings, error) {
	e, err := b.expand()
	if err != nil {
		return nil, err
	}
	return e.settings()
}

// settings is the site's own configuration with the options over it.
func (e *expanded) settings() (*settings, error) {
	var conf siteConfig
	if e.site != "" {
		var err error
		if conf, err = readSiteConfig(e.site); err != nil {
			return nil, err
		}
	}
	if e.options["db_host"] != "" {
		conf.DBSocket = "" // a host that is given as an option is meant
	}
	raw, err := json.Marshal(e.options)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &conf); err != nil {
		return nil, err
	}
	return conf.complete(e.site)
}

// fingerprint tells databases apart without holding a secret. What site_config.json says is not part of it: the source follows
// that by itself, and drops the verdicts.
func (e *expanded) fingerprint(more ...any) (string, error) {
	raw, err := json.Marshal([]any{e.site, e.options, more})
	digest := sha256.Sum256(raw)
	return hex.EncodeToString(digest[:]), err
}

// Verify implements frappe.Backend.
func (b *Backend) Verify(ctx context.Context, c frappe.Credential) (frappe.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.Timeout))
	defer cancel()
	b.source.asked.Store(true)
	id, by, err := b.verify(ctx, c)
	if err != nil && loginRefused(err) && (b.source.follow() || b.source.current.Load() != by) {
		id, _, err = b.verify(ctx, c) // the site's password was changed
	}
	return id, err
}

func (b *Backend) verify(ctx context.Context, cred frappe.Credential) (id frappe.Identity, by *connection, err error) {
	c, leave, err := b.source.enter()
	if err != nil {
		return id, nil, err
	}
	defer leave()
	if cred.Bearer() {
		id, err = c.verifyToken(ctx, cred.Token, b.now())
	} else {
		id, err = c.verifyPair(ctx, cred.Key, cred.Secret)
	}
	return id, c, err
}

// Watch implements frappe.Watcher: it reports what the looks for changes find, as said of Backend.
func (b *Backend) Watch(ctx context.Context, observe func([]frappe.Change)) {
	b.source.poller.watch(ctx, observe)
}

// String names the database.
func (b *Backend) String() string { return b.source.current.Load().settings.String() }

// Fingerprint implements frappe.Fingerprinter: placeholders may stand for something else than before.
func (b *Backend) Fingerprint() string { return b.fingerprint }

// Interface guards
var (
	_ frappe.Backend       = (*Backend)(nil)
	_ frappe.Watcher       = (*Backend)(nil)
	_ frappe.Fingerprinter = (*Backend)(nil)
	_ caddy.Provisioner    = (*Backend)(nil)
	_ caddy.CleanerUpper   = (*Backend)(nil)
)
