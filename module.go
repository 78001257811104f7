// Package frappeauth protects what Caddy serves with the API keys and OAuth tokens of a Frappe or ERPNext site.
package frappeauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	weakrand "math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler lets a request pass if its Authorization header holds a credential of a Frappe or ERPNext site: an API key
// and secret (`token <api_key>:<api_secret>` or `Basic`) or an OAuth access token (`Bearer`).
//
// A request without a credential, or with a bad one, ends with status 401 and the challenges of the accepted schemes,
// without that of `Basic` where a browser's script sent the request, since it would open the browser's login box;
// one whose user does not meet a requirement with 403; one with two Authorization headers with 400; one of a client
// that failed too often with 429 and Retry-After. If no backend could find out whether the credential is good, the
// status is 503 with Retry-After: never 401, and never from the cache. All of these can be handled with
// `handle_errors`.
//
// A refusal does not wait for the request's body: one that was not asked for (`Expect: 100-continue`) is not read, and any
// other is discarded, 16 MiB of it at most and for 5 seconds at most, while it keeps coming. Where it does not end by then,
// the connection is closed after the response. The routes of `handle_errors` see a request without a body.
//
// Placeholders, all of them set on every request that reaches the handler:
//
// Placeholder | Description
// ------------|---------------
// `{http.auth.user.id}` | The user as Frappe spells it, or `Guest` for an anonymous request
// `{http.auth.user.scheme}` | `token`, `basic` or `bearer`
// `{http.auth.user.full_name}` | The full name, where the backend knows it
// `{http.auth.user.roles}` | The roles, joined by commas, where the backend knows them
// `{http.auth.user.scopes}` | The scopes of an access token, joined by spaces, where the backend knows them
// `{http.auth.user.backend}` | The name of the backend that granted
// `{http.auth.user.json}` | All of these as one JSON object with the keys id, scheme, full_name, roles, scopes and backend, the roles and scopes as lists, in ASCII only: safe in a header, whatever characters a name holds
// `{http.auth.frappe.cache}` | `hit` if the verdict came from the cache, `miss` if a backend was asked, `stale` if none could find out
// `{http.auth.frappe.error}` | Why the request was refused, in words; empty if it was not
//
// On a refused request `{http.auth.user.*}` are empty, and `{http.auth.candidate.id}` is the API key that was claimed,
// if any. In every placeholder but the JSON, control characters of a name are spaces.
//
// Events of Caddy's `events` app: `frappe_auth.denied` and `frappe_auth.throttled` with `client_ip` and `scheme`;
// `frappe_auth.unavailable` when a backend stops finding out and `frappe_auth.recovered` when it does again, with
// `backend` and `site`.
//
// With the global option `metrics` there are metrics `caddy_frappe_auth_*`; with `tracing` before this handler, a span
// around each verification and each call of a backend; and access logs have `user_id`, and `frappe_auth` with `scheme`,
// `backend`, `cache` and `outcome`.
type Handler struct {
	Verification

	// Which requests need a credential: those that one of the matcher sets matches. Any other request goes on without an
	// identity: the user header is removed from it and the placeholders are empty, unless another `frappe_auth` that
	// matched it has set them. It is not counted in the metrics, and it keeps its Authorization header. This is where the
	// Caddyfile's matcher goes; matchers of the route around the handler keep the handler from running at all, and so do
	// `handle` blocks that it is not in. Default: all requests.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`

	// Lets requests without a credential pass as the user Guest, with every other `{http.auth.user.*}` empty. A
	// bad credential is still refused, and so is Guest by a requirement (with status 401). Default: false.
	Anonymous bool `json:"anonymous,omitempty"`

	// Lets CORS preflight requests without a credential pass as the user Guest: requests with the method OPTIONS and the
	// headers Origin and Access-Control-Request-Method. Browsers never send a credential with them, so requirements do not
	// apply. A preflight that does have a credential is judged like any other request. Default: false.
	AllowPreflight bool `json:"allow_preflight,omitempty"`

	// Removes the Authorization header before the next handler. Default: false.
	HideCredentials bool `json:"hide_credentials,omitempty"`

	// The name of a request header that tells the next handler the user. Any header of the client's that an upstream
	// could take for it is removed first: in any case, with `_` or `.` for `-`, named in the client's Connection header,
	// or sent as a trailer. It cannot be a header that frames or routes the message or holds a credential, such as
	// Connection, Host or Content-Length. Default: no header.
	UserHeader string `json:"user_header,omitempty"`

	matchers      caddyhttp.MatcherSets
	userHeaderVar string
	bodies        *bodyEnder
}

