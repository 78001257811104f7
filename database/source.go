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
	"sync"
	"sync/atomic"
	"time"

	"github.com/fernet/fernet-go"
	"go.uber.org/zap"

	frappeauth "github.com/caddy-frappe/frappe-auth"
)

// source is a site's database, for every backend of this Caddy that reads it, across reloads of the configuration.
type source struct {
	settings *settings
	dialect  dialect
	db       *sql.DB
	timeout  time.Duration
	dummy    []byte // a secret encrypted with the site's key, to decrypt where there is none
	logger   *zap.Logger

	using  sync.RWMutex // held for reading by verifications, for writing to close
	closed bool
	schema atomic.Pointer[schema]

	poller *poller
}

// newSource opens a database without connecting to it: that the server is away is no fault of the configuration.
func newSource(s *settings, timeout, refresh time.Duration, maxOpen int, logger *zap.Logger) (*source, error) {
	d := dialects[s.dbType]
	db, err := d.open(s, timeout)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be opened with these settings", s)
	}
	db.SetMaxOpenConns(maxOpen)
	db.SetMaxIdleConns(maxOpen)
	db.SetConnMaxLifetime(10 * time.Minute)
	dummy, err := fernet.EncryptAndSign([]byte("012345678901234"), s.key)
	if err != nil {
		return nil, errors.New("encryption_key cannot be used")
	}
	src := &source{settings: s, dialect: d, db: db, timeout: timeout, dummy: dummy, logger: logger}
	src.poller = newPoller(src, refresh)
	return src, nil
}

// Destruct implements caddy.Destructor. It waits for verifications under way, which are short.
func (s *source) Destruct() error {
	s.poller.stop()
	s.using.Lock()
	defer s.using.Unlock()
	s.closed = true
	return s.db.Close()
}

// enter returns the source to use until leave is called. Caddy may have requests for a configuration that it has
// unloaded; they get the database opened once more, for each alone.
func (s *source) enter() (open *source, leave func(), err error) {
	s.using.RLock()
	if !s.closed {
		return s, s.using.RUnlock, nil
	}
	s.using.RUnlock()
	db, err := s.dialect.open(s.settings, s.timeout)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: cannot be opened with these settings", s.settings)
	}
	again := &source{settings: s.settings, dialect: s.dialect, db: db, timeout: s.timeout, dummy: s.dummy, logger: s.logger}
	again.schema.Store(s.schema.Load())
	return again, func() { _ = db.Close() }, nil // nobody is left to tell
}

// schema is what the site's version of Frappe has, and what the database's user may read.
type schema struct {
	columns  map[string]bool // `table.column`
	deskUser bool            // system users have the role Desk User (15 and later)
}

func (s *schema) has(table, column string) bool { return s.columns[table+"."+column] }

// column is the column, or what stands for it where the version of Frappe has none.
func (s *schema) column(alias, table, column, otherwise string) string {
	if s.has(table, column) {
		return alias + `."` + column + `"`
	}
	return otherwise
}

// currentSchema asks for the schema once, and again after a query failed: a migration may have changed it.
func (s *source) currentSchema(ctx context.Context) (*schema, error) {
	if known := s.schema.Load(); known != nil {
		return known, nil
	}
	rows, err := s.db.QueryContext(ctx, s.dialect.schema)
	if err != nil {
		return nil, s.fault(err)
	}
	defer rows.Close()
	found := &schema{columns: make(map[string]bool)}
	for rows.Next() {
		var table, column string
		if err := rows.Scan(&table, &column); err != nil {
			return nil, s.fault(err)
		}
		found.columns[table+"."+column] = true
	}
	if err := rows.Err(); err != nil {
		return nil, s.fault(err)
	}
	for _, needed := range []string{"tabUser.name", "tabUser.api_key", "tabUser.enabled", "tabUser.modified", "__Auth.password", "tabHas Role.role"} {
		if !found.columns[needed] {
			return nil, fmt.Errorf("%s: no column %s; is this the database of a Frappe site, and may its user read it?", s.settings, needed)
		}
	}
	query := s.dialect.query(`SELECT 1 FROM "tabHas Role" WHERE "role" = 'Desk User' LIMIT 1`)
	if found.has("tabRole", "name") {
		query = s.dialect.query(`SELECT 1 FROM "tabRole" WHERE "name" = 'Desk User' LIMIT 1`)
	}
	var one int
	switch err := s.db.QueryRowContext(ctx, query).Scan(&one); {
	case err == nil:
		found.deskUser = true
	case !errors.Is(err, sql.ErrNoRows):
		return nil, s.fault(err)
	}
	s.schema.Store(found)
	return found, nil
}

