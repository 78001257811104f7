package frappeauth

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode"

	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/caddyserver/caddy/v2"
)

// Guest is the user as whom Frappe serves those without a credential. No credential is Guest's.
const Guest = "Guest"

// maxUserSize is the longest name of a user, in bytes: Frappe's column holds 140 characters.
const maxUserSize = 560

// Backend decides whether a credential is good and whose it is. Backends are guest modules in the namespace
// `http.frappe_auth.backends`.
//
// Verify answers with the identity, or with an error that is ErrDenied (errors.Is) where the credential is known to
// be bad; any other error means that it could not find out, and is never taken for a denial. An error never holds a
// secret. Verify may be called from many goroutines at once, never twice at once for the same credential; it returns
// soon after ctx is done.
type Backend interface {
	Verify(ctx context.Context, c Credential) (Identity, error)
}

// Tenanted is an optional interface of a Backend that may judge credentials of several sites.
type Tenanted interface {
	// Tenanted reports whether the backend is configured to.
	Tenanted() bool

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

// UnavailableError says that it could not be found out whether a credential is good. Any error of a Backend other
// than ErrDenied means the same; this one adds when to try again.
type UnavailableError struct {
	// Reason says what happened and what its likely cause is, without a secret. It goes to the log, not to clients.
	Reason error

	// RetryAfter is after how long another attempt makes sense. Zero: not known.
	RetryAfter time.Duration
}

func (e *UnavailableError) Error() string { return fmt.Sprintf("could not find out: %v", e.Reason) }

// Unwrap returns the reason.
func (e *UnavailableError) Unwrap() error { return e.Reason }

// state is what verifiers of the same backends share, and what outlives a reload of the configuration.
type state struct {
	cache   *cache
	flights singleflight.Group
	start   time.Time // where the clock of the cached verdicts begins
}

// Destruct implements caddy.Destructor: nothing is held but memory.
func (*state) Destruct() error { return nil }

// states holds the state of each distinct list of backends, by its fingerprint.
var states = caddy.NewUsagePool()

// namedBackend is a backend with what the verifier needs to know of it.
type namedBackend struct {
	Backend
	name     string
	boxed    any      // the name as the Replacer takes it
	tenanted Tenanted // nil: one site only
}

// verifier finds out whether a credential is good: from the cache, or else from the backends in order, once for all
// who wait for the same credential.
type verifier struct {
	backends    []namedBackend
	tenanted    bool // one of the backends is
	fingerprint string
	ttl         time.Duration
	negativeTTL time.Duration
	now         func() time.Time
	logger      *zap.Logger
	state       *state

	ctx    context.Context // ends with the configuration
	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
}

// newVerifier joins the state that belongs to the backends' fingerprint. The verifier must be closed, after ctx is
// done.
func newVerifier(ctx context.Context, backends []namedBackend, fingerprint string, conf CacheConfig, now func() time.Time, logger *zap.Logger) (*verifier, error) {
	pooled, _, err := states.LoadOrNew(fingerprint, func() (caddy.Destructor, error) {
		return &state{cache: newCache(), start: now()}, nil
	})
	if err != nil {
		return nil, err
	}
	v := &verifier{
		backends:    backends,
		fingerprint: fingerprint,
		ttl:         time.Duration(*conf.TTL),
		negativeTTL: time.Duration(*conf.NegativeTTL),
		now:         now,
		logger:      logger,
		state:       pooled.(*state),
		ctx:         ctx,
	}
	for _, b := range backends {
		v.tenanted = v.tenanted || b.tenanted != nil
	}
	v.state.cache.resize(v, conf.Size)
	return v, nil
}

// close waits for the verifications under way, which end because the context of the configuration did.
func (v *verifier) close() error {
	v.mu.Lock()
	v.closed = true
	v.mu.Unlock()
	v.calls.Wait()
	v.state.cache.resize(v, 0)
	_, err := states.Delete(v.fingerprint)
	return err
}

// enter counts a verification in; false when the verifier is closed.
func (v *verifier) enter() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return false
	}
	v.calls.Add(1)
	return true
}

// How a verdict was come by, for the placeholder {http.auth.frappe.cache}.
const (
	cacheHit  = "hit"
	cacheMiss = "miss"
)

// answer is what was found out about a credential: a grant, or an error as Backend's.
type answer struct {
	grant
	cache  string
	err    error
	closed bool // not found out, because the configuration of the verifier that asked was unloaded
}

// sites names the site of the request for each backend; nil where no backend needs to know.
func (v *verifier) sites(repl *caddy.Replacer) ([]string, error) {
	if !v.tenanted {
		return nil, nil
	}
	sites := make([]string, len(v.backends))
	for i, b := range v.backends {
		if b.tenanted == nil {
			continue
		}
		site, err := b.tenanted.Site(repl)
		if err != nil {
			return nil, err
		}
		sites[i] = site
	}
	return sites, nil
}

