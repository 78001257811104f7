package frappeauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/browser"
	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/resource"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
	"github.com/caddy-frappe/frappe-auth/static"
)

// Options says how credentials are verified. The handler and the authentication provider share them.
type Options struct {
	// A name by which `frappe_auth_webhook` and the admin API can refer to this handler. Default: none.
	Name string `json:"name,omitempty"`

	// The backends that verify credentials. They are asked in this order, and the first that grants wins. If none grants
	// and at least one is unavailable, the request gets 503. At least one backend is required.
	BackendsRaw []json.RawMessage `json:"backends,omitempty" caddy:"namespace=http.frappe_auth.backends inline_key=backend"`

	// The accepted schemes: any of `basic`, `bearer`, `token` and `session`. If a client gets two challenges, they have
	// this order.
	//
	// A 401 offers what helps the client that gets it. `Basic` is for every client, except for what a page makes a
	// browser request: it would open the login box over the page. If the user opened the page by the login box, which the
	// cookie `frappe_auth_box` remembers, then its style sheets, pictures and scripts get `Basic` too, and the browser
	// answers by itself. `Bearer` is for clients that sent a token, for all with protected_resource (then after `Basic`),
	// and if `basic` is not accepted. `token` is sent if there is nothing else. If `basic` is the only accepted scheme,
	// every 401 has its challenge, because a 401 must have one (RFC 9110 section 15.5.2).
	//
	// `session` is the cookie `sid` of a user who is logged in to Frappe. It counts only if the request has no
	// Authorization header of an accepted scheme; one of any other scheme is the application's. At least one backend must
	// be able to verify sessions; it is an error when the configuration is loaded if one that could cannot as it is
	// configured. There is no standard challenge for a cookie: a 401 that would have no other carries `Cookie realm="…",
	// cookie-name="sid"`, which browsers ignore. The place of `session` in the order has no effect.
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

	// The origins, besides the request's own, from which browsers may send unsafe requests with a session, each as
	// browsers send it: `https://app.example.com`, or `capacitor://localhost` for an application with a web view. A
	// browser sends the session whichever site makes it send a request. So a request with a session that comes from
	// another site gets 403, before any backend is asked, if its method is not GET, HEAD or OPTIONS, or if it opens a
	// WebSocket. Sec-Fetch-Site tells where a request comes from. Browsers do not send it over plain http; there, Origin
	// must name the request's scheme and host, with any port. Requests with an Authorization header are not concerned.
	// Only with the scheme `session`. Default: none.
	TrustedOrigins []string `json:"trusted_origins,omitempty"`

	// The in-flight limit: how many verifications each backend handles at once, 1 to 1024. Up to 64 times as many may
	// wait, for up to 5 seconds. Beyond that the status is 503. Handlers with the same backends share the limit; the
	// highest value among them applies. Default: 16.
	MaxInflight int `json:"max_inflight,omitempty"`

	// How many bad credentials one client may send. Default: 20 in a minute.
	Failures *FailureLimit `json:"failures,omitempty"`

	// The store that several Caddys share, such as `redis`. Then a verdict that one of them got serves all, a revocation
	// at one reaches all, and failures count together. Nobody is refused because the store is not available: each Caddy
	// then goes on by itself. Default: nothing is shared.
	ShareRaw json.RawMessage `json:"share,omitempty" caddy:"namespace=http.frappe_auth.stores inline_key=store"`

	// Change feeds besides those of the backends, such as `frappe_events`. What they report is dropped from the cache at
	// once. Default: none.
	FeedsRaw []json.RawMessage `json:"feeds,omitempty" caddy:"namespace=http.frappe_auth.feeds inline_key=feed"`
}

