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
	return c.texts(ctx, query, nil, maxRoles)
}

// Interface guard
var _ frappe.RoleLister = (*Backend)(nil)
