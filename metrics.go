package frappeauth

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
)

// outcome is the result of a request, for metrics, access logs and spans.
type outcome uint8

const (
	outcomeGranted outcome = iota
	outcomeAnonymous
	outcomeNoCredential
	outcomeMalformed // also: scheme not accepted, two headers, no site
	outcomeDenied
	outcomeForbidden
	outcomeThrottled
	outcomeUnknownSite
	outcomeUnavailable
	outcomeClientGone
	outcomes // number of outcomes
)

func (o outcome) String() string {
	return [outcomes]string{
		"granted", "anonymous", "no_credential", "malformed", "denied", "forbidden", "throttled", "unknown_site", "unavailable", "client_gone",
	}[o]
}

// lookupResult says where a verdict came from.
type lookupResult uint8

const (
	lookupHit lookupResult = iota
	lookupHitDenied
	lookupMiss
	lookupStale
	lookupResults // number of results
)

func (r lookupResult) String() string {
	return [lookupResults]string{"hit", "hit_denied", "miss", "stale"}[r]
}

// The sources of revocations.
const (
	revokedByWebhook = "webhook"
	revokedByWatch   = "watch"
	revokedByAdmin   = "admin"
)

// metrics counts what all handlers of this Caddy do, across reloads of the configuration. A nil *metrics counts nothing.
// No label contains anything from a client.
type metrics struct {
	// Children are created in advance, so that counting is one atomic add and every series exists from the start.
	requests [schemes][outcomes]prometheus.Counter // by schemeIndex
	lookups  [lookupResults]prometheus.Counter

	requestsVec *prometheus.CounterVec
	lookupsVec  *prometheus.CounterVec
	evictions   *prometheus.CounterVec
	calls       *prometheus.CounterVec
	rejections  *prometheus.CounterVec
	duration    *prometheus.HistogramVec
	revocations *prometheus.CounterVec
	deliveries  *prometheus.CounterVec

	// Computed from the states when Prometheus scrapes.
	entries, capacity, inFlight, waiting, open, watchAge, failing *prometheus.Desc
}

// collectors is registered with the registry of every configuration that enables metrics.
var collectors = newMetrics()

func newMetrics() *metrics {
	const namespace, subsystem = "caddy", "frappe_auth"
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
	}
	m := &metrics{
		requestsVec: counter("requests_total", "Requests, by scheme of the credential and outcome.", "scheme", "outcome"),
		lookupsVec:  counter("cache_lookups_total", "Verdicts, by where they came from: hit, hit_denied, miss or stale.", "result"),
		evictions:   counter("cache_evictions_total", "Cached verdicts that were evicted to make room for others.", "verdict"),
		calls:       counter("backend_calls_total", "Calls of backends, by outcome.", "backend", "outcome"),
		rejections:  counter("backend_rejections_total", "Verifications that were rejected before the backend was called, by reason.", "backend", "reason"),
		revocations: counter("revocations_total", "Changes that dropped cached verdicts, by source.", "source"),
		deliveries:  counter("webhook_deliveries_total", "Webhook deliveries, by outcome.", "outcome"),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem,
			Name:    "backend_call_duration_seconds",
			Help:    "Duration of backend calls, in seconds.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"backend"}),

		entries:  gauge("cache_entries", "Cached verdicts.", "verdict"),
		capacity: gauge("cache_max_entries", "Maximum number of cached verdicts.", "verdict"),
		inFlight: gauge("backend_calls_in_flight", "Backend calls in flight.", "backend"),
		waiting:  gauge("backend_calls_waiting", "Verifications that wait for the in-flight limit of a backend.", "backend"),
		open:     gauge("backend_breakers_open", "Sites of the backend whose circuit breakers are open or half-open.", "backend"),
		watchAge: gauge("backend_watch_age_seconds", "Seconds since the backend last looked for changes at its source, or since it started to watch.", "backend"),
		failing:  gauge("failing_clients", "Clients with recently denied credentials."),
	}
	for _, scheme := range []frappe.Scheme{"none", frappe.SchemeToken, frappe.SchemeBasic, frappe.SchemeBearer} {
		for outcome := range outcomes {
			m.requests[schemeIndex(scheme)][outcome] = m.requestsVec.WithLabelValues(string(scheme), outcome.String())
		}
	}
	for result := range lookupResults {
		m.lookups[result] = m.lookupsVec.WithLabelValues(result.String())
	}
	for _, verdict := range []string{"granted", "denied"} {
		m.evictions.WithLabelValues(verdict)
	}
	for _, source := range []string{revokedByWebhook, revokedByWatch, revokedByAdmin} {
		m.revocations.WithLabelValues(source)
	}
	for outcome := range deliveryOutcomes {
		m.deliveries.WithLabelValues(outcome.String())
	}
	return m
}

// httpApp returns the HTTP app that a module belongs to, or nil.
func httpApp(ctx caddy.Context) *caddyhttp.App {
	for _, module := range ctx.Modules() {
		if app, ok := module.(*caddyhttp.App); ok {
			return app
		}
	}
	return nil
}

