package database

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // Caddy may run where no zone data is installed
	"unicode/utf8"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// maxRoles is how many roles a site or a user can have. If the database returns more, it is not a Frappe site's.
const maxRoles = 10_000

// person is a user in the database.
type person struct {
	name     string
	enabled  bool
	fullName sql.NullString
	userType sql.NullString
	roles    []string
}

// add adds a row, which contains one of the user's roles. A credential that two users have is an error, because it is
// undefined which of them Frappe takes.
func (p *person) add(row person, role string) error {
	if p.name != "" && p.name != row.name {
		return errors.New("several users have the same API key or access token")
	}
	row.roles = append(p.roles, role)
	*p = row
	return nil
}

// userColumns returns the columns that every verification needs: those of the user, u, and one role, r.
func (s *schema) userColumns() string {
	return `u."name", u."enabled", ` + s.column("u", "tabUser", "full_name", "NULL") + `, ` +
		s.column("u", "tabUser", "user_type", "NULL") + `, r."role"`
}

// withRoles builds a query with one row for each role of the users, u. Administrator has all roles, so there is one row
// for each role that exists.
func (s *schema) withRoles(columns, from, where string) string {
	query := `SELECT ` + columns + ` FROM ` + from +
		` LEFT JOIN "tabHas Role" r ON r."parent" = u."name" AND r."parenttype" = 'User' WHERE ` + where
	if s.has("tabRole", "name") {
		query += ` UNION ALL SELECT ` + strings.ReplaceAll(columns, `r."role"`, `r."name"`) + ` FROM ` + from +
			` JOIN "tabRole" r ON u."name" = 'Administrator' WHERE ` + where
	}
	return query
}

// arguments returns the values in turn, until there is one for each ? of a query.
func arguments(query string, values ...string) []string {
	args := make([]string, strings.Count(query, "?"))
	for i := range args {
		args[i] = values[i%len(values)]
	}
	return args
}

// owner runs a query of withRoles with the arguments of its condition and returns the user it finds, with all roles.
// columns are the destinations of what the query selects after userColumns. After each row, matches says whether the
// row counts.
func (c *connection) owner(
	ctx context.Context,
	query string,
	args []string,
	matches func() bool,
	columns ...any,
) (owner person, err error) {
	var ambiguous error
	err = c.each(ctx, query, arguments(query, args...), maxRoles, func(rows *sql.Rows) error {
		var (
			row  person
			role sql.NullString
		)
		into := append([]any{&row.name, &row.enabled, &row.fullName, &row.userType, &role}, columns...)
		if err := rows.Scan(into...); err != nil || !matches() {
			return err
		}
		if err := owner.add(row, role.String); err != nil {
			ambiguous = c.credentialSpecific(err)
		}
		return nil
	})
	if err == nil {
		err = ambiguous
	}
	if err != nil {
		return person{}, err
	}
	return owner, nil
}

// identity returns the identity of the user, or ErrDenied if the user is disabled or Guest.
func (p *person) identity(s *schema) (frappe.Identity, error) {
	if !p.enabled || p.name == frappe.Guest {
		return frappe.Identity{}, frappe.ErrDenied
	}
	automatic := []string{"All", "Guest"}
	if s.deskUser && p.userType.String == "System User" {
		automatic = append(automatic, "Desk User")
	}
	roles := make([]string, 0, len(p.roles)+len(automatic))
	for _, role := range append(p.roles, automatic...) {
		if role != "" && !slices.Contains(roles, role) && (role != "Administrator" || p.name == "Administrator") {
			roles = append(roles, role)
		}
	}
	return frappe.Identity{User: p.name, FullName: p.fullName.String, Roles: roles}, nil
}

// storable reports whether a database takes a text for a string. No key or token has what it would not take.
func storable(text string) bool { return utf8.ValidString(text) && !strings.ContainsRune(text, 0) }

// verifyPair looks up an API key and checks the secret. An unknown key takes as long as a wrong secret.
func (c *connection) verifyPair(ctx context.Context, key, secret string) (frappe.Identity, error) {
	if !storable(key) {
		key = ""
	}
	sch, err := c.currentSchema(ctx)
	if err != nil {
		return frappe.Identity{}, err
	}
	query := sch.withRoles(
		sch.userColumns()+`, u."api_key", a."password", `+sch.column("a", "__Auth", "encrypted", "1"),
		`"tabUser" u LEFT JOIN "__Auth" a ON a."doctype" = 'User' AND a."name" = u."name" AND a."fieldname" = 'api_secret'`,
		`u."api_key" = ?`)
	type pair struct {
		key       string
		secret    sql.NullString // NULL if a user has a key but no secret
		encrypted sql.NullBool
	}
	var row, stored pair
	matches := func() bool {
		if row.key != key { // equal only by the collation
			return false
		}
		stored = row
		return true
	}
	owner, err := c.owner(ctx, query, []string{key}, matches, &row.key, &row.secret, &row.encrypted)
	if err != nil {
		return frappe.Identity{}, err
	}

	// With encrypted = 0 the row is the hash of a password, and Frappe finds no API secret.
	known := key != "" && stored.key == key && stored.secret.String != "" && stored.encrypted.Bool
	token, decryptWith := dummyToken, dummyKey // so that an unknown key takes as long as a wrong secret
	if known {
		if c.settings.key == nil {
			return frappe.Identity{}, c.credentialSpecific(fmt.Errorf("the API secret of %s cannot be decrypted, because "+
				"encryption_key is missing; %s", owner.name, noKeyAdvice))
		}
		token, decryptWith = stored.secret.String, c.settings.key
	}
	plain := decrypt(decryptWith, token)
	if plain == nil {
		return frappe.Identity{}, c.credentialSpecific(fmt.Errorf("the API secret of %s cannot be decrypted; "+
			"is the encryption_key the site's?", owner.name))
	}
	have, want := sha256.Sum256([]byte(secret)), sha256.Sum256(plain)
	if subtle.ConstantTimeCompare(have[:], want[:]) != 1 || !known || secret == "" {
		return frappe.Identity{}, frappe.ErrDenied
	}
	return owner.identity(sch)
}

