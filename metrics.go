package frappeauth

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/internal/metrics"
)

// httpApp returns the HTTP app that a module belongs to, or nil.
func httpApp(ctx caddy.Context) *caddyhttp.App {
	for _, module := range ctx.Modules() {
		if app, ok := module.(*caddyhttp.App); ok {
			return app
		}
	}
	return nil
}

// registerMetrics registers the metrics with the configuration's registry if the configuration enables metrics.
func registerMetrics(ctx caddy.Context) error {
	if app := httpApp(ctx); app == nil || app.Metrics == nil {
		return nil
	}
	if err := ctx.GetMetricsRegistry().Register(fleetMetrics); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
		return err
	}
	return metrics.Register(ctx.GetMetricsRegistry(), snapshot)
}

// snapshot sums up the states of all handlers.
func snapshot() metrics.Snapshot {
	sum := metrics.Snapshot{Backends: make(map[string]metrics.Backend)}
	states.Range(func(_, value any) bool {
		s := value.(*state)
		granted, denied, size := s.cache.Fill()
		sum.Granted, sum.Denied, sum.Capacity = sum.Granted+granted, sum.Denied+denied, sum.Capacity+size
		sum.FailingClients += s.failures.Clients()
		for _, b := range s.backends {
			of := sum.Backends[b.Name]
			calls, waiting := b.InFlight()
			of.InFlight, of.Waiting, of.OpenBreakers = of.InFlight+calls, of.Waiting+waiting, of.OpenBreakers+len(b.Open())
			if age, ok := b.Watch.Age(s.now()); ok && (of.WatchAge == nil || age > *of.WatchAge) {
				of.WatchAge = &age
			}
			sum.Backends[b.Name] = of
		}
		for name, age := range s.feedAges() {
			of := sum.Backends[name]
			if of.WatchAge == nil || age > *of.WatchAge {
				of.WatchAge = &age
			}
			sum.Backends[name] = of
		}
		return true
	})
	return sum
}
