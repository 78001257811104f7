package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// overlap is how far each look goes back behind the time of the previous one. A document's `modified` is set when it
	// is saved, but is visible only when its transaction is committed. It is also how far Frappe's clock may be ahead of
	// the database's.
	overlap = 10 * time.Minute

	// maxRows is how many rows of each table one look lists. If more have changed, every verdict is dropped.
	maxRows = 1000

	// maxTokens is how many access tokens one look reports because their users or clients changed. Beyond that, every
	// verdict is dropped.
	maxTokens = 10_000

	// timeLayout is the format of dialect.stamp; parameterLayout is the format of a time as a parameter.
	timeLayout      = "2006-01-02 15:04:05.999999"
	parameterLayout = "2006-01-02 15:04:05.000000"
)

// siteZone is an SQL expression for the site's time zone, NULL if System Settings name none.
const siteZone = `(SELECT z."value" FROM "tabSingles" z WHERE z."doctype" = 'System Settings' AND z."field" = 'time_zone' LIMIT 1)`

// The kinds of rows in a look.
const (
	theClock      = "clock"
	count         = "count "
	changedUser   = "user"
	changedToken  = "token"
	changedClient = "client"
	changedRole   = "role"
	deletedUser   = "deleted user"
	deletedToken  = "deleted token"
	deletedClient = "deleted client"
)

// branch is one part of a look: a table and the rows to list.
type branch struct {
	kind, table, name string
	key               string // another column to list, or empty
	and               string // a further condition
	of                string // the table that the listed documents are, or were, in
}

var branches = []branch{
	{changedUser, "tabUser", "name", "api_key", "", "tabUser"},
	{changedToken, "tabOAuth Bearer Token", "name", "access_token", "", "tabOAuth Bearer Token"},
	{changedClient, "tabOAuth Client", "name", "", "", "tabOAuth Client"},
	{changedRole, "tabRole", "name", "", "", "tabRole"},
	{deletedUser, "tabDeleted Document", "deleted_name", "", ` AND x."deleted_doctype" = 'User'`, "tabUser"},
	{deletedToken, "tabDeleted Document", "deleted_name", "", ` AND x."deleted_doctype" = 'OAuth Bearer Token'`, "tabOAuth Bearer Token"},
	{deletedClient, "tabDeleted Document", "deleted_name", "", ` AND x."deleted_doctype" = 'OAuth Client'`, "tabOAuth Client"},
}

// deleted reports whether the branch lists deletions.
func (b branch) deleted() bool { return b.of != b.table }

// readable returns the branches whose columns can be read.
func readable(sch *schema) (found []branch) {
	for _, b := range branches {
		if sch.has(b.table, "modified", b.name) && (b.key == "" || sch.has(b.table, b.key)) && (!b.deleted() || sch.has(b.table, "deleted_doctype")) {
			found = append(found, b)
		}
	}
	return found
}

// row is one row of a look. For the clock, name is the time zone. For a count, name is the number of rows and modified
// their sum.
type row struct{ kind, name, key, modified string }

// list runs one look. A single statement, which sees one state of the database, returns the clock, the rows that were
// modified after a time by the site's clock, oldest first, and, with counts, the number of rows and the sum of `modified`
// of each table.
func (c *connection) list(ctx context.Context, sch *schema, after string, counts bool) ([]row, error) {
	query := c.lookQuery(sch, counts)
	rows, err := c.db.QueryContext(ctx, c.dialect.query(query), arguments(query, after)...)
	if err != nil {
		return nil, c.fault(err)
	}
	defer rows.Close()
	var found []row
	for rows.Next() {
		var r row
		var name, key, modified sql.NullString
		if err := rows.Scan(&r.kind, &name, &key, &modified); err != nil {
			return nil, c.fault(err)
		}
		r.name, r.key, r.modified = name.String, key.String, modified.String
		found = append(found, r)
	}
	if err := rows.Err(); err != nil {
		return nil, c.fault(err)
	}
	return found, nil
}