// Verification is how credentials are verified, the same for the handler and for the authentication provider.
type Verification struct {
	// A name by which a `frappe_auth_webhook` handler can refer to this one. Default: none.
	Name string `json:"name,omitempty"`

	// The backends that judge credentials, in the order in which they are asked. The first that grants wins; if none
	// grants and one could not find out, nobody knows. At least one is required.
	BackendsRaw []json.RawMessage `json:"backends,omitempty" caddy:"namespace=http.frappe_auth.backends inline_key=backend"`

	// The schemes that are accepted, of `basic`, `bearer` and `token`, in the order of the challenges. Many clients read
	// only the first challenge. A request that a browser does not send to show a page (Sec-Fetch-Dest is neither
	// `document` nor `iframe` nor `frame`, or X-Requested-With is `XMLHttpRequest`) gets no `Basic` challenge, which
	// would make the browser ask for a password, unless it is the only accepted scheme: a 401 must have a challenge
	// (RFC 9110 section 15.5.2). Default: all three, in that order.
	Schemes []Scheme `json:"schemes,omitempty"`

	// The protection space that challenges name (RFC 9110 section 11.5). Default: `Frappe`.
	Realm string `json:"realm,omitempty"`

	// How verdicts are cached. Default: see there.
	Cache *CacheConfig `json:"cache,omitempty"`

	// What a user must meet, every one of them. They are decided on each request, cached or not. Default: nothing.
	Require []Requirement `json:"require,omitempty"`

	// How many verifications each backend sees at once, 1 to 1024. 64 times as many may wait, up to 5 seconds; for
	// any more the status is 503. Default: 16.
	MaxInflight int `json:"max_inflight,omitempty"`

	// How often one client may fail. Default: 20 times in a minute.
	Failures *FailureLimit `json:"failures,omitempty"`

	challenges [schemes]string // by Scheme.index, of each accepted scheme, without an error
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
	// How many granted verdicts are kept, and as many denied ones, 1 to 10000000. A verdict takes about 170 bytes.
	// Default: 10000.
	Size int `json:"size,omitempty"`

	// How long a granted verdict is served after a backend was asked, at most 24 hours; 0: ask every time. No grant is served
	// for longer, whatever else is configured, but for stale_if_error: this is how long a revoked credential may still work.
	// Default: `1m`.
	TTL *caddy.Duration `json:"ttl,omitempty"`

	// The ttl of an access token whose expiry the backend cannot see, as `site` cannot: such a token may expire, be revoked or
	// be refreshed at any time, and Frappe announces none of these. It is never served stale. At most ttl. Default: the
	// smaller of ttl and `1m`.
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
	maxMaxInflight      = 1024

	// defaultRetryAfter is what a client is told when no backend said when to try again.
	defaultRetryAfter = 5 * time.Second
)

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.frappe_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision loads the matchers and the backends.
func (h *Handler) Provision(ctx caddy.Context) error {
	if err := h.check(); err != nil {
		return err
	}
	h.UserHeader = http.CanonicalHeaderKey(h.UserHeader)
	h.userHeaderVar = userHeaderVar(h.UserHeader)
	h.bodies = new(bodyEnder)
	if len(h.MatcherSetsRaw) > 0 {
		sets, err := ctx.LoadModule(h, "MatcherSetsRaw")
		if err != nil {
			return fmt.Errorf("loading matchers: %w", err)
		}
		if err := h.matchers.FromInterface(sets); err != nil {
			return fmt.Errorf("loading matchers: %w", err)
		}
	}
	return h.provision(ctx)
}

// Cleanup ends the watch of the backends.
func (h *Handler) Cleanup() error { return h.cleanup() }

