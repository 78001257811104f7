// Package database is the backend that verifies credentials by reading a Frappe site's own database.
package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() {
	caddy.RegisterModule(new(Backend))
}

// Backend verifies credentials by reading a Frappe site's own database, without asking Frappe. A verification takes
// about a millisecond and works even while all of Frappe's workers are busy. The backend refuses disabled users, and it
// knows the expiry, the scopes and the clients of access tokens, the roles and the full names.
//
// It verifies sessions of Frappe 15 and later by the table `tabSessions`. Frappe also keeps sessions in Redis, which
// this backend does not read: a session that is only there is refused, and so is one of a user with **Restrict IP**. A
// logout takes up to `session_ttl` to take effect. Frappe does not see that a session is used here.
//
// It reads the databases of Frappe 13 to 16: MariaDB and MySQL, PostgreSQL, and the SQLite of Frappe 16. It never
// writes. Keys and tokens are compared with case. API secrets are decrypted with the site's encryption_key. A site that
// does not have one yet can only serve access tokens.
//
// Once per `poll_interval` it looks for changes and drops the cached verdicts that they concern: keys and secrets that
// were generated; users that were disabled, enabled, renamed or deleted, or whose roles changed; access tokens that
// were revoked, refreshed or deleted; OAuth clients that were deleted or whose scopes changed. A disabled role, a new
// time zone and a restored backup drop every cached verdict of the site.
//
// These changes take up to the cache's `ttl` to take effect: a deletion that leaves no trace in `tabDeleted Document`;
// SQL that does not change `modified`, or sets it back; a transaction that stays open for more than ten minutes; a
// renamed role. No change takes longer.
//
// The site's configuration is read again with each poll, and when the database refuses the login. A new password,
// address or encryption_key therefore takes effect without a reload of Caddy; all cached verdicts are then dropped.
// While `site_config.json` is broken, the previous settings stay in use.
//
// No password or key appears in a log, whether it is set here or read from the site's configuration.
type Backend struct {
	// The site's directory in the bench, such as `/home/frappe/frappe-bench/sites/erp.example.com`. The connection
	// settings are read from its site_config.json and from common_site_config.json in the parent directory;
	// site_config.json wins. Default: none; then db_name, db_password and encryption_key are required. This option and
	// all that follow may contain placeholders such as `{env.*}`.
	Site string `json:"site,omitempty"`

	// `mariadb` (also for MySQL), `postgres` or `sqlite`. Default: the site's db_type, or else `mariadb`.
	DBType string `json:"db_type,omitempty"`

	// The host of the database. Default: the site's db_host, or else `127.0.0.1`.
	DBHost string `json:"db_host,omitempty"`

	// The port of the database. Default: the site's db_port, or else 3306 for MariaDB and 5432 for PostgreSQL.
	DBPort string `json:"db_port,omitempty"`

	// The path of MariaDB's Unix socket, or the directory of PostgreSQL's. Default: the site's db_socket, or else TCP is
	// used.
	DBSocket string `json:"db_socket,omitempty"`

	// The name of the database. Default: the site's db_name.
	DBName string `json:"db_name,omitempty"`

	// The user that logs in to the database. Best is a user that may only read what is needed. Default: the site's
	// db_user, or else its db_name.
	DBUser string `json:"db_user,omitempty"`

	// The password of that user. Default: the site's db_password.
	DBPassword string `json:"db_password,omitempty"`

	// A PEM file with the CA of the server's certificate. If it is set, TCP connections use TLS, and the server's
	// certificate must be issued by that CA for db_host. Default: the site's db_ssl_ca. Without either, MariaDB is used
	// without TLS, and PostgreSQL with TLS but without verification if the server offers it.
	DBSSLCA string `json:"db_ssl_ca,omitempty"`

	// A PEM file with the client certificate that Caddy presents to the server. It needs db_ssl_ca and db_ssl_key.
	// Default: the site's db_ssl_cert, or else none.
	DBSSLCert string `json:"db_ssl_cert,omitempty"`

	// A PEM file with the private key of db_ssl_cert. Default: the site's db_ssl_key, or else none.
	DBSSLKey string `json:"db_ssl_key,omitempty"`

	// The key that Frappe encrypts API secrets with. Default: the site's encryption_key. A site without one has no API
	// secrets yet; the key is used as soon as Frappe writes it.
	EncryptionKey string `json:"encryption_key,omitempty"`

	// How often to look for changes, 100 milliseconds to 1 minute. It takes about a millisecond where Frappe makes an
	// index on `modified`, before Frappe 16. Without, it reads the tables of users and access tokens whole. Default: `1s`.
	PollInterval caddy.Duration `json:"poll_interval,omitempty"`

	// How many connections to the database may be open at once, 1 to 100. Default: 4.
	MaxOpenConns int `json:"max_open_conns,omitempty"`

	// How long the database may take to connect and to answer, 10 milliseconds to 1 minute. If it takes longer, the
	// backend is unavailable. Default: `5s`.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	fingerprint string
	siteDir     string // with its placeholders expanded
	sessions    bool   // they are accepted, so the health check covers them
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

// sources holds one source for each distinct database, by its fingerprint.
var sources = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*Backend) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.backends.database",
		New: func() caddy.Module { return new(Backend) },
	}
}

