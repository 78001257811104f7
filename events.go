package frappeauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// events emits events through Caddy's events app. Its zero value emits nothing.
type events struct {
	ctx caddy.Context
	app *caddyevents.App
}

// eventsOf returns the events of a configuration, or the zero value if it does not use the events app.
func eventsOf(ctx caddy.Context) events {
	module, err := ctx.AppIfConfigured("events")
	if err != nil {
		return events{}
	}
	app, _ := module.(*caddyevents.App)
	return events{ctx: ctx, app: app}
}

// The names of the events.
const (
	eventDenied      = "frappe_auth.denied"
	eventThrottled   = "frappe_auth.throttled"
	eventUnavailable = "frappe_auth.unavailable"
	eventRecovered   = "frappe_auth.recovered"
)

// emit emits an event if anything subscribed to it. pairs are names and values of its data.
func (e events) emit(name string, pairs ...string) {
	if e.app != nil && e.app.ShouldEmit(name) {
		e.tell(name, pairs)
	}
}

func (e events) tell(name string, pairs []string) {
	data := make(map[string]any, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		data[pairs[i]] = pairs[i+1]
	}
	e.app.Emit(e.ctx, name, data)
}
