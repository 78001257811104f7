package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // registers the driver
)

// dialect is in what one database server differs from the others. Queries are written in ANSI SQL, with names in double
// quotes and ? for arguments.
type dialect struct {
	open func(s *settings, timeout time.Duration) (*sql.DB, error)

	// schema lists tables and columns that can be read.
	schema string

	// For the examination: the server's version, something where its user may write, and the time in UTC.
	version, mayWrite, utc string

	// text casts to text, in a form that keeps the microseconds of a time.
	text func(column string) string

	// time makes a time of a text.
	time func(text string) string

	// query puts a query into the server's words.
	query func(ansi string) string
}

var dialects = map[string]dialect{
	"mariadb": {
		open:    openMariaDB,
		schema:  `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()`,
		version: `SELECT VERSION()`,
		mayWrite: `SELECT privilege_type FROM information_schema.user_privileges WHERE privilege_type IN ('INSERT', 'UPDATE', 'DELETE') ` +
			`UNION SELECT privilege_type FROM information_schema.schema_privileges WHERE privilege_type IN ('INSERT', 'UPDATE', 'DELETE') LIMIT 1`,
		utc:   `SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)`,
		text:  func(column string) string { return "CAST(" + column + " AS CHAR)" },
		time:  func(text string) string { return "CAST(" + text + " AS DATETIME(6))" },
		query: func(ansi string) string { return strings.ReplaceAll(ansi, `"`, "`") },
	},
	"postgres": {
		open:     openPostgreSQL,
		schema:   `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false))`,
		version:  `SELECT split_part(version(), ' (', 1)`,
		mayWrite: `SELECT 'UPDATE' WHERE has_table_privilege(current_user, '"tabUser"', 'INSERT, UPDATE, DELETE')`,
		utc:      `SELECT CAST(now() AT TIME ZONE 'UTC' AS text)`,
		text:     func(column string) string { return "CAST(" + column + " AS text)" },
		time:     func(text string) string { return "CAST(" + text + " AS timestamp)" },
		query:    numbered,
	},
	"sqlite": {
		open:    openSQLite,
		schema:  `SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'`,
		version: `SELECT 'SQLite ' || sqlite_version()`,
		text:    func(column string) string { return "CAST(" + column + " AS TEXT)" },
		time:    func(text string) string { return text },
		query:   func(ansi string) string { return ansi },
	},
}

// numbered writes $1, $2, … for ?.
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

func openMariaDB(s *settings, timeout time.Duration) (*sql.DB, error) {
	conf := mysql.NewConfig()
	conf.Net, conf.Addr = "tcp", net.JoinHostPort(s.host, strconv.Itoa(s.port))
	if s.socket != "" {
		conf.Net, conf.Addr = "unix", s.socket
	}
	conf.User, conf.Passwd, conf.DBName = s.user, s.password, s.name
	conf.Timeout, conf.ReadTimeout, conf.WriteTimeout = timeout, timeout, timeout
	conf.InterpolateParams = true // one round trip for a query with arguments
	conf.Logger = silent{}
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(readOnly{connector}), nil
}

// silent drops what the MySQL driver logs by itself; every error is also returned.
type silent struct{}

func (silent) Print(...any) {}

// readOnly makes every session of a connector one that cannot write.
type readOnly struct{ driver.Connector }

func (c readOnly) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "SET SESSION TRANSACTION READ ONLY", nil); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

func openPostgreSQL(s *settings, timeout time.Duration) (*sql.DB, error) {
	conf, err := pgx.ParseConfig("sslmode=prefer")
	if err != nil {
		return nil, err
	}
	conf.Host, conf.Port = s.host, uint16(s.port) //nolint:gosec // checked to be that of a port
	if s.socket != "" {
		conf.Host, conf.TLSConfig, conf.Fallbacks = s.socket, nil, nil
	}
	for _, fallback := range conf.Fallbacks {
		fallback.Host, fallback.Port = conf.Host, conf.Port
	}
	conf.User, conf.Password, conf.Database = s.user, s.password, s.name
	conf.ConnectTimeout = timeout
	conf.RuntimeParams["default_transaction_read_only"] = "on"
	conf.RuntimeParams["statement_timeout"] = strconv.FormatInt(timeout.Milliseconds(), 10)
	conf.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // parsed and planned once a connection
	return stdlib.OpenDB(*conf), nil
}

func openSQLite(s *settings, timeout time.Duration) (*sql.DB, error) {
	return sql.Open("sqlite", fmt.Sprintf("file:%s?mode=ro&_pragma=query_only(1)&_pragma=busy_timeout(%d)",
		(&url.URL{Path: s.file}).EscapedPath(), timeout.Milliseconds()))
}
