package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// source is a site's database. All backends of this Caddy that read the same database share it, across reloads of
// Caddy's configuration. It follows changes of the site's own configuration.
type source struct {
	read    func() (*settings, error)
	timeout time.Duration
	maxOpen int

	current atomic.Pointer[connection]
	closing sync.WaitGroup

	following sync.Mutex // guards gone and unread
	gone      bool
	unread    string // the last logged reason why the site's configuration could not be read

	logging sync.Mutex
	loggers []*zap.Logger // one for each configuration in use, the newest last

	poller *poller
}

// newSource prepares a database without connecting to it, and starts to look for changes.
func newSource(
	s *settings,
	read func() (*settings, error),
	timeout, interval time.Duration,
	maxOpen int,
	logger *zap.Logger,
) (*source, error) {
	c, err := connect(s, timeout, maxOpen)
	if err != nil {
		return nil, err
	}
	src := &source{read: read, timeout: timeout, maxOpen: maxOpen, loggers: []*zap.Logger{logger}}
	src.current.Store(c)
	src.poller = newPoller(src, interval)
	return src, nil
}

// Destruct implements caddy.Destructor. It waits for the verifications in flight, which are short.
func (s *source) Destruct() error {
	s.poller.stop()
	s.following.Lock()
	s.gone = true
	s.following.Unlock()
	s.closing.Wait()
	return s.current.Load().close()
}

// enter returns the connection to use until leave is called. Caddy may still be finishing requests for a configuration
// that it has unloaded. Each of them opens a connection of its own.
func (s *source) enter() (c *connection, leave func(), err error) {
	for {
		c = s.current.Load()
		if leave, open := c.enter(); open {
			return c, leave, nil
		}
		if s.current.Load() == c {
			break // it was closed by Destruct
		}
	}
	again, err := connect(c.settings, s.timeout, 1)
	if err != nil {
		return nil, nil, err
	}
	again.schema.Store(c.schema.Load())
	return again, func() { _ = again.close() }, nil // too late to report an error
}

// follow reads the site's configuration again. If it has changed, follow opens the database with the new settings and
// returns true. If it cannot be read, for example because site_config.json is broken, nothing changes and the error is
// logged once.
func (s *source) follow() (changed bool) {
	s.following.Lock()
	defer s.following.Unlock()
	if s.gone {
		return false
	}
	before := s.current.Load()
	next, err := s.read()
	if err == nil && next.equal(before.settings) {
		if s.unread != "" {
			s.unread = ""
			s.logger().Info("the site's configuration can be read again", zap.Stringer("database", before.settings))
		}
		return false
	}
	var c *connection
	if err == nil {
		c, err = connect(next, s.timeout, s.maxOpen)
	}
	if err != nil {
		if s.unread != err.Error() {
			s.unread = err.Error()
			s.logger().Warn("the site's configuration has changed and cannot be used; the previous settings stay in use",
				zap.Stringer("database", before.settings), zap.Error(err))
		}
		return false
	}
	s.unread = ""
	s.current.Store(c)
	s.closing.Go(func() { _ = before.close() }) // no longer used, so an error does not matter
	s.logger().Info("the site's configuration has changed; its new settings are in use", zap.Stringer("database", next))
	return true
}

// use makes logger the one that is logged to, until release.
func (s *source) use(logger *zap.Logger) {
	s.logging.Lock()
	defer s.logging.Unlock()
	s.loggers = append(s.loggers, logger)
}

// release stops the use of a logger, unless it is the last one.
func (s *source) release(logger *zap.Logger) {
	s.logging.Lock()
	defer s.logging.Unlock()
	if i := slices.Index(s.loggers, logger); i >= 0 && len(s.loggers) > 1 {
		s.loggers = slices.Delete(s.loggers, i, i+1)
	}
}

// logger returns the logger of the newest configuration in use.
func (s *source) logger() *zap.Logger {
	s.logging.Lock()
	defer s.logging.Unlock()
	return s.loggers[len(s.loggers)-1]
}

// connection is an open database of a site. It is used with one version of the site's configuration.
type connection struct {
	settings *settings
	dialect  dialect
	db       *sql.DB
	timeout  time.Duration

	using  sync.RWMutex // read-locked by verifications, locked by close
	closed bool
	schema atomic.Pointer[schema]

	// replaced is set when a verification or a look found a table or a column missing. The tables may have been restored
	// from a backup since, with rows that look as before, so the next look drops everything.
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
