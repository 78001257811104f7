// Package backends calls backends. A call waits for the in-flight limit of its backend, and is made only if the circuit
// breakers of its site and its credential allow it. It is limited in time, traced and counted. If it panics, the
// backend counts as unavailable.
package backends

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// MaxCall is the longest time that one call may take. When Caddy replaces a configuration, it first finishes the
// requests in flight and their calls, so this is also how long a call can outlive its configuration.
const MaxCall = time.Minute

// Loaded is a backend of one configuration.
type Loaded struct {
	frappe.Backend

	// Name is the name of the module, such as site.
	Name string

	// Resolver names the site of a request. It is nil if the backend serves only one site.
	Resolver frappe.SiteResolver

	// ByScheme is set if calls for different kinds of credentials must not wait for each other, because those for API keys
	// may take long.
	ByScheme bool

	// Sessions is set if the backend verifies sessions. Otherwise it must not be asked about one.
	Sessions bool
}

// Source names the source of the verdicts, such as a URL. It is empty if the backend does not name it.
func (b Loaded) Source() string { return SourceOf(b.Backend) }

// SourceOf names the source that a module asks. It is empty if the module does not name it.
func SourceOf(module any) string {
	if s, ok := module.(fmt.Stringer); ok {
		return s.String()
	}
	return ""
}

// Reporter receives what one configuration reports about its calls.
type Reporter struct {
	Logger *zap.Logger
	Events telemetry.Emitter

	// Now is the clock. Its times have a monotonic reading.
	Now func() time.Time
}

// Call is a credential to be verified.
type Call struct {
	// Credential is the credential, with its Site.
	Credential frappe.Credential

	// Key identifies the credential, whatever its spelling. Claim identifies its public part.
	Key   verdicts.Key
	Claim uint64

	// Lookup is the unique number of the lookup that the call belongs to.
	Lookup uint64

	// Known is set if the credential was granted before. Such calls have priority, and are never charged to a client.
	Known bool

	// Allow is called after the wait for the in-flight limit. If it returns an error, the backend is not called.
	Allow func() error

	// Charge is called if the client caused the failure: it named a site that does not exist, or the backend cannot verify
	// this one credential, which was not known. It is called before the next waiting call starts.
	Charge func()

	// Span is the span of the request.
	Span trace.Span
}

// Verify calls a backend. Errors are those of frappe.Backend, a breaker.OpenError, or that of Call.Allow.
func (s *State) Verify(b Loaded, to Reporter, c Call) (frappe.Identity, error) {
	site := c.Credential.Site
	if b.Resolver != nil && s.unknownSites.has(site, to.Now()) {
		return frappe.Identity{}, frappe.ErrUnknownSite
	}
	p, err := s.acquire(b, c, to.Now)
	if err != nil {
		return frappe.Identity{}, err
	}
	defer p.release()

	asked := to.Now()
	id, err := call(b, to, c)
	telemetry.CountCall(b.Name, err, to.Now().Sub(asked))
	switch {
	case err == nil, errors.Is(err, frappe.ErrDenied):
		s.succeeded(to, c)
	case errors.Is(err, frappe.ErrUnknownSite) && b.Resolver != nil:
		s.succeeded(to, c)
		s.unknownSites.add(site, asked)
		c.Charge()
	default:
		s.failed(to, c, p, err)
	}
	return id, err
}

// call asks one backend. If it misbehaves or panics, it counts as unavailable.
func call(b Loaded, to Reporter, c Call) (id frappe.Identity, err error) {
	defer recovered(to.Logger.With(zap.String("backend", b.Name)), &err)
	ctx, cancel := context.WithTimeout(context.Background(), MaxCall)
	defer cancel()
	ctx, end := telemetry.StartCallSpan(ctx, c.Span, b.Name, c.Credential.Site)
	defer func() { end(err) }()
	id, err = b.Verify(ctx, c.Credential)
	switch {
	case err != nil:
		return frappe.Identity{}, err
	case !frappe.ValidUser(id.User):
		return frappe.Identity{}, errors.New("the backend granted, but did not name a valid Frappe user")
	case size(id) > maxIdentity:
		return frappe.Identity{}, errors.New("the backend granted, but what it says of the user is too long")
	case !id.Expiry.IsZero() && !to.Now().Before(id.Expiry):
		return frappe.Identity{}, frappe.ErrDenied
	}
	return id, nil
}