// check reports what is wrong with the options.
func (h *Handler) check() error {
	if h.UserHeader != "" {
		if err := checkUserHeader(h.UserHeader); err != nil {
			return err
		}
	}
	return h.Verification.check()
}

// ServeHTTP passes the request on if its credential is good.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if err := h.admit(w, r); err != nil {
		return err
	}
	return next.ServeHTTP(w, r)
}

// admit is what comes before the next handler; an error says that there is no next. What it needs of the stack is free again
// when that one runs.
func (h *Handler) admit(w http.ResponseWriter, r *http.Request) error {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if len(h.matchers) > 0 {
		if matched, err := h.matchers.AnyMatchWithError(r); !matched || err != nil {
			h.passOver(r, repl)
			return err
		}
	}
	if h.UserHeader != "" {
		h.scrub(r)
	}

	var id identified
	refused := h.authenticate(r, repl, &id)
	if refused != nil && refused.none && h.needsNone(r) {
		id, refused = anonymous, nil
	}
	if refused != nil {
		h.refuse(w, r, repl, refused)
		h.bodies.end(w, r)
		return refused.handlerError()
	}

	h.pass(r, repl, &id)
	if h.UserHeader != "" {
		h.setUserHeader(r, id.user)
	}
	if h.HideCredentials {
		r.Header.Del("Authorization")
	}
	return nil
}

// passOver prepares a request that needs no credential here: it carries no identity, but the one that another frappe_auth
// found.
func (h *Handler) passOver(r *http.Request, repl *caddy.Replacer) {
	if h.UserHeader != "" && caddyhttp.GetVar(r.Context(), h.userHeaderVar) == nil {
		h.scrub(r)
	}
	publishNobody(r, repl)
}

// needsNone reports whether a request without a credential may pass as Guest.
func (h *Handler) needsNone(r *http.Request) bool {
	return h.Anonymous && len(h.Require) == 0 || h.AllowPreflight && isPreflight(r)
}

// isPreflight reports whether a browser asks whether it may send a request of another origin
// (https://fetch.spec.whatwg.org/#cors-preflight-request).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// identified is a request whose user is known.
type identified struct {
	answer
	scheme  Scheme
	outcome requestOutcome
}

// anonymous is a request without a credential that may pass.
var anonymous = identified{answer: answer{grant: &grant{user: Guest}}, outcome: outcomeAnonymous}

// pass tells the next handlers, the access log and the metrics whose request it is.
func (v *Verification) pass(r *http.Request, repl *caddy.Replacer, id *identified) {
	publication{user: id.user, scheme: id.scheme, cache: id.cache, by: id.guard, more: id.detail}.publish(r, repl)
	v.record(r, id.fields())
}

// refusal is why a request does not pass.
type refusal struct {
	status     int
	reason     error  // in fixed words, for the client
	none       bool   // there was no credential
	describe   bool   // the reason says what is wrong with the header
	oauthError string // the error of RFC 6750 section 3.1 on the challenge of Bearer; empty: none
	cred       Credential
	cache      string
	retryAfter time.Duration
	outcome    requestOutcome
	cause      error // what a backend said, for the operator alone
}

// words say why the request does not pass; of one that passes, nothing.
func (r *refusal) words() string {
	if r == nil {
		return ""
	}
	return r.reason.Error()
}

// candidate is the API key that was claimed. A request that passes has none.
func (r *refusal) candidate() string {
	if r == nil {
		return ""
	}
	return r.cred.Key
}

// handlerError is what Caddy answers, or its handle_errors. Inlined it would take room on the stack of those that pass, too.
//
//go:noinline
func (r *refusal) handlerError() error {
	// To look up where in the code this is would take as long as to verify the credential.
	return caddyhttp.Error(r.status, caddyhttp.HandlerError{Err: r.reason, Trace: "frappe_auth"})
}

// The reasons of refusals. Nothing in them comes from a client or a backend.
var (
	errNoCredential = errors.New("no credential")
	errTwoHeaders   = errors.New("more than one Authorization header")
	errNotAccepted  = errors.New("the scheme of the credential is not accepted here")
	errNoSite       = errors.New("the request names no site")
	errForbidden    = errors.New("the user does not meet the requirements")
	errUnavailable  = errors.New("could not find out whether the credential is good")
	errThrottled    = errors.New("too many denied credentials from this client")
	errClientGone   = errors.New("the client went away")
)

