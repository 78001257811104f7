package frappeauth

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/roles"
	"github.com/caddy-frappe/frappe-auth/static"
)

// checkRoles warns about required roles that probably nobody has. Backends that need a call are asked in the background,
// until stop is called.
func (o *Options) checkRoles(ctx context.Context, from []backends.Backend) (stop func()) {
	for _, required := range o.Require {
		for _, role := range roles.Split(required.Roles) {
			o.logger.Warn("require role lists the words of one role as several roles; write its name in quotes",
				zap.String("write", fmt.Sprintf("require role %q", role)))
		}
	}
	if !o.requiresRole() {
		return func() {}
	}
	toAsk := false
	for _, b := range from {
		listed, ok := b.Backend.(*static.Backend)
		if !ok {
			toAsk = true
		} else if err := checkReachable(o.Require, listed); err != nil {
			o.logger.Warn("a requirement refuses every credential that the static backend lists", zap.Error(err))
		}
	}
	if !toAsk { // static backends only: already checked above
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		roles.Warn(ctx, o.logger, from, o.Require)
	}()
	return func() {
		cancel()
		<-done
	}
}

// checkReachable returns an error if no credential of a static backend meets one of the requirements.
func checkReachable(requirements []frappe.Requirement, listed *static.Backend) error {
	for _, required := range requirements {
		if !listed.CanMeet(required) {
			return fmt.Errorf("require: no credential of the static backend matches %s, so no request can pass; %s", required, roles.Advice)
		}
	}
	return nil
}
