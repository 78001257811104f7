package database

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"maps"
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

// dialect holds what differs between database servers. Queries are written in ANSI SQL, with names in double quotes and ?
// for arguments.
type dialect struct {
	open func(s *settings, timeout time.Duration) (*sql.DB, error)

	// schema lists the tables and columns that can be read, and indexes the columns that an index begins with.
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
		open:    openMariaDB,
		schema:  `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()`,
		indexes: `SELECT table_name, column_name FROM information_schema.statistics WHERE table_schema = DATABASE() AND seq_in_index = 1`,
		version: `SELECT VERSION()`,
		mayWrite: `SELECT privilege_type FROM information_schema.user_privileges WHERE privilege_type IN ('INSERT', 'UPDATE', 'DELETE') ` +
			`UNION SELECT privilege_type FROM information_schema.schema_privileges WHERE privilege_type IN ('INSERT', 'UPDATE', 'DELETE') LIMIT 1`,
		utc:   `CAST(UTC_TIMESTAMP(6) AS CHAR)`,
		text:  func(column string) string { return "CAST(" + column + " AS CHAR)" },
		stamp: func(column string) string { return "CAST(CAST(" + column + " AS DATETIME(6)) AS CHAR)" },
		time:  func(text string) string { return "CAST(" + text + " AS DATETIME(6))" },
		query: func(ansi string) string { return strings.ReplaceAll(ansi, `"`, "`") },
	},
	"postgres": {
		open:   openPostgreSQL,
		schema: `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false))`,
		indexes: `SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace ` +
			`JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] WHERE n.nspname = ANY (current_schemas(false))`,
		version:  `SELECT split_part(version(), ' (', 1)`,
		mayWrite: `SELECT 'UPDATE' WHERE has_table_privilege(current_user, '"tabUser"', 'INSERT, UPDATE, DELETE')`,
		utc:      `to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')`,
		text:     func(column string) string { return "CAST(" + column + " AS text)" },
		stamp:    func(column string) string { return "to_char(" + column + ", 'YYYY-MM-DD HH24:MI:SS.US')" },
		time:     func(text string) string { return "CAST(" + text + " AS timestamp)" },
		query:    numbered,
	},
	"sqlite": {
		open:    openSQLite,
		schema:  `SELECT t.name, c.name FROM sqlite_master t JOIN pragma_table_info(t.name) c WHERE t.type = 'table'`,
		indexes: `SELECT t.name, c.name FROM sqlite_master t JOIN pragma_index_list(t.name) i JOIN pragma_index_info(i.name) c WHERE t.type = 'table' AND c.seqno = 0`,
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

func openMariaDB(s *settings, timeout time.Duration) (*sql.DB, error) {
	conf := mysql.NewConfig()
	conf.Net, conf.Addr = "tcp", net.JoinHostPort(s.host, strconv.Itoa(s.port))
	if s.socket != "" {
		conf.Net, conf.Addr = "unix", s.socket
	}
	conf.User, conf.Passwd, conf.DBName = s.user, s.password, s.name
	conf.Timeout, conf.ReadTimeout, conf.WriteTimeout = timeout, timeout, timeout
	conf.TLS = s.tls
	conf.InterpolateParams = true // one round trip for a query with arguments
	conf.Logger = silent{}
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(sessions{connector}), nil
}

// silent discards what the MySQL driver logs. Every error is also returned.
type silent struct{}

func (silent) Print(...any) {}

// sessions makes every session of a connector read-only and independent of the server's own settings.
type sessions struct{ driver.Connector }

func (s sessions) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := s.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	for _, statement := range []string{
		"SET SESSION sql_mode = '', time_zone = '+00:00', sql_select_limit = 18446744073709551615",
		"SET NAMES utf8mb4",
		"SET SESSION TRANSACTION READ ONLY",
	} {
		if _, err := conn.(driver.ExecerContext).ExecContext(ctx, statement, nil); err != nil {
			_ = conn.Close()
			return nil, err
		}
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
	if s.tls != nil {
		conf.TLSConfig, conf.Fallbacks = s.tls, nil
	}
	for _, fallback := range conf.Fallbacks {
		fallback.Host, fallback.Port = conf.Host, conf.Port
	}
	conf.User, conf.Password, conf.Database = s.user, s.password, s.name
	conf.ConnectTimeout = timeout
	maps.Copy(conf.RuntimeParams, map[string]string{ // override the settings of the server, the database and the user
		"client_encoding": "UTF8", "DateStyle": "ISO, YMD", "TimeZone": "UTC", "standard_conforming_strings": "on",
	})
	conf.RuntimeParams["default_transaction_read_only"] = "on"
	conf.RuntimeParams["statement_timeout"] = strconv.FormatInt(timeout.Milliseconds(), 10)
	conf.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // parse and plan once per connection
	return stdlib.OpenDB(*conf), nil
}

func openSQLite(s *settings, timeout time.Duration) (*sql.DB, error) {
	return sql.Open("sqlite", fmt.Sprintf("file:%s?mode=ro&_pragma=query_only(1)&_pragma=busy_timeout(%d)",
		(&url.URL{Path: s.file}).EscapedPath(), timeout.Milliseconds()))
}
