package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Snapshot is the state of all handlers when Prometheus scrapes.
type Snapshot struct {
	Granted, Denied int // cached verdicts
	Capacity        int // the largest number of cached verdicts of each kind
	FailingClients  int
	Backends        map[string]Backend // by name
}

// Backend is the state of all backends of one name.
type Backend struct {
	InFlight, Waiting int64
	OpenBreakers      int
	WatchAge          *time.Duration // since the last look for changes; nil: none of them watches
}

// gauges is a collector of a snapshot's values.
type gauges struct{ read func() Snapshot }

var (
	entries  = gauge("cache_entries", "Cached verdicts.", "verdict")
	capacity = gauge("cache_max_entries", "Maximum number of cached verdicts.", "verdict")
	inFlight = gauge("backend_calls_in_flight", "Backend calls in flight.", "backend")
	waiting  = gauge("backend_calls_waiting", "Verifications that wait for the in-flight limit of a backend.", "backend")
	open     = gauge("backend_breakers_open", "Sites of the backend whose circuit breakers are open or half-open.", "backend")
	watchAge = gauge("backend_watch_age_seconds",
		"Seconds since the backend last looked for changes at its source, or since it started to watch.", "backend")
	failing = gauge("failing_clients", "Clients with recently denied credentials.")
)

func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, subsystem, name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (gauges) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{entries, capacity, inFlight, waiting, open, watchAge, failing} {
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
