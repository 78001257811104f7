package database

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// maxHandshake and maxAnswer are how many bytes a server may send while a connection is set up, and in answer to one
	// query. The drivers allocate what a server announces, and compute with the keys that it sends.
	maxHandshake = 64 << 10
	maxAnswer    = 16 << 20
)

var (
	errTooLong   = errors.New("the server's answer is too long; is this the address of the site's database?")
	errMalformed = errors.New("the server's answer cannot be parsed; is this the address of the site's database?")
)

// querier is a connection of a driver, with one method to run a query. The query runs in a read-only transaction of its
// own where the server has them. No state of the session is relied upon, because a proxy may give each transaction
// another session. Arguments are for the ? of the query, in the server's own form.
type querier interface {
	query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error)
	reset(ctx context.Context) error // returns an error if the connection cannot be used any more
	Close() error
}

// openPool returns the connections that open opens, as database/sql pools them.
func openPool(timeout time.Duration, open func(context.Context, *allowance) (querier, error)) *sql.DB {
	return sql.OpenDB(connector{timeout: timeout, open: open})
}

// connector opens connections. A server that answers anything whatsoever can make them fail, but not panic:
// database/sql also calls drivers in goroutines that no caller can guard.
type connector struct {
	timeout time.Duration
	open    func(context.Context, *allowance) (querier, error)
}