// The modules that options name.
var (
	backendGuest = directive.Guest{
		Option: "backend", Kind: "backend", Example: "site https://erp.example.com",
		Optional: "database", Package: "database",
		Instead: advise(map[string][]string{
			"the backend for MariaDB and MySQL is database: write backend database": {"mariadb", "mysql"},
			"the backend for PostgreSQL is database: write backend database":        {"pg", "postgres", "postgresql", "pgsql"},
			"the backend for SQLite is database: write backend database":            {"sqlite", "sqlite3"},
			"write backend database": {"db", "sql"},
			"write backend site and the URL of the site": {
				"api", "bench", "erpnext", "frappe", "gunicorn", "http", "https", "live", "remote", "reverse_proxy", "url", "web",
			},
			"write backend static, and list the credentials in its block": {
				"basic", "basic_auth", "file", "htpasswd", "inline", "list", "local", "memory", "token", "users",
			},
			"write share redis <url> beside the backend":                   {"redis", "valkey"},
			"write feed frappe_events <url> beside the backend":            {"frappe_events"},
			"sessions are a scheme: add session to schemes":                {"cookie", "session", "sessions"},
			"access tokens are a scheme: write backend site <url>":         {"bearer", "jwt", "oauth", "oauth2", "oidc"},
			"write frappe_auth_webhook <path> <secret> beside frappe_auth": {"webhook"},
		}),
	}
	storeGuest = directive.Guest{
		Option: "share", Kind: "store", Example: "redis redis://localhost:6379", Optional: "redis", Package: "redis",
		Instead: advise(map[string][]string{
			"each Caddy remembers for itself without this line; to share with other Caddys, write share redis <url>": {
				"local", "mem", "memory", "none", "off",
			},
			"write share redis <url>": {
				"cluster", "database", "db", "dragonfly", "etcd", "file", "keydb", "mariadb", "memcached", "mysql", "nats",
				"postgres", "rediss", "sentinel", "site", "valkey",
			},
			"write feed frappe_events <url>": {"frappe_events"},
		}),
	}
	feedGuest = directive.Guest{
		Option: "feed", Kind: "feed", Example: "frappe_events redis://localhost:6379",
		Optional: "frappe_events", Package: "redis",
		Instead: advise(map[string][]string{
			"write feed frappe_events, and the URL of the bench's redis_queue": {
				"events", "frappe", "pubsub", "realtime", "redis", "redis_queue", "redis_socketio", "socketio", "valkey",
			},
			"write frappe_auth_webhook <path> <secret> beside frappe_auth":       {"webhook", "webhooks"},
			"remove the line: backend database looks for changes by itself":      {"database", "mariadb", "mysql", "poll"},
			"a site announces nothing by itself: write feed frappe_events <url>": {"http", "site"},
		}),
	}
)

// otherOptions maps what users are likely to call an option of frappe_auth to advice.
var otherOptions = advise(map[string][]string{
	"write frappe_auth_webhook <path> <secret> beside frappe_auth": {"frappe_auth_webhook", "webhook"},
	"write schemes basic bearer token session":                     {"cookie", "session", "sessions"},
	"write require scope <name>":                                   {"scope"},
	"write require scope <name>, or scopes in the block of protected_resource": {
		"scopes",
	},
	"write require client <client_id>":                                  {"client", "clients"},
	"write require user <name>":                                         {"user", "users"},
	"write require role <name>":                                         {"allow", "group", "groups", "role"},
	"write require role <name>, and roles in the block of backend site": {"roles"},
	"write backend site <url>":                                          {"host", "site", "url"},
	"write backend static":                                              {"api_key", "static"},
	"write backend database":                                            {"database"},
	"write share redis <url>":                                           {"redis"},
	"write feed frappe_events <url>":                                    {"frappe_events"},
	"write name <name>":                                                 {"handler"},
	"write anonymous": {
		"allow_anonymous", "allow_guest", "guest", "optional",
	},
	"write allow_preflight":                                 {"cors", "preflight"},
	"write hide_credentials":                                {"remove_credentials", "strip_credentials"},
	"write protected_resource":                              {"mcp", "oauth", "resource_metadata"},
	"write login <path>":                                    {"login_page", "login_url"},
	"write failures <n> <window>":                           {"rate_limit"},
	"write stale_if_error <duration> in the block of cache": {"stale"},
	"choose the requests with a matcher, as in frappe_auth /api/*": {
		"bypass", "except", "exclude", "path", "public", "skip",
	},
	"write it inside the block of transport http, in that of backend site": {
		"insecure", "network_proxy", "proxy", "tls", "tls_insecure_skip_verify", "tls_server_name", "tls_trust_pool",
	},
})

// advise returns the advice for each name.
func advise(names map[string][]string) map[string]string {
	advice := make(map[string]string)
	for text, all := range names {
		for _, name := range all {
			advice[name] = text
		}
	}
	return advice
}

const (
	defaultRealm       = "Frappe"
	defaultMaxInflight = 16
	maxInflightLimit   = 1024
)

