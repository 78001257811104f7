package frappeauth

import (
	"github.com/prometheus/client_golang/prometheus"
)

// fleetMetrics is registered with the registry of every configuration that enables metrics.
var fleetMetrics = newFleetCollector()

// fleetCollector reports on the shared stores when Prometheus scrapes. Without one, it reports nothing.
type fleetCollector struct {
	up, failures, published, received, lookAge, pending *prometheus.Desc
}

func newFleetCollector() *fleetCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc(prometheus.BuildFQName("caddy", "frappe_auth", name), help, nil, nil)
	}
	return &fleetCollector{
		up:        desc("store_up", "1 if the shared store can be used, else 0."),
		failures:  desc("store_failures_total", "Operations of the shared store that failed."),
		published: desc("store_revocations_published_total", "Revocations that this Caddy published to the shared store."),
		received:  desc("store_revocations_received_total", "Revocations of other Caddys that came through the shared store."),
		lookAge:   desc("store_look_age_seconds", "Seconds since the revocations in the shared store were last read; absent before the first time."),
		pending:   desc("store_revocations_pending", "Revoked users, credentials and sites that wait to be published."),
	}
}

// Describe implements prometheus.Collector.
func (c *fleetCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{c.up, c.failures, c.published, c.received, c.lookAge, c.pending} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector. Several stores count as one.
func (c *fleetCollector) Collect(found chan<- prometheus.Metric) {
	var (
		stores, pending               int
		failures, published, received uint64
		up                            = 1.0
		age                           = -1.0
	)
	states.Range(func(_, value any) bool {
		s := value.(*state)
		if s.fleet == nil {
			return true
		}
		stats := s.fleet.Stats()
		stores, pending = stores+1, pending+stats.Pending
		failures, published, received = failures+stats.Failures, published+stats.Published, received+stats.Received
		if !stats.Up {
			up = 0
		}
		age = max(age, stats.LookAge.Seconds())
		return true
	})
	if stores == 0 {
		return
	}
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64) {
		found <- prometheus.MustNewConstMetric(desc, kind, value)
	}
	send(c.up, prometheus.GaugeValue, up)
	send(c.failures, prometheus.CounterValue, float64(failures))
	send(c.published, prometheus.CounterValue, float64(published))
	send(c.received, prometheus.CounterValue, float64(received))
	send(c.pending, prometheus.GaugeValue, float64(pending))
	if age >= 0 {
		send(c.lookAge, prometheus.GaugeValue, age)
	}
}

// Interface guard
var _ prometheus.Collector = (*fleetCollector)(nil)
