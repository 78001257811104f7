package frappeauth

import (
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/static"
)

// loadBackends loads the backends and computes their fingerprint. It covers the configuration of each backend and
// everything else that the backend's verdicts depend on.
func (o *Options) loadBackends(ctx caddy.Context) (list []backends.Backend, sum string, err error) {
	if len(o.BackendsRaw) == 0 {
		return nil, "", errNoBackend
	}
	raws := o.BackendsRaw
	loaded, err := ctx.LoadModule(o, "BackendsRaw")
	if err != nil {
		return nil, "", fmt.Errorf("loading backends: %w", err)
	}
	var parts []any // of the fingerprint
	for i, module := range loaded.([]any) {
		b, err := backends.New(module, o.needs())
		if err != nil {
			return nil, "", err
		}
		list = append(list, b)
		parts = append(parts, raws[i], directive.ModuleFingerprint(module))
	}
	if o.accepts(frappe.SchemeSession) && !slices.ContainsFunc(list, func(b backends.Backend) bool { return b.Sessions }) {
		return nil, "", errNoSessions
	}
	if len(list) == 1 {
		if listed, ok := list[0].Backend.(*static.Backend); ok {
			if err := backends.CheckReachable(o.Require, listed); err != nil {
				return nil, "", err
			}
		}
	}
	sum, err = directive.Fingerprint(parts...)
	return list, sum, err
}

// loadStore loads the store that several Caddys share; nil if there is none. It returns the fingerprint of the backends and the
// store together.
func (o *Options) loadStore(ctx caddy.Context, backends string) (frappe.Store, string, error) {
	if len(o.ShareRaw) == 0 {
		return nil, backends, nil
	}
	raw := slices.Clone(o.ShareRaw)
	module, err := ctx.LoadModule(o, "ShareRaw")
	if err != nil {
		return nil, "", fmt.Errorf("loading the shared store: %w", err)
	}
	store, ok := module.(frappe.Store)
	if !ok {
		return nil, "", fmt.Errorf("share: module %T is not a store", module)
	}
	both, err := directive.Fingerprint(backends, raw, directive.ModuleFingerprint(module), store.Secret()) // it may come from a file
	return store, both, err
}

// loadFeeds loads the change feeds.
func (o *Options) loadFeeds(ctx caddy.Context) ([]backends.Feed, error) {
	if len(o.FeedsRaw) == 0 {
		return nil, nil
	}
	raw := o.FeedsRaw // LoadModule empties it
	loaded, err := ctx.LoadModule(o, "FeedsRaw")
	if err != nil {
		return nil, fmt.Errorf("loading feeds: %w", err)
	}
	var feeds []backends.Feed
	for i, module := range loaded.([]any) {
		name := module.(caddy.Module).CaddyModule().ID.Name()
		watcher, ok := module.(frappe.Watcher)
		if !ok {
			return nil, fmt.Errorf("feed %s: module %T is not a feed", name, module)
		}
		source := backends.SourceOf(watcher)
		key, err := directive.Fingerprint(name, raw[i], source)
		if err != nil {
			return nil, err
		}
		feeds = append(feeds, backends.Feed{Watcher: watcher, Name: name, Source: source, Key: key})
	}
	return feeds, nil
}