// verify finds out about a credential. When ctx ends it stops waiting, not the verification.
func (v *verifier) verify(ctx context.Context, sites []string, cred Credential) answer {
	k := v.state.cache.key(v.fingerprint, sites, cred)
	if a, ok := v.cached(k); ok {
		return a
	}
	for {
		seq := v.state.cache.sequence()
		// A revocation divides those who wait: who comes after it does not get the answer to a question from before it.
		flight := string(binary.BigEndian.AppendUint64(k[:], seq))
		select {
		case res := <-v.state.flights.DoChan(flight, func() (any, error) {
			return v.ask(k, seq, sites, cred), nil
		}):
			a := res.Val.(answer)
			if a.closed && v.ctx.Err() == nil {
				continue // asked by a verifier of the configuration before this one
			}
			return a
		case <-ctx.Done():
			return answer{err: ctx.Err()}
		}
	}
}

// cached is the answer of the cache, if it has a fresh one.
func (v *verifier) cached(k cacheKey) (answer, bool) {
	g, granted, d, denied := v.state.cache.lookup(k)
	if !granted && !denied {
		return answer{}, false
	}
	now := v.now()
	at := int64(now.Sub(v.state.start))
	switch {
	case granted && at-g.at < int64(v.ttl) && (g.expiry == 0 || now.UnixNano() < g.expiry):
		return answer{grant: g, cache: cacheHit}, true
	case denied && at-d.at < int64(v.negativeTTL):
		return answer{cache: cacheHit, err: ErrDenied}, true
	}
	return answer{}, false
}

// ask asks the backends in order and keeps their verdict.
func (v *verifier) ask(k cacheKey, seq uint64, sites []string, cred Credential) answer {
	unavailable := &UnavailableError{Reason: errors.New("the configuration was unloaded")}
	if !v.enter() {
		return answer{err: unavailable, closed: true}
	}
	defer v.calls.Done()
	if a, ok := v.cached(k); ok {
		return a // found out by others since
	}

	at := int64(v.now().Sub(v.state.start))
	claim := v.state.cache.claimTag(cred)
	unavailable = nil
	for i, b := range v.backends {
		if sites != nil {
			cred.Site = sites[i]
		}
		id, err := v.call(b, cred)
		switch {
		case err == nil:
			g := v.newGrant(id, b)
			g.at, g.seq, g.byClaim = at, seq, claim
			if v.ttl > 0 {
				v.state.cache.grant(k, g)
			}
			return answer{grant: g, cache: cacheMiss}
		case errors.Is(err, ErrDenied):
		case v.ctx.Err() != nil:
			return answer{err: err, closed: true}
		default:
			v.logger.Warn("could not find out whether a credential is good",
				zap.String("backend", b.name), zap.Error(err))
			unavailable = sooner(unavailable, err)
		}
	}
	if unavailable != nil {
		return answer{cache: cacheMiss, err: unavailable}
	}
	if v.negativeTTL > 0 {
		v.state.cache.deny(k, denial{at: at, seq: seq, byClaim: claim})
	}
	return answer{cache: cacheMiss, err: ErrDenied}
}

// call asks one backend. Whatever it does wrong means that it could not find out.
func (v *verifier) call(b namedBackend, cred Credential) (id Identity, err error) {
	defer func() {
		if p := recover(); p != nil {
			// The value of a panic may hold anything, its type and the stack hold no secret.
			err = fmt.Errorf("the backend panicked with a %T", p)
			v.logger.Error("backend panicked", zap.String("backend", b.name), zap.Stack("stack"))
		}
	}()
	id, err = b.Verify(v.ctx, cred)
	switch {
	case err != nil:
		return Identity{}, err
	case id.User == "" || id.User == Guest || len(id.User) > maxUserSize || strings.ContainsFunc(id.User, unicode.IsControl):
		return Identity{}, errors.New("the backend granted, but named no user of Frappe's")
	case !id.Expiry.IsZero() && !v.now().Before(id.Expiry):
		return Identity{}, ErrDenied
	}
	return id, nil
}

// newGrant puts an identity into the form in which it is kept and published.
func (v *verifier) newGrant(id Identity, b namedBackend) grant {
	g := grant{user: id.User, backend: b.boxed, byUser: v.state.cache.userTag(id.User)}
	if !id.Expiry.IsZero() {
		g.expiry = id.Expiry.UnixNano()
	}
	if id.FullName != "" || id.Roles != nil || id.Scopes != nil {
		g.detail = &detail{
			fullName: id.FullName,
			roles:    id.Roles,
			roleList: strings.Join(id.Roles, ","),
			scopes:   strings.Join(id.Scopes, " "),
		}
	}
	return g
}

// sooner is the error that promises an answer sooner.
func sooner(known *UnavailableError, err error) *UnavailableError {
	u := new(UnavailableError)
	if !errors.As(err, &u) {
		u = &UnavailableError{Reason: err}
	}
	if known == nil || known.RetryAfter == 0 || (u.RetryAfter != 0 && u.RetryAfter < known.RetryAfter) {
		return u
	}
	return known
}
