package database

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// read lists the columns that are read, by table; docs/database.md has the matching GRANT statements. If a table that is not
// needed is missing, verifications still work, except for what without says.
var read = []struct {
	table   string
	columns []string
	needed  bool
	without string
}{
	{"tabUser", []string{"name", "api_key", "enabled", "full_name", "user_type", "modified"}, true, ""},
	{"__Auth", []string{"doctype", "name", "fieldname", "password", "encrypted"}, true, ""},
	{"tabHas Role", []string{"role", "parent", "parenttype"}, true, ""},
	{
		"tabRole",
		[]string{"name", "modified", "disabled"},
		false,
		"Administrator's roles and the names of all roles are not known, and disabling a role takes up to ttl to take effect",
	},
	{"tabOAuth Bearer Token", []string{"name", "access_token", "user", "client", "scopes", "status", "expiration_time", "modified"}, true, ""},
	{"tabOAuth Client", []string{"name", "scopes", "modified"}, true, ""},
	{
		"tabDeleted Document",
		[]string{"deleted_doctype", "deleted_name", "modified"},
		false,
		"deletions take up to ttl to take effect",
	},
	{"tabSingles", []string{"doctype", "field", "value"}, true, ""},
}

// schema records which tables and columns exist in the site's version of Frappe and can be read by the database's user.
type schema struct {
	columns  map[string]bool // `table.column`
	indexed  map[string]bool // `table.column`, if an index begins with the column
	deskUser bool            // system users have the role Desk User (15 and later)
	missing  []frappe.Finding
	read     time.Time
}

func (s *schema) has(table string, columns ...string) bool {
	return !slices.ContainsFunc(columns, func(column string) bool { return !s.columns[table+"."+column] })
}

// column returns the column, or otherwise if it does not exist.
func (s *schema) column(alias, table, column, otherwise string) string {
	if s.has(table, column) {
		return alias + `."` + column + `"`
	}
	return otherwise
}

// currentSchema returns the schema. It is read once, and again after a query failed, because a migration may have changed
// it.
func (c *connection) currentSchema(ctx context.Context) (*schema, error) {
	if known := c.schema.Load(); known != nil {
		return known, nil
	}
	found := &schema{columns: make(map[string]bool), indexed: make(map[string]bool), read: time.Now()}
	if err := c.names(ctx, c.dialect.schema, found.columns); err != nil {
		return nil, c.fault(err)
	}
	if err := c.names(ctx, c.dialect.indexes, found.indexed); err != nil {
		return nil, c.fault(err)
	}
	tables := false
	for name := range found.columns {
		tables = tables || strings.HasPrefix(name, "tab")
	}
	for _, needed := range [][2]string{
		{"tabUser", "name"},
		{"tabUser", "api_key"},
		{"tabUser", "enabled"},
		{"tabUser", "modified"},
		{"__Auth", "doctype"},
		{"__Auth", "name"},
		{"__Auth", "fieldname"},
		{"__Auth", "password"},
		{"tabHas Role", "role"},
		{"tabHas Role", "parent"},
		{"tabHas Role", "parenttype"},
	} {
		if !found.has(needed[0], needed[1]) {
			return nil, c.fault(&columnError{column: needed[0] + "." + needed[1], user: c.settings.user, tables: tables})
		}
	}
	query := c.dialect.query(`SELECT 1 FROM "tabHas Role" WHERE "role" = 'Desk User' LIMIT 1`)
	if found.has("tabRole", "name") {
		query = c.dialect.query(`SELECT 1 FROM "tabRole" WHERE "name" = 'Desk User' LIMIT 1`)
	}
	var one int
	switch err := c.db.QueryRowContext(ctx, query).Scan(&one); {
	case err == nil:
		found.deskUser = true
	case !errors.Is(err, sql.ErrNoRows):
		return nil, c.fault(err)
	}
	found.missing = found.findMissing()
	c.schema.Store(found)
	return found, nil
}

// names adds the rows of a query to a set, as `table.column`.
func (c *connection) names(ctx context.Context, query string, to map[string]bool) error {
	rows, err := c.db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var table string
		var column sql.NullString // an index may begin with an expression
		if err := rows.Scan(&table, &column); err != nil {
			return err
		}
		to[table+"."+column.String] = true
	}
	return rows.Err()
}

// findMissing returns which tables and columns cannot be read, and the consequences.
func (s *schema) findMissing() (findings []frappe.Finding) {
	const check = "tables"
	for _, r := range read {
		missing := slices.DeleteFunc(slices.Clone(r.columns), func(column string) bool { return s.has(r.table, column) })
		what := fmt.Sprintf("%s: no %s, or its user may not read it", r.table, strings.Join(missing, ", "))
		switch {
		case len(missing) == 0:
		case !r.needed:
			findings = append(findings, frappe.Warning(check, "%s; %s", what, r.without).Advise("docs/database.md has the GRANT"))
		case slices.Equal(missing, []string{"full_name"}) || slices.Equal(missing, []string{"user_type"}):
			findings = append(findings, frappe.Warning(check, "%s", what))
		default:
			findings = append(findings, frappe.Trouble(check, "%s", what).Advise("docs/database.md has the GRANT"))
		}
	}
	return findings
}
