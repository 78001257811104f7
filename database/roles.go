package database

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// RoleNames implements frappe.RoleLister. It returns the names of all roles of the site that are not disabled. It returns
// an error if the database's user may not read `tabRole`.
func (b *Backend) RoleNames(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.Timeout))
	defer cancel()
	c, leave, err := b.source.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	sch, err := c.currentSchema(ctx)
	if err != nil {
		return nil, err
	}
	if !sch.has("tabRole", "name") {
		return nil, c.credentialSpecific(errors.New("tabRole cannot be read; docs/database.md has the GRANT"))
	}
	query := `SELECT "name" FROM "tabRole"`
	if sch.has("tabRole", "disabled") {
		query += ` WHERE COALESCE("disabled", 0) = 0`
	}
	return c.texts(ctx, c.dialect.query(query), nil)
}

// texts returns the values of a query with one column of text.
func (c *connection) texts(ctx context.Context, query string, args []any) ([]string, error) {
	rows, err := c.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, c.fault(err)
	}
	defer rows.Close()
	var values []string
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			return nil, c.fault(err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil {
		return nil, c.fault(err)
	}
	return values, nil
}

// Interface guard
var _ frappe.RoleLister = (*Backend)(nil)
