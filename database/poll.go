package database

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/watchers"
)

const (
	// schemaAge is how long a schema with missing columns is kept before it is read again, because they may have been
	// granted or restored since.
	schemaAge = 5 * time.Second

	// maxWait is the longest wait after a failed poll, unless poll_interval is longer.
	maxWait = 10 * time.Second

	// minToken is the length of the shortest name of a document that may be an access token. Frappe's tokens have 30
	// characters. The random names of hashed tokens have 10.
	minToken = 20
)

// poller looks for changes for everyone who watches a source.
type poller struct {
	source   *source
	interval time.Duration
	cancel   context.CancelFunc
	done     chan struct{}

	watchers watchers.Watchers

	// Only the poller's goroutine uses these.
	last     *snapshot // what the last successful poll saw; nil before the first one
	replaced bool      // a table was missing since, which is what restoring a backup looks like
	down     bool      // the last poll failed
	warned   string    // the last warning about what cannot be read
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
	wait := time.Duration(0)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		p.poll(ctx)
		wait = nextWait(p.interval, wait, p.down)
		timer.Reset(wait)
	}
}

// nextWait returns how long to wait until the next poll. Each failure doubles the wait before it, up to maxWait.
func nextWait(interval, before time.Duration, failed bool) time.Duration {
	if !failed {
		return interval
	}
	return max(interval, min(2*max(before, interval), maxWait))
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
		p.source.logger().Warn("cannot look for changes of users and tokens; until this works again, changes take up to "+
			"ttl to take effect", zap.Error(err))
	case err == nil && p.down:
		p.source.logger().Info("looking for changes of users and tokens again",
			zap.Stringer("database", p.source.current.Load().settings))
	}
	p.down = err != nil
	p.watchers.See(err == nil)
	if err == nil {
		p.watchers.Report(changes)
	}
}

// look returns what changed since the last successful look. The first one reports nothing: what was verified before it
// is the concern of the watchers.
func (p *poller) look(ctx context.Context) ([]frappe.Change, error) {
	c, leave, err := p.source.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	if known := c.schema.Load(); known != nil && known.missing != nil && time.Since(known.read) > schemaAge {
		c.forgetSchema()
	}
	sch, err := c.currentSchema(ctx)
	if err != nil {
		return nil, err
	}
	p.warn(c, sch)
	next, err := c.snapshot(ctx, sch, p.last)
	if err != nil {
		return nil, err
	}
	p.replaced = c.replaced.Swap(false) || p.replaced
	found := new(diff)
	switch {
	case p.last == nil:
	case p.replaced:
		found.everything = "a table of the site was missing for a while"
	default:
		if found = p.last.diff(next); found.everything == "" {
			if err := c.addTokens(ctx, sch, found); err != nil {
				return nil, err
			}
		}
	}
	p.last, p.replaced = next, false
	if found.everything != "" {
		p.source.logger().Info("dropping every cached verdict of the site", zap.String("reason", found.everything),
			zap.Stringer("database", c.settings))
		return []frappe.Change{{Everything: true}}, nil
	}
	return found.changes, nil
}

// warn logs, once, what cannot be read.
func (p *poller) warn(c *connection, sch *schema) {
	details := make([]string, len(sch.missing))
	for i, finding := range sch.missing {
		details[i] = finding.String()
	}
	what := strings.Join(details, "\n")
	if what != "" && what != p.warned {
		p.source.logger().Warn("not all of the site's tables can be read", zap.Strings("missing", details),
			zap.Stringer("database", c.settings))
	}
	p.warned = what
}

// snapshot is what one look saw of a database: the rows that were modified recently or are ahead of the site's clock.
// It goes back some minutes behind the previous look by the site's own clock, so a `modified` in the future hides no
// other change.
type snapshot struct {
	connection *connection
	clock      time.Time         // the database's time
	zone       string            // the site's time zone
	floor      string            // if set, older rows are not listed, because too many of them changed at once
	after      string            // rows with a newer `modified` are listed
	upTo       string            // a newer `modified` is in the future
	newest     string            // the newest `modified` of all tables up to upTo
	rows       []row             // what is listed
	listed     map[rowID]bool    // the same
	cut        map[string]string // by kind with too many rows: those from this `modified` on are not listed
}

// rowID identifies one version of a row.
type rowID struct{ kind, name, modified string }

