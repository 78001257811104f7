package frappe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
)

// Guest is the user as whom Frappe serves those without a credential. No credential is Guest's.
const Guest = "Guest"

// MaxUserSize is the longest name of a user, in bytes: Frappe's column holds 140 characters.
const MaxUserSize = 560

// Backend decides whether a credential is good and whose it is. Backends are guest modules in the namespace
// `http.frappe_auth.backends`.
//
// Verify answers with the identity, or with an error that is ErrDenied (errors.Is) where the credential is known to
// be bad; any other error means that it is unavailable, and is never taken for a denial. An error never holds a
// secret. Verify may be called from many goroutines at once, never twice at once for the same credential; it returns
// soon after ctx is done.
//
// A backend that is a fmt.Stringer names its source to the operator: in the admin API and by the commands, without a secret.
type Backend interface {
	Verify(ctx context.Context, c Credential) (Identity, error)
}

// SiteResolver is an optional interface of a Backend that may judge credentials of several sites.
type SiteResolver interface {
	// SiteResolver reports whether the backend is configured to.
	ResolvesSites() bool

	// Site names the site that a request is for, from the request's placeholders. It becomes Credential.Site and part
	// of the cache key. An error refuses the request with status 400.
	Site(repl *caddy.Replacer) (string, error)
}

// Fingerprinter is an optional interface of a Backend whose verdicts depend on more than its JSON configuration: on
// placeholders or on files that it reads when it is provisioned. Cached verdicts outlive a reload of the
// configuration only where JSON and fingerprint stay the same.
type Fingerprinter interface {
	Fingerprint() string
}

// RoleReporter is an optional interface of a Backend that can be configured not to ask for roles. A requirement of
// a role is then an error when the configuration is loaded, rather than a refusal of everybody.
type RoleReporter interface {
	ReportsRoles() bool
}

// RoleLister is an optional interface of a Backend that knows which roles there are at its source, so that a requirement of
// a role that nobody can have is found when the configuration is loaded, or by `caddy frappe-auth doctor`.
type RoleLister interface {
	// RoleNames returns the names of all roles. An error says that they could not be read now, without a secret.
	RoleNames(ctx context.Context) ([]string, error)
}

// Watcher is an optional interface of a Backend that learns by itself of what changes at its source, so that cached
// verdicts can be dropped at once and kept for longer.
type Watcher interface {
	// Watch reports changes until ctx is done, and then returns. It calls observe after every look at the source that
	// succeeded, with the changes since the look before it (none: nil). The first call says that from now on
	// changes will be seen. observe is fast and may be called from any one goroutine at a time.
	Watch(ctx context.Context, observe func([]Change))
}

// Change names verdicts that may no longer hold. Each field that is not empty selects verdicts by itself.
type Change struct {
	// User selects the granted verdicts of this user.
	User string

	// Key selects the verdicts, granted and denied, about this API key.
	Key string

	// Token selects the verdicts, granted and denied, about this access token.
	Token string

	// Everything selects every verdict.
	Everything bool
}

// Identity is whose a credential is.
type Identity struct {
	// User is the name of Frappe's User document, as Frappe spells it: mostly an e-mail address, or Administrator.
	User string

	// FullName is the user's full name. Empty where the backend does not know it.
	FullName string

	// Roles are the user's roles, automatic ones such as All included. Nil where the backend did not ask.
	Roles []string

	// Scopes are the OAuth scopes of an access token. Nil for a pair, and where the backend cannot see them.
	Scopes []string

	// Expiry is when the credential ends. Zero where it does not, or where the backend cannot see it.
	Expiry time.Time
}

// ErrDenied is a backend's verdict that a credential is bad: unknown, wrong, expired, revoked, or of a disabled user.
var ErrDenied = errors.New("credential denied")

// ErrUnknownSite is the error of a Backend that is SiteResolver where its source has no site of the name that the request
// gave. The request gets 404, and the backend is not asked again about that site for a while.
var ErrUnknownSite = errors.New("no such site")

// UnavailableError says that a credential could not be verified. Any error of a Backend other
// than ErrDenied means the same; this one adds when to try again.
type UnavailableError struct {
	// Reason says what happened and what its likely cause is, without a secret. It goes to the log, not to clients.
	Reason error

	// RetryAfter is the time after which another attempt makes sense. Zero: unknown.
	RetryAfter time.Duration

	// CredentialSpecific says that the backend is well but cannot judge this one credential. Its circuit breaker does not open for it, or
	// a client could shut it off for the others.
	CredentialSpecific bool
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("the credential could not be verified: %v", e.Reason)
}

// Unwrap returns the reason.
func (e *UnavailableError) Unwrap() error { return e.Reason }

// ValidUser reports whether a name can be that of the owner of a credential.
func ValidUser(name string) bool {
	return name != "" && name != Guest && len(name) <= MaxUserSize && !strings.ContainsFunc(name, unicode.IsControl)
}
