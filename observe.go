package frappeauth

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.26.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/internal/events"
	"github.com/caddy-frappe/frappe-auth/internal/metrics"
	"github.com/caddy-frappe/frappe-auth/internal/request"
)

// observe reports a decision to the metrics, the events, the access log and the debug log.
func (o *Options) observe(r *http.Request, d *decision) {
	metrics.Request(d.credential.Scheme, d.outcome.String())
	if o.accessLogs {
		if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
			extra.Set(zap.Dict("frappe_auth", zap.String("scheme", string(d.credential.Scheme)), zap.String("backend", d.backend()),
				zap.String("cache", d.verdict.cache), zap.Stringer("outcome", d.outcome)))
		}
	}
	if d.rejection == nil {
		return
	}
	switch d.outcome {
	case outcomeDenied:
		o.events.Emit(events.Denied, "client_ip", request.ClientIP(r), "scheme", string(d.credential.Scheme))
	case outcomeThrottled:
		o.events.Emit(events.Throttled, "client_ip", request.ClientIP(r), "scheme", string(d.credential.Scheme))
	default:
	}
	if c := o.logger.Check(zapcore.DebugLevel, "refused"); c != nil {
		c.Write(d.debugFields(request.ClientIP(r))...)
	}
}

// endDecision records the decision in its span and ends the span.
func endDecision(span trace.Span, d *decision) {
	defer span.End()
	if d.rejection == nil {
		span.SetAttributes(semconv.EnduserID(d.user()), attribute.String("frappe_auth.backend", d.backend()))
	}
	span.SetAttributes(
		attribute.String("frappe_auth.scheme", string(d.credential.Scheme)),
		attribute.String("frappe_auth.cache", d.verdict.cache),
		attribute.String("frappe_auth.outcome", d.outcome.String()),
	)
	if d.outcome == outcomeUnavailable {
		span.SetStatus(codes.Error, d.reason.Error())
	}
}

// debugFields are the log fields of a rejected request. fail2ban needs client_ip and status.
func (d *decision) debugFields(client string) []zap.Field {
	fields := []zap.Field{
		zap.String("client_ip", client),
		zap.Int("status", d.status),
		zap.String("scheme", string(d.credential.Scheme)),
		zap.NamedError("reason", d.reason),
	}
	if d.credential.Key != "" {
		fields = append(fields, zap.String("api_key", d.credential.KeyPrefix()))
	}
	return fields
}

// hasAccessLogs reports whether any server of the configuration has access logs. Without them, the fields are not built.
func hasAccessLogs(ctx caddy.Context) bool {
	app := httpApp(ctx)
	if app == nil {
		return false
	}
	for _, server := range app.Servers {
		if server.Logs != nil {
			return true
		}
	}
	return false
}
