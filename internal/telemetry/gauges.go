package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
)

// Snapshot is the state of all handlers when Prometheus scrapes.
type Snapshot struct {
	Granted, Denied int // cached verdicts
	Capacity        int // the largest number of cached verdicts of each kind
	FailingClients  int
	Streams         int                        // open
	Backends        map[string]BackendSnapshot // by name
	Contacts        map[Contact]ContactSnapshot
	Stores          []fleet.Stats // the shared stores
}

// BackendSnapshot is the state of all backends with one name.
type BackendSnapshot struct {
	InFlight, Waiting int64
	OpenBreakers      int
	WatchAge          *time.Duration // since the last check for changes; nil: none of them watches
}

// Contact names the backends of one name that the handlers of one name use.
type Contact struct{ Backend, Handler string }

// ContactSnapshot says whether these backends could be reached.
type ContactSnapshot struct {
	Up          bool      // all of them
	LastVerdict time.Time // the earliest of their last verdicts; zero: none of them has given one
}

// AddContact adds whether a backend could be reached, and when it last gave a verdict; zero: never.
func (s *Snapshot) AddContact(c Contact, up bool, last time.Time) {
	of, known := s.Contacts[c]
	of.Up = up && (of.Up || !known)
	if of.LastVerdict.IsZero() || !last.IsZero() && last.Before(of.LastVerdict) {
		of.LastVerdict = last
	}
	s.Contacts[c] = of
}

// AddWatch adds the time since a backend or feed with that name last checked for changes. The longest time is kept.
func (s *Snapshot) AddWatch(name string, age time.Duration) {
	of := s.Backends[name]
	if of.WatchAge == nil || age > *of.WatchAge {
		of.WatchAge = &age
	}
	s.Backends[name] = of
}

// gauges is a collector of a snapshot's values.
type gauges struct{ read func() Snapshot }

var (
	cacheEntries    = desc("cache_entries", "Cached verdicts.", "verdict")
	cacheMaxEntries = desc("cache_max_entries", "Maximum number of cached verdicts.", "verdict")
	callsInFlight   = desc("backend_calls_in_flight", "Backend calls in flight.", "backend")
	callsWaiting    = desc("backend_calls_waiting", "Verifications that wait for the in-flight limit of a backend.",
		"backend")
	openBreakers = desc("backend_breakers_open", "Sites of the backend whose circuit breakers are open or half-open.",
		"backend")
	watchAge = desc("backend_watch_age_seconds",
		"Seconds since the backend last checked its source for changes, or since it started to watch.", "backend")
	backendUp   = desc("backend_up", "1 if the backend answered the last call or ping, else 0.", "backend", "handler")
	lastVerdict = desc("backend_last_verdict_timestamp_seconds",
		"Time of the last verdict of the backend, in seconds since 1970; absent before the first one.", "backend", "handler")
	failingClients = desc("failing_clients", "Clients with recently denied credentials.")
	openStreams    = desc("streams_open", "Open WebSockets, event streams and gRPC streams of verified users.")
)

var (
	storeUp        = desc("store_up", "1 if the shared store can be used, else 0.")
	storeFailures  = desc("store_failures_total", "Operations of the shared store that failed.")
	storePublished = desc("store_revocations_published_total",
		"Revocations that this Caddy published to the shared store.")
	storeReceived = desc("store_revocations_received_total",
		"Revocations by other Caddys that were received from the shared store.")
	storeLookAge = desc("store_look_age_seconds",
		"Seconds since the revocations in the shared store were last read; absent before the first time.")
	storePending = desc("store_revocations_pending", "Revoked users, credentials and sites that wait to be published.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (gauges) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		cacheEntries, cacheMaxEntries, callsInFlight, callsWaiting, openBreakers, watchAge, backendUp, lastVerdict,
		failingClients, openStreams,
		storeUp, storeFailures, storePublished, storeReceived, storeLookAge, storePending,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (g gauges) Collect(found chan<- prometheus.Metric) {
	send := func(desc *prometheus.Desc, value float64, labels ...string) {
		found <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	now := g.read()
	send(cacheEntries, float64(now.Granted), VerdictGranted)
	send(cacheEntries, float64(now.Denied), VerdictDenied)
	send(cacheMaxEntries, float64(now.Capacity), VerdictGranted)
	send(cacheMaxEntries, float64(now.Capacity), VerdictDenied)
	send(failingClients, float64(now.FailingClients))
	send(openStreams, float64(now.Streams))
	collectStores(now.Stores, found)
	for c, of := range now.Contacts {
		up := 0.0
		if of.Up {
			up = 1
		}
		send(backendUp, up, c.Backend, c.Handler)
		if !of.LastVerdict.IsZero() {
			send(lastVerdict, float64(of.LastVerdict.UnixMilli())/1000, c.Backend, c.Handler)
		}
	}
	for name, b := range now.Backends {
		send(callsInFlight, float64(b.InFlight), name)
		send(callsWaiting, float64(b.Waiting), name)
		send(openBreakers, float64(b.OpenBreakers), name)
		if b.WatchAge != nil {
			send(watchAge, b.WatchAge.Seconds(), name)
		}
	}
}

// collectStores sends the series of the shared stores. Several count as one; without one, there are no series.
func collectStores(stores []fleet.Stats, found chan<- prometheus.Metric) {
	if len(stores) == 0 {
		return
	}
	var (
		sum fleet.Stats
		up  = 1.0
		age = -1.0
	)
	for _, s := range stores {
		sum.Failures += s.Failures
		sum.Published += s.Published
		sum.Received += s.Received
		sum.Pending += s.Pending
		if !s.Up {
			up = 0
		}
		age = max(age, s.LookAge.Seconds())
	}
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64) {
		found <- prometheus.MustNewConstMetric(desc, kind, value)
	}
	send(storeUp, prometheus.GaugeValue, up)
	send(storeFailures, prometheus.CounterValue, float64(sum.Failures))
	send(storePublished, prometheus.CounterValue, float64(sum.Published))
	send(storeReceived, prometheus.CounterValue, float64(sum.Received))
	send(storePending, prometheus.GaugeValue, float64(sum.Pending))
	if age >= 0 {
		send(storeLookAge, prometheus.GaugeValue, age)
	}
}

// Interface guard
var _ prometheus.Collector = gauges{}
