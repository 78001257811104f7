package metrics

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
	Backends        map[string]Backend // by name
	Stores          []fleet.Stats      // the shared stores
}

// Backend is the state of all backends of one name.
type Backend struct {
	InFlight, Waiting int64
	OpenBreakers      int
	WatchAge          *time.Duration // since the last look for changes; nil: none of them watches
}

// AddWatch adds that a backend or feed of that name last looked for changes so long ago. Of several, the longest counts.
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
	entries  = desc("cache_entries", "Cached verdicts.", "verdict")
	capacity = desc("cache_max_entries", "Maximum number of cached verdicts.", "verdict")
	inFlight = desc("backend_calls_in_flight", "Backend calls in flight.", "backend")
	waiting  = desc("backend_calls_waiting", "Verifications that wait for the in-flight limit of a backend.", "backend")
	open     = desc("backend_breakers_open", "Sites of the backend whose circuit breakers are open or half-open.", "backend")
	watchAge = desc("backend_watch_age_seconds",
		"Seconds since the backend last looked for changes at its source, or since it started to watch.", "backend")
	failing = desc("failing_clients", "Clients with recently denied credentials.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (gauges) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		entries, capacity, inFlight, waiting, open, watchAge, failing,
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
	send(entries, float64(now.Granted), string(Granted))
	send(entries, float64(now.Denied), string(Denied))
	send(capacity, float64(now.Capacity), string(Granted))
	send(capacity, float64(now.Capacity), string(Denied))
	send(failing, float64(now.FailingClients))
	collectStores(now.Stores, found)
	for name, b := range now.Backends {
		send(inFlight, float64(b.InFlight), name)
		send(waiting, float64(b.Waiting), name)
		send(open, float64(b.OpenBreakers), name)
		if b.WatchAge != nil {
			send(watchAge, b.WatchAge.Seconds(), name)
		}
	}
}

// Interface guard
var _ prometheus.Collector = gauges{}