var (
	defaultSchemes = []frappe.Scheme{frappe.SchemeBasic, frappe.SchemeBearer, frappe.SchemeToken}
	allSchemes     = append(slices.Clone(defaultSchemes), frappe.SchemeSession)
)

// setDefaults gives every option that was left out its default.
func (o *Options) setDefaults() {
	if len(o.Schemes) == 0 {
		o.Schemes = slices.Clone(defaultSchemes)
	}
	if o.Realm == "" {
		o.Realm = defaultRealm
	}
	if o.MaxInflight == 0 {
		o.MaxInflight = defaultMaxInflight
	}
	o.Cache = o.Cache.withDefaults()
	o.Failures = o.Failures.withDefaults()
}

// accepts reports whether credentials of that scheme are accepted. It is right once the defaults are set.
func (o *Options) accepts(scheme frappe.Scheme) bool { return slices.Contains(o.Schemes, scheme) }

// optionError says what is wrong with an option.
type optionError struct {
	option string
	index  int // of an option that may be repeated
	err    error
}

func (e *optionError) Error() string { return e.err.Error() }

func (e *optionError) Unwrap() error { return e.err }

// wrong returns an error of an option, or nil if err is nil.
func wrong(option string, err error) error {
	if err == nil {
		return nil
	}
	return &optionError{option: option, err: err}
}

// errNoBackend is the error for a configuration without a backend.
var errNoBackend = errors.New("a backend is required: give the URL of the Frappe site, or a backend in the block")

// check returns an optionError for the first option that is wrong. The defaults must be set.
func (o *Options) check() error {
	if len(o.BackendsRaw) == 0 {
		return errNoBackend
	}
	for _, fault := range []error{
		checkModules(backendGuest, o.BackendsRaw, "remove one, or give the other site its own address or site_name"),
		wrong("schemes", checkSchemes(o.Schemes)),
		wrong("realm", checkRealm(o.Realm)),
		wrong("cache", o.Cache.check()),
		o.checkRequirements(),
		wrong("trusted_origins", o.checkTrustedOrigins()),
		wrong("max_inflight", checkMaxInflight(o.MaxInflight)),
		wrong("failures", o.Failures.check()),
		o.checkShare(),
		checkModules(feedGuest, o.FeedsRaw, "remove one"),
	} {
		if fault != nil {
			return fault
		}
	}
	return nil
}

// checkModules checks that this Caddy has the modules, and that none is given twice.
func checkModules(guest directive.Guest, modules []json.RawMessage, advice string) error {
	for i, module := range modules {
		err := guest.Check(module)
		if err == nil {
			err = directive.Distinct(guest.Option, modules[:i+1], advice)
		}
		if err != nil {
			return &optionError{option: guest.Option, index: i, err: err}
		}
	}
	return nil
}

func (o *Options) checkShare() error {
	if len(o.ShareRaw) == 0 {
		return nil
	}
	return wrong(storeGuest.Option, storeGuest.Check(o.ShareRaw))
}

func checkSchemes(schemes []frappe.Scheme) error {
	for i, scheme := range schemes {
		if !slices.Contains(allSchemes, scheme) {
			return fmt.Errorf("schemes: %q is none of basic, bearer, token and session%s", scheme, schemeAdvice(string(scheme)))
		}
		if slices.Contains(schemes[:i], scheme) {
			return fmt.Errorf("schemes: %s is given twice", scheme)
		}
	}
	return nil
}

// otherSchemes maps what users are likely to call a scheme to advice.
var otherSchemes = advise(map[string][]string{
	"session is Frappe's login cookie":                      {"browser", "cookie", "cookies", "login", "sid"},
	"bearer is for access tokens":                           {"access_token", "jwt", "oauth", "oauth2", "oidc"},
	"basic and token are for API keys":                      {"api", "api_key", "apikey", "key", "keys"},
	"basic is for API keys; Frappe takes no passwords here": {"digest", "form", "password", "user"},
	"leave the line out to accept basic, bearer and token":  {"*", "all", "any", "default"},
})

// schemeAdvice says what to write instead of a scheme that does not exist.
func schemeAdvice(name string) string {
	if strings.Contains(name, ",") {
		return "; separate them by spaces, not by commas (in JSON, write one string for each)"
	}
	lower := strings.ToLower(name)
	if advice, ok := otherSchemes[lower]; ok {
		return "; " + advice
	}
	var names []string
	for _, scheme := range allSchemes {
		names = append(names, string(scheme))
	}
	if nearest, ok := directive.Nearest(lower, names); ok {
		return "; did you mean " + nearest + "?"
	}
	return ""
}