// verifyToken looks up an access token.
func (c *connection) verifyToken(ctx context.Context, token string, now time.Time) (frappe.Identity, error) {
	if token == "" || !storable(token) {
		return frappe.Identity{}, frappe.ErrDenied
	}
	sch, err := c.currentSchema(ctx)
	if err != nil {
		return frappe.Identity{}, err
	}
	for _, needed := range [][]string{
		{"tabOAuth Bearer Token", "name", "access_token", "user", "client", "scopes", "status", "expiration_time"},
		{"tabOAuth Client", "name", "scopes"},
		{"tabSingles", "doctype", "field", "value"},
	} {
		for _, column := range needed[1:] {
			if !sch.has(needed[0], column) {
				return frappe.Identity{}, c.credentialSpecific(
					fmt.Errorf("no column %s.%s, or its user may not read it; docs/database.md has the GRANT", needed[0], column),
				)
			}
		}
	}
	query := sch.withRoles(
		sch.userColumns()+`, t."name", t."access_token", t."status", t."scopes", c."name", c."scopes", `+c.dialect.stamp(
			`t."expiration_time"`,
		)+`, `+siteZone,
		`"tabOAuth Bearer Token" t JOIN "tabUser" u ON u."name" = t."user" LEFT JOIN "tabOAuth Client" c ON c."name" = `+
			`t."client"`,
		`t."access_token" IN (?, ?)`,
	)
	type stored struct{ name, token, status, scopes, client, clientScopes, expiration, zone sql.NullString }
	var row, found stored
	hash := frappe.StoredHash(token)
	// Where tokens are stored in clear, each is the name of its document. Where they are hashed, neither the name nor the
	// hash is a token.
	matches := func() bool {
		if row.name == row.token && row.token.String != token || row.name != row.token && row.token.String != hash {
			return false
		}
		found = row
		return true
	}
	owner, err := c.owner(ctx, query, []string{token, hash}, matches,
		&row.name, &row.token, &row.status, &row.scopes, &row.client, &row.clientScopes, &row.expiration, &row.zone)
	if err != nil {
		return frappe.Identity{}, err
	}
	// Without an expiration_time Frappe answers 500. Denying the token makes the client ask for a new one that works.
	if owner.name == "" || found.status.String == "Revoked" || !found.expiration.Valid {
		return frappe.Identity{}, frappe.ErrDenied
	}
	granted := strings.Split(found.scopes.String, " ")
	allowed := strings.Split(found.clientScopes.String, " ")
	for _, scope := range granted {
		if scope == "" || !slices.Contains(allowed, scope) {
			return frappe.Identity{}, frappe.ErrDenied
		}
	}
	expiry, err := instant(found.expiration.String, found.zone.String)
	if err != nil {
		return frappe.Identity{}, c.credentialSpecific(err)
	}
	if !now.Before(expiry) {
		return frappe.Identity{}, frappe.ErrDenied
	}
	id, err := owner.identity(sch)
	id.Scopes, id.Client, id.Expiry = granted, found.client.String, expiry
	return id, err
}

// defaultZone is the time zone that Frappe uses if System Settings name none.
const defaultZone = "Asia/Kolkata"

// instant converts a time as Frappe stores it, without a time zone, to a point in time. A time that occurs twice, when
// daylight saving time ends, is taken as the earlier one: it is better that a token expires an hour early than late. A
// time that is skipped, when daylight saving time begins, becomes the moment of the change.
func instant(naive, zone string) (time.Time, error) {
	if zone == "" {
		zone = defaultZone
	}
	location, err := time.LoadLocation(zone)
	if err != nil {
		return time.Time{}, fmt.Errorf("the site's time zone is unknown; check time_zone in System Settings")
	}
	wall, err := time.Parse("2006-01-02 15:04:05.999999", naive)
	if err != nil {
		return time.Time{}, fmt.Errorf("a time in the database is not in Frappe's format")
	}
	before, after := offset(wall.Add(-24*time.Hour), location), offset(wall.Add(24*time.Hour), location)
	earlier, later := wall.Add(-max(before, after)), wall.Add(-min(before, after))
	for _, candidate := range []time.Time{earlier, later} {
		if offset(candidate, location) == wall.Sub(candidate) {
			return candidate, nil
		}
	}
	skipped, _ := later.In(location).ZoneBounds()
	return skipped.UTC(), nil
}

// offset returns how far the zone is ahead of UTC at that time.
func offset(t time.Time, location *time.Location) time.Duration {
	_, seconds := t.In(location).Zone()
	return time.Duration(seconds) * time.Second
}
