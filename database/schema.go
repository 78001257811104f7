package database

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// read lists the columns that are read, by table; docs/database.md has the matching GRANT statements. If a table that
// is not needed is missing, verifications still work, except for what without says.
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
	{
		"tabOAuth Bearer Token",
		[]string{"name", "access_token", "user", "client", "scopes", "status", "expiration_time", "modified"},
		true,
		"",
	},
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

// currentSchema returns the schema. It is read once, and again after a query failed, because a migration may have
// changed it.
func (c *connection) currentSchema(ctx context.Context) (*schema, error) {
	known := c.schema.Load()
	if known != nil && known.columns != nil {
		return known, nil
	}
	found := &schema{columns: make(map[string]bool), indexed: make(map[string]bool), read: time.Now()}
	if err := c.names(ctx, c.dialect.schema, found.columns); err != nil {
		return nil, err
	}
	if err := c.names(ctx, c.dialect.indexes, found.indexed); err != nil {
		return nil, err
	}
	for _, needed := range [][]string{
		{"tabUser", "name", "api_key", "enabled", "modified"},
		{"__Auth", "doctype", "name", "fieldname", "password"},
		{"tabHas Role", "role", "parent", "parenttype"},
	} {
		for _, column := range needed[1:] {
			if !found.has(needed[0], column) {
				return nil, c.fault(&columnError{needed[0], column})
			}
		}
	}
	table, column := "tabHas Role", "role"
	if found.has("tabRole", "name") {
		table, column = "tabRole", "name"
	}
	one, err := c.one(ctx, fmt.Sprintf(`SELECT 1 FROM "%s" WHERE "%s" = 'Desk User' LIMIT 1`, table, column))
	if err != nil {
		return nil, err
	}
	found.deskUser = one != ""
	found.missing = found.findMissing()
	c.schema.CompareAndSwap(known, found) // unless it was forgotten meanwhile
	return found, nil
}

// forgetSchema has the schema read again. One that is being read now is not kept.
func (c *connection) forgetSchema() { c.schema.Store(new(schema)) }

// maxColumns is how many columns and indexes the tables that are read can have together.
const maxColumns = 10_000

// names adds the rows of a query about the tables that are read to a set, as `table.column`.
func (c *connection) names(ctx context.Context, query string, to map[string]bool) error {
	tables := make([]string, 0, len(read)+len(readForSessions))
	for _, r := range read {
		tables = append(tables, "'"+r.table+"'")
	}
	for _, r := range readForSessions {
		tables = append(tables, "'"+r.table+"'")
	}
	return c.each(ctx, fmt.Sprintf(query, strings.Join(tables, ", ")), nil, maxColumns, func(rows *sql.Rows) error {
		var table string
		var column sql.NullString // an index may begin with an expression
		err := rows.Scan(&table, &column)
		to[table+"."+column.String] = true
		return err
	})
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
			findings = append(
				findings,
				frappe.Warning(check, "%s; %s", what, r.without).Advise("docs/database.md has the GRANT"),
			)
		case slices.Equal(missing, []string{"full_name"}) || slices.Equal(missing, []string{"user_type"}):
			findings = append(findings, frappe.Warning(check, "%s", what))
		default:
			findings = append(findings, frappe.Trouble(check, "%s", what).Advise("docs/database.md has the GRANT"))
		}
	}
	return findings
}
