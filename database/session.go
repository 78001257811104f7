package database

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

const (
	// defaultSessionExpiry is how long Frappe 15 keeps an unused session if System Settings do not say.
	defaultSessionExpiry = "240:00:00"

	// maxSessionHours is the longest session_expiry that is counted, about a century, so that it fits into a Duration.
	maxSessionHours = 1_000_000

	// sessionExpiry is an SQL expression for an aggregate of the site's session_expiry, as Frappe reads it; System
	// Settings write it there.
	sessionExpiry = `(SELECT %s(d."defvalue") FROM "tabDefaultValue" d WHERE d."parent" = '__default' AND d."defkey" ` +
		`= 'session_expiry')`
)

// readForSessions lists the columns that sessions need beside those in read, by table.
var readForSessions = []struct {
	table   string
	columns []string
}{
	{"tabSessions", []string{"sid", "user", "sessiondata", "lastupdate"}},
	{"tabDefaultValue", []string{"parent", "defkey", "defvalue"}},
	{"tabUser", []string{"restrict_ip"}},
	{"tabSingles", []string{"doctype", "field", "value"}},
}

// sessionField matches what sessiondata says about the age of a session: a Python dictionary, or JSON. A user can have
// such a text in their full name, which stands there, too. It can only make their session end earlier.
var sessionField = regexp.MustCompile(`["'](last_updated|session_expiry)["']\s*:\s*["']([^"']*)["']`)

// sessionDevice matches what only Frappe 14 and older write into sessiondata.
var sessionDevice = regexp.MustCompile(`["']device["']\s*:`)

// sessionHash matches what the newest versions of Frappe store of a session's id
// (frappe/patches/v16_0/hash_session_ids.py). All others store the id, which has 56 digits.
var sessionHash = regexp.MustCompile(`^[0-9a-f]{64}$`)

// EnableSessions implements frappe.SessionVerifier. It has the health check look for what sessions need, and returns an
// error if the bench around the site's directory contains Frappe 14 or older.
func (b *Backend) EnableSessions() error {
	b.sessions = true
	version := b.benchVersion()
	major, _, _ := strings.Cut(version, ".")
	if n, err := strconv.Atoi(major); err == nil && n < 15 {
		return fmt.Errorf(
			"the site has Frappe %s, which before 15 may write the time of a session in the time zone of the database's "+
				"server; use backend site",
			version,
		)
	}
	return nil
}

// missingForSessions returns which columns cannot be read that sessions need.
func (s *schema) missingForSessions() (findings []frappe.Finding) {
	for _, r := range readForSessions {
		missing := slices.DeleteFunc(slices.Clone(r.columns), func(column string) bool { return s.has(r.table, column) })
		if len(missing) > 0 {
			findings = append(
				findings,
				frappe.Trouble("sessions", "%s: no %s, or its user may not read it", r.table, strings.Join(missing, ", ")).
					Advise("docs/database.md has the GRANT for sessions"),
			)
		}
	}
	return findings
}