// snapshot looks at the database. last is the previous look, or nil.
func (c *connection) snapshot(ctx context.Context, sch *schema, last *snapshot) (*snapshot, error) {
	now, zone, err := c.siteClock(ctx, sch)
	if err != nil {
		return nil, err
	}
	s := &snapshot{connection: c, clock: now, zone: zone, listed: make(map[rowID]bool), cut: make(map[string]string)}
	since := now
	if last != nil && last.zone == zone {
		s.floor = last.floor
		if last.clock.Before(now) {
			since = last.clock
		}
	}
	s.after, s.upTo = window(zone, since, now)
	s.after = max(s.after, s.floor)
	rows, newest, err := c.list(ctx, sch, s.after, s.upTo)
	if err != nil {
		return nil, err
	}
	s.newest = newest
	number, latest := make(map[string]int), make(map[string]string)
	for _, r := range rows {
		number[r.kind]++
		latest[r.kind] = max(latest[r.kind], r.modified)
		if number[r.kind] > maxRows {
			s.cut[r.kind] = latest[r.kind]
		}
	}
	for _, r := range rows {
		if cut, ok := s.cut[r.kind]; !ok || r.modified < cut {
			s.rows = append(s.rows, r)
			s.listed[rowID{r.kind, r.name, r.modified}] = true
		}
	}
	if s.tooMany() {
		s.floor = newest
	}
	return s, nil
}

// tooMany reports whether so many rows of a kind changed that some before the present time are not listed.
func (s *snapshot) tooMany() bool {
	for _, cut := range s.cut {
		if cut <= s.upTo {
			return true
		}
	}
	return false
}

// diff says what changed between two looks.
type diff struct {
	everything     string // if set: why every cached result is dropped
	changes        []frappe.Change
	users, clients []string // their access tokens are affected, too
}

// diff compares a look with the next one.
func (s *snapshot) diff(next *snapshot) *diff {
	d := &diff{everything: s.reset(next)}
	if d.everything != "" {
		return d
	}
	for _, r := range next.rows {
		if s.listed[rowID{r.kind, r.name, r.modified}] {
			continue
		}
		switch r.kind {
		case changedUser:
			d.changes = append(d.changes, frappe.Change{User: r.name, Key: r.key})
			d.users = append(d.users, r.name)
		case deletedUser:
			d.changes = append(d.changes, frappe.Change{User: r.name})
		case changedToken:
			d.changes = append(d.changes, frappe.Change{Token: r.key})
		case deletedToken:
			d.changes = append(d.changes, frappe.Change{Token: r.name})
			if len(r.name) < minToken { // a random name; where tokens are hashed, nothing tells which one this was
				d.everything = "an access token was deleted"
			}
		case changedClient, deletedClient:
			d.clients = append(d.clients, r.name)
		case changedRole: // Frappe removes a disabled role from its users without changing their `modified`
			d.everything = "a role changed"
		}
	}
	return d
}

// reset returns why every cached result is dropped, because the next look does not continue this one, or an empty
// string.
func (s *snapshot) reset(next *snapshot) string {
	switch {
	case s.connection != next.connection:
		return "the site's database was opened again"
	case s.zone != next.zone:
		return "the site's time zone changed"
	case next.clock.Before(s.clock.Add(-overlap)):
		return "the database's clock went back"
	case next.tooMany():
		return fmt.Sprintf("more than %d rows of a table changed", maxRows)
	case s.newest <= next.upTo && next.newest < s.newest:
		return "the newest row is gone or older, as after restoring a backup"
	}
	present := make(map[[2]string]bool, len(next.rows))
	for _, r := range next.rows {
		present[[2]string{r.kind, r.name}] = true
	}
	for id := range s.listed {
		cut, ok := next.cut[id.kind]
		switch {
		case next.listed[id], id.modified <= next.after, ok && id.modified >= cut:
		case present[[2]string{id.kind, id.name}], present[[2]string{deletedPrefix + id.kind, id.name}]:
		default:
			return "a row is gone, or its modified went back"
		}
	}
	return ""
}

// addTokens adds the access tokens of the users and clients that changed.
func (c *connection) addTokens(ctx context.Context, sch *schema, d *diff) error {
	for column, names := range map[string][]string{"user": d.users, "client": d.clients} {
		tokens, err := c.tokensOf(ctx, sch, column, names)
		if errors.Is(err, errTooManyRows) {
			d.everything = fmt.Sprintf("more than %d access tokens have users or clients that changed", maxTokens)
			return nil
		}
		if err != nil {
			return err
		}
		for _, token := range tokens {
			d.changes = append(d.changes, frappe.Change{Token: token})
		}
	}
	return nil
}
