package database

import (
	"context"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/watchers"
)

// schemaAge is how long a schema with missing columns is kept before it is read again, because they may have been granted
// since.
const schemaAge = time.Minute

// poller looks for changes for everyone who watches a source.
type poller struct {
	source   *source
	interval time.Duration
	cancel   context.CancelFunc
	done     chan struct{}

	watchers watchers.Watchers

	// Only the poller's goroutine uses these.
	down   bool   // the last look failed
	view   *view  // what is known about the database; nil: nothing yet
	warned string // the last warning about what cannot be read
}

func newPoller(s *source, interval time.Duration) *poller {
	ctx, cancel := context.WithCancel(context.Background())
	p := &poller{
		source:   s,
		interval: interval,
		cancel:   cancel,
		done:     make(chan struct{}),
	}
	go p.run(ctx)
	return p
}

func (p *poller) stop() {
	p.cancel()
	<-p.done
}

func (p *poller) run(ctx context.Context) {
	defer close(p.done)
	ticker := time.NewTicker(p.interval)
	defer ticker.Stop()
	for {
		p.poll(ctx)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// poll looks for changes once and reports them.
func (p *poller) poll(ctx context.Context) {
	p.source.follow()
	timeout, cancel := context.WithTimeout(ctx, p.source.timeout)
	defer cancel()
	changes, err := p.look(timeout)
	if ctx.Err() != nil {
		return
	}
	switch {
	case err != nil && !p.down:
		p.source.logger().Warn("cannot look for changes of users and tokens; until this works again, changes take up to ttl to take effect", zap.Error(err))
	case err == nil && p.down:
		p.source.logger().Info("looking for changes of users and tokens again", zap.Stringer("database", p.source.current.Load().settings))
	}
	p.down = err != nil
	p.watchers.See(err == nil)
	if err == nil {
		p.watchers.Report(changes)
	}
}

// everything is the change that selects every verdict.
var everything = []frappe.Change{{Everything: true}}

// look returns what changed since the last look.
func (p *poller) look(ctx context.Context) ([]frappe.Change, error) {
	c, leave, err := p.source.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if known := c.schema.Load(); known != nil && known.missing != nil && time.Since(known.read) > schemaAge {
		c.schema.Store(nil)
	}
	sch, err := c.currentSchema(ctx)
	if err != nil {
		return nil, p.failed(err)
	}
	p.warn(c, sch)

	reason := "the site's database was opened again"
	if c.replaced.Swap(false) && p.view != nil {
		p.view.lost = true
	}
	if p.view != nil && p.view.connection == c {
		var changes []frappe.Change
		if changes, reason, err = p.view.look(ctx, sch); err != nil {
			return nil, p.failed(err)
		}
		if !p.view.lost {
			if reason != "" {
				p.drop(c, reason)
			}
			return changes, nil
		}
	}
	fresh, err := newView(ctx, c, sch)
	if err != nil {
		return nil, p.failed(err)
	}
	first := p.view == nil
	p.view = fresh
	if first {
		return nil, nil // what was confirmed before is the concern of those who watch
	}
	p.drop(c, reason)
	return everything, nil
}

// drop logs why every verdict is dropped.
func (p *poller) drop(c *connection, reason string) {
	p.source.logger().Info("dropping every cached verdict of the site", zap.String("reason", reason), zap.Stringer("database", c.settings))
}

// failed records that a look failed. After an error of the server itself, such as a missing table, the view is no longer
// valid, because this is what restoring a backup looks like. After a lost connection it is still valid.
func (p *poller) failed(err error) error {
	if code(err) != "" && p.view != nil {
		p.view.lost = true
	}
	return err
}

// warn logs, once, what cannot be read.
func (p *poller) warn(c *connection, sch *schema) {
	details := make([]string, len(sch.missing))
	for i, finding := range sch.missing {
		details[i] = finding.String()
	}
	what := strings.Join(details, "\n")
	if what != "" && what != p.warned {
		p.source.logger().Warn("not all of the site's tables can be read", zap.Strings("missing", details), zap.Stringer("database", c.settings))
	}
	p.warned = what
}
