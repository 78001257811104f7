package telemetry

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// The names of the events that an Emitter emits.
const (
	EventDenied      = "frappe_auth.denied"
	EventThrottled   = "frappe_auth.throttled"
	EventUnavailable = "frappe_auth.unavailable"
	EventRecovered   = "frappe_auth.recovered"
)

// Emitter emits events through Caddy's events app. Its zero value emits nothing.
type Emitter struct {
	ctx caddy.Context
	app *caddyevents.App
}

// NewEmitter returns the emitter of a configuration, or the zero value if it does not use the events app.
func NewEmitter(ctx caddy.Context) Emitter {
	module, err := ctx.AppIfConfigured("events")
	if err != nil {
		return Emitter{}
	}
	app, _ := module.(*caddyevents.App)
	return Emitter{ctx: ctx, app: app}
}

// Emit emits an event if anything subscribed to it. pairs are the names and values of its data, in turn.
func (e Emitter) Emit(name string, pairs ...string) {
	if e.app != nil && e.app.ShouldEmit(name) {
		e.emit(name, pairs)
	}
}

func (e Emitter) emit(name string, pairs []string) {
	data := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		data[pairs[i]] = pairs[i+1]
	}
	e.app.Emit(e.ctx, name, data)
}
