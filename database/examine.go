package database

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/fernet/fernet-go"

	frappeauth "github.com/caddy-frappe/frappe-auth"
)

// read is what is read of each table, as the README grants it. Without a table that is not needed, verifications work
// but for what it says.
var read = []struct {
	table   string
	columns []string
	needed  bool
	without string
}{
	{"tabUser", []string{"name", "api_key", "enabled", "full_name", "user_type", "modified"}, true, ""},
	{"__Auth", []string{"doctype", "name", "fieldname", "password", "encrypted"}, true, ""},
	{"tabHas Role", []string{"role", "parent", "parenttype"}, true, ""},
	{"tabRole", []string{"name"}, false, "Administrator's roles are not all known"},
	{"tabOAuth Bearer Token", []string{"name", "user", "client", "scopes", "status", "expiration_time", "modified"}, true, ""},
	{"tabOAuth Client", []string{"name", "scopes", "modified"}, true, ""},
	{"tabDeleted Document", []string{"deleted_doctype", "deleted_name", "modified"}, false, "deletions are not seen before the hour is over"},
	{"tabSingles", []string{"doctype", "field", "value"}, true, ""},
}

// maxSkew and badSkew are by how much the clocks may differ before it is worth a warning, and before tokens end wrongly.
const (
	maxSkew = 5 * time.Second
	badSkew = time.Minute
)

// Examine implements frappeauth.Examiner.
func (b *Backend) Examine(ctx context.Context) []frappeauth.Finding {
	s := b.source
	asked := b.now()
	version, err := s.one(ctx, s.dialect.version)
	if err != nil {
		return []frappeauth.Finding{frappeauth.Trouble("database", "%v", err)}
	}
	findings := []frappeauth.Finding{
		frappeauth.OK("database", "%s, in %s", version, b.now().Sub(asked).Round(100*time.Microsecond)),
	}
	sch, err := s.currentSchema(ctx)
	if err != nil {
		return append(findings, frappeauth.Trouble("tables", "%v", err))
	}
	findings = append(findings, s.examineTables(sch)...)
	findings = append(findings, s.examineRights(ctx), s.examineKey(ctx), b.examineVersion(sch))
	return append(findings, s.examineZone(ctx), s.examineClock(ctx, b.now()))
}

// one asks for one text.
func (s *source) one(ctx context.Context, query string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var text sql.NullString
	err := s.db.QueryRowContext(ctx, s.dialect.query(query)).Scan(&text)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", s.fault(err)
	}
	return text.String, nil
}

func (s *source) examineTables(sch *schema) (findings []frappeauth.Finding) {
	const check = "tables"
	for _, r := range read {
		missing := slices.DeleteFunc(slices.Clone(r.columns), func(column string) bool { return sch.has(r.table, column) })
		switch {
		case len(missing) == 0:
		case !r.needed:
			findings = append(findings, frappeauth.Warning(check, "%s: no %s, or its user may not read it; %s",
				r.table, strings.Join(missing, ", "), r.without))
		case slices.Equal(missing, []string{"full_name"}) || slices.Equal(missing, []string{"user_type"}):
			findings = append(findings, frappeauth.Warning(check, "%s: no %s, or its user may not read it", r.table, missing[0]))
		default:
			findings = append(findings, frappeauth.Trouble(check, "%s: no %s, or its user may not read it; the README has the GRANT",
				r.table, strings.Join(missing, ", ")))
		}
	}
	if findings == nil {
		return []frappeauth.Finding{frappeauth.OK(check, "all that is needed can be read")}
	}
	return findings
}

// examineRights warns of a user that may write. Sessions are read-only for any user; less is better still.
func (s *source) examineRights(ctx context.Context) frappeauth.Finding {
	const check = "rights"
	if s.dialect.mayWrite == "" {
		return frappeauth.OK(check, "the file is opened to read only")
	}
	may, err := s.one(ctx, s.dialect.mayWrite)
	switch {
	case err != nil:
		return frappeauth.Warning(check, "%v", err)
	case may != "":
		return frappeauth.Warning(check, "user %s may also write; the README has the statements for one that may only read", s.settings.user)
	}
	return frappeauth.OK(check, "user %s may only read", s.settings.user)
}

// examineKey decrypts a secret, and forgets it.
func (s *source) examineKey(ctx context.Context) frappeauth.Finding {
	const check = "encryption_key"
	encrypted, err := s.one(ctx, `SELECT "password" FROM "__Auth" WHERE "doctype" = 'User' AND "fieldname" = 'api_secret' AND "encrypted" = 1 LIMIT 1`)
	switch {
	case err != nil:
		return frappeauth.Trouble(check, "%v", err)
	case encrypted == "":
		return frappeauth.Warning(check, "no user has an API secret to try it on")
	case fernet.VerifyAndDecrypt([]byte(encrypted), 0, []*fernet.Key{s.settings.key}) == nil:
		return frappeauth.Trouble(check, "does not decrypt the site's API secrets; take it from the site's site_config.json")
	}
	return frappeauth.OK(check, "decrypts the site's API secrets")
}

// versionLine is where Frappe says its version.
var versionLine = regexp.MustCompile(`(?m)^__version__ = "([0-9A-Za-z.-]{1,32})"`)

// examineVersion looks for Frappe in the bench around the site, or else tells what the tables show.
func (b *Backend) examineVersion(sch *schema) frappeauth.Finding {
	const check = "Frappe"
	if b.siteDir != "" {
		source, err := os.ReadFile(filepath.Join(b.siteDir, "..", "..", "apps", "frappe", "frappe", "__init__.py"))
		if match := versionLine.FindSubmatch(source); err == nil && match != nil {
			return frappeauth.OK(check, "%s, by the bench", match[1])
		}
	}
	if sch.deskUser {
		return frappeauth.OK(check, "15 or later, by its tables")
	}
	return frappeauth.OK(check, "14 or earlier, by its tables")
}

func (s *source) examineZone(ctx context.Context) frappeauth.Finding {
	const check = "time zone"
	zone, err := s.one(ctx, `SELECT z."value" FROM "tabSingles" z WHERE z."doctype" = 'System Settings' AND z."field" = 'time_zone' LIMIT 1`)
	if err != nil {
		return frappeauth.Trouble(check, "%v", err)
	}
	if zone == "" {
		return frappeauth.Warning(check, "System Settings name none; access tokens then end by Frappe's, %s", defaultZone)
	}
	if _, err := time.LoadLocation(zone); err != nil {
		return frappeauth.Trouble(check, "unknown: check time_zone in System Settings")
	}
	return frappeauth.OK(check, "%s", zone)
}

func (s *source) examineClock(ctx context.Context, now time.Time) frappeauth.Finding {
	const check = "clock"
	if s.dialect.utc == "" {
		return frappeauth.OK(check, "this machine's")
	}
	text, err := s.one(ctx, s.dialect.utc)
	if err != nil {
		return frappeauth.Warning(check, "%v", err)
	}
	theirs, err := time.Parse(timeLayout, text)
	if err != nil {
		return frappeauth.Warning(check, "the database's time cannot be read")
	}
	switch skew := now.Sub(theirs).Abs().Round(time.Second); {
	case skew > badSkew:
		return frappeauth.Trouble(check, "differs from this machine's by %s, and so does the end of access tokens; run NTP on both", skew)
	case skew > maxSkew:
		return frappeauth.Warning(check, "differs from this machine's by %s; run NTP on both", skew)
	}
	return frappeauth.OK(check, "as this machine's, give or take %s", maxSkew)
}

// Interface guards
var _ frappeauth.Examiner = (*Backend)(nil)
