package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
)

var (
	storeUp        = desc("store_up", "1 if the shared store can be used, else 0.")
	storeFailures  = desc("store_failures_total", "Operations of the shared store that failed.")
	storePublished = desc("store_revocations_published_total", "Revocations that this Caddy published to the shared store.")
	storeReceived  = desc("store_revocations_received_total", "Revocations of other Caddys that came through the shared store.")
	storeLookAge   = desc("store_look_age_seconds", "Seconds since the revocations in the shared store were last read; absent before the first time.")
	storePending   = desc("store_revocations_pending", "Revoked users, credentials and sites that wait to be published.")
)

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
		sum.Failures, sum.Published, sum.Received = sum.Failures+s.Failures, sum.Published+s.Published, sum.Received+s.Received
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
