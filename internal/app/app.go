// Package app looks at the HTTP app that a module belongs to.
package app

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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

// HasMetrics reports whether the configuration enables metrics.
func HasMetrics(ctx caddy.Context) bool {
	app := httpApp(ctx)
	return app != nil && app.Metrics != nil
}

// HasAccessLogs reports whether any server of the configuration has access logs.
func HasAccessLogs(ctx caddy.Context) bool {
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
