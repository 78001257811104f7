package database

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// overlap is how far each poll looks back behind the time of the previous one. Frappe sets a document's `modified`
	// when it saves the document, but others see it only once the transaction is committed. It is also how far Frappe's
	// clock may be ahead of the database's.
	overlap = 10 * time.Minute

	// maxRows is how many changed rows of one kind a poll lists. If more have changed, every cached result is dropped.
	maxRows = 1000

	// maxTokens is how many access tokens one poll reports because their users or clients changed. If there are more,
	// every cached result is dropped.
	maxTokens = 10_000

	// timeLayout is the format of dialect.stamp. parameterLayout is the format of a time as a parameter.
	timeLayout      = "2006-01-02 15:04:05.999999"
	parameterLayout = "2006-01-02 15:04:05.000000"
)

// siteZone is an SQL expression for the site's time zone. It is NULL if System Settings name none.
const siteZone = `(SELECT z."value" FROM "tabSingles" z WHERE z."doctype" = 'System Settings' AND z."field" = ` +
	`'time_zone' LIMIT 1)`

// The kinds of rows that a poll lists.
const (
	changedUser   = "user"
	changedToken  = "token"
	changedClient = "client"
	changedRole   = "role"
	deletedPrefix = "deleted "
	deletedUser   = deletedPrefix + changedUser
	deletedToken  = deletedPrefix + changedToken
	deletedClient = deletedPrefix + changedClient
	newestRow     = "newest"
)

// listing says which rows of a table are listed as one kind.
type listing struct {
	kind, table, name string
	key               string // another column to list, or empty
	doctype           string // of deleted documents
}

var listings = []listing{
	{kind: changedUser, table: "tabUser", name: "name", key: "api_key"},
	{kind: changedToken, table: "tabOAuth Bearer Token", name: "name", key: "access_token"},
	{kind: changedClient, table: "tabOAuth Client", name: "name"},
	{kind: changedRole, table: "tabRole", name: "name"},
	{kind: deletedUser, table: "tabDeleted Document", name: "deleted_name", doctype: "User"},
	{kind: deletedToken, table: "tabDeleted Document", name: "deleted_name", doctype: "OAuth Bearer Token"},
	{kind: deletedClient, table: "tabDeleted Document", name: "deleted_name", doctype: "OAuth Client"},
}

// readable returns the listings whose columns can be read.
func readable(sch *schema) (found []listing) {
	for _, l := range listings {
		if sch.has(l.table, "modified", l.name) && (l.key == "" || sch.has(l.table, l.key)) &&
			(l.doctype == "" || sch.has(l.table, "deleted_doctype")) {
			found = append(found, l)
		}
	}
	return found
}

// time returns the column that tells when a listed row was changed. Frappe 16 has an index on creation and none on
// modified; older versions have it the other way round. A deletion has the same time in both columns, and there are so
// many deletions that every poll would take long without an index.
func (l listing) time(sch *schema) string {
	if l.doctype != "" && !sch.indexed[l.table+".modified"] && sch.has(l.table, "creation") &&
		sch.indexed[l.table+".creation"] {
		return "creation"
	}
	return "modified"
}

// row is one listed row.
type row struct{ kind, name, key, modified string }

// siteClock returns the database's time, and the name of the site's time zone as System Settings have it.
func (c *connection) siteClock(ctx context.Context, sch *schema) (now time.Time, zone string, err error) {
	expression := "NULL"
	if sch.has("tabSingles", "doctype", "field", "value") {
		expression = siteZone
	}
	var text string
	var name sql.NullString
	query := c.dialect.query(`SELECT ` + c.dialect.utc + `, ` + expression)
	if err := c.db.QueryRowContext(ctx, query).Scan(&text, &name); err != nil {
		return now, "", c.fault(err)
	}
	now, err = time.Parse(timeLayout, text)
	return now, name.String, err
}

