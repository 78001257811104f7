package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	frappeauth "github.com/caddy-frappe/frappe-auth"
)

const (
	// overlap is how far behind the newest change that was seen a poll looks: `modified` is set when a document is saved,
	// and seen when its transaction is committed.
	overlap = 10 * time.Minute

	// overlapAtTurn is that near the end of daylight saving, when `modified` goes back by an hour or two.
	overlapAtTurn = 3 * time.Hour

	// maxRows bounds what one poll reads. Where more changed within the overlap, everything may have.
	maxRows = 5000

	timeLayout = "2006-01-02 15:04:05.999999"
)

// poller looks for changes on behalf of all who watch a source.
type poller struct {
	source  *source
	refresh time.Duration
	cancel  context.CancelFunc
	done    chan struct{}

	mu        sync.Mutex
	observers map[*observer]bool
	begun     bool // a look has succeeded
	down      bool // the last look failed

	// Only the poller's goroutine uses these.
	watermark string            // the newest `modified` that was seen; compared with the database's own times only
	zone      string            // of the site
	seen      map[string]string // changes within the overlap, by kind and name, to their `modified`
}

// observer is one who watches.
type observer struct{ observe func([]frappeauth.Change) }

func newPoller(s *source, refresh time.Duration) *poller {
	ctx, cancel := context.WithCancel(context.Background())
	p := &poller{
		source:    s,
		refresh:   refresh,
		cancel:    cancel,
		done:      make(chan struct{}),
		observers: make(map[*observer]bool),
		seen:      make(map[string]string),
	}
	go p.run(ctx)
	return p
}

func (p *poller) stop() {
	p.cancel()
	<-p.done
}

// watch reports to observe until ctx is done. Whoever comes while others watch sees what they see from at once.
func (p *poller) watch(ctx context.Context, observe func([]frappeauth.Change)) {
	o := &observer{observe: observe}
	p.mu.Lock()
	p.observers[o] = true
	if p.begun && !p.down {
		observe(nil)
	}
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	delete(p.observers, o)
	p.mu.Unlock()
}

func (p *poller) run(ctx context.Context) {
	defer close(p.done)
	ticker := time.NewTicker(p.refresh)
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

// poll looks once, and reports.
func (p *poller) poll(ctx context.Context) {
	timeout, cancel := context.WithTimeout(ctx, p.source.timeout)
	defer cancel()
	changes, err := p.look(timeout)
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil && !p.down:
		p.source.logger.Warn("cannot look for changes of users and tokens; cached verdicts serve for their ttl", zap.Error(err))
	case err == nil && p.down:
		p.source.logger.Info("looking for changes of users and tokens again", zap.Stringer("database", p.source.settings))
	}
	p.down = err != nil
	if err != nil {
		return
	}
	p.begun = true
	for o := range p.observers {
		o.observe(changes)
	}
}

// Kinds of changes, as the query names them.
const (
	changedUser   = "user"
	changedToken  = "token"
	changedClient = "client"
	deletedUser   = "deleted user"
	deletedToken  = "deleted token"
)

