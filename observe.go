package frappeauth

import (
	"net/http"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// observe reports a decision to the metrics, the events, the access log and the debug log.
func (o *Options) observe(r *http.Request, d *decision) {
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
