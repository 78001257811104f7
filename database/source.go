package database

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// source is a site's database. All backends of this Caddy that read the same database share it, across reloads of Caddy's
// configuration. It follows changes of the site's own configuration.
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
func newSource(s *settings, read func() (*settings, error), timeout, interval time.Duration, maxOpen int, logger *zap.Logger) (*source, error) {
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