// statusClientGone is what Caddy's reverse_proxy answers when a client goes away.
const statusClientGone = 499

// authenticate finds out whose request it is, in a span of its own where the request is traced.
func (v *Verification) authenticate(r *http.Request, repl *caddy.Replacer, id *identified) *refusal {
	ctx, span := startVerification(r.Context())
	refused := v.verdict(ctx, *v.Failures, clientIP(r), repl, r.Header["Authorization"], id)
	if span != nil {
		endVerification(span, id, refused)
	}
	return refused
}

// verdict is the way from the Authorization header to the verdict. Whose request it is goes to id, and holds only where
// there is no refusal. Failures count, up to a limit, against the client at that address.
func (v *Verification) verdict(
	ctx context.Context, limit FailureLimit, address string, repl *caddy.Replacer, headers []string, id *identified,
) *refusal {
	var cred Credential
	if refused := v.credential(headers, &cred); refused != nil {
		return refused
	}
	sites, err := v.verifier.sites(repl)
	if err != nil {
		return &refusal{status: http.StatusBadRequest, reason: errNoSite, cred: cred, outcome: outcomeMalformed}
	}
	id.answer = v.verifier.verify(ctx, limit, address, sites, &cred)
	id.scheme = cred.Scheme
	if id.err != nil {
		refused := refusalOf(ctx, id.err)
		refused.cred, refused.cache = cred, id.cache
		return refused
	}
	if !v.meetsRequirements(id.grant) {
		refused := &refusal{status: http.StatusForbidden, reason: errForbidden, cred: cred, cache: id.cache, outcome: outcomeForbidden}
		if cred.Scheme == SchemeBearer { // the method would take a copy
			refused.oauthError = "insufficient_scope"
		}
		return refused
	}
	return nil
}

// clientIP is the client's address as Caddy knows it: a trusted proxy's word counts, another header's does not.
func clientIP(r *http.Request) string {
	address, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return address
}

// credential parses the only Authorization header.
func (v *Verification) credential(headers []string, cred *Credential) *refusal {
	switch {
	case len(headers) > 1:
		return &refusal{status: http.StatusBadRequest, reason: errTwoHeaders, outcome: outcomeMalformed}
	case len(headers) == 0 || strings.Trim(headers[0], " \t") == "":
		return &refusal{status: http.StatusUnauthorized, reason: errNoCredential, none: true, outcome: outcomeNoCredential}
	}
	var err error
	*cred, err = ParseCredential(headers[0])
	if err == nil && v.challenges[cred.Scheme.index()] == "" {
		err = errNotAccepted
	}
	if err != nil {
		return &refusal{
			status:     http.StatusUnauthorized,
			reason:     err,
			describe:   true,
			oauthError: "invalid_token",
			cred:       *cred,
			outcome:    outcomeMalformed,
		}
	}
	return nil
}

// refusalOf is what follows from the verifier's error.
func refusalOf(ctx context.Context, err error) *refusal {
	if errors.Is(err, ErrDenied) {
		return &refusal{status: http.StatusUnauthorized, reason: ErrDenied, oauthError: "invalid_token", outcome: outcomeDenied}
	}
	if errors.Is(err, ErrUnknownSite) {
		return &refusal{status: http.StatusNotFound, reason: ErrUnknownSite, outcome: outcomeUnknownSite}
	}
	if throttled, ok := errors.AsType[*throttledError](err); ok {
		return &refusal{status: http.StatusTooManyRequests, reason: errThrottled, retryAfter: throttled.wait, outcome: outcomeThrottled}
	}
	retryAfter := defaultRetryAfter
	if unavailable, ok := errors.AsType[*UnavailableError](err); ok && unavailable.RetryAfter > 0 {
		retryAfter = unavailable.RetryAfter
	} else if ctx.Err() != nil {
		return &refusal{status: statusClientGone, reason: errClientGone, outcome: outcomeClientGone}
	}
	return &refusal{
		status: http.StatusServiceUnavailable, reason: errUnavailable,
		retryAfter: retryAfter, outcome: outcomeUnavailable, cause: err,
	}
}

