// Package telemetry reports what frappe_auth does: as Prometheus metrics, as events of Caddy's events app, and as spans
// below those of Caddy's `tracing`.
//
// The metrics count what all handlers of this Caddy do, across reloads, whether or not the configuration enables
// metrics; Register makes them visible. No label contains anything from a client. Every series exists before its first
// event, so that a rate includes that event: the package that owns a label's values declares them with Expect….
package telemetry

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/version"
)

const namespace, subsystem = "caddy", "frappe_auth"

var (
	requests   = counter("requests_total", "Requests, by scheme of the credential and outcome.", "scheme", "outcome")
	lookups    = counter("cache_lookups_total", "Verdicts, by origin: hit, hit_denied, miss, stale or shared.", "result")
	evictions  = counter("cache_evictions_total", "Cached verdicts that were evicted to make room for others.", "verdict")
	calls      = counter("backend_calls_total", "Calls of backends, by outcome.", "backend", "outcome")
	rejections = counter("backend_rejections_total",
		"Verifications that were rejected before the backend was called, by reason.", "backend", "reason")
	revocations  = counter("revocations_total", "Changes that dropped cached verdicts, by source.", "source")
	endedStreams = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "streams_ended_total",
		Help: "Streams that were ended because their credential was no longer good, or could not be confirmed.",
	})
	buildInfo = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: namespace, Subsystem: subsystem, Name: "build_info",
		Help:        "Always 1. The labels have the versions.",
		ConstLabels: prometheus.Labels{"version": version.Module(), "caddy_version": version.Caddy()},
	}, func() float64 { return 1 })
	deliveries = counter("webhook_deliveries_total", "Webhook deliveries, by outcome.", "outcome")
	duration   = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: namespace, Subsystem: subsystem,
		Name:    "backend_call_duration_seconds",
		Help:    "Duration of backend calls, in seconds.",
		Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"backend"})
)

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: namespace, Subsystem: subsystem, Name: name, Help: help,
	}, labels)
}

// Register adds the collectors, and gauges of what read returns, to the registry of a configuration. It may be called
// more than once for a registry.
func Register(registry prometheus.Registerer, read func() Snapshot) error {
	for _, c := range []prometheus.Collector{
		requests, lookups, evictions, calls, rejections, revocations, endedStreams, deliveries, duration, buildInfo,
		gauges{read},
	} {
		var registered prometheus.AlreadyRegisteredError
		if err := registry.Register(c); err != nil && !errors.As(err, &registered) {
			return err
		}
	}
	return nil
}

// requestLabels are the label values of a request series.
type requestLabels struct{ scheme, outcome string }

// The series that every request needs. The maps avoid the allocations of WithLabelValues. They are only read once
// requests are served.
var (
	requestSeries = make(map[requestLabels]prometheus.Counter)
	lookupSeries  = make(map[string]prometheus.Counter)
)

// ExpectRequests creates the series of requests with these outcomes. Call it when the program starts.
func ExpectRequests(outcomes ...string) {
	for _, scheme := range []string{
		noScheme, string(frappe.SchemeToken), string(frappe.SchemeBasic), string(frappe.SchemeBearer),
		string(frappe.SchemeSession),
	} {
		for _, outcome := range outcomes {
			requestSeries[requestLabels{scheme, outcome}] = requests.WithLabelValues(scheme, outcome)
		}
	}
}

// noScheme is the label of requests without a well-formed credential.
const noScheme = "none"

// CountRequest counts a request. The scheme is empty if no credential was recognized.
func CountRequest(scheme frappe.Scheme, outcome string) {
	label := string(scheme)
	if label == "" {
		label = noScheme
	}
	series, ok := requestSeries[requestLabels{label, outcome}]
	if !ok {
		series = requests.WithLabelValues(label, outcome)
	}
	series.Inc()
}

// ExpectLookups creates the series of cache lookups with these results. Call it when the program starts.
func ExpectLookups(results ...string) {
	for _, result := range results {
		lookupSeries[result] = lookups.WithLabelValues(result)
	}
}

// CountLookup counts a verdict by its origin.
func CountLookup(result string) {
	series, ok := lookupSeries[result]
	if !ok {
		series = lookups.WithLabelValues(result)
	}
	series.Inc()
}

// The verdicts that the cache keeps.
const (
	VerdictGranted = "granted"
	VerdictDenied  = "denied"
)

// CountEviction counts a cached verdict that was evicted to make room for another.
func CountEviction(verdict string) { evictions.WithLabelValues(verdict).Inc() }

// The outcomes of backend calls, for their series and spans.
const (
	callGranted     = "granted"
	callDenied      = "denied"
	callUnavailable = "unavailable"
)

// callOutcome returns the label for the answer of a backend.
func callOutcome(err error) string {
	switch {
	case err == nil:
		return callGranted
	case errors.Is(err, frappe.ErrDenied):
		return callDenied
	}
	return callUnavailable
}

// CountCall counts a call of a backend, which answered with err, and records how long it took.
func CountCall(backend string, err error, took time.Duration) {
	calls.WithLabelValues(backend, callOutcome(err)).Inc()
	duration.WithLabelValues(backend).Observe(took.Seconds())
}

// Reason is why a verification was rejected before the backend was called.
type Reason string

// The reasons.
const (
	ReasonBusy        Reason = "busy"         // the in-flight limit
	ReasonCircuitOpen Reason = "circuit_open" // a circuit breaker
	ReasonThrottled   Reason = "throttled"    // the failure limit of the client
)

// CountRejection counts a verification that was rejected before the backend was called.
func CountRejection(backend string, why Reason) {
	rejections.WithLabelValues(backend, string(why)).Inc()
}

// ExpectBackend creates the series of a backend.
func ExpectBackend(backend string) {
	for _, outcome := range []string{callGranted, callDenied, callUnavailable} {
		calls.WithLabelValues(backend, outcome)
	}
	for _, why := range []Reason{ReasonBusy, ReasonCircuitOpen, ReasonThrottled} {
		rejections.WithLabelValues(backend, string(why))
	}
	duration.WithLabelValues(backend)
}

// Source is the origin of a revocation.
type Source string

// The sources.
const (
	SourceWebhook Source = "webhook"
	SourceWatch   Source = "watch"
	SourceAdmin   Source = "admin"
	SourceFeed    Source = "feed"
	SourceLogout  Source = "logout"
)

// CountRevocation counts a change that dropped cached verdicts.
func CountRevocation(from Source) { revocations.WithLabelValues(string(from)).Inc() }

// CountEndedStream counts a stream that was ended.
func CountEndedStream() { endedStreams.Inc() }

// ExpectDeliveries creates the series of webhook deliveries with these outcomes.
func ExpectDeliveries(outcomes ...string) {
	for _, outcome := range outcomes {
		deliveries.WithLabelValues(outcome)
	}
}

// CountDelivery counts a webhook delivery.
func CountDelivery(outcome string) { deliveries.WithLabelValues(outcome).Inc() }

func init() {
	for _, v := range []string{VerdictGranted, VerdictDenied} {
		evictions.WithLabelValues(v)
	}
	for _, from := range []Source{SourceWebhook, SourceWatch, SourceAdmin, SourceFeed, SourceLogout} {
		revocations.WithLabelValues(string(from))
	}
}
