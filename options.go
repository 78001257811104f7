package frappeauth

import (
	"crypto/sha256"
	"encoding/hex"
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
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/static"
)

// Options is how credentials are verified, the same for the handler and for the authentication provider.
type Options struct {
	// A name by which a `frappe_auth_webhook` handler can refer to this one. Default: none.
	Name string `json:"name,omitempty"`

	// The backends that judge credentials, in the order in which they are asked. The first that grants wins; if none
	// grants and one is unavailable, so is the verdict. At least one is required.
	BackendsRaw []json.RawMessage `json:"backends,omitempty" caddy:"namespace=http.frappe_auth.backends inline_key=backend"`

	// The schemes that are accepted, of `basic`, `bearer` and `token`, in the order of the challenges. Many clients read
	// only the first challenge. A request that a browser does not send to show a page (Sec-Fetch-Dest is neither
	// `document` nor `iframe` nor `frame`, or X-Requested-With is `XMLHttpRequest`) gets no `Basic` challenge, which
	// would make the browser ask for a password, unless it is the only accepted scheme: a 401 must have a challenge
	// (RFC 9110 section 15.5.2). Default: all three, in that order.
	Schemes []frappe.Scheme `json:"schemes,omitempty"`

	// The protection space that challenges name (RFC 9110 section 11.5). Default: `Frappe`.
	Realm string `json:"realm,omitempty"`

	// How verdicts are cached. Default: see there.
	Cache *CacheConfig `json:"cache,omitempty"`

	// What a user must meet, every one of them. They are decided on each request, cached or not. Default: nothing.
	Require []Requirement `json:"require,omitempty"`

	// How many verifications each backend sees at once, 1 to 1024. 64 times as many may wait, up to 5 seconds; for
	// any more the status is 503. Handlers with the same backends share the limit, which is the highest that any of them
	// asks for. Default: 16.
	MaxInflight int `json:"max_inflight,omitempty"`

	// How often one client may fail. Default: 20 times in a minute.
	Failures *FailureLimit `json:"failures,omitempty"`

	challenges [schemes]string // by schemeIndex, of each accepted scheme, without an error
	verifier   *verifier
	now        func() time.Time
	logger     *zap.Logger
	accessLogs bool // a server of this configuration has them
	events     events
	metrics    *metrics

	stopRoleCheck func()
}

// CacheConfig says how many verdicts are kept, and for how long. Handlers with the same backends share one cache,
// whose size is the largest that any of them asks for; the cache outlives a reload of the configuration that leaves
// the backends alone.
type CacheConfig struct {
	// How many granted verdicts are kept, and as many denied ones, 1 to 10000000. A verdict takes about 280 bytes.
	// Default: 10000.
	Size int `json:"size,omitempty"`

	// How long a granted verdict is served after a backend was asked, at most 24 hours; 0: ask every time. No grant is served
	// for longer, whatever else is configured, but for stale_if_error: this is how long a revoked credential may still work.
	// Default: `1m`.
	TTL *caddy.Duration `json:"ttl,omitempty"`

	// The ttl of an access token whose expiry the backend cannot see, as `site` cannot: such a token may expire or be revoked at
	// any time, and Frappe announces neither. It is never served stale. At most ttl. Default: the smaller of ttl and `1m`.
	BearerTTL *caddy.Duration `json:"bearer_ttl,omitempty"`

	// How long a denied verdict is served before a backend is asked again, at most 1 hour; 0: ask every time.
	// Default: `5s`.
	NegativeTTL *caddy.Duration `json:"negative_ttl,omitempty"`

	// How long past its ttl a granted verdict may serve while the backends are unavailable, at most 7 days. It never serves past
	// the expiry of the credential itself, nor after a revocation, nor where a token's expiry is not known (see
	// bearer_ttl). Default: 0, not at all.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`
}