func checkRealm(realm string) error {
	if strings.ContainsFunc(realm, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("realm: only printable ASCII can stand in a challenge")
	}
	return nil
}

func checkMaxInflight(n int) error {
	if n < 0 || n > maxInflightLimit {
		return fmt.Errorf("max_inflight: %d is not between 1 and %d", n, maxInflightLimit)
	}
	return nil
}

// checkRequirements also finds requirements that nobody can meet, where the only backend lists all users.
func (o *Options) checkRequirements() error {
	listed := static.Only(o.BackendsRaw)
	for i := range o.Require {
		err := o.Require[i].Validate()
		if err == nil && listed != nil {
			err = backends.CheckReachable(o.Require[i:i+1], listed)
		}
		if err != nil {
			return &optionError{option: "require", index: i, err: err}
		}
	}
	return nil
}

func (o *Options) checkTrustedOrigins() error {
	if len(o.TrustedOrigins) > 0 && !o.accepts(frappe.SchemeSession) {
		return errors.New("trusted_origins: only requests with a session are checked for their origin; " +
			"add session to schemes")
	}
	for _, origin := range o.TrustedOrigins {
		if err := browser.CheckOrigin(origin); err != nil {
			return fmt.Errorf("trusted_origins: %w", err)
		}
	}
	return nil
}

// needs is what the options need a backend to do.
func (o *Options) needs() backends.Needs {
	needs := backends.Needs{Sessions: o.accepts(frappe.SchemeSession)}
	for _, required := range o.Require {
		needs.Roles = needs.Roles || len(required.Roles) > 0
		needs.Scopes = needs.Scopes || len(required.Scopes) > 0
		needs.Clients = needs.Clients || len(required.Clients) > 0
	}
	return needs
}

// CacheConfig sets how many verdicts are cached and for how long. Handlers with the same backends share one cache; its
// size is the largest that any of them asks for. The cache survives a reload of the configuration if the backends stay
// the same.
type CacheConfig struct {
	// How many granted verdicts are cached, 1 to 10000000. The same number of denied verdicts is cached in addition. A
	// verdict takes about 300 bytes. Default: 10000.
	Size int `json:"size,omitempty"`

	// How long a granted verdict is served from the cache after a backend confirmed it, at most 24 hours. With 0, a
	// backend is asked every time. No setting but stale_if_error makes a granted verdict last longer, so this is how long
	// a revoked credential can keep working. Default: `1m`.
	TTL *caddy.Duration `json:"ttl,omitempty"`

	// The ttl of access tokens whose expiry the backend cannot see. This applies to all access tokens with the `site`
	// backend. Such a token may expire or be revoked at any time, and Frappe announces neither. Its verdict is never
	// served stale. At most ttl. Default: `1m`, or ttl if that is shorter.
	BearerTTL *caddy.Duration `json:"bearer_ttl,omitempty"`

	// The ttl of sessions: how long a user who has logged out of Frappe may still pass. The verdict on a session whose
	// expiry the backend cannot see is never served stale. At most ttl. Default: `1m`, or ttl if that is shorter.
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
	defaultCacheSize    = 10_000
	maxCacheSize        = 10_000_000
	defaultTTL          = caddy.Duration(time.Minute)
	maxTTL              = caddy.Duration(24 * time.Hour)
	maxDefaultBearerTTL = caddy.Duration(time.Minute)
	defaultNegativeTTL  = caddy.Duration(5 * time.Second)
	maxNegativeTTL      = caddy.Duration(time.Hour)
	maxStaleIfError     = caddy.Duration(7 * 24 * time.Hour)
)

// withDefaults returns the configuration with its defaults set; nil is an empty one.
func (c *CacheConfig) withDefaults() *CacheConfig {
	var conf CacheConfig
	if c != nil {
		conf = *c
	}
	if conf.Size == 0 {
		conf.Size = defaultCacheSize
	}
	conf.TTL = durationOr(conf.TTL, defaultTTL)
	conf.BearerTTL = durationOr(conf.BearerTTL, min(*conf.TTL, maxDefaultBearerTTL))
	conf.SessionTTL = durationOr(conf.SessionTTL, min(*conf.TTL, maxDefaultBearerTTL))
	conf.NegativeTTL = durationOr(conf.NegativeTTL, defaultNegativeTTL)
	return &conf
}

