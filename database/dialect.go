package database

import (
	"context"
	"crypto/rsa"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"modernc.org/sqlite"
)

// dialect holds what differs between database servers. Queries are written in ANSI SQL, with names in double quotes and
// ? for arguments.
type dialect struct {
	open func(s *settings, timeout time.Duration) (*sql.DB, error)

	// schema lists the columns of tables that can be read, and indexes the columns that an index begins with. Both have
	// %s for the names of the tables.
	schema, indexes string

	// For the health check: the server's version, and a row if the user may write.
	version, mayWrite string

	// utc yields the server's time in UTC, in the format of stamp.
	utc string

	// text casts a column to text.
	text func(column string) string

	// stamp formats a time as timeLayout.
	stamp func(column string) string

	// time converts a text to a time.
	time func(text string) string

	// query translates a query into the server's dialect.
	query func(ansi string) string
}

var dialects = map[string]dialect{
	"mariadb": {
		open: openMariaDB,
		schema: `SELECT table_name, column_name FROM information_schema.columns ` +
			`WHERE table_schema = DATABASE() AND table_name IN (%s)`,
		indexes: `SELECT table_name, column_name FROM information_schema.statistics ` +
			`WHERE table_schema = DATABASE() AND seq_in_index = 1 AND table_name IN (%s)`,
		version: `SELECT VERSION()`,
		mayWrite: `SELECT privilege_type FROM information_schema.user_privileges ` +
			`WHERE privilege_type IN ('INSERT', 'UPDATE', 'DELETE') ` +
			`UNION SELECT privilege_type FROM information_schema.schema_privileges ` +
			`WHERE privilege_type IN ('INSERT', 'UPDATE', 'DELETE') LIMIT 1`,
		utc:   `CAST(UTC_TIMESTAMP(6) AS CHAR)`,
		text:  func(column string) string { return "CAST(" + column + " AS CHAR)" },
		stamp: func(column string) string { return "CAST(CAST(" + column + " AS DATETIME(6)) AS CHAR)" },
		time:  func(text string) string { return "CAST(" + text + " AS DATETIME(6))" },
		query: func(ansi string) string { return strings.ReplaceAll(ansi, `"`, "`") },
	},
	"postgres": {
		open: openPostgreSQL,
		schema: `SELECT table_name, column_name FROM information_schema.columns ` +
			`WHERE table_schema = ANY (current_schemas(false)) AND table_name IN (%s)`,
		indexes: `SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid ` +
			`JOIN pg_namespace n ON n.oid = c.relnamespace ` +
			`JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] ` +
			`WHERE n.nspname = ANY (current_schemas(false)) AND c.relname IN (%s)`,
		version:  `SELECT split_part(version(), ' (', 1)`,
		mayWrite: `SELECT 'UPDATE' WHERE has_table_privilege(current_user, '"tabUser"', 'INSERT, UPDATE, DELETE')`,
		utc:      `to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')`,
		text:     func(column string) string { return "CAST(" + column + " AS text)" },
		stamp:    func(column string) string { return "to_char(" + column + ", 'YYYY-MM-DD HH24:MI:SS.US')" },
		time:     func(text string) string { return "CAST(" + text + " AS timestamp)" },
		query:    numbered,
	},
	"sqlite": {
		open: openSQLite,
		schema: `SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c ` +
			`WHERE t.type = 'table' AND t.name IN (%s)`,
		indexes: `SELECT t.name, c.name FROM sqlite_master t JOIN pragma_index_list(t.name) i ` +
			`JOIN pragma_index_info(i.name) c WHERE t.type = 'table' AND c.seqno = 0 AND t.name IN (%s)`,
		version: `SELECT 'SQLite ' || sqlite_version()`,
		utc:     `strftime('%Y-%m-%d %H:%M:%f', 'now')`,
		text:    func(column string) string { return "CAST(" + column + " AS TEXT)" },
		stamp:   func(column string) string { return "CAST(" + column + " AS TEXT)" },
		time:    func(text string) string { return text },
		query:   func(ansi string) string { return ansi },
	},
}

