package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// connection is an open database of a site. It is used with one version of the site's configuration.
type connection struct {
	settings *settings
	dialect  dialect
	db       *sql.DB
	timeout  time.Duration

	using  sync.RWMutex // read-locked by verifications, locked by close
	closed bool
	schema atomic.Pointer[schema]

	// replaced is set when a verification or a look found a table or a column missing. The tables may have been restored from a
	// backup since, with rows that look as before, so the next look drops everything.
	replaced atomic.Bool
}

// connect prepares a connection without dialing, because a server that is down is not an error of the configuration.
func connect(s *settings, timeout time.Duration, maxOpen int) (*connection, error) {
	c := &connection{settings: s, dialect: dialects[s.dbType], timeout: timeout}
	var err error
	if c.db, err = c.dialect.open(s, timeout); err != nil {
		return nil, fmt.Errorf("%s: the database cannot be opened with these settings", s)
	}
	c.db.SetMaxOpenConns(maxOpen)
	c.db.SetMaxIdleConns(maxOpen)
	c.db.SetConnMaxLifetime(10 * time.Minute)
	return c, nil
}

// enter reports whether the connection is open. If it is, it stays open until leave is called.
func (c *connection) enter() (leave func(), open bool) {
	c.using.RLock()
	if c.closed {
		c.using.RUnlock()
		return nil, false
	}
	return c.using.RUnlock, true
}

// close waits for the verifications in flight, which are short.
func (c *connection) close() error {
	c.using.Lock()
	defer c.using.Unlock()
	c.closed = true
	return c.db.Close()
}

// errTooManyRows says that a query yields more rows than it can on a Frappe site.
var errTooManyRows = errors.New("the database returns too many rows")

// each runs a query and calls scan for each row. If there are more than limit rows, the error is errTooManyRows.
func (c *connection) each(
	ctx context.Context, query string, args []string, limit int, scan func(*sql.Rows) error,
) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	values := make([]any, len(args))
	for i, arg := range args {
		values[i] = arg
	}
	query = fmt.Sprintf("%s LIMIT %d", query, limit+1) // without it, a setting of MariaDB may leave out rows
	found, err := c.db.QueryContext(ctx, c.dialect.query(query), values...)
	if err != nil {
		return c.fault(err)
	}
	defer found.Close()
	for n := 0; found.Next(); n++ {
		if n == limit {
			return c.fault(errTooManyRows)
		}
		if err := scan(found); err != nil {
			return c.fault(err)
		}
	}
	if err := found.Err(); err != nil {
		return c.fault(err)
	}
	return nil
}

// texts returns the values of a query with one column of text.
func (c *connection) texts(ctx context.Context, query string, args []string, limit int) (values []string, err error) {
	err = c.each(ctx, query, args, limit, func(found *sql.Rows) error {
		var value string
		err := found.Scan(&value)
		values = append(values, value)
		return err
	})
	return values, err
}

// one returns the single text that a query yields, or an empty string if there is no row.
func (c *connection) one(ctx context.Context, query string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var text sql.NullString
	err := c.db.QueryRowContext(ctx, c.dialect.query(query)).Scan(&text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", c.fault(err)
	}
	return text.String, nil
}
