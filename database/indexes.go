package database

import (
	"context"
	"fmt"
	"strconv"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// manyRows is how many rows of a table a look may read without an index, beyond which the health check warns: some
// milliseconds for each look.
const manyRows = 10_000

// time returns the column that tells when a listed row was changed. Frappe 16 has an index on creation and none on modified,
// older versions have it the other way round. A deletion has the same time in both, and there are so many deletions that
// every look would take long without an index.
func (b branch) time(sch *schema) string {
	if b.deleted() && !sch.indexed[b.table+".modified"] && sch.has(b.table, "creation") && sch.indexed[b.table+".creation"] {
		return "creation"
	}
	return "modified"
}

// examineIndexes warns of the large tables that each look reads whole.
func (c *connection) examineIndexes(ctx context.Context, sch *schema) (findings []frappe.Finding) {
	const check = "indexes"
	examined := make(map[string]bool)
	for _, b := range readable(sch) {
		if at := b.time(sch); sch.indexed[b.table+"."+at] || examined[b.table] {
			continue
		}
		examined[b.table] = true
		rows, err := c.one(ctx, fmt.Sprintf(`SELECT %s FROM (SELECT 1 FROM "%s" LIMIT %d) n`, c.dialect.text("COUNT(*)"), b.table, manyRows+1))
		if err != nil {
			findings = append(findings, frappe.Warning(check, "%v", err))
			continue
		}
		if n, err := strconv.Atoi(rows); err != nil || n <= manyRows {
			continue
		}
		// The name of an index must be unique in the schema of PostgreSQL, and in SQLite.
		index := c.dialect.query(fmt.Sprintf(`CREATE INDEX "%s_modified" ON "%s" ("modified")`, b.table, b.table))
		finding := frappe.Warning(check, "%s has more than %d rows and no index on modified, so each look for changes reads all of them", b.table, manyRows)
		if b.deleted() && !sch.has(b.table, "creation") {
			findings = append(findings, finding.Advise("let the database's user read creation, too; docs/database.md has the GRANT; or run %s", index))
			continue
		}
		findings = append(findings, finding.Advise("run %s, or choose a longer poll_interval", index))
	}
	return findings
}
