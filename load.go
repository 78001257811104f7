package frappeauth

import (
	"context"
	"errors"
	"fmt"
	weakrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/challenge"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/resource"
	"github.com/caddy-frappe/frappe-auth/site"
	"github.com/caddy-frappe/frappe-auth/static"
)

// load loads what the options name, and returns what runs. The options must have their defaults and be checked. The
// caller must close the authenticator.
func (o *Options) load(
	ctx caddy.Context, described *ProtectedResource, anonymous bool, from logins,
) (*authenticator, error) {
	conf, err := o.loadModules(ctx)
	if err != nil {
		return nil, err
	}
	reviewed, err := review(ctx)
	if err != nil {
		return nil, err
	}
	a := &authenticator{
		reporting: newReporting(ctx),
		name:      o.Name,
		schemes:   o.Schemes,
		require:   o.Require,
		anonymous: anonymous,
		logins:    from,
	}
	required := challenge.ScopesOf(o.Require)
	a.challenges = challenge.Set{Schemes: o.Schemes, Realm: o.Realm, Scopes: required, Required: required}
	if described != nil {
		if a.resource, err = newProtectedResource(described, required, conf.backends, reviewed); err != nil {
			return nil, err
		}
		a.challenges.Scopes = a.resource.scopes
	}
	if o.accepts(frappe.SchemeSession) {
		if a.crossSite, err = browser.NewProtection(o.TrustedOrigins); err != nil {
			return nil, err
		}
	}
	if conf.pings, err = registerMetrics(ctx); err != nil {
		return nil, err
	}
	conf.logger, conf.events = a.logger, a.events
	if a.verifier, err = newVerifier(conf); err != nil {
		return nil, err
	}
	a.verifier.start(ctx)
	a.stopRoleCheck = o.checkRoles(ctx, a.logger, conf.backends)
	active.LoadOrStore(a, a)
	return a, nil
}

// loadModules loads the backends, the shared store and the feeds.
func (o *Options) loadModules(ctx caddy.Context) (conf verifierConfig, err error) {
	conf = verifierConfig{
		stateConfig: stateConfig{registry: fleets, maxInflight: o.MaxInflight, now: time.Now, random: weakrand.Float64},
		name:        o.Name,
		cacheSize:   o.Cache.Size,
		lifetimes:   o.Cache.lifetimes(),
		failures:    o.Failures.rate(),
	}
	if conf.backends, conf.backendsFingerprint, err = o.loadBackends(ctx); err != nil {
		return conf, err
	}
	if conf.store, conf.fingerprint, err = o.loadStore(ctx, conf.backendsFingerprint); err != nil {
		return conf, err
	}
	conf.feeds, err = o.loadFeeds(ctx)
	return conf, err
}

// errNoSessions is the error for the scheme session without a backend that verifies sessions.
var errNoSessions = errors.New("schemes session: no backend can verify sessions; " +
	"add backend site or database, or remove session from schemes")

// loadBackends loads the backends and computes their fingerprint. It covers the configuration of each backend and
// everything else that the backend's verdicts depend on.
func (o *Options) loadBackends(ctx caddy.Context) (list []backends.Loaded, sum string, err error) {
	raws := o.BackendsRaw // LoadModule empties it
	loaded, err := ctx.LoadModule(o, "BackendsRaw")
	if err != nil {
		return nil, "", fmt.Errorf("loading backends: %w", err)
	}
	needs := o.needs()
	var parts []any // of the fingerprint
	for i, module := range loaded.([]any) {
		b, err := backends.New(module, needs)
		if err != nil {
			return nil, "", err
		}
		_, b.ByScheme = module.(*static.Backend) // a comparison with a slow hash takes a while
		list = append(list, b)
		parts = append(parts, raws[i], directive.ModuleFingerprint(module))
	}
	if needs.Sessions && !slices.ContainsFunc(list, func(b backends.Loaded) bool { return b.Sessions }) {
		return nil, "", errNoSessions
	}
	sum, err = directive.Fingerprint(parts...)
	return list, sum, err
}

// loadStore loads the store that several Caddys share; nil if there is none. It returns the fingerprint of the backends
// and the store's place. A store that is reached in another way is the same.
func (o *Options) loadStore(ctx caddy.Context, backends string) (fleet.Module, string, error) {
	if len(o.ShareRaw) == 0 {
		return nil, backends, nil
	}
	module, err := ctx.LoadModule(o, "ShareRaw")
	if err != nil {
		return nil, "", fmt.Errorf("loading the shared store: %w", err)
	}
	store, ok := module.(fleet.Module)
	if !ok {
		return nil, "", fmt.Errorf("share: module %T is not a store", module)
	}
	both, err := directive.Fingerprint(backends, store.Place())
	return store, both, err
}

// loadFeeds loads the change feeds.
func (o *Options) loadFeeds(ctx caddy.Context) (feeds []backends.Feed, err error) {
	if len(o.FeedsRaw) == 0 {
		return nil, nil
	}
	raws := o.FeedsRaw // LoadModule empties it
	loaded, err := ctx.LoadModule(o, "FeedsRaw")
	if err != nil {
		return nil, fmt.Errorf("loading feeds: %w", err)
	}
	for i, module := range loaded.([]any) {
		name := module.(caddy.Module).CaddyModule().ID.Name()
		watcher, ok := module.(frappe.Watcher)
		if !ok {
			return nil, fmt.Errorf("feed %s: module %T is not a feed", name, module)
		}
		source := backends.SourceOf(watcher)
		key, err := directive.Fingerprint(name, raws[i], source)
		if err != nil {
			return nil, err
		}
		feeds = append(feeds, backends.Feed{Watcher: watcher, Name: name, Source: source, Key: key})
	}
	return feeds, nil
}

var errNoAuthorizationServer = errors.New("protected_resource: no backend site has an https URL that clients can " +
	"reach; write authorization_server and the URL of the Frappe site, as browsers reach it")

// newProtectedResource applies the defaults that depend on the backends and on the required scopes.
func newProtectedResource(
	p *ProtectedResource, required []string, from []backends.Loaded, reviewed *Review,
) (*protectedResource, error) {
	described := &protectedResource{
		identifier: p.Resource, servers: p.AuthorizationServers, scopes: p.Scopes, review: reviewed,
	}
	if len(described.scopes) == 0 {
		described.scopes = required
	}
	for _, b := range from {
		if len(described.servers) > 0 {
			break
		}
		if s, ok := b.Backend.(*site.Backend); ok && s.SiteName == "" && strings.HasPrefix(s.URLs[0], "https://") &&
			resource.Check(s.URLs[0]) == nil {
			described.servers = s.URLs[:1]
		}
	}
	if len(described.servers) == 0 {
		return nil, errNoAuthorizationServer
	}
	return described, nil
}

// checkRoles warns about required roles that probably nobody has. Backends that need a call are asked in the
// background, until stop is called.
func (o *Options) checkRoles(ctx context.Context, logger *zap.Logger, from []backends.Loaded) (stop func()) {
	if !o.needs().Roles {
		return func() {}
	}
	asks := false
	for _, b := range from {
		listed, ok := b.Backend.(*static.Backend)
		if !ok {
			asks = true
		} else if err := backends.CheckReachable(o.Require, listed); err != nil {
			logger.Warn("a requirement refuses every credential that the static backend lists", zap.Error(err))
		}
	}
	if !asks { // what static backends list was checked above
		return func() {}
	}
	return backends.WatchRoles(ctx, logger, from, o.Require)
}