// registerMetrics registers the metrics with the configuration's registry and returns them. It returns nil if the
// configuration does not enable metrics.
func registerMetrics(ctx caddy.Context) (*metrics, error) {
	if app := httpApp(ctx); app == nil || app.Metrics == nil {
		return nil, nil
	}
	var registered prometheus.AlreadyRegisteredError
	if err := ctx.GetMetricsRegistry().Register(collectors); err != nil && !errors.As(err, &registered) {
		return nil, err
	}
	return collectors, nil
}

func (m *metrics) countRequest(scheme frappe.Scheme, outcome outcome) {
	if m == nil {
		return
	}
	m.requests[schemeIndex(scheme)][outcome].Inc()
}

func (m *metrics) countLookup(result lookupResult) {
	if m != nil {
		m.lookups[result].Inc()
	}
}

func (m *metrics) countEviction(verdict string) {
	if m != nil {
		m.evictions.WithLabelValues(verdict).Inc()
	}
}

func (m *metrics) countCall(backend string, err error, took time.Duration) {
	if m == nil {
		return
	}
	m.calls.WithLabelValues(backend, callOutcome(err)).Inc()
	m.duration.WithLabelValues(backend).Observe(took.Seconds())
}

// callOutcome returns the label for a backend's answer.
func callOutcome(err error) string {
	switch {
	case err == nil:
		return "granted"
	case errors.Is(err, frappe.ErrDenied):
		return "denied"
	}
	return "unavailable"
}

// countRejection counts a verification that was rejected by a breaker, the in-flight limit or the failure limit.
func (m *metrics) countRejection(backend string, err error) {
	if m == nil {
		return
	}
	reason := "busy"
	if _, open := errors.AsType[*breaker.OpenError](err); open {
		reason = "circuit_open"
	} else if _, throttled := errors.AsType[*throttledError](err); throttled {
		reason = "throttled"
	}
	m.rejections.WithLabelValues(backend, reason).Inc()
}

func (m *metrics) countRevocation(source string) {
	if m != nil {
		m.revocations.WithLabelValues(source).Inc()
	}
}

func (m *metrics) countDelivery(outcome deliveryOutcome) {
	if m != nil {
		m.deliveries.WithLabelValues(outcome.String()).Inc()
	}
}

// expect creates the series of a backend, so that a rate includes the first event.
func (m *metrics) expect(backend string) {
	if m == nil {
		return
	}
	for _, outcome := range []string{"granted", "denied", "unavailable"} {
		m.calls.WithLabelValues(backend, outcome)
	}
	for _, reason := range []string{"busy", "circuit_open", "throttled"} {
		m.rejections.WithLabelValues(backend, reason)
	}
	m.duration.WithLabelValues(backend)
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, c := range m.vectors() {
		c.Describe(descs)
	}
	for _, desc := range []*prometheus.Desc{m.entries, m.capacity, m.inFlight, m.waiting, m.open, m.watchAge, m.failing} {
		descs <- desc
	}
}

func (m *metrics) vectors() []prometheus.Collector {
	return []prometheus.Collector{m.requestsVec, m.lookupsVec, m.evictions, m.calls, m.rejections, m.duration, m.revocations, m.deliveries}
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(found chan<- prometheus.Metric) {
	for _, c := range m.vectors() {
		c.Collect(found)
	}
	var (
		granted, denied, capacity, failing int
		inFlight                           = make(map[string]float64)
		waiting                            = make(map[string]float64)
		open                               = make(map[string]float64)
		watchAge                           = make(map[string]float64)
	)
	states.Range(func(_, value any) bool {
		s := value.(*state)
		g, d, c := s.cache.fill()
		granted, denied, capacity = granted+g, denied+d, capacity+c
		failing += s.failures.Clients()
		for _, b := range s.backends {
			inFlight[b.name] += float64(b.limit.Load().InFlight())
			waiting[b.name] += float64(b.limit.Load().Waiting())
			open[b.name] += float64(len(b.sites.Open()))
			if age, ok := b.watch.age(s.clock(s.now())); ok {
				watchAge[b.name] = max(watchAge[b.name], age.Seconds())
			}
		}
		return true
	})
	send := func(desc *prometheus.Desc, value float64, labels ...string) {
		found <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	send(m.entries, float64(granted), "granted")
	send(m.entries, float64(denied), "denied")
	send(m.capacity, float64(capacity), "granted")
	send(m.capacity, float64(capacity), "denied")
	send(m.failing, float64(failing))
	for desc, byBackend := range map[*prometheus.Desc]map[string]float64{m.inFlight: inFlight, m.waiting: waiting, m.open: open, m.watchAge: watchAge} {
		for backend, value := range byBackend {
			send(desc, value, backend)
		}
	}
}

// Interface guard
var _ prometheus.Collector = (*metrics)(nil)