// meetsRequirements decides on the identity, never on the verdict's being cached.
func (v *Verification) meetsRequirements(g *grant) bool {
	for i := range v.Require {
		if !v.Require[i].metBy(g) {
			return false
		}
	}
	return true
}

func (r *Requirement) metBy(g *grant) bool {
	var roles []string
	if g.detail != nil {
		roles = g.detail.roles
	}
	return slices.Contains(r.Users, g.user) ||
		slices.ContainsFunc(r.Roles, func(role string) bool { return slices.Contains(roles, role) })
}

// refuse says to the client what it may know, and to the log what fail2ban needs.
func (v *Verification) refuse(w http.ResponseWriter, r *http.Request, repl *caddy.Replacer, refused *refusal) {
	publication{cache: refused.cache, refused: refused}.publish(r, repl)
	if challenges := v.challengesFor(r, refused); len(challenges) > 0 {
		w.Header()["Www-Authenticate"] = challenges
	}
	if refused.retryAfter > 0 {
		seconds := int64((refused.retryAfter + time.Second - 1) / time.Second)
		w.Header().Set("Retry-After", strconv.FormatInt(seconds, 10))
	}

	if event := refused.event(); event != "" {
		v.events.emit(event, "client_ip", clientIP(r), "scheme", string(refused.cred.Scheme))
	}
	v.record(r, refused.fields())
	if c := v.logger.Check(zapcore.DebugLevel, "refused"); c != nil {
		refused.log(c, clientIP(r))
	}
}

// event is what others may hook into; empty: nothing.
func (r *refusal) event() string {
	switch r.outcome {
	case outcomeDenied:
		return eventDenied
	case outcomeThrottled:
		return eventThrottled
	default:
		return ""
	}
}

// log writes what fail2ban needs.
func (r *refusal) log(c *zapcore.CheckedEntry, address string) {
	fields := []zap.Field{
		zap.String("client_ip", address),
		zap.Int("status", r.status),
		zap.String("scheme", string(r.cred.Scheme)),
		zap.NamedError("reason", r.reason),
	}
	if r.cred.Key != "" {
		fields = append(fields, zap.String("api_key", r.cred.keyPrefix()))
	}
	c.Write(fields...)
}

// provision checks and completes the configuration, and loads the backends.
func (v *Verification) provision(ctx caddy.Context) error {
	v.logger = ctx.Logger()
	v.events = eventsOf(ctx)
	v.accessLogs = hasAccessLogs(ctx)
	if v.now == nil {
		v.now = time.Now
	}
	v.setDefaults()
	for _, scheme := range v.Schemes {
		v.challenges[scheme.index()] = challenge(scheme, v.Realm)
	}

	backends, fingerprint, err := v.loadBackends(ctx)
	if err != nil {
		return err
	}
	if v.metrics, err = joinMetrics(ctx); err != nil {
		return err
	}
	v.verifier, err = newVerifier(verifierConfig{
		name:        v.Name,
		backends:    backends,
		fingerprint: fingerprint,
		cache:       *v.Cache,
		maxInflight: v.MaxInflight,
		failures:    *v.Failures,
		now:         v.now,
		random:      weakrand.Float64,
		logger:      v.logger,
		events:      v.events,
		metrics:     v.metrics,
		owner:       v,
	})
	if err != nil {
		return err
	}
	v.verifier.start(ctx)
	v.stopRoleCheck = v.checkRoles(ctx, backends)
	return nil
}

func (v *Verification) cleanup() error {
	err := v.metrics.leave()
	if v.verifier == nil {
		return err // provisioning failed
	}
	v.stopRoleCheck()
	return errors.Join(err, v.verifier.close())
}