// Connect implements driver.Connector.
func (k connector) Connect(ctx context.Context) (driver.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel() // also ends what a driver has started before it panicked
	c := new(conn)
	err := c.guard(func() (err error) {
		c.querier, err = k.open(ctx, &c.allowance)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Driver implements driver.Connector. Nobody calls it.
func (connector) Driver() driver.Driver { return nil }

// conn is an open connection. It can only query.
type conn struct {
	querier   querier
	allowance allowance
	broken    bool // after any error: a transaction may be open, or an answer half read
}

// guard calls a driver. A panic becomes an error.
func (c *conn) guard(call func() error) (err error) {
	defer func() {
		if recover() != nil { // what the driver says of it is of no use to the operator
			err = errMalformed
		}
		c.broken = c.broken || err != nil && !errors.Is(err, io.EOF)
		if c.broken && c.allowance.left.Load() < 0 {
			err = errTooLong
		}
	}()
	return call()
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	var found driver.Rows
	c.allowance.left.Store(maxAnswer)
	c.allowance.queried.Store(true)
	err := c.guard(func() (err error) {
		found, err = c.querier.query(ctx, query, args)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &rows{conn: c, rows: found}, nil
}

// IsValid implements driver.Validator.
func (c *conn) IsValid() bool { return !c.broken }

// ResetSession implements driver.SessionResetter.
func (c *conn) ResetSession(ctx context.Context) error {
	c.allowance.left.Store(maxHandshake)
	if c.broken || c.guard(func() error { return c.querier.reset(ctx) }) != nil {
		return driver.ErrBadConn
	}
	return nil
}

// Close implements driver.Conn.
func (c *conn) Close() error { return c.guard(c.querier.Close) }

var errReadOnly = errors.New("connections to the site's database are only for queries")

// Prepare implements driver.Conn.
func (*conn) Prepare(string) (driver.Stmt, error) { return nil, errReadOnly }

// Begin implements driver.Conn.
func (*conn) Begin() (driver.Tx, error) { return nil, errReadOnly }

// rows are the rows of a query.
type rows struct {
	conn *conn
	rows driver.Rows
}

// Columns implements driver.Rows.
func (r *rows) Columns() (names []string) {
	_ = r.conn.guard(func() error {
		names = r.rows.Columns()
		return nil
	})
	return names
}

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	return r.conn.guard(func() error { return r.rows.Next(dest) })
}

// Close implements driver.Rows.
func (r *rows) Close() error { return r.conn.guard(r.rows.Close) }

// allowance bounds what a server may send.
type allowance struct {
	left    atomic.Int64
	queried atomic.Bool // the login is over
}

// dial dials for a driver.
func (a *allowance) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	dialed, err := dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	a.left.Store(maxHandshake)
	return limited{Conn: dialed, allowance: a}, nil
}

// limited is a network connection with an allowance.
type limited struct {
	net.Conn
	allowance *allowance
}

func (l limited) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if l.allowance.left.Add(int64(-n)) < 0 {
		return 0, errTooLong
	}
	return n, err
}

// SyscallConn implements syscall.Conn, by which MySQL's driver notices that the server has closed an idle connection.
func (l limited) SyscallConn() (syscall.RawConn, error) { return l.Conn.(syscall.Conn).SyscallConn() }

// maxIterations is how often PostgreSQL may have a password hashed at a login: about a second's work. It is 4096 there,
// unless its scram_iterations says otherwise. The driver takes ten million, and does not stop when the time is over.
// The number has maxDigits at most.
const maxIterations, maxDigits = 1_000_000, 7

var (
	errIterations = fmt.Errorf("the server wants the password hashed too often; set its scram_iterations to %d or less, "+
		"and the password anew", maxIterations)
	iterations = regexp.MustCompile(`,i=([0-9]+)`)
)

// login reads what PostgreSQL sends, without TLS around it, until the first query.
type login struct {
	io.Reader
	allowance *allowance
	last      []byte // what was read, as far as it may be the begin of the number of iterations
}

func (l *login) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if l.allowance.queried.Load() {
		return n, err
	}
	l.last = append(l.last, p[:n]...)
	for _, found := range iterations.FindAllSubmatch(l.last, -1) {
		count, err := strconv.Atoi(string(found[1]))
		if err != nil || count > maxIterations || len(found[1]) > maxDigits { // zeros at the start count
			return 0, errIterations
		}
	}
	l.last = append(l.last[:0], l.last[max(0, len(l.last)-32):]...)
	return n, err
}

// mariaDBConn is a connection to MariaDB or MySQL.
type mariaDBConn struct{ driver.Conn }

func (m mariaDBConn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	statements := "START TRANSACTION READ ONLY; " + withLiterals(query, args) + "; COMMIT" // one round trip
	return m.Conn.(driver.QueryerContext).QueryContext(ctx, statements, nil)
}

func (m mariaDBConn) reset(ctx context.Context) error {
	return m.Conn.(driver.SessionResetter).ResetSession(ctx)
}

// withLiterals replaces each ? of a query with its argument, in hexadecimal digits. They need no escaping, which would
// depend on a setting of the session.
func withLiterals(query string, args []driver.NamedValue) string {
	var b strings.Builder
	for _, arg := range args {
		before, after, _ := strings.Cut(query, "?")
		b.WriteString(before + "_utf8mb4 X'" + hex.EncodeToString([]byte(arg.Value.(string))) + "'")
		query = after
	}
	b.WriteString(query)
	return b.String()
}

// silent discards what the MySQL driver logs. Every error is also returned.
type silent struct{}

func (silent) Print(...any) {}

// postgreSQLConn is a connection to PostgreSQL.
type postgreSQLConn struct {
	*pgconn.PgConn
	limit    string          // SQL that limits how long the server works for one transaction
	prepared map[string]bool // the statements that the session should have
	used     time.Time
}

// maxPrepared is how many statements are prepared, which spares the server most of its work. Others are rare.
const maxPrepared = 16

// query uses prepared statements where the session has them. PgBouncer may give each transaction another session, which
// has the statements that anybody has prepared there. Their names tell what they are.
func (p *postgreSQLConn) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	values := make([][]byte, len(args))
	for i, arg := range args {
		values[i] = []byte(arg.Value.(string))
	}
	digest := sha256.Sum256([]byte(query))
	name := "frappe_auth_" + hex.EncodeToString(digest[:16])
	if !p.prepared[name] && len(p.prepared) >= maxPrepared {
		name = ""
	}
	for attempt := 0; ; attempt++ {
		result, err := p.transaction(ctx, name, query, values)
		switch {
		case err == nil:
			p.used = time.Now()
			return &textRows{result: result}, nil
		case pgconn.SafeToRetry(err):
			return nil, driver.ErrBadConn
		case name == "":
			return nil, err
		}
		switch code(err) {
		case "26000": // the session does not have the statement
			delete(p.prepared, name)
		case "42P05": // it has it
			p.prepared[name] = true
		case "0A000": // the types of its columns have changed
			name = ""
		default:
			return nil, err
		}
		if attempt == 2 {
			name = ""
		}
	}
}