// maxIdentity is how much of a user is kept in memory for each cached verdict, in bytes. The roles of a user take a few
// thousand.
const maxIdentity = 64 << 10

// size is how many bytes an identity takes in memory, at least.
func size(id frappe.Identity) int {
	const header = 16 // of a text
	total := len(id.User) + len(id.FullName) + len(id.Client)
	for _, texts := range [][]string{id.Roles, id.Scopes} {
		for _, text := range texts {
			total += header + len(text)
		}
	}
	return total
}

// succeeded records that the backend gave a verdict.
func (s *State) succeeded(to Reporter, c Call) {
	s.contact.answered(to.Now())
	s.credentials.Success(c.Key)
	ended, wasOpen := s.sites.Success(c.Credential.Site)
	if wasOpen {
		s.credentials.Reset() // their failures came from the site's outage
	}
	if ended {
		to.Logger.Info("the backend is available again", zap.String("backend", s.Name), zap.String("site", c.Credential.Site))
		to.Events.Emit(telemetry.EventRecovered, "backend", s.Name, "site", c.Credential.Site)
	}
}

// failed records that the backend did not give a verdict.
func (s *State) failed(to Reporter, c Call, p permit, err error) {
	site := c.Credential.Site
	to.Logger.Warn("the credential could not be verified",
		zap.String("backend", s.Name), zap.String("site", site), zap.Error(err))
	now := to.Now()
	first := s.credentials.Failure(c.Key, c.Lookup, now, p.credentialProbe)
	if u, ok := errors.AsType[*frappe.UnavailableError](err); ok && u.CredentialSpecific {
		s.sites.Cancel(site, p.siteProbe)
		if first && !c.Known {
			c.Charge()
		}
		return
	}
	s.contact.missed(site, now)
	if began := s.sites.Failure(site, c.Claim, now, p.siteProbe); began {
		to.Events.Emit(telemetry.EventUnavailable, "backend", s.Name, "site", site)
	}
}

// MinRetryAfter returns the error with the shorter RetryAfter. An unknown RetryAfter counts as the longest.
func MinRetryAfter(known *frappe.UnavailableError, err error) *frappe.UnavailableError {
	u, ok := errors.AsType[*frappe.UnavailableError](err)
	if !ok {
		u = &frappe.UnavailableError{Reason: err}
		if open, ok := errors.AsType[*breaker.OpenError](err); ok {
			u.RetryAfter = open.RetryAfter
		}
	}
	if known == nil || known.RetryAfter == 0 || (u.RetryAfter != 0 && u.RetryAfter < known.RetryAfter) {
		return u
	}
	return known
}

// Needs are the capabilities that the options of a handler need from a backend.
type Needs struct {
	// Roles, Scopes and Clients are set if a requirement names some.
	Roles, Scopes, Clients bool

	// Sessions is set if sessions are accepted.
	Sessions bool
}

// New returns a loaded module as a backend. It returns an error if the module is not a backend, or if it is configured
// without a needed capability. Only some of the backends need to verify sessions.
func New(module any, needs Needs) (Loaded, error) {
	name := module.(caddy.Module).CaddyModule().ID.Name()
	backend, ok := module.(frappe.Backend)
	if !ok {
		return Loaded{}, fmt.Errorf("backend %s: module %T is not a backend", name, module)
	}
	b := Loaded{Backend: backend, Name: name}
	if reporter, ok := module.(frappe.RoleReporter); ok && !reporter.ReportsRoles() && needs.Roles {
		return Loaded{}, fmt.Errorf("require role: backend %s does not ask for roles; add `roles` to it", name)
	}
	if reporter, ok := module.(frappe.TokenReporter); ok && !reporter.ReportsTokens() {
		switch {
		case needs.Scopes:
			return Loaded{}, fmt.Errorf("require scope: backend %s cannot see the scopes of access tokens; "+
				"use backend database", name)
		case needs.Clients:
			return Loaded{}, fmt.Errorf("require client: backend %s cannot see which client an access token was issued to; "+
				"use backend database", name)
		}
	}
	if verifier, ok := module.(frappe.SessionVerifier); ok && needs.Sessions {
		if err := verifier.EnableSessions(); err != nil {
			return Loaded{}, fmt.Errorf("schemes session: backend %s cannot verify sessions: %w", name, err)
		}
		b.Sessions = true
	}
	if resolver, ok := module.(frappe.SiteResolver); ok && resolver.ResolvesSites() {
		b.Resolver = resolver
	}
	return b, nil
}
