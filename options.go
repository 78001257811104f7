package frappeauth

import (
	"encoding/json"
	"errors"
	"fmt"
	weakrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/app"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/challenge"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// Options says how credentials are verified. The handler and the authentication provider share them.
type Options struct {
	// A name by which `frappe_auth_webhook` and the admin API can refer to this handler. Default: none.
	Name string `json:"name,omitempty"`

	// The backends that verify credentials. They are asked in this order, and the first that grants wins. If none grants
	// and at least one is unavailable, the request gets 503. At least one backend is required.
	BackendsRaw []json.RawMessage `json:"backends,omitempty" caddy:"namespace=http.frappe_auth.backends inline_key=backend"`

	// The accepted schemes: any of `basic`, `bearer`, `token` and `session`. Their order is the order of the challenges; many
	// clients read only the first one. A browser request that does not load a page gets no `Basic` challenge, because it
	// would make the browser ask for a password. Such a request has a Sec-Fetch-Dest other than `document`, `iframe` and
	// `frame`, or the header `X-Requested-With: XMLHttpRequest`, or it opens a WebSocket and has an Origin. If `basic` is the
	// only accepted scheme, the challenge is sent anyway, because a 401 must have one (RFC 9110 section 15.5.2).
	//
	// `session` is the cookie `sid` of a user who is logged in to Frappe. It counts only if the request has no Authorization
	// header. At least one backend must be able to verify sessions; it is an error when the configuration is loaded if one
	// that could cannot as it is configured. There is no standard challenge for a cookie: a 401 that would have no other
	// carries `Cookie realm="…", cookie-name="sid"`, which browsers ignore. The place of `session` in the order has no effect.
	//
	// Default: `basic`, `bearer` and `token`, in that order.
	Schemes []frappe.Scheme `json:"schemes,omitempty"`

	// The name of the protected area, shown in the challenges (RFC 9110 section 11.5). Only printable ASCII is allowed.
	// Default: `Frappe`.
	Realm string `json:"realm,omitempty"`

	// How verdicts are cached. Default: caching is on, with the defaults of the fields below.
	Cache *CacheConfig `json:"cache,omitempty"`

	// What a user must meet. All requirements must be met; they are checked on every request, also if the verdict comes
	// from the cache. Default: no requirements.
	Require []frappe.Requirement `json:"require,omitempty"`

	// The origins, besides the request's own, from which browsers may send unsafe requests with a session, each as browsers
	// send it: `https://app.example.com`. A browser sends the session whichever site makes it send a request. So a request
	// with a session that comes from another site gets 403, before any backend is asked, if its method is not GET, HEAD or
	// OPTIONS, or if it opens a WebSocket. Requests with an Authorization header are not concerned. Only with the scheme
	// `session`. Default: none.
	TrustedOrigins []string `json:"trusted_origins,omitempty"`

	// The in-flight limit: how many verifications each backend handles at once, 1 to 1024. Up to 64 times as many may
	// wait, for up to 5 seconds. Beyond that the status is 503. Handlers with the same backends share the limit; the
	// highest value among them applies. Default: 16.
	MaxInflight int `json:"max_inflight,omitempty"`

	// How many bad credentials one client may send. Default: 20 in a minute.
	Failures *FailureLimit `json:"failures,omitempty"`

	// The store that several Caddys share, such as `redis`. Then a verdict that one of them got serves all, a revocation at
	// one reaches all, and failures count together. Nobody is refused because the store is not available: each Caddy then
	// goes on by itself. Default: nothing is shared.
	ShareRaw json.RawMessage `json:"share,omitempty" caddy:"namespace=http.frappe_auth.stores inline_key=store"`

	// Change feeds besides those of the backends, such as `frappe_events`. What they report is dropped from the cache at
	// once. Default: none.
	FeedsRaw []json.RawMessage `json:"feeds,omitempty" caddy:"namespace=http.frappe_auth.feeds inline_key=feed"`

	challenges challenge.Set
	crossSite  *browser.Protection // nil: no sessions are accepted
	guests     bool                // a request without a credential goes on as Guest
	resource   *ProtectedResource  // nil: no metadata
	verifier   *verifier
	logger     *zap.Logger
	accessLogs bool // at least one server of this configuration has access logs
	events     telemetry.Emitter

	stopRoleCheck func()
}

const (
	defaultRealm       = "Frappe"
	defaultMaxInflight = 16
	maxInflightLimit   = 1024
)

// provision applies the defaults, checks the configuration and loads the backends.
func (o *Options) provision(ctx caddy.Context) error {
	o.logger = ctx.Logger()
	o.events = telemetry.NewEmitter(ctx)
	o.accessLogs = app.HasAccessLogs(ctx)
	o.setDefaults()
	required := challenge.ScopesOf(o.Require)
	o.challenges = challenge.Set{Schemes: o.Schemes, Realm: o.Realm, Scopes: required, Required: required}
	if o.resource != nil && len(o.resource.Scopes) > 0 {
		o.challenges.Scopes = o.resource.Scopes
	}
	if err := o.protect(); err != nil {
		return err
	}
	backends, backendsFingerprint, err := o.loadBackends(ctx)
	if err != nil {
		return err
	}
	if o.resource != nil {
		if err := o.resource.setServers(backends); err != nil {
			return err
		}
	}
	store, fingerprint, err := o.loadStore(ctx, backendsFingerprint)
	if err != nil {
		return err
	}
	feeds, err := o.loadFeeds(ctx)
	if err != nil {
		return err
	}
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	o.verifier, err = newVerifier(verifierConfig{
		stateConfig: stateConfig{
			backends:            backends,
			backendsFingerprint: backendsFingerprint,
			store:               store,
			fingerprint:         fingerprint,
			maxInflight:         o.MaxInflight,
			now:                 time.Now,
			random:              weakrand.Float64,
		},
		name:      o.Name,
		feeds:     feeds,
		cacheSize: o.Cache.Size,
		lifetimes: o.Cache.lifetimes(),
		failures:  o.Failures.rate(),
		logger:    o.logger,
		events:    o.events,
	})
	if err != nil {
		return err
	}
	o.verifier.start(ctx)
	o.register()
	o.stopRoleCheck = o.checkRoles(ctx, backends)
	return nil
}

func (o *Options) cleanup() error {
	if o.verifier == nil {
		return nil // provisioning failed
	}
	o.stopRoleCheck()
	return errors.Join(o.unregister(), o.verifier.close())
}

func (o *Options) setDefaults() {
	if len(o.Schemes) == 0 {
		o.Schemes = slices.Clone(defaultSchemes)
	}
	if o.Realm == "" {
		o.Realm = defaultRealm
	}
	o.Cache = o.Cache.withDefaults()
	if o.MaxInflight == 0 {
		o.MaxInflight = defaultMaxInflight
	}
	o.Failures = o.Failures.withDefaults()
}

var (
	defaultSchemes = []frappe.Scheme{frappe.SchemeBasic, frappe.SchemeBearer, frappe.SchemeToken}
	allSchemes     = []frappe.Scheme{frappe.SchemeBasic, frappe.SchemeBearer, frappe.SchemeToken, frappe.SchemeSession}
)

// errNoBackend is the error for a configuration without a backend.
var errNoBackend = errors.New("a backend is required: give the URL of the Frappe site, or a backend in the block")

// validate reports what is wrong with the options.
func (o *Options) validate() error {
	for i, scheme := range o.Schemes {
		if !slices.Contains(allSchemes, scheme) {
			return fmt.Errorf("schemes: %q is none of basic, bearer, token and session", scheme)
		}
		if slices.Contains(o.Schemes[:i], scheme) {
			return fmt.Errorf("schemes: %s is given twice", scheme)
		}
	}
	if strings.ContainsFunc(o.Realm, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("realm: only printable ASCII can stand in a challenge")
	}
	if err := o.validateAccess(); err != nil {
		return err
	}
	if o.MaxInflight < 0 || o.MaxInflight > maxInflightLimit {
		return fmt.Errorf("max_inflight: %d is not between 1 and %d", o.MaxInflight, maxInflightLimit)
	}
	if err := directive.Distinct("backend", o.BackendsRaw, "remove one, or give the other site its own address or site_name"); err != nil {
		return err
	}
	if err := directive.Distinct("feed", o.FeedsRaw, "remove one"); err != nil {
		return err
	}
	if o.Failures != nil {
		if err := o.Failures.validate(); err != nil {
			return err
		}
	}
	if o.Cache != nil {
		return o.Cache.validate()
	}
	return nil
}