// transaction runs one query in one round trip. name is that of its prepared statement, or empty for none.
func (p *postgreSQLConn) transaction(ctx context.Context, name, query string, values [][]byte) (*pgconn.Result, error) {
	pipeline := p.StartPipeline(ctx)
	if p.TxStatus() != 'I' { // an attempt failed
		pipeline.SendQueryParams("ROLLBACK", nil, nil, nil, nil)
		pipeline.SendPipelineSync()
	}
	pipeline.SendQueryParams("BEGIN READ ONLY", nil, nil, nil, nil)
	pipeline.SendQueryParams(p.limit, nil, nil, nil, nil)
	if name == "" {
		pipeline.SendQueryParams(query, values, nil, nil, nil)
	} else {
		if !p.prepared[name] {
			pipeline.SendPrepare(name, query, nil)
		}
		pipeline.SendQueryPrepared(name, values, nil, nil)
	}
	pipeline.SendQueryParams("COMMIT", nil, nil, nil, nil)
	err := pipeline.Sync()
	var results []*pgconn.Result
	for err == nil {
		var answer any
		if answer, err = pipeline.GetResults(); answer == nil {
			break
		}
		if reader, ok := answer.(*pgconn.ResultReader); ok {
			results = append(results, reader.Read())
			err = results[len(results)-1].Err
		}
	}
	if closed := pipeline.Close(); err == nil {
		err = closed
	}
	switch {
	case err != nil:
		return nil, err
	case len(results) < 2:
		return nil, errMalformed
	}
	if name != "" {
		p.prepared[name] = true
	}
	return results[len(results)-2], nil
}

// reset asks the server if it was not used for a while, because it may have closed the connection.
func (p *postgreSQLConn) reset(ctx context.Context) error {
	switch {
	case p.IsClosed() || p.TxStatus() != 'I':
		return driver.ErrBadConn
	case time.Since(p.used) > time.Second:
		return p.Ping(ctx)
	}
	return nil
}

// Close closes the connection.
func (p *postgreSQLConn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return p.PgConn.Close(ctx)
}

// textRows are rows of PostgreSQL, as text.
type textRows struct {
	result *pgconn.Result
	next   int
}

// Columns implements driver.Rows.
func (t *textRows) Columns() []string {
	names := make([]string, len(t.result.FieldDescriptions))
	for i, field := range t.result.FieldDescriptions {
		names[i] = field.Name
	}
	return names
}

// Next implements driver.Rows.
func (t *textRows) Next(dest []driver.Value) error {
	if t.next == len(t.result.Rows) {
		return io.EOF
	}
	for i, value := range t.result.Rows[t.next] {
		dest[i] = value
		if value == nil {
			dest[i] = nil // and not a slice
		}
	}
	t.next++
	return nil
}

// Close implements driver.Rows.
func (*textRows) Close() error { return nil }

// sqliteFile is an open file of SQLite.
type sqliteFile struct{ driver.Conn }

func (s sqliteFile) query(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return s.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (sqliteFile) reset(context.Context) error { return nil }

// Interface guards
var (
	_ driver.Connector       = connector{}
	_ driver.QueryerContext  = (*conn)(nil)
	_ driver.SessionResetter = (*conn)(nil)
	_ driver.Validator       = (*conn)(nil)
	_ syscall.Conn           = limited{}
)
