// Package events emits the events of frappe_auth through Caddy's events app.
package events

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// The names of the events.
const (
	Denied      = "frappe_auth.denied"
	Throttled   = "frappe_auth.throttled"
	Unavailable = "frappe_auth.unavailable"
	Recovered   = "frappe_auth.recovered"
)

// Emitter emits events. Its zero value emits nothing.
type Emitter struct {
	ctx caddy.Context
	app *caddyevents.App
}

// Of returns the emitter of a configuration, or the zero value if it does not use the events app.
func Of(ctx caddy.Context) Emitter {
	module, err := ctx.AppIfConfigured("events")
	if err != nil {
		return Emitter{}
	}
	app, _ := module.(*caddyevents.App)
	return Emitter{ctx: ctx, app: app}
}

// Emit emits an event if anything subscribed to it. pairs are names and values of its data.
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
