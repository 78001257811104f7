package frappeauth

import (
	"net/http"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// verdictFields are what the access log shows of a request, as the object `frappe_auth`; metrics and spans show them, too.
type verdictFields struct {
	scheme         Scheme
	backend, cache string
	outcome        requestOutcome
}

func (id *identified) fields() verdictFields {
	return verdictFields{scheme: id.scheme, backend: id.guard.backend(), cache: id.cache, outcome: id.outcome}
}

func (r *refusal) fields() verdictFields {
	return verdictFields{scheme: r.cred.Scheme, cache: r.cache, outcome: r.outcome}
}

// record counts a request, and adds the fields to its access log.
func (v *Verification) record(r *http.Request, fields verdictFields) {
	v.metrics.countRequest(fields.scheme, fields.outcome)
	if v.accessLogs {
		logVerdict(r, fields)
	}
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (f verdictFields) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("scheme", string(f.scheme))
	enc.AddString("backend", f.backend)
	enc.AddString("cache", f.cache)
	enc.AddString("outcome", f.outcome.String())
	return nil
}

// logVerdict adds the fields to the request's access log, as the handler log_append does.
func logVerdict(r *http.Request, fields verdictFields) {
	if extra, ok := r.Context().Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok {
		extra.Set(zap.Object("frappe_auth", fields))
	}
}

// hasAccessLogs reports whether a server of the configuration has access logs, so that others are spared the fields.
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