func durationOr(d *caddy.Duration, otherwise caddy.Duration) *caddy.Duration {
	if d == nil {
		return &otherwise
	}
	return d
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

func (c *CacheConfig) check() error {
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
			return fmt.Errorf("cache %s: %s is not between 0 and %s%s", option.name, time.Duration(*option.d),
				option.theMax, time.Duration(option.max))
		}
	}
	return nil
}

// FailureLimit is how many credentials of one client may be denied before its credentials are refused with status 429
// unless they are already known to be good. A client is Caddy's `{http.vars.client_ip}`, IPv6 by /64: behind another
// proxy, configure `trusted_proxies`, or all clients count as one.
//
// A credential counts when a backend denies it, or cannot judge it while it judges others, unless the credential is
// already known to be bad: a service that goes on sending a key that was revoked costs its neighbours nothing.
type FailureLimit struct {
	// How many denied credentials are allowed at once, 1 to 1000000; negative: any number. Default: 20.
	Max int `json:"max,omitempty"`

	// How long it takes until as many are allowed again, 1 second to 24 hours. Default: `1m`.
	Window caddy.Duration `json:"window,omitempty"`
}

const (
	defaultMaxFailures   = 20
	maxFailuresLimit     = 1_000_000
	defaultFailureWindow = caddy.Duration(time.Minute)
	minFailureWindow     = caddy.Duration(time.Second)
	maxFailureWindow     = caddy.Duration(24 * time.Hour)
)

// withDefaults returns the limit with its defaults set; nil is an empty one.
func (l *FailureLimit) withDefaults() *FailureLimit {
	var limit FailureLimit
	if l != nil {
		limit = *l
	}
	if limit.Max == 0 {
		limit.Max = defaultMaxFailures
	}
	if limit.Window == 0 {
		limit.Window = defaultFailureWindow
	}
	return &limit
}

func (l FailureLimit) check() error {
	if l.Max > maxFailuresLimit {
		return fmt.Errorf("failures: %d is more than %d", l.Max, maxFailuresLimit)
	}
	if err := directive.CheckDuration("failures", l.Window); err != nil {
		return err
	}
	if l.Window != 0 && (l.Window < minFailureWindow || l.Window > maxFailureWindow) {
		return fmt.Errorf("failures: %s is not between %s and %s",
			time.Duration(l.Window), time.Duration(minFailureWindow), time.Duration(maxFailureWindow))
	}
	return nil
}

// rate is the limit as the limiter takes it.
func (l FailureLimit) rate() rate.Limit {
	return rate.Limit{Max: l.Max, Window: time.Duration(l.Window)}
}

// ProtectedResource describes what is protected to OAuth clients (RFC 9728). The `Bearer` challenge then carries
// `resource_metadata`, the URL of the description, and `scope`. The handler serves the description to everybody, and to
// scripts of every origin: at `/.well-known/oauth-protected-resource` with the path of the resource behind it, and
// without.
//
// It does so whether or not the handler's matcher matches these paths. But the requests must reach the handler. If it
// is inside a `handle` block for the path of the resource, they do not: then `resource_metadata` is the URL of the
// resource followed by `/.well-known/oauth-protected-resource`, where the handler serves the description, too. Of
// several handlers with a description, the first answers at the path without the resource's path.
type ProtectedResource struct {
	// The URLs of the authorization servers that issue access tokens: the Frappe site, as users' browsers reach it.
	// Default: the URL of the first `site` backend, if it is `https` and has no site_name; otherwise at least one is
	// required.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`

	// The URL of the resource, as users type it into their client. Default: the scheme and the host of the request.
	// X-Forwarded-Proto and X-Forwarded-Host count only if they come from one of Caddy's trusted_proxies.
	Resource string `json:"resource,omitempty"`

	// The scopes that a client should ask for at first. Default: those that are required, else none are listed. A client
	// whose token lacks a required scope is told the required ones.
	Scopes []string `json:"scopes,omitempty"`
}

func (p *ProtectedResource) check() error {
	m := resource.Metadata{Resource: p.Resource, AuthorizationServers: p.AuthorizationServers, ScopesSupported: p.Scopes}
	if err := m.Validate(); err != nil {
		return fmt.Errorf("protected_resource: %w", err)
	}
	return nil
}
