package database

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// maxError is how many bytes of an error are shown. What is in it may come from the server.
const maxError = 1 << 10

// shortError is an error with a text that a server made long.
type shortError struct{ error }

func (e *shortError) Error() string {
	return strings.ToValidUTF8(e.error.Error()[:maxError], "") + "…"
}

func (e *shortError) Unwrap() error { return e.error }

// short returns an error with a text of bounded length.
func short(err error) error {
	if len(err.Error()) <= maxError {
		return err
	}
	return &shortError{err}
}

// fault adds the database's name and advice to a database error. Driver errors contain hosts, users and statements, but
// no passwords and no arguments.
func (c *connection) fault(err error) error {
	c.forgetSchema()
	err = short(err)
	if tableMissing(err) {
		c.replaced.Store(true)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: no answer within %s; is the server overloaded, or is that the port of another one?",
			c.settings, c.timeout)
	}
	if text := err.Error(); strings.Contains(text, "received unexpected message") ||
		strings.Contains(text, "unknown message type") { // pgx has no error values for these
		return fmt.Errorf("%s: what answers there does not speak PostgreSQL's protocol; correct db_host and db_port",
			c.settings)
	}
	var missing *columnError
	if errors.As(err, &missing) && c.settings.ownUser { // who may read all that there is
		return fmt.Errorf("%s: the site has no tables yet: %w; wait until it is installed, or give the database of a "+
			"Frappe site", c.settings, err)
	}
	if advice := c.advice(err); advice != "" {
		return fmt.Errorf("%s: %w; %s", c.settings, err, advice)
	}
	return fmt.Errorf("%s: %w", c.settings, err)
}

// advice returns what to do about an error, or an empty string.
func (c *connection) advice(err error) string {
	var (
		authority   x509.UnknownAuthorityError
		hostname    x509.HostnameError
		certificate *tls.CertificateVerificationError
		missing     *columnError
	)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist): // at a port, and at a socket
		unit := map[string]string{"mariadb": "mariadb", "postgres": "postgresql"}[c.settings.dbType]
		return "is the server running? Look at `systemctl status " + unit + "`"
	case errors.Is(err, mysql.ErrInvalidConn):
		return "the connection broke, or what answers there is not MariaDB; check db_host and db_port"
	case errors.As(err, &missing), grantMissing(err):
		return fmt.Sprintf(
			"run the GRANT statements of docs/database.md for user %s, or give the database of a Frappe site",
			c.settings.user,
		)
	case errors.As(err, &authority):
		return "the server's certificate was not issued by a CA in " + c.settings.caFile + "; set db_ssl_ca to the " +
			"server's CA"
	case errors.As(err, &hostname):
		return "set db_host to a name that is in the server's certificate, or db_ssl_check_hostname to 0 in site_config.json"
	case errors.As(err, &certificate):
		return "the server's certificate cannot be verified with db_ssl_ca"
	case errors.Is(err, mysql.ErrNoTLS),
		strings.Contains(err.Error(), "server refused TLS connection"): // pgx has no error value for it
		return "enable TLS on the server, or remove db_ssl_ca"
	case slices.Contains([]string{"3159", "4220"}, code(err)), strings.Contains(err.Error(), "require_secure_transport"):
		return "the server demands TLS: set db_ssl_ca to the CA of its certificate"
	case loginRefused(err):
		advice := "check db_user and db_password, in site_config.json or as options, and whether the user may log in " +
			"from this host"
		if c.settings.overPlainTCP() {
			advice += "; if the server demands TLS, set db_ssl_ca"
		}
		return advice
	}
	return ""
}

// code returns the code of an error that came from the server itself, or an empty string.
func code(err error) string {
	var (
		ofMariaDB    *mysql.MySQLError
		ofPostgreSQL *pgconn.PgError
		ofSQLite     *sqlite.Error
	)
	switch {
	case errors.As(err, &ofMariaDB):
		return fmt.Sprint(ofMariaDB.Number)
	case errors.As(err, &ofPostgreSQL):
		return ofPostgreSQL.Code
	case errors.As(err, &ofSQLite):
		return fmt.Sprint("SQLite ", ofSQLite.Code())
	}
	return ""
}

// tableMissing reports whether a database, a table or a column that was there before does not exist.
func tableMissing(err error) bool {
	var missing *columnError
	codes := []string{"1046", "1049", "1051", "1054", "1146", "3D000", "42P01", "42703", "SQLite 1"}
	return errors.As(err, &missing) || slices.Contains(codes, code(err))
}

// loginRefused reports whether the server refused the user or the password.
func loginRefused(err error) bool {
	return slices.Contains([]string{"1045", "1698", "28000", "28P01"}, code(err))
}

// grantMissing reports whether the server accepted the login but does not let the user read something.
func grantMissing(err error) bool {
	return slices.Contains([]string{"1044", "1142", "1143", "42501"}, code(err))
}

// credentialSpecific returns an error about one credential, or one kind of credential, while the database works.
func (c *connection) credentialSpecific(err error) error {
	return &frappe.UnavailableError{Reason: fmt.Errorf("%s: %w", c.settings, short(err)), CredentialSpecific: true}
}

// columnError says that a table or column that every verification needs cannot be read.
type columnError struct{ table, column string }

func (e *columnError) Error() string { return "column " + e.table + "." + e.column + " cannot be read" }