// numbered replaces each ? by $1, $2 and so on.
func numbered(ansi string) string {
	var b strings.Builder
	n := 0
	for i := range len(ansi) {
		if ansi[i] != '?' {
			b.WriteByte(ansi[i])
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

// noKey names a key that nothing can be encrypted with. Without it, the driver asks the server for its key, and sends
// the password to whoever has answered.
const noKey = "frappe-auth: none"

var errClearText = errors.New("the server asks for the password in a form that it can read, but nothing says that it " +
	"is the site's; set db_ssl_ca to the CA of its certificate, or let the user log in by mysql_native_password, " +
	"ed25519 or scram-sha-256")

func openMariaDB(s *settings, timeout time.Duration) (*sql.DB, error) {
	conf := mysql.NewConfig()
	conf.Net, conf.Addr = "tcp", net.JoinHostPort(s.host, strconv.Itoa(s.port))
	if s.socket != "" {
		conf.Net, conf.Addr = "unix", s.socket
	}
	conf.User, conf.Passwd, conf.DBName = s.user, s.password, s.name
	conf.Timeout, conf.ReadTimeout, conf.WriteTimeout = timeout, timeout, timeout
	conf.TLS = s.tls
	conf.MultiStatements = true // a query with its transaction
	conf.Logger = silent{}
	if s.overPlainTCP() {
		mysql.RegisterServerPubKey(noKey, &rsa.PublicKey{N: big.NewInt(3), E: 65537})
		conf.ServerPubKey = noKey
	}
	if err := conf.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, err
	}
	return openPool(timeout, func(ctx context.Context, a *allowance) (querier, error) {
		own := conf.Clone()
		own.DialFunc = a.dial
		connector, err := mysql.NewConnector(own)
		if err != nil {
			return nil, err
		}
		conn, err := connector.Connect(ctx)
		if s.overPlainTCP() && err != nil &&
			(errors.Is(err, mysql.ErrCleartextPassword) || strings.HasPrefix(err.Error(), "crypto/rsa: ")) {
			err = errClearText
		}
		return mariaDBConn{conn}, err
	}), nil
}

func openPostgreSQL(s *settings, timeout time.Duration) (*sql.DB, error) {
	conf, err := pgconn.ParseConfig("sslmode=prefer")
	if err != nil {
		return nil, err
	}
	conf.Host, conf.Port = s.host, uint16(s.port) //nolint:gosec // checked to be that of a port
	if s.socket != "" {
		conf.Host, conf.TLSConfig, conf.Fallbacks = s.socket, nil, nil
	}
	if s.tls != nil {
		conf.TLSConfig, conf.Fallbacks = s.tls, nil
	}
	for _, fallback := range conf.Fallbacks {
		fallback.Host, fallback.Port = conf.Host, conf.Port
	}
	conf.User, conf.Password, conf.Database = s.user, s.password, s.name
	if s.overPlainTCP() {
		conf.RequireAuth = "!password" // in clear text
	}
	conf.ConnectTimeout = timeout
	conf.MaxProtocolMessageBodyLen = maxAnswer
	conf.RuntimeParams = map[string]string{"client_encoding": "UTF8"} // PgBouncer refuses what it does not track
	limit := fmt.Sprintf("SET LOCAL statement_timeout = %d", timeout.Milliseconds())
	return openPool(timeout, func(ctx context.Context, a *allowance) (querier, error) {
		own := conf.Copy()
		own.DialFunc = a.dial
		own.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
			return pgproto3.NewFrontend(&login{Reader: r, allowance: a}, w)
		}
		conn, err := pgconn.ConnectConfig(ctx, own)
		if err != nil && strings.Contains(err.Error(), "server requested password authentication") { // it has no error value
			err = errClearText
		}
		return &postgreSQLConn{PgConn: conn, limit: limit, prepared: make(map[string]bool), used: time.Now()}, err
	}), nil
}

func openSQLite(s *settings, timeout time.Duration) (*sql.DB, error) {
	name := fmt.Sprintf("file:%s?mode=ro&_pragma=query_only(1)&_pragma=busy_timeout(%d)",
		(&url.URL{Path: s.file}).EscapedPath(), timeout.Milliseconds())
	connector, err := sqlite.NewConnector(name)
	if err != nil {
		return nil, err
	}
	return openPool(timeout, func(ctx context.Context, _ *allowance) (querier, error) {
		conn, err := connector.Connect(ctx)
		return sqliteFile{conn}, err
	}), nil
}
