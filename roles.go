package frappeauth

import (
	"context"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/static"
)

// checkRoles warns about required roles that probably nobody has. Backends that need a call are asked in the background,
// until stop is called.
func (o *Options) checkRoles(ctx context.Context, from []backends.Backend) (stop func()) {
	backends.WarnSplitRoles(o.logger, o.Require)
	toAsk := false
	for _, b := range from {
		listed, ok := b.Backend.(*static.Backend)
		if !ok {
			toAsk = true
		} else if err := backends.CheckReachable(o.Require, listed); err != nil && o.needs().Roles {
			o.logger.Warn("a requirement refuses every credential that the static backend lists", zap.Error(err))
		}
	}
	if !toAsk || !o.needs().Roles { // what static backends list was checked above
		return func() {}
	}
	return backends.WatchRoles(ctx, o.logger, from, o.Require)
}