// window returns the `modified` after which a poll lists, and the latest one that is not in the future. Both are in the
// site's time zone. The previous poll was at last, this one is at now. If the zone's offset changes in between, or is
// not known, the window is the widest one.
func window(zone string, last, now time.Time) (after, upTo string) {
	from, to := last.Add(-overlap), now.Add(overlap)
	early, late := -12*time.Hour, 14*time.Hour
	if zone == "" {
		zone = defaultZone
	}
	if location, err := time.LoadLocation(zone); err == nil {
		then, now := offset(from, location), offset(to, location)
		early, late = min(then, now), max(then, now)
	}
	return from.Add(early).Format(parameterLayout), to.Add(late).Format(parameterLayout)
}

// listQuery returns one statement, which sees one state of the database. It lists the rows that were modified after a
// time, oldest first, and the newest `modified` of all tables up to another time.
func (c *connection) listQuery(sch *schema, after, upTo string) (query string, args []string) {
	d := c.dialect
	tables := readable(sch)
	parts, newest := make([]string, 0, len(tables)), make([]string, 0, len(tables))
	for i, l := range tables {
		key, and, at := "NULL", "", `x."`+l.time(sch)+`"`
		if l.key != "" {
			key = `x."` + l.key + `"`
		}
		if l.doctype != "" {
			and = ` AND x."deleted_doctype" = '` + l.doctype + `'`
		}
		parts = append(parts, fmt.Sprintf(
			`SELECT * FROM (SELECT '%s' AS kind, %s AS name, %s AS api_key, %s AS modified FROM "%s" x `+
				`WHERE %s > %s%s ORDER BY %s LIMIT %d) AS l%d`,
			l.kind, d.text(`x."`+l.name+`"`), d.text(key), d.stamp(at), l.table, at, d.time("?"), and, at, maxRows+1, i))
		args = append(args, after)
		if l.kind != deletedToken && l.kind != deletedClient { // the table of deletions once
			newest = append(newest, fmt.Sprintf(`SELECT MAX(%s) AS m FROM "%s" x WHERE %s <= %s`, at, l.table, at, d.time("?")))
		}
	}
	parts = append(parts, fmt.Sprintf(`SELECT '%s', %s, %s, %s FROM (%s) AS n`,
		newestRow, d.text("NULL"), d.text("NULL"), d.stamp("MAX(n.m)"), strings.Join(newest, " UNION ALL ")))
	for range newest {
		args = append(args, upTo)
	}
	return strings.Join(parts, " UNION ALL "), args
}

// list runs listQuery.
func (c *connection) list(
	ctx context.Context,
	sch *schema,
	after, upTo string,
) (found []row, newest string, err error) {
	query, args := c.listQuery(sch, after, upTo)
	limit := len(listings)*(maxRows+1) + 1
	err = c.each(ctx, query, args, limit, func(rows *sql.Rows) error {
		var r row
		var name, key, modified sql.NullString
		if err := rows.Scan(&r.kind, &name, &key, &modified); err != nil {
			return err
		}
		r.name, r.key, r.modified = name.String, key.String, modified.String
		if r.kind == newestRow {
			newest = r.modified
		} else {
			found = append(found, r)
		}
		return nil
	})
	return found, newest, err
}

// tokensOf returns the access tokens of users or clients. The tokens of a renamed user do not change, but their cached
// results name the old user. The tokens of a client with new scopes may get another result. If there are more than
// maxTokens, the error is errTooManyRows.
func (c *connection) tokensOf(
	ctx context.Context,
	sch *schema,
	column string,
	names []string,
) (found []string, err error) {
	const table = "tabOAuth Bearer Token"
	if !sch.has(table, "access_token", column) {
		return nil, nil
	}
	for chunk := range slices.Chunk(names, 500) {
		query := fmt.Sprintf(`SELECT "access_token" FROM "%s" WHERE "%s" IN (?%s) AND "access_token" IS NOT NULL`,
			table, column, strings.Repeat(", ?", len(chunk)-1))
		tokens, err := c.texts(ctx, query, chunk, maxTokens-len(found))
		if err != nil {
			return nil, err
		}
		found = append(found, tokens...)
	}
	return found, nil
}
