package frappeauth

import (
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// reporting reports what happens to the logs, metrics and events of a configuration.
type reporting struct {
	logger     *zap.Logger
	events     telemetry.Emitter
	accessLogs bool   // at least one server of the configuration has access logs
	tooLarge   func() // logs, once, that an identity as JSON was too large
}

func newReporting(ctx caddy.Context) reporting {
	o := reporting{logger: ctx.Logger(), events: telemetry.NewEmitter(ctx)}
	o.tooLarge = sync.OnceFunc(func() {
		o.logger.Warn("a user's {http.auth.user.json} would be too large for a header, so it lacks the roles; "+
			"use {http.auth.user.id}, or require role here instead of in the application", zap.Int("max_bytes", maxJSON))
	})
	if app := httpApp(ctx); app != nil {
		for _, server := range app.Servers {
			o.accessLogs = o.accessLogs || server.Logs != nil
		}
	}
	return o
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

// observe reports a decision to the metrics, the events, the access log and the debug log.
func (o reporting) observe(r *http.Request, d *decision) {
	telemetry.CountRequest(d.scheme, d.outcome.String())
	if o.accessLogs {
		if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
			extra.Set(zap.Dict("frappe_auth", zap.String("scheme", string(d.scheme)), zap.String("backend", d.backend()),
				zap.String("cache", d.verdict.cache), zap.Stringer("outcome", d.outcome)))
		}
	}
	if d.rejection == nil {
		return
	}
	switch d.outcome {
	case outcomeDenied:
		o.events.Emit(telemetry.EventDenied, "client_ip", headers.ClientIP(r), "scheme", string(d.scheme))
	case outcomeThrottled:
		o.events.Emit(telemetry.EventThrottled, "client_ip", headers.ClientIP(r), "scheme", string(d.scheme))
	default:
	}
	if c := o.logger.Check(zapcore.DebugLevel, "refused"); c != nil {
		c.Write(d.debugFields(headers.ClientIP(r))...)
	}
}

// debugFields are the log fields of a rejected request. fail2ban needs client_ip and status.
func (d *decision) debugFields(client string) []zap.Field {
	fields := []zap.Field{
		zap.String("client_ip", client),
		zap.Int("status", d.status),
		zap.String("scheme", string(d.scheme)),
		zap.NamedError("reason", d.reason),
	}
	if d.key != "" {
		fields = append(fields, zap.String("api_key", frappe.Credential{Key: d.key}.KeyPrefix()))
	}
	return fields
}

// traced is what the span of the decision says.
func (d *decision) traced() telemetry.DecisionSpan {
	t := telemetry.DecisionSpan{
		User: d.user(), Backend: d.backend(), Scheme: string(d.scheme), Cache: d.verdict.cache, Outcome: d.outcome.String(),
	}
	if d.outcome == outcomeUnavailable {
		t.Err = d.reason
	}
	return t
}

// registerMetrics registers the metrics with the configuration's registry if the configuration enables metrics.
func registerMetrics(ctx caddy.Context) (enabled bool, err error) {
	if app := httpApp(ctx); app == nil || app.Metrics == nil {
		return false, nil
	}
	return true, telemetry.Register(ctx.GetMetricsRegistry(), snapshot)
}

// snapshot sums up the states of all handlers.
func snapshot() telemetry.Snapshot {
	sum := telemetry.Snapshot{
		Backends: make(map[string]telemetry.BackendSnapshot), Contacts: make(map[telemetry.Contact]telemetry.ContactSnapshot),
	}
	for _, s := range statesOf("") {
		granted, denied, size := s.cache.Fill()
		sum.Granted, sum.Denied, sum.Capacity = sum.Granted+granted, sum.Denied+denied, sum.Capacity+size
		sum.FailingClients += s.failures.Clients()
		sum.Streams += s.streams.Len()
		for _, b := range s.backends {
			of := sum.Backends[b.Name]
			calls, waiting := b.InFlight()
			of.InFlight, of.Waiting, of.OpenBreakers = of.InFlight+calls, of.Waiting+waiting, of.OpenBreakers+len(b.Open())
			sum.Backends[b.Name] = of
			last, _ := b.LastVerdict()
			for _, handler := range s.names() {
				sum.AddContact(telemetry.Contact{Backend: b.Name, Handler: handler}, b.Up(), last)
			}
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
	}
	return sum
}
