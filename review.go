package frappeauth

import (
	"encoding/json"
	"slices"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/internal/routes"
)

func init() {
	caddy.RegisterModule(new(Review))
}

// Review warns, when Caddy has loaded or validated a configuration, about what is in the wrong place around its
// `frappe_auth` handlers: the findings of `caddy frappe-auth doctor` that need no backend. It needs no configuration;
// the handlers add it.
type Review struct {
	ctx     caddy.Context
	below   atomic.Pointer[[]string]
	started bool
}

// describedBelow reports whether requests for the description of a protected resource reach its handler below the
// resource only. It is false until Caddy has started.
func (r *Review) describedBelow(resource string) bool {
	below := r.below.Load()
	return below != nil && slices.Contains(*below, resource)
}

// CaddyModule returns the Caddy module information.
func (*Review) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "frappe_auth",
		New: func() caddy.Module { return new(Review) },
	}
}

// Provision keeps the context.
func (r *Review) Provision(ctx caddy.Context) error {
	r.ctx = ctx
	return nil
}

// maxWarnings is how many findings are logged for one configuration.
const maxWarnings = 20

// Start logs what is found. All modules of the configuration are loaded by then.
func (r *Review) Start() error {
	r.started = true
	r.warn()
	return nil
}

// Stop does nothing.
func (*Review) Stop() error { return nil }

// Cleanup logs what is found in a configuration that was only validated: its modules are loaded and never started.
func (r *Review) Cleanup() error {
	if !r.started {
		r.warn()
	}
	return nil
}

// warn logs what is found, unless the app http could not be loaded.
func (r *Review) warn() {
	module, err := r.ctx.AppIfConfigured("http")
	app, ok := module.(*caddyhttp.App)
	if err != nil || !ok {
		return // no handler of ours can be anywhere else
	}
	logger, http := r.ctx.Logger(r), routes.Loaded(app, configuredJSON)
	found := slices.DeleteFunc(routes.Findings(http), func(f routes.Finding) bool { return f.Chosen })
	var below []string
	for _, f := range found {
		if f.Below != "" {
			below = append(below, f.Below)
		}
	}
	r.below.Store(&below)
	for i, f := range found {
		if i == maxWarnings {
			logger.Warn("there are more warnings; run caddy frappe-auth doctor", zap.Int("more", len(found)-i))
			break
		}
		logger.Warn(f.Check+": "+f.Detail, zap.String("where", f.Where), zap.String("advice", f.Advice))
	}
}

// review returns the app that warns about the configuration of a module. If the module is not loaded by a running
// Caddy, the app sees nothing.
func review(ctx caddy.Context) (*Review, error) {
	if httpApp(ctx) == nil {
		return new(Review), nil
	}
	app, err := ctx.App("frappe_auth")
	if err != nil {
		return nil, err
	}
	return app.(*Review), nil
}

// configured is the JSON of a module until Review has seen it. It may contain secrets.
type configured struct{ raw []byte }

func (c *configured) keep(module any) (err error) {
	c.raw, err = json.Marshal(module)
	return err
}

func (c *configured) take() (raw []byte) {
	raw, c.raw = c.raw, nil
	return raw
}

// configuredJSON returns the configuration of a module of this package, and nil for any other.
func configuredJSON(module any) []byte {
	if m, ok := module.(interface{ take() []byte }); ok {
		return m.take()
	}
	return nil
}

// Interface guards
var (
	_ caddy.App          = (*Review)(nil)
	_ caddy.Provisioner  = (*Review)(nil)
	_ caddy.CleanerUpper = (*Review)(nil)
)