// verifySession looks up a session. Frappe looks into its Redis first and into the table only if the session is not
// there. Both rules must grant: that of Redis, which is the expiry that was valid when the session began, and that of
// the table, the expiry that is valid now.
func (c *connection) verifySession(ctx context.Context, sid string, now time.Time) (frappe.Identity, error) {
	if !frappe.ValidSession(sid) {
		return frappe.Identity{}, frappe.ErrDenied
	}
	sch, err := c.currentSchema(ctx)
	if err != nil {
		return frappe.Identity{}, err
	}
	if missing := sch.missingForSessions(); missing != nil {
		return frappe.Identity{}, c.credentialSpecific(errors.New(missing[0].String()))
	}
	query := sch.withRoles(
		sch.userColumns()+`, s."sid", s."sessiondata", `+c.dialect.stamp(
			`s."lastupdate"`,
		)+`, u."restrict_ip", `+siteZone+`, `+
			fmt.Sprintf(
				sessionExpiry,
				"MIN",
			)+`, `+fmt.Sprintf(
			sessionExpiry,
			"MAX",
		),
		`"tabSessions" s JOIN "tabUser" u ON u."name" = s."user"`,
		`s."sid" IN (?, ?)`,
	)
	var (
		found                                                     string
		data, lastUpdate, restrictIP, zone, expiry, anotherExpiry sql.NullString

		ends   time.Time
		failed error
	)
	hash := frappe.StoredHash(sid)
	matches := func() bool {
		stored := sid
		if sessionHash.MatchString(found) {
			stored = hash // whoever has only read the table must not get in with what stands there
		}
		if subtle.ConstantTimeCompare([]byte(found), []byte(stored)) != 1 { // equal only by the collation
			return false
		}
		if expiry != anotherExpiry {
			failed = errors.New("tabDefaultValue has several values of session_expiry; save System Settings in Frappe")
			return true
		}
		end, err := sessionEnd(data.String, lastUpdate.String, expiry.String, zone.String)
		if err != nil {
			failed = err
		} else if ends.IsZero() || end.Before(ends) {
			ends = end
		}
		return true
	}
	owner, err := c.owner(
		ctx,
		query,
		[]string{sid, hash},
		matches,
		&found,
		&data,
		&lastUpdate,
		&restrictIP,
		&zone,
		&expiry,
		&anotherExpiry,
	)
	switch {
	case err != nil:
		return frappe.Identity{}, err
	case owner.name == "":
		return frappe.Identity{}, frappe.ErrDenied
	case failed != nil:
		return frappe.Identity{}, c.credentialSpecific(failed)
	case !now.Before(ends), restrictIP.String != "": // the client's address is not known here
		return frappe.Identity{}, frappe.ErrDenied
	}
	id, err := owner.identity(sch)
	id.Expiry = ends
	return id, err
}

// sessionEnd returns when a session ends unless it is used in Frappe: the earliest time by any of what is known.
func sessionEnd(data, lastUpdate, expiry, zone string) (time.Time, error) {
	if sessionDevice.MatchString(data) {
		return time.Time{}, errors.New(
			"the session was started by Frappe 14 or older, whose sessions cannot be verified here; " +
				"log in again after an update of Frappe, or use backend site",
		)
	}
	if expiry == "" {
		expiry = defaultSessionExpiry
	}
	times, expiries := []string{lastUpdate}, []string{expiry}
	for _, field := range sessionField.FindAllStringSubmatch(data, -1) {
		switch {
		case field[1] == "last_updated":
			times = append(times, field[2])
		case field[2] != "":
			expiries = append(expiries, field[2])
		}
	}
	var shortest time.Duration
	for i, text := range expiries {
		period, err := sessionPeriod(text)
		if err != nil {
			return time.Time{}, err
		}
		if i == 0 || period < shortest {
			shortest = period
		}
	}
	var ends time.Time
	for i, text := range times {
		wall, err := time.Parse(timeLayout, text)
		if err != nil {
			return time.Time{}, errors.New("the time of a session is not in Frappe's format")
		}
		// Frappe adds in local time, so that the end of daylight saving makes no session longer by the clock.
		end, err := instant(wall.Add(shortest).Format(parameterLayout), zone)
		if err != nil {
			return time.Time{}, err
		}
		if i == 0 || end.Before(ends) {
			ends = end
		}
	}
	return ends, nil
}

// sessionPeriod parses a session_expiry: hours, minutes and, optionally, seconds.
func sessionPeriod(text string) (period time.Duration, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 2 && len(parts) != 3 {
		return 0, errors.New("session_expiry is not in the format hh:mm; check it in System Settings")
	}
	units := []time.Duration{time.Hour, time.Minute, time.Second}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil {
			return 0, errors.New("session_expiry is not in the format hh:mm; check it in System Settings")
		}
		period += time.Duration(min(n, maxSessionHours)) * units[i] //nolint:gosec // at most maxSessionHours
	}
	return period, nil
}

// ReportsTokens implements frappe.TokenReporter. The database knows the scopes and the client of each access token.
func (b *Backend) ReportsTokens() bool { return true }

// Interface guards
var (
	_ frappe.SessionVerifier = (*Backend)(nil)
	_ frappe.TokenReporter   = (*Backend)(nil)
)
