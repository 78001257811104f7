package database

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// maxSkew is how far the clocks may differ without a warning. Beyond badSkew, tokens expire at the wrong time.
const (
	maxSkew = 5 * time.Second
	badSkew = time.Minute
)

// manyRows is the size of a table without an index on modified above which the health check warns: each poll reads the
// whole table, which takes some milliseconds.
const manyRows = 10_000

// CheckHealth implements frappe.HealthChecker.
func (b *Backend) CheckHealth(ctx context.Context) []frappe.Finding {
	c, leave, err := b.source.enter()
	if err != nil {
		return []frappe.Finding{frappe.Trouble("database", "%v", err)}
	}
	defer leave()
	asked := b.now()
	version, err := c.one(ctx, c.dialect.version)
	if err != nil {
		return []frappe.Finding{frappe.Trouble("database", "%v", err)}
	}
	findings := []frappe.Finding{
		frappe.OK("database", "%s, in %s", version, b.now().Sub(asked).Round(100*time.Microsecond)),
	}
	sch, err := c.currentSchema(ctx)
	if err != nil {
		return append(findings, frappe.Trouble("tables", "%v", err))
	}
	findings = append(findings, examineTables(sch)...)
	findings = append(findings, c.examineIndexes(ctx, sch)...)
	if b.sessions {
		findings = append(findings, examineSessions(sch)...)
	}
	findings = append(findings, c.examineRights(ctx), c.examineKey(ctx), b.examineVersion(sch))
	return append(findings, c.examineZone(ctx), c.examineClock(ctx, b.now()))
}

// Ping implements frappe.Pinger.
func (b *Backend) Ping(ctx context.Context, _ string) error {
	c, leave, err := b.source.enter()
	if err != nil {
		return err
	}
	defer leave()
	_, err = c.one(ctx, c.dialect.version)
	return err
}

func examineTables(sch *schema) []frappe.Finding {
	if sch.missing == nil {
		return []frappe.Finding{frappe.OK("tables", "everything that is needed can be read")}
	}
	return sch.missing
}

func examineSessions(sch *schema) []frappe.Finding {
	if missing := sch.missingForSessions(); missing != nil {
		return missing
	}
	return []frappe.Finding{frappe.OK("sessions", "everything that sessions need can be read")}
}

// examineIndexes warns of the large tables that each poll reads whole.
func (c *connection) examineIndexes(ctx context.Context, sch *schema) (findings []frappe.Finding) {
	const check = "indexes"
	examined := make(map[string]bool)
	for _, l := range readable(sch) {
		if at := l.time(sch); sch.indexed[l.table+"."+at] || examined[l.table] {
			continue
		}
		examined[l.table] = true
		rows, err := c.one(
			ctx,
			fmt.Sprintf(`SELECT %s FROM (SELECT 1 FROM "%s" LIMIT %d) n`, c.dialect.text("COUNT(*)"), l.table, manyRows+1),
		)
		if err != nil {
			findings = append(findings, frappe.Warning(check, "%v", err))
			continue
		}
		if n, err := strconv.Atoi(rows); err != nil || n <= manyRows {
			continue
		}
		// The name of an index must be unique in the schema of PostgreSQL, and in SQLite.
		index := c.dialect.query(fmt.Sprintf(`CREATE INDEX "%s_modified" ON "%s" ("modified")`, l.table, l.table))
		finding := frappe.Warning(
			check,
			"%s has more than %d rows and no index on modified, so each poll reads all of them",
			l.table,
			manyRows,
		)
		if l.doctype != "" && !sch.has(l.table, "creation") {
			findings = append(
				findings,
				finding.Advise("let the database's user read creation, too; docs/database.md has the GRANT; or run %s", index),
			)
			continue
		}
		findings = append(findings, finding.Advise("run %s, or choose a longer poll_interval", index))
	}
	return findings
}

// examineRights warns if the user may write. Sessions are always read-only; a user without the right to write is safer
// still.
func (c *connection) examineRights(ctx context.Context) frappe.Finding {
	const check = "rights"
	if c.dialect.mayWrite == "" {
		return frappe.OK(check, "the file is opened read-only")
	}
	may, err := c.one(ctx, c.dialect.mayWrite)
	switch {
	case err != nil:
		return frappe.Warning(check, "%v", err)
	case may != "":
		return frappe.Warning(check, "user %s may also write", c.settings.user).
			Advise("docs/database.md has the statements to create a read-only user")
	}
	return frappe.OK(check, "user %s may only read", c.settings.user)
}