func (v *Verification) setDefaults() {
	if len(v.Schemes) == 0 {
		v.Schemes = []Scheme{SchemeBasic, SchemeBearer, SchemeToken}
	}
	if v.Realm == "" {
		v.Realm = defaultRealm
	}
	conf := CacheConfig{Size: defaultCacheSize}
	if v.Cache != nil {
		conf = *v.Cache
	}
	if conf.Size == 0 {
		conf.Size = defaultCacheSize
	}
	conf.TTL = durationOr(conf.TTL, defaultTTL)
	conf.BearerTTL = durationOr(conf.BearerTTL, min(*conf.TTL, maxDefaultBearerTTL))
	conf.NegativeTTL = durationOr(conf.NegativeTTL, defaultNegativeTTL)
	v.Cache = &conf

	if v.MaxInflight == 0 {
		v.MaxInflight = defaultMaxInflight
	}
	var failures FailureLimit
	if v.Failures != nil {
		failures = *v.Failures
	}
	if failures.Max == 0 {
		failures.Max = defaultMaxFailures
	}
	if failures.Window == 0 {
		failures.Window = defaultFailureWindow
	}
	v.Failures = &failures
}

func durationOr(d *caddy.Duration, otherwise caddy.Duration) *caddy.Duration {
	if d == nil {
		return &otherwise
	}
	return d
}

// errNoBackend is the fault of a configuration without a backend.
var errNoBackend = errors.New("a backend is required: give the URL of the Frappe site, or a backend in the block")

// check reports what is wrong with the options.
func (v *Verification) check() error {
	for i, scheme := range v.Schemes {
		if scheme != SchemeToken && scheme != SchemeBasic && scheme != SchemeBearer {
			return fmt.Errorf("schemes: %q is none of token, basic and bearer", scheme)
		}
		if slices.Contains(v.Schemes[:i], scheme) {
			return fmt.Errorf("schemes: %s is given twice", scheme)
		}
	}
	if strings.ContainsFunc(v.Realm, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("realm: only printable ASCII can stand in a challenge")
	}
	for _, required := range v.Require {
		if len(required.Roles) == 0 && len(required.Users) == 0 {
			return errors.New("require: name at least one role or user")
		}
	}
	if v.MaxInflight < 0 || v.MaxInflight > maxMaxInflight {
		return fmt.Errorf("max_inflight: %d is not between 1 and %d", v.MaxInflight, maxMaxInflight)
	}
	if err := checkDistinct(v.BackendsRaw); err != nil {
		return err
	}
	if v.Failures != nil {
		if err := v.Failures.check(); err != nil {
			return err
		}
	}
	if v.Cache != nil {
		return v.Cache.check()
	}
	return nil
}

func (c *CacheConfig) check() error {
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
func (v *Verification) loadBackends(ctx caddy.Context) ([]namedBackend, string, error) {
	if len(v.BackendsRaw) == 0 {
		return nil, "", errNoBackend
	}
	raws := v.BackendsRaw
	loaded, err := ctx.LoadModule(v, "BackendsRaw")
	if err != nil {
		return nil, "", fmt.Errorf("loading backends: %w", err)
	}
	var (
		backends []namedBackend
		digest   = sha256.New()
	)
	for i, module := range loaded.([]any) {
		name := module.(caddy.Module).CaddyModule().ID.Name()
		backend, ok := module.(Backend)
		if !ok {
			return nil, "", fmt.Errorf("backend %s: module %T is no backend", name, module)
		}
		if reporter, ok := module.(RoleReporter); ok && !reporter.ReportsRoles() && v.requiresRole() {
			return nil, "", fmt.Errorf("require role: backend %s does not ask for roles; add `roles` to it", name)
		}
		named := namedBackend{Backend: backend, name: name}
		if tenanted, ok := module.(Tenanted); ok && tenanted.Tenanted() {
			named.tenanted = tenanted
		}
		backends = append(backends, named)

		var extra string
		if f, ok := module.(Fingerprinter); ok {
			extra = f.Fingerprint()
		}
		if err := json.NewEncoder(digest).Encode([]any{raws[i], extra}); err != nil {
			return nil, "", fmt.Errorf("backend %s: %w", name, err)
		}
	}
	if len(backends) == 1 {
		if static, ok := backends[0].Backend.(*StaticBackend); ok {
			if err := checkReachable(v.Require, static); err != nil {
				return nil, "", err
			}
		}
	}
	return backends, hex.EncodeToString(digest.Sum(nil)), nil
}

func (v *Verification) requiresRole() bool {
	return slices.ContainsFunc(v.Require, func(r Requirement) bool { return len(r.Roles) > 0 })
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
