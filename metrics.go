package frappeauth

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/app"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// registerMetrics registers the metrics with the configuration's registry if the configuration enables metrics.
func registerMetrics(ctx caddy.Context) error {
	if !app.HasMetrics(ctx) {
		return nil
	}
	return telemetry.Register(ctx.GetMetricsRegistry(), snapshot)
}

// snapshot sums up the states of all handlers.
func snapshot() telemetry.Snapshot {
	sum := telemetry.Snapshot{Backends: make(map[string]telemetry.BackendSnapshot)}
	states.Range(func(_, value any) bool {
		s := value.(*state)
		granted, denied, size := s.cache.Fill()
		sum.Granted, sum.Denied, sum.Capacity = sum.Granted+granted, sum.Denied+denied, sum.Capacity+size
		sum.FailingClients += s.failures.Clients()
		for _, b := range s.backends {
			of := sum.Backends[b.Name]
			calls, waiting := b.InFlight()
			of.InFlight, of.Waiting, of.OpenBreakers = of.InFlight+calls, of.Waiting+waiting, of.OpenBreakers+len(b.Open())
			sum.Backends[b.Name] = of
			if age, ok := b.Watch.Age(s.now()); ok {
				sum.AddWatch(b.Name, age)
			}
		}
		s.feeds.Each(s.now(), func(f backends.Feed, age time.Duration, ok bool) {
			if ok {
				sum.AddWatch(f.Name, age)
			}
		})
		if s.fleet != nil {
			sum.Stores = append(sum.Stores, s.fleet.Stats())
		}
		return true
	})
	return sum
}