// UnmarshalJSON rejects unknown fields, as Caddy does, and says what to write instead.
func (b *Backend) UnmarshalJSON(raw []byte) error {
	type plain Backend
	return directive.DecodeJSON(raw, (*plain)(b), "backend database", b.block().Instead)
}

// Provision reads the site's configuration and prepares the connection. A database that is down is not an error.
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
		b.logger.Warn("the site has no encryption_key, so only access tokens can be verified, not API keys; "+
			"Frappe writes one to site_config.json when it stores the first secret, and it is then read",
			zap.String("site", conf.site))
	}
	options := *b
	options.source, options.logger = nil, nil
	fingerprint, err := conf.fingerprint(b.PollInterval, b.MaxOpenConns, b.Timeout)
	if err != nil {
		return err
	}
	pooled, loaded, err := sources.LoadOrNew(fingerprint, func() (caddy.Destructor, error) {
		return newSource(
			found,
			options.readSettings,
			time.Duration(b.Timeout),
			time.Duration(b.PollInterval),
			b.MaxOpenConns,
			b.logger,
		)
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

// Cleanup closes the database, unless another configuration still uses it.
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

// expanded holds the options after their placeholders were replaced. They override the site's own configuration.
type expanded struct {
	site    string
	options map[string]string // by their names in site_config.json
}

// texts returns the options that also exist in site_config.json.
func (b *Backend) texts() map[string]*string {
	return map[string]*string{
		"db_type": &b.DBType, "db_host": &b.DBHost, "db_port": &b.DBPort, "db_socket": &b.DBSocket, "db_name": &b.DBName,
		"db_user": &b.DBUser, "db_password": &b.DBPassword, "db_ssl_ca": &b.DBSSLCA, "db_ssl_cert": &b.DBSSLCert,
		"db_ssl_key": &b.DBSSLKey, "encryption_key": &b.EncryptionKey,
	}
}

// expand replaces the placeholders in the options.
func (b *Backend) expand() (*expanded, error) {
	e := &expanded{options: make(map[string]string)}
	var err error
	if e.site, err = directive.Expand("site", b.Site); err != nil {
		return nil, err
	}
	for name, value := range b.texts() {
		if *value == "" {
			continue
		}
		if e.options[name], err = directive.Expand(name, *value); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// readSettings reads the current settings.
func (b *Backend) readSettings() (*settings, error) {
	e, err := b.expand()
	if err != nil {
		return nil, err
	}
	return e.settings()
}

// settings returns the site's own configuration, overridden by the options.
func (e *expanded) settings() (*settings, error) {
	var conf siteConfig
	if e.site != "" {
		var err error
		if conf, err = readSiteConfig(e.site); err != nil {
			return nil, err
		}
	}
	if e.options["db_host"] != "" {
		conf.DBSocket = "" // a host given as an option overrides the site's socket
	}
	raw, err := json.Marshal(e.options)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &conf); err != nil {
		return nil, err
	}
	s, err := conf.complete(e.site)
	if err == nil {
		s.ownUser, s.ownKey = e.options["db_user"] == "", e.options["encryption_key"] == ""
	}
	return s, err
}

// fingerprint identifies a database without containing a secret. It does not cover the content of site_config.json: the
// source follows that file itself and drops the verdicts.
func (e *expanded) fingerprint(more ...any) (string, error) {
	return directive.Fingerprint(e.site, e.options, more)
}

// Verify implements frappe.Backend.
func (b *Backend) Verify(ctx context.Context, c frappe.Credential) (frappe.Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.Timeout))
	defer cancel()
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
	switch cred.Scheme {
	case frappe.SchemeBearer:
		id, err = c.verifyToken(ctx, cred.Token, b.now())
	case frappe.SchemeSession:
		id, err = c.verifySession(ctx, cred.Session, b.now())
	default:
		id, err = c.verifyPair(ctx, cred.Key, cred.Secret)
	}
	return id, c, err
}

// Watch implements frappe.Watcher. Backend describes which changes it reports.
func (b *Backend) Watch(ctx context.Context, observe func([]frappe.Change)) {
	b.source.poller.watchers.Watch(ctx, observe)
}

// String names the database, without a secret.
func (b *Backend) String() string { return b.source.current.Load().settings.String() }

// Fingerprint implements frappe.Fingerprinter: the values of placeholders may have changed.
func (b *Backend) Fingerprint() string { return b.fingerprint }

// validateOptions reports what is wrong with an option that was given.
func (b *Backend) validateOptions() error {
	for _, option := range []struct {
		name             string
		value, low, high caddy.Duration
	}{
		{"poll_interval", b.PollInterval, minPollInterval, maxPollInterval},
		{"timeout", b.Timeout, minTimeout, maxTimeout},
	} {
		if err := directive.CheckDuration(option.name, option.value); err != nil {
			return err
		}
		if option.value != 0 && (option.value < option.low || option.value > option.high) {
			return fmt.Errorf("%s: %s is not between %s and %s",
				option.name, time.Duration(option.value), time.Duration(option.low), time.Duration(option.high))
		}
	}
	if b.MaxOpenConns < 0 || b.MaxOpenConns > maxOpenConnsLimit {
		return fmt.Errorf("max_open_conns: %d is not between 1 and %d", b.MaxOpenConns, maxOpenConnsLimit)
	}
	if b.DBType != "" && !strings.Contains(b.DBType, "{") && !slices.Contains(types, b.DBType) {
		return unknownType(b.DBType)
	}
	if b.DBPort != "" && !strings.Contains(b.DBPort, "{") {
		if _, err := parsePort(b.DBPort); err != nil {
			return err
		}
	}
	return nil
}

// validate reports what is wrong with the options, and whether there are enough of them.
func (b *Backend) validate() error {
	if err := b.validateOptions(); err != nil {
		return err
	}
	switch {
	case b.Site == "" && b.DBName == "":
		return errors.New(
			"give the site's directory, such as " + exampleSite + ", or db_name, db_password and encryption_key",
		)
	case b.DBType == "sqlite" && b.Site == "":
		return errors.New("give the site's directory, because it contains SQLite's file")
	}
	return nil
}

var types = []string{"mariadb", "postgres", "sqlite"}

func unknownType(name string) error {
	return fmt.Errorf("db_type %q is none of mariadb, postgres and sqlite", name)
}

func parsePort(text string) (int, error) {
	n, err := directive.ParsePort(text)
	if err != nil {
		return 0, errors.New("db_port is not a port number; write one from 1 to 65535")
	}
	return int(n), nil
}

// RoleNames implements frappe.RoleLister. It returns the names of all roles of the site that are not disabled. It
// returns an error if the database's user may not read `tabRole`.
func (b *Backend) RoleNames(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.Timeout))
	defer cancel()
	c, leave, err := b.source.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	sch, err := c.currentSchema(ctx)
	if err != nil {
		return nil, err
	}
	if !sch.has("tabRole", "name") {
		return nil, c.credentialSpecific(errors.New("tabRole cannot be read; docs/database.md has the GRANT"))
	}
	query := `SELECT "name" FROM "tabRole"`
	if sch.has("tabRole", "disabled") {
		query += ` WHERE COALESCE("disabled", 0) = 0`
	}
	return c.texts(ctx, query, nil, maxRoles)
}

// Interface guards
var (
	_ frappe.Backend       = (*Backend)(nil)
	_ frappe.Watcher       = (*Backend)(nil)
	_ frappe.Fingerprinter = (*Backend)(nil)
	_ caddy.Provisioner    = (*Backend)(nil)
	_ caddy.CleanerUpper   = (*Backend)(nil)
	_ frappe.RoleLister    = (*Backend)(nil)
)