// lookQuery is the statement of list. Its arguments are the time after which rows were modified, once for each table.
func (c *connection) lookQuery(sch *schema, counts bool) string {
	zone := "'?'" // not the name of a zone
	if sch.has("tabSingles", "doctype", "field", "value") {
		zone = siteZone
	}
	d := c.dialect
	parts := []string{fmt.Sprintf(`SELECT '%s' AS kind, %s AS name, %s AS api_key, %s AS modified`, theClock, d.text(zone), d.text("NULL"), d.utc)}
	for i, b := range readable(sch) {
		key := "NULL"
		if b.key != "" {
			key = `x."` + b.key + `"`
		}
		at := `x."` + b.time(sch) + `"`
		parts = append(parts, fmt.Sprintf(`SELECT * FROM (SELECT '%s' AS kind, %s AS name, %s AS api_key, %s AS modified FROM "%s" x `+
			`WHERE %s > %s%s ORDER BY %s LIMIT %d) AS b%d`,
			b.kind, d.text(`x."`+b.name+`"`), d.text(key), d.stamp(at), b.table, at, d.time("?"), b.and, at, maxRows+1, i))
		if counts && !b.deleted() {
			parts = append(parts, fmt.Sprintf(`SELECT '%s%s' AS kind, %s AS name, %s AS api_key, %s AS modified FROM "%s" x`,
				count, b.table, d.text("COUNT(*)"), d.text("NULL"), d.text(d.sum(`x."modified"`)), b.table))
		}
	}
	return strings.Join(parts, " UNION ALL ")
}

// newest returns the newest `modified` of any row that is not later than upTo.
func (c *connection) newest(ctx context.Context, sch *schema, upTo string) (string, error) {
	tables := readable(sch)
	parts := make([]string, 0, len(tables))
	for _, b := range tables {
		at := `x."` + b.time(sch) + `"`
		parts = append(parts, fmt.Sprintf(`SELECT MAX(%s) AS m FROM "%s" x WHERE %s <= %s`, at, b.table, at, c.dialect.time("?")))
	}
	query := fmt.Sprintf(`SELECT %s FROM (%s) n`, c.dialect.stamp("MAX(n.m)"), strings.Join(parts, " UNION ALL "))
	var text sql.NullString
	if err := c.db.QueryRowContext(ctx, c.dialect.query(query), arguments(query, upTo)...).Scan(&text); err != nil {
		return "", c.fault(err)
	}
	return text.String, nil
}

// tokensOf adds the access tokens of users or clients to changes. The tokens of a renamed user do not change, but their
// cached verdicts name the old user; the tokens of a client with new scopes may have a new verdict.
func (c *connection) tokensOf(ctx context.Context, sch *schema, column string, names []string, changes *[]frappe.Change) (tooMany bool, err error) {
	const table = "tabOAuth Bearer Token"
	if !sch.has(table, "access_token", column) {
		return false, nil
	}
	for len(names) > 0 {
		chunk := names[:min(len(names), 500)]
		names = names[len(chunk):]
		query := c.dialect.query(fmt.Sprintf(`SELECT "access_token" FROM "%s" WHERE "%s" IN (?%s) AND "access_token" IS NOT NULL LIMIT %d`,
			table, column, strings.Repeat(", ?", len(chunk)-1), maxTokens+1))
		args := make([]any, len(chunk))
		for i, name := range chunk {
			args[i] = name
		}
		found, err := c.texts(ctx, query, args)
		if err != nil {
			return false, err
		}
		for _, token := range found {
			*changes = append(*changes, frappe.Change{Token: token})
		}
		if len(*changes) > maxTokens {
			return true, nil
		}
	}
	return false, nil
}

// clockOf returns the clock from the rows of a look.
func clockOf(rows []row) (now time.Time, zone string, err error) {
	for _, r := range rows {
		if r.kind == theClock {
			now, err = time.Parse(timeLayout, r.modified)
			return now, r.name, err
		}
	}
	return now, "", errors.New("the database does not tell the time")
}