// look asks what changed since the last look, in one query. The first only learns from when on to look.
func (p *poller) look(ctx context.Context) ([]frappeauth.Change, error) {
	s := p.source
	sch, err := s.currentSchema(ctx)
	if err != nil {
		return nil, err
	}
	first := p.watermark == ""
	if first {
		if err := p.baseline(ctx, sch); err != nil {
			return nil, err
		}
	}
	since, err := p.since()
	if err != nil {
		return nil, err
	}
	query := p.query(sch)
	rows, err := s.db.QueryContext(ctx, s.dialect.query(query), arguments(query, since)...)
	if err != nil {
		return nil, s.fault(err)
	}
	defer rows.Close()

	var (
		changes        []frappeauth.Change
		users, clients []string
		seen           = make(map[string]string)
		watermark      = p.watermark
		read           int
	)
	for rows.Next() {
		var (
			kind, modified string
			name, key      sql.NullString
		)
		if err := rows.Scan(&kind, &name, &key, &modified); err != nil {
			return nil, s.fault(err)
		}
		if read++; read > maxRows {
			_ = rows.Close()
			p.seen = seen
			return []frappeauth.Change{{Everything: true}}, p.baseline(ctx, sch)
		}
		id := kind + " " + name.String
		seen[id] = modified
		watermark = max(watermark, modified)
		if first || p.seen[id] == modified {
			continue
		}
		switch kind {
		case changedUser:
			changes = append(changes, frappeauth.Change{User: name.String, Key: key.String})
			users = append(users, name.String)
		case deletedUser:
			changes = append(changes, frappeauth.Change{User: name.String})
		case changedToken, deletedToken:
			changes = append(changes, frappeauth.Change{Token: name.String})
		case changedClient:
			clients = append(clients, name.String)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, s.fault(err)
	}

	// A user that was renamed has tokens that did not change, whose verdicts name the user of before; a client whose
	// scopes did has others.
	for column, names := range map[string][]string{"user": users, "client": clients} {
		tokens, err := p.tokensOf(ctx, sch, column, names)
		if err != nil {
			return nil, err
		}
		for _, token := range tokens {
			changes = append(changes, frappeauth.Change{Token: token})
		}
	}
	p.watermark, p.seen = watermark, seen
	return changes, nil
}

// branches are the tables that are looked at: kind, table, name, API key, and a further condition.
func (p *poller) branches(sch *schema) [][5]string {
	all := [][5]string{
		{changedUser, "tabUser", "name", `x."api_key"`, ""},
		{changedToken, "tabOAuth Bearer Token", "name", "NULL", ""},
		{changedClient, "tabOAuth Client", "name", "NULL", ""},
		{deletedUser, "tabDeleted Document", "deleted_name", "NULL", ` AND x."deleted_doctype" = 'User'`},
		{deletedToken, "tabDeleted Document", "deleted_name", "NULL", ` AND x."deleted_doctype" = 'OAuth Bearer Token'`},
	}
	var readable [][5]string
	for _, b := range all {
		if sch.has(b[1], "modified") && sch.has(b[1], b[2]) {
			readable = append(readable, b)
		}
	}
	return readable
}

func (p *poller) query(sch *schema) string {
	parts := make([]string, 0, 5)
	for _, b := range p.branches(sch) {
		parts = append(parts, fmt.Sprintf(`SELECT '%s' AS kind, x."%s" AS name, %s AS api_key, %s AS modified FROM "%s" x WHERE x."modified" > %s%s`,
			b[0], b[2], p.source.dialect.text(b[3]), p.source.dialect.text(`x."modified"`), b[1], p.source.dialect.time("?"), b[4]))
	}
	return strings.Join(parts, " UNION ALL ") + fmt.Sprintf(" ORDER BY 4 LIMIT %d", maxRows+1)
}

// baseline learns the newest change there is, and the site's time zone.
func (p *poller) baseline(ctx context.Context, sch *schema) error {
	s := p.source
	parts := make([]string, 0, 5)
	for _, b := range p.branches(sch) {
		parts = append(parts, fmt.Sprintf(`SELECT MAX(x."modified") AS m FROM "%s" x`, b[1]))
	}
	var newest, zone sql.NullString
	query := fmt.Sprintf(`SELECT %s, (SELECT z."value" FROM "tabSingles" z WHERE z."doctype" = 'System Settings' AND z."field" = 'time_zone' LIMIT 1) FROM (%s) n`,
		s.dialect.text(`MAX(n.m)`), strings.Join(parts, " UNION ALL "))
	if err := s.db.QueryRowContext(ctx, s.dialect.query(query)).Scan(&newest, &zone); err != nil {
		return s.fault(err)
	}
	if newest.String == "" {
		return errors.New("no user has a time of its last change: is this the database of a Frappe site?")
	}
	p.watermark, p.zone = newest.String, zone.String
	return nil
}

// since is from when on to look: the newest change that was seen, less the overlap.
func (p *poller) since() (string, error) {
	newest, err := time.Parse(timeLayout, p.watermark)
	if err != nil {
		return "", fmt.Errorf("%s: a time is not as Frappe stores it", p.source.settings)
	}
	back := overlap
	// Near the end of daylight saving the same times come twice.
	early, err1 := instant(newest.Add(-overlapAtTurn).Format(timeLayout), p.zone)
	late, err2 := instant(newest.Add(overlapAtTurn).Format(timeLayout), p.zone)
	if err1 == nil && err2 == nil && late.Sub(early) > 2*overlapAtTurn {
		back = overlapAtTurn
	}
	return newest.Add(-back).Format(timeLayout), nil
}

// tokensOf are the access tokens of users or clients.
func (p *poller) tokensOf(ctx context.Context, sch *schema, column string, names []string) ([]string, error) {
	if !sch.has("tabOAuth Bearer Token", column) {
		return nil, nil
	}
	var tokens []string
	for len(names) > 0 {
		chunk := names[:min(len(names), 500)]
		names = names[len(chunk):]
		query := p.source.dialect.query(fmt.Sprintf(`SELECT "name" FROM "tabOAuth Bearer Token" WHERE "%s" IN (?%s)`,
			column, strings.Repeat(", ?", len(chunk)-1)))
		args := make([]any, len(chunk))
		for i, name := range chunk {
			args[i] = name
		}
		found, err := p.column(ctx, query, args)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, found...)
	}
	return tokens, nil
}

func (p *poller) column(ctx context.Context, query string, args []any) ([]string, error) {
	rows, err := p.source.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, p.source.fault(err)
	}
	defer rows.Close()
	var values []string
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, p.source.fault(err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil {
		return nil, p.source.fault(err)
	}
	return values, nil
}