// fault is an error of the database, with the database's name. Errors of the drivers name hosts, users and statements;
// passwords and arguments they do not.
func (s *source) fault(err error) error {
	s.schema.Store(nil)
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: no answer within %s", s.settings, s.timeout)
	}
	return fmt.Errorf("%s: %w", s.settings, err)
}

// onlyThis is what cannot be found out about one credential, or one sort of them, while the database is well.
func (s *source) onlyThis(err error) error {
	return &frappeauth.UnavailableError{Reason: fmt.Errorf("%s: %w", s.settings, err), OnlyThis: true}
}

// person is a user as the database has it.
type person struct {
	name     string
	enabled  bool
	fullName sql.NullString
	userType sql.NullString
	roles    []string
}

// add takes in a row, which has one of the user's roles. A credential of two users is nobody's: which of them Frappe
// takes is chance.
func (p *person) add(row person, role string) error {
	if p.name != "" && p.name != row.name {
		return errors.New("several users have the same API key or access token")
	}
	row.roles = append(p.roles, role)
	*p = row
	return nil
}

// userColumns are what every verdict needs of the user, u, and a role, r, of which each has a row.
func (s *schema) userColumns() string {
	return `u."name", u."enabled", ` + s.column("u", "tabUser", "full_name", "NULL") + `, ` +
		s.column("u", "tabUser", "user_type", "NULL") + `, r."role"`
}

// withRoles completes a query for users u to one that has a row for each of their roles, and for Administrator, who has
// all roles, a row for each role there is.
func (s *schema) withRoles(columns, from, where string) string {
	query := `SELECT ` + columns + ` FROM ` + from +
		` LEFT JOIN "tabHas Role" r ON r."parent" = u."name" AND r."parenttype" = 'User' WHERE ` + where
	if s.has("tabRole", "name") {
		query += ` UNION ALL SELECT ` + strings.ReplaceAll(columns, `r."role"`, `r."name"`) + ` FROM ` + from +
			` JOIN "tabRole" r ON u."name" = 'Administrator' WHERE ` + where
	}
	return query
}

// arguments repeats an argument for each ? of a query.
func arguments(query, value string) []any {
	args := make([]any, strings.Count(query, "?"))
	for i := range args {
		args[i] = value
	}
	return args
}

