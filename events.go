package frappeauth

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
)

// events tells Caddy's events app what happens. Its zero value tells nobody.
type events struct {
	ctx caddy.Context
	app *caddyevents.App
}

// eventsOf is for a configuration that has the events app, or tells nobody.
func eventsOf(ctx caddy.Context) events {
	module, err := ctx.AppIfConfigured("events")
	if err != nil {
		return events{}
	}
	app, _ := module.(*caddyevents.App)
	return events{ctx: ctx, app: app}
}

// The events.
const (
	eventDenied      = "frappe_auth.denied"
	eventThrottled   = "frappe_auth.throttled"
	eventUnavailable = "frappe_auth.unavailable"
	eventRecovered   = "frappe_auth.recovered"
)

// emit emits an event, with data of pairs of names and values, if anybody listens.
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
