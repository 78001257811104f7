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
	"github.com/caddy-frappe/frappe-auth/internal/events"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
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
	resource   *ProtectedResource  // nil: no metadata
	verifier   *verifier
	now        func() time.Time
	logger     *zap.Logger
	accessLogs bool // at least one server of this configuration has access logs
	events     events.Emitter

	stopRoleCheck func()
}

// CacheConfig sets how many verdicts are cached and for how long. Handlers with the same backends share one cache; its
// size is the largest that any of them asks for. The cache survives a reload of the configuration if the backends stay
// the same.
type CacheConfig struct {
	// How many granted verdicts are cached, 1 to 10000000. The same number of denied verdicts is cached in addition. A
	// verdict takes about 280 bytes. Default: 10000.
	Size int `json:"size,omitempty"`

	// How long a granted verdict is served from the cache after a backend confirmed it, at most 24 hours. With 0, a
	// backend is asked every time. No setting but stale_if_error makes a granted verdict last longer, so this is how long
	// a revoked credential can keep working. Default: `1m`.
	TTL *caddy.Duration `json:"ttl,omitempty"`

	// The ttl of access tokens whose expiry the backend cannot see. This applies to all access tokens with the `site`
	// backend. Such a token may expire or be revoked at any time, and Frappe announces neither. Its verdict is never
	// served stale. At most ttl. Default: `1m`, or ttl if that is shorter.
	BearerTTL *caddy.Duration `json:"bearer_ttl,omitempty"`

	// The ttl of sessions: how long a user who has logged out of Frappe may still pass. The verdict on a session whose expiry
	// the backend cannot see is never served stale. At most ttl. Default: `1m`, or ttl if that is shorter.
	SessionTTL *caddy.Duration `json:"session_ttl,omitempty"`

	// How long a denied verdict is served from the cache before a backend is asked again, at most 1 hour. With 0, a
	// backend is asked every time. Default: `5s`.
	NegativeTTL *caddy.Duration `json:"negative_ttl,omitempty"`

	// How long a granted verdict may be served past its ttl while the backends are unavailable, at most 7 days. It is
	// never served after the credential itself has expired, after a revocation, or if the expiry of an access token is
	// not known (see bearer_ttl). Default: 0, which means not at all.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`
}

const (
	defaultRealm        = "Frappe"
	defaultCacheSize    = 10_000
	maxCacheSize        = 10_000_000
	defaultTTL          = caddy.Duration(time.Minute)
	maxTTL              = caddy.Duration(24 * time.Hour)
	maxDefaultBearerTTL = caddy.Duration(time.Minute)
	defaultNegativeTTL  = caddy.Duration(5 * time.Second)
	maxNegativeTTL      = caddy.Duration(time.Hour)
	maxStaleIfError     = caddy.Duration(7 * 24 * time.Hour)
	defaultMaxInflight  = 16
	maxInflightLimit    = 1024
)

// provision applies the defaults, checks the configuration and loads the backends.
func (o *Options) provision(ctx caddy.Context) error {
	o.logger = ctx.Logger()
	o.events = events.Of(ctx)
	o.accessLogs = app.HasAccessLogs(ctx)
	if o.now == nil {
		o.now = time.Now
	}
	o.setDefaults()
	o.challenges = challenge.Set{Schemes: o.Schemes, Realm: o.Realm, Scopes: o.requiredScopes()}
	if o.resource != nil && len(o.resource.Scopes) > 0 {
		o.challenges.Scopes = o.resource.Scopes
	}
	if err := o.protect(); err != nil {
		return err
	}
	backends, fingerprint, err := o.loadBackends(ctx)
	if err != nil {
		return err
	}
	if o.resource != nil {
		if err := o.resource.setServers(backends); err != nil {
			return err
		}
	}
	store, both, err := o.loadStore(ctx, fingerprint)
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
		name:                o.Name,
		backends:            backends,
		backendsFingerprint: fingerprint,
		store:               store,
		feeds:               feeds,
		fingerprint:         both,
		cache:               *o.Cache,
		maxInflight:         o.MaxInflight,
		failures:            o.Failures.rate(),
		now:                 o.now,
		random:              weakrand.Float64,
		logger:              o.logger,
		events:              o.events,
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
	conf := CacheConfig{Size: defaultCacheSize}
	if o.Cache != nil {
		conf = *o.Cache
	}
	if conf.Size == 0 {
		conf.Size = defaultCacheSize
	}
	conf.TTL = durationOr(conf.TTL, defaultTTL)
	conf.BearerTTL = durationOr(conf.BearerTTL, min(*conf.TTL, maxDefaultBearerTTL))
	conf.SessionTTL = durationOr(conf.SessionTTL, min(*conf.TTL, maxDefaultBearerTTL))
	conf.NegativeTTL = durationOr(conf.NegativeTTL, defaultNegativeTTL)
	o.Cache = &conf

	if o.MaxInflight == 0 {
		o.MaxInflight = defaultMaxInflight
	}
	var failures FailureLimit
	if o.Failures != nil {
		failures = *o.Failures
	}
	if failures.Max == 0 {
		failures.Max = defaultMaxFailures
	}
	if failures.Window == 0 {
		failures.Window = defaultFailureWindow
	}
	o.Failures = &failures
}

func durationOr(d *caddy.Duration, otherwise caddy.Duration) *caddy.Duration {
	if d == nil {
		return &otherwise
	}
	return d
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
	if err := o.validateWho(); err != nil {
		return err
	}
	if o.MaxInflight < 0 || o.MaxInflight > maxInflightLimit {
		return fmt.Errorf("max_inflight: %d is not between 1 and %d", o.MaxInflight, maxInflightLimit)
	}
	if distinct, err := directive.Distinct(o.BackendsRaw); err != nil {
		return fmt.Errorf("backends: %w", err)
	} else if !distinct { // asking it again could only give the same answer
		return errors.New("the same backend is given twice; remove one, or give the other site its own address or site_name")
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

// lifetimes are the durations of a configuration with its defaults set.
func (c *CacheConfig) lifetimes() verdicts.Lifetimes {
	return verdicts.Lifetimes{
		TTL:          time.Duration(*c.TTL),
		BearerTTL:    time.Duration(*c.BearerTTL),
		SessionTTL:   time.Duration(*c.SessionTTL),
		NegativeTTL:  time.Duration(*c.NegativeTTL),
		StaleIfError: time.Duration(c.StaleIfError),
	}
}

func (c *CacheConfig) validate() error {
	if c.Size < 0 || c.Size > maxCacheSize {
		return fmt.Errorf("cache size: %d is not between 1 and %d", c.Size, maxCacheSize)
	}
	for _, option := range []struct {
		name   string
		d      *caddy.Duration
		max    caddy.Duration
		theMax string // before max, in an error
	}{
		{"ttl", c.TTL, maxTTL, ""},
		{"bearer_ttl", c.BearerTTL, *durationOr(c.TTL, defaultTTL), "the ttl of "},
		{"session_ttl", c.SessionTTL, *durationOr(c.TTL, defaultTTL), "the ttl of "},
		{"negative_ttl", c.NegativeTTL, maxNegativeTTL, ""},
		{"stale_if_error", &c.StaleIfError, maxStaleIfError, ""},
	} {
		if option.d == nil {
			continue
		}
		if err := directive.CheckDuration("cache "+option.name, *option.d); err != nil {
			return err
		}
		if *option.d < 0 || *option.d > option.max {
			return fmt.Errorf("cache %s: %s is not between 0 and %s%s", option.name, time.Duration(*option.d), option.theMax, time.Duration(option.max))
		}
	}
	return nil
}
