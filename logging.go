package frappeauth

import (
	"net/http"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// verdictFields are what the access log shows of a request, as the object `frappe_auth`.
type verdictFields struct {
	scheme, backend, cache string
	outcome                requestOutcome
}

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (f verdictFields) MarshalLogObject(enc zapcore.ObjectEncoder) error {
	enc.AddString("scheme", f.scheme)
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