// Requirement is met by a user who is one of the users or has one of the roles.
type Requirement struct {
	// Names of roles, as Frappe spells them.
	Roles []string `json:"roles,omitempty"`

	// Names of users, as Frappe spells them.
	Users []string `json:"users,omitempty"`
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

// provision checks and completes the configuration, and loads the backends.
func (o *Options) provision(ctx caddy.Context) error {
	o.logger = ctx.Logger()
	o.events = eventsOf(ctx)
	o.accessLogs = hasAccessLogs(ctx)
	if o.now == nil {
		o.now = time.Now
	}
	o.setDefaults()
	for _, scheme := range o.Schemes {
		o.challenges[schemeIndex(scheme)] = challenge(scheme, o.Realm)
	}

	backends, fingerprint, err := o.loadBackends(ctx)
	if err != nil {
		return err
	}
	if o.metrics, err = registerMetrics(ctx); err != nil {
		return err
	}
	o.verifier, err = newVerifier(verifierConfig{
		name:        o.Name,
		backends:    backends,
		fingerprint: fingerprint,
		cache:       *o.Cache,
		maxInflight: o.MaxInflight,
		failures:    o.Failures.rate(),
		now:         o.now,
		random:      weakrand.Float64,
		logger:      o.logger,
		events:      o.events,
		metrics:     o.metrics,
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
		o.Schemes = []frappe.Scheme{frappe.SchemeBasic, frappe.SchemeBearer, frappe.SchemeToken}
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

// errNoBackend is the fault of a configuration without a backend.
var errNoBackend = errors.New("a backend is required: give the URL of the Frappe site, or a backend in the block")

// validate reports what is wrong with the options.
func (o *Options) validate() error {
	for i, scheme := range o.Schemes {
		if scheme != frappe.SchemeToken && scheme != frappe.SchemeBasic && scheme != frappe.SchemeBearer {
			return fmt.Errorf("schemes: %q is none of token, basic and bearer", scheme)
		}
		if slices.Contains(o.Schemes[:i], scheme) {
			return fmt.Errorf("schemes: %s is given twice", scheme)
		}
	}
	if strings.ContainsFunc(o.Realm, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("realm: only printable ASCII can stand in a challenge")
	}
	for _, required := range o.Require {
		if len(required.Roles) == 0 && len(required.Users) == 0 {
			return errors.New("require: name at least one role or user")
		}
	}
	if o.MaxInflight < 0 || o.MaxInflight > maxInflightLimit {
		return fmt.Errorf("max_inflight: %d is not between 1 and %d", o.MaxInflight, maxInflightLimit)
	}
	if err := checkDistinct(o.BackendsRaw); err != nil {
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

func (c *CacheConfig) validate() error {
	if c.Size < 0 || c.Size > maxCacheSize {
		return fmt.Errorf("cache size: %d is not between 1 and %d", c.Size, maxCacheSize)
	}
	for _, option := range []struct {
		name string
		d    *caddy.Duration
	}{{"ttl", c.TTL}, {"bearer_ttl", c.BearerTTL}, {"negative_ttl", c.NegativeTTL}, {"stale_if_error", &c.StaleIfError}} {
		if option.d == nil {
			continue
		}
		if err := directive.CheckDuration("cache "+option.name, *option.d); err != nil {
			return err
		}
	}
	if c.TTL != nil && (*c.TTL < 0 || *c.TTL > maxTTL) {
		return fmt.Errorf("cache ttl: %s is not between 0 and %s", time.Duration(*c.TTL), time.Duration(maxTTL))
	}
	if ttl := *durationOr(c.TTL, defaultTTL); c.BearerTTL != nil && (*c.BearerTTL < 0 || *c.BearerTTL > ttl) {
		return fmt.Errorf("cache bearer_ttl: %s is not between 0 and the ttl of %s", time.Duration(*c.BearerTTL), time.Duration(ttl))
	}
	if c.NegativeTTL != nil && (*c.NegativeTTL < 0 || *c.NegativeTTL > maxNegativeTTL) {
		return fmt.Errorf("cache negative_ttl: %s is not between 0 and %s",
			time.Duration(*c.NegativeTTL), time.Duration(maxNegativeTTL))
	}
	if c.StaleIfError < 0 || c.StaleIfError > maxStaleIfError {
		return fmt.Errorf("cache stale_if_error: %s is not between 0 and %s",
			time.Duration(c.StaleIfError), time.Duration(maxStaleIfError))
	}
	return nil
}

// loadBackends loads the backends and makes their fingerprint: of the configuration of each, and of what else its
// verdicts depend on.
func (o *Options) loadBackends(ctx caddy.Context) ([]namedBackend, string, error) {
	if len(o.BackendsRaw) == 0 {
		return nil, "", errNoBackend
	}
	raws := o.BackendsRaw
	loaded, err := ctx.LoadModule(o, "BackendsRaw")
	if err != nil {
		return nil, "", fmt.Errorf("loading backends: %w", err)
	}
	var (
		backends []namedBackend
		digest   = sha256.New()
	)
	for i, module := range loaded.([]any) {
		name := module.(caddy.Module).CaddyModule().ID.Name()
		backend, ok := module.(frappe.Backend)
		if !ok {
			return nil, "", fmt.Errorf("backend %s: module %T is no backend", name, module)
		}
		if reporter, ok := module.(frappe.RoleReporter); ok && !reporter.ReportsRoles() && o.requiresRole() {
			return nil, "", fmt.Errorf("require role: backend %s does not ask for roles; add `roles` to it", name)
		}
		named := namedBackend{Backend: backend, name: name}
		if tenanted, ok := module.(frappe.SiteResolver); ok && tenanted.ResolvesSites() {
			named.resolver = tenanted
		}
		backends = append(backends, named)

		var extra string
		if f, ok := module.(frappe.Fingerprinter); ok {
			extra = f.Fingerprint()
		}
		if err := json.NewEncoder(digest).Encode([]any{raws[i], extra}); err != nil {
			return nil, "", fmt.Errorf("backend %s: %w", name, err)
		}
	}
	if len(backends) == 1 {
		if listed, ok := backends[0].Backend.(*static.Backend); ok {
			if err := checkReachable(o.Require, listed); err != nil {
				return nil, "", err
			}
		}
	}
	return backends, hex.EncodeToString(digest.Sum(nil)), nil
}

func (o *Options) requiresRole() bool {
	return slices.ContainsFunc(o.Require, func(r Requirement) bool { return len(r.Roles) > 0 })
}