// noKeyAdvice says what to do if site_config.json has no encryption_key.
const noKeyAdvice = "site_config.json has none yet: generate keys for any user once, and Frappe writes it there"

// examineKey tries to decrypt a secret and discards it.
func (c *connection) examineKey(ctx context.Context) frappe.Finding {
	const check = "encryption_key"
	encrypted, err := c.one(
		ctx,
		`SELECT "password" FROM "__Auth" WHERE "doctype" = 'User' AND "fieldname" = 'api_secret' AND "encrypted" = 1 LIMIT 1`,
	)
	switch {
	case err != nil:
		return frappe.Trouble(check, "%v", err)
	case encrypted == "" && c.settings.key == nil:
		return frappe.Warning(
			check,
			"missing, and no user has an API secret; Frappe writes one to site_config.json when it stores the first secret",
		)
	case encrypted == "":
		return frappe.Warning(check, "no user has an API secret to try it on")
	case c.settings.key == nil:
		return frappe.Trouble(check, "missing, so no API key can be verified").Advise("%s", noKeyAdvice)
	case decrypt(c.settings.key, encrypted) != nil:
	case c.settings.ownKey:
		return frappe.Trouble(check, "does not decrypt the site's API secrets").
			Advise("put back the site_config.json that belongs to this database, or generate the users' keys anew")
	default:
		return frappe.Trouble(check, "does not decrypt the site's API secrets").
			Advise("remove the option encryption_key if the site has one in site_config.json, or copy that one")
	}
	return frappe.OK(check, "decrypts the site's API secrets")
}

// versionLine matches the line with Frappe's version.
var versionLine = regexp.MustCompile(`(?m)^__version__ = "([0-9A-Za-z.-]{1,32})"`)

// benchVersion returns the version of Frappe in the bench around the site, or an empty string if it is not there.
func (b *Backend) benchVersion() string {
	if b.siteDir == "" {
		return ""
	}
	source, err := os.ReadFile(filepath.Join(b.siteDir, "..", "..", "apps", "frappe", "frappe", "__init__.py"))
	if match := versionLine.FindSubmatch(source); err == nil && match != nil {
		return string(match[1])
	}
	return ""
}

// examineVersion looks for Frappe in the bench around the site. If it is not there, the version is guessed from the
// tables.
func (b *Backend) examineVersion(sch *schema) frappe.Finding {
	const check = "Frappe"
	if version := b.benchVersion(); version != "" {
		return frappe.OK(check, "%s, by the bench", version)
	}
	switch {
	case sch.deskUser:
		return frappe.OK(check, "15 or later, by its tables")
	case !sch.has("tabRole", "name"):
		return frappe.Warning(check, "version not known: tabRole, which shows it, cannot be read")
	}
	return frappe.OK(check, "14 or earlier, by its tables")
}

func (c *connection) examineZone(ctx context.Context) frappe.Finding {
	const check = "time zone"
	zone, err := c.one(ctx, `SELECT `+siteZone)
	if err != nil {
		return frappe.Trouble(check, "%v", err)
	}
	if zone == "" {
		return frappe.Warning(
			check,
			"System Settings name none; access tokens then expire by Frappe's default, %s",
			defaultZone,
		)
	}
	if _, err := time.LoadLocation(zone); err != nil {
		return frappe.Trouble(check, "unknown").Advise("check time_zone in System Settings")
	}
	return frappe.OK(check, "%s", zone)
}

func (c *connection) examineClock(ctx context.Context, now time.Time) frappe.Finding {
	const check = "clock"
	if c.settings.file != "" {
		return frappe.OK(check, "this machine's")
	}
	text, err := c.one(ctx, `SELECT `+c.dialect.utc)
	if err != nil {
		return frappe.Warning(check, "%v", err)
	}
	theirs, err := time.Parse(timeLayout, text)
	if err != nil {
		return frappe.Warning(check, "the database's time cannot be parsed")
	}
	switch skew := now.Sub(theirs).Abs().Round(time.Second); {
	case skew > badSkew:
		return frappe.Trouble(check, "differs from this machine's by %s, so access tokens expire at the wrong time", skew).
			Advise("run NTP on both")
	case skew > maxSkew:
		return frappe.Warning(check, "differs from this machine's by %s", skew).Advise("run NTP on both")
	}
	return frappe.OK(check, "at most %s from this machine's", maxSkew)
}

// Interface guards
var _ frappe.HealthChecker = (*Backend)(nil)
