// Package frappe is the contract between frappe_auth and its backends: the credential and its parser, the identity, the
// interfaces that a backend implements, and its errors. Import it to write a backend.
package frappe

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
)

// Guest is the user that Frappe assigns to requests without a credential. No credential belongs to Guest.
const Guest = "Guest"

// MaxUserSize is the longest user name, in bytes. Frappe's column holds 140 characters.
const MaxUserSize = 560

// Backend verifies credentials: whether one is good, and which user it belongs to. Backends are guest modules in the
// namespace `http.frappe_auth.backends`.
//
// Verify returns the identity, or an error. If the credential is known to be bad, the error is ErrDenied (errors.Is).
// Any other error means that the backend is unavailable; it is never treated as a denial. An error must not contain a
// secret. Verify may be called from many goroutines at once, but never twice at once for the same credential. It must
// return soon after ctx is done.
//
// A backend may implement fmt.Stringer to name its source, such as a URL, in the admin API and in the output of the
// commands. The name must not contain a secret.
type Backend interface {
	Verify(ctx context.Context, c Credential) (Identity, error)
}

// SiteResolver is an optional interface of a Backend that can verify credentials for more than one site.
type SiteResolver interface {
	// ResolvesSites reports whether the backend is configured to do so.
	ResolvesSites() bool

	// Site returns the name of the site that a request is for, taken from the request's placeholders. The name becomes
	// Credential.Site and part of the cache key. An error rejects the request with status 400.
	Site(repl *caddy.Replacer) (string, error)
}

// Fingerprinter is an optional interface of a Backend whose verdicts depend on more than its JSON configuration, such
// as placeholders, or files that it reads when it is provisioned. Cached verdicts survive a reload of the configuration
// only if both the JSON and the fingerprint stay the same.
type Fingerprinter interface {
	Fingerprint() string
}

// RoleReporter is an optional interface of a Backend that can be configured not to ask for roles. If ReportsRoles
// returns false, requiring a role is an error when the configuration is loaded. Otherwise every user would be refused.
type RoleReporter interface {
	ReportsRoles() bool
}

// RoleLister is an optional interface of a Backend that knows which roles exist at its source. A required role that
// does not exist is then reported when the configuration is loaded, and by `caddy frappe-auth doctor`.
type RoleLister interface {
	// RoleNames returns the names of all roles. It returns an error if they cannot be read now. The error must not
	// contain a secret.
	RoleNames(ctx context.Context) ([]string, error)
}

// SessionVerifier is an optional interface of a Backend that can verify the session of a user who is logged in to
// Frappe (SchemeSession).
type SessionVerifier interface {
	// EnableSessions tells the backend that it will be asked about sessions, because the configuration accepts them. It is
	// called once, after the backend was provisioned. If the backend cannot verify sessions as it is configured, it
	// returns an error that says why. The scheme `session` is then an error when the configuration is loaded.
	EnableSessions() error
}

// SessionEnder is an optional interface of a SessionVerifier that can log a user out of Frappe.
type SessionEnder interface {
	// EndSession ends a session. It returns nil once the session is over, also if it was before. The error must not
	// contain a secret.
	EndSession(ctx context.Context, c Credential) error
}

// TokenReporter is an optional interface of a Backend that may not see the scopes and the client of an access token. If
// ReportsTokens returns false, requiring a scope or a client is an error when the configuration is loaded.
type TokenReporter interface {
	ReportsTokens() bool
}

// Watcher is an optional interface of a Backend that has a change feed: it notices when something changes at its
// source. The affected cached verdicts are then dropped at once. Guest modules in the namespace
// `http.frappe_auth.feeds` are Watchers, too.
type Watcher interface {
	// Watch reports changes until ctx is done, and then returns. It calls observe after each successful check of the
	// source, with the changes since the previous check, or nil if there were none. The first call means that changes are
	// noticed from now on. Older verdicts are dropped then, unless the previous configuration was already watching.
	// observe is fast. It may be called from any goroutine, but not from two at once.
	Watch(ctx context.Context, observe func([]Change))
}

// Change selects cached verdicts that may no longer be correct. Each field but Site that is not empty selects verdicts
// independently of the others.
type Change struct {
	// Site restricts the change to the verdicts of this site, as a SiteResolver names it. It has no effect on the verdicts
	// of backends that serve one site only. If it is empty, the change concerns all sites.
	Site string

	// User selects the granted verdicts of this user.
	User string

	// Key selects the verdicts, granted and denied, about this API key.
	Key string

	// Token selects the verdicts, granted and denied, about this access token. It may also be the StoredHash of a token.
	Token string

	// Session selects the verdicts, granted and denied, about this session id.
	Session string

	// Everything selects every verdict.
	Everything bool
}

// StoredHash returns the SHA-256 hash of an access token or session id, in lower-case hexadecimal digits. The newest
// versions of Frappe store this hash (frappe/integrations/doctype/oauth_bearer_token of Frappe 16). Older versions
// store the token or session id itself.
func StoredHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Identity is the user that a credential belongs to, and what is known about that user.
type Identity struct {
	// User is the name of the User document, as Frappe spells it. It is usually an e-mail address, or Administrator.
	User string

	// FullName is the user's full name. It is empty if the backend does not know it.
	FullName string

	// Roles are the user's roles, including automatic ones such as All. It is nil if the backend did not ask.
	Roles []string

	// Scopes are the OAuth scopes of an access token. It is nil for any other credential, and if the backend cannot see
	// them.
	Scopes []string

	// Client is the client id of the OAuth client that an access token was issued to. It is empty for any other
	// credential, and if the backend cannot see it.
	Client string

	// Expiry is when the credential expires. It is zero if it never does, or if the backend cannot see it.
	Expiry time.Time
}

// ErrDenied is a backend's verdict that a credential is bad: it is unknown, wrong, expired or revoked, or belongs to a
// disabled user.
var ErrDenied = errors.New("credential denied")

// ErrUnknownSite is the error of a SiteResolver whose source has no site with the name in Credential.Site. The request
// gets status 404, and the backend is not asked about that site again for a minute.
var ErrUnknownSite = errors.New("no such site")

// UnavailableError says that a credential could not be verified. Every error of a Backend other than ErrDenied and
// ErrUnknownSite means the same; this one adds details.
type UnavailableError struct {
	// Reason says what happened and what the likely cause is. It must not contain a secret. It goes to the log, not to
	// clients.
	Reason error

	// RetryAfter is how long to wait before another attempt makes sense. Zero means unknown.
	RetryAfter time.Duration

	// CredentialSpecific says that the backend works but cannot verify this one credential. Such an error does not open
	// the site's circuit breaker. Otherwise one client could shut the backend off for all others.
	CredentialSpecific bool
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("the credential could not be verified: %v", e.Reason)
}

// Unwrap returns the reason.
func (e *UnavailableError) Unwrap() error { return e.Reason }

// ValidUser reports whether a credential can belong to a user with that name. A name with a segment `.` or `..`
// between slashes or backslashes is invalid, because it would lead out of the user's folder in a path.
func ValidUser(name string) bool {
	if name == "" || name == Guest || len(name) > MaxUserSize || strings.ContainsFunc(name, unicode.IsControl) {
		return false
	}
	for segment := range strings.SplitSeq(strings.ReplaceAll(name, `\`, "/"), "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}