// identity is that of an enabled user.
func (p *person) identity(s *schema) (frappeauth.Identity, error) {
	if !p.enabled || p.name == frappeauth.Guest {
		return frappeauth.Identity{}, frappeauth.ErrDenied
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
	return frappeauth.Identity{User: p.name, FullName: p.fullName.String, Roles: roles}, nil
}

// verifyPair looks an API key up. An unknown key costs what a wrong secret costs.
func (s *source) verifyPair(ctx context.Context, key, secret string) (frappeauth.Identity, error) {
	if strings.ContainsRune(key, 0) { // PostgreSQL takes none in text, and no key has any
		key = ""
	}
	sch, err := s.currentSchema(ctx)
	if err != nil {
		return frappeauth.Identity{}, err
	}
	query := sch.withRoles(
		sch.userColumns()+`, u."api_key", a."password", `+sch.column("a", "__Auth", "encrypted", "1"),
		`"tabUser" u LEFT JOIN "__Auth" a ON a."doctype" = 'User' AND a."name" = u."name" AND a."fieldname" = 'api_secret'`,
		`u."api_key" = ?`)
	rows, err := s.db.QueryContext(ctx, s.dialect.query(query), arguments(query, key)...)
	if err != nil {
		return frappeauth.Identity{}, s.fault(err)
	}
	defer rows.Close()

	var (
		owner     person
		found     string
		stored    sql.NullString // none where a user has a key and no secret
		encrypted sql.NullBool
	)
	for rows.Next() {
		var (
			row         person
			role        sql.NullString
			own         string
			ownSecret   sql.NullString
			isEncrypted sql.NullBool
		)
		if err := rows.Scan(&row.name, &row.enabled, &row.fullName, &row.userType, &role, &own, &ownSecret, &isEncrypted); err != nil {
			return frappeauth.Identity{}, s.fault(err)
		}
		if own != key {
			continue // the collation takes it for the same
		}
		found, stored, encrypted = own, ownSecret, isEncrypted
		if err := owner.add(row, role.String); err != nil {
			return frappeauth.Identity{}, s.onlyThis(err)
		}
	}
	if err := rows.Err(); err != nil {
		return frappeauth.Identity{}, s.fault(err)
	}

	known := key != "" && found == key && stored.String != ""
	plain := []byte(stored.String)
	if !known || encrypted.Bool {
		token := s.dummy
		if known {
			token = plain
		}
		if plain = fernet.VerifyAndDecrypt(token, 0, []*fernet.Key{s.settings.key}); plain == nil {
			return frappeauth.Identity{}, s.onlyThis(fmt.Errorf("the API secret of %s cannot be decrypted; "+
				"is the encryption_key the site's?", owner.name))
		}
	}
	have, want := sha256.Sum256([]byte(secret)), sha256.Sum256(plain)
	if subtle.ConstantTimeCompare(have[:], want[:]) != 1 || !known || secret == "" {
		return frappeauth.Identity{}, frappeauth.ErrDenied
	}
	return owner.identity(sch)
}

// verifyToken looks an access token up.
func (s *source) verifyToken(ctx context.Context, token string, now time.Time) (frappeauth.Identity, error) {
	if token == "" || strings.ContainsRune(token, 0) {
		return frappeauth.Identity{}, frappeauth.ErrDenied
	}
	sch, err := s.currentSchema(ctx)
	if err != nil {
		return frappeauth.Identity{}, err
	}
	const table = "tabOAuth Bearer Token"
	for _, needed := range []string{"user", "client", "scopes", "status", "expiration_time"} {
		if !sch.has(table, needed) {
			return frappeauth.Identity{}, s.onlyThis(fmt.Errorf("no column %s.%s, or its user may not read it", table, needed))
		}
	}
	query := sch.withRoles(
		sch.userColumns()+`, t."name", t."status", t."scopes", c."scopes", `+s.dialect.text(`t."expiration_time"`)+
			`, (SELECT z."value" FROM "tabSingles" z WHERE z."doctype" = 'System Settings' AND z."field" = 'time_zone' LIMIT 1)`,
		`"tabOAuth Bearer Token" t JOIN "tabUser" u ON u."name" = t."user" LEFT JOIN "tabOAuth Client" c ON c."name" = t."client"`,
		`t."name" = ?`)
	rows, err := s.db.QueryContext(ctx, s.dialect.query(query), arguments(query, token)...)
	if err != nil {
		return frappeauth.Identity{}, s.fault(err)
	}
	defer rows.Close()

	var (
		owner                                          person
		found                                          string
		status, scopes, clientScopes, expiration, zone sql.NullString
	)
	for rows.Next() {
		var (
			row  person
			role sql.NullString
		)
		if err := rows.Scan(&row.name, &row.enabled, &row.fullName, &row.userType, &role,
			&found, &status, &scopes, &clientScopes, &expiration, &zone); err != nil {
			return frappeauth.Identity{}, s.fault(err)
		}
		if err := owner.add(row, role.String); err != nil {
			return frappeauth.Identity{}, s.onlyThis(err)
		}
	}
	if err := rows.Err(); err != nil {
		return frappeauth.Identity{}, s.fault(err)
	}
	if found != token || status.String == "Revoked" || !expiration.Valid {
		return frappeauth.Identity{}, frappeauth.ErrDenied
	}
	granted := strings.Split(scopes.String, " ")
	allowed := strings.Split(clientScopes.String, " ")
	for _, scope := range granted {
		if scope == "" || !slices.Contains(allowed, scope) {
			return frappeauth.Identity{}, frappeauth.ErrDenied
		}
	}
	expiry, err := instant(expiration.String, zone.String)
	if err != nil {
		return frappeauth.Identity{}, s.onlyThis(err)
	}
	if !now.Before(expiry) {
		return frappeauth.Identity{}, frappeauth.ErrDenied
	}
	id, err := owner.identity(sch)
	id.Scopes, id.Expiry = granted, expiry
	return id, err
}
