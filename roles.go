package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/roles"
	"github.com/caddy-frappe/frappe-auth/static"
)

// unknownRoles returns the required roles that no backend has, among the backends that can list their roles. complete
// reports whether all backends can; then nobody can have an unknown role. If some backends fail, the result still covers
// the others.
func unknownRoles(ctx context.Context, backends []backends.Backend, requirements []frappe.Requirement) (unknown []string, complete bool, err error) {
	var (
		known  []string
		asked  int
		failed []error
	)
	for _, b := range backends {
		lister, ok := b.Backend.(frappe.RoleLister)
		if !ok {
			continue
		}
		names, err := lister.RoleNames(ctx)
		if err != nil {
			failed = append(failed, fmt.Errorf("backend %s: %w", b.Name, err))
			continue
		}
		known = append(known, names...)
		asked++
	}
	if asked > 0 {
		unknown = slices.DeleteFunc(roles.Required(requirements), func(role string) bool { return slices.Contains(known, role) })
	}
	return unknown, asked == len(backends), errors.Join(failed...)
}

// adviceOnRoles is the advice on unknown roles in errors and warnings.
const adviceOnRoles = "check the spelling, and quote names that contain spaces, as in require role \"System Manager\""

// maxRoleCheck is how long the backends may take to list their roles after a configuration is loaded.
const maxRoleCheck = 10 * time.Second

// checkRoles warns about required roles that probably nobody has. Backends that need a call are asked in the background,
// until stop is called.
func (o *Options) checkRoles(ctx context.Context, backends []backends.Backend) (stop func()) {
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
	for _, b := range backends {
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
		o.warnOfUnknownRoles(ctx, backends)
	}()
	return func() {
		cancel()
		<-done
	}
}

// warnOfUnknownRoles asks the backends for the names of their roles and warns about required roles they do not have. It
// logs nothing if ctx ends first.
func (o *Options) warnOfUnknownRoles(ctx context.Context, backends []backends.Backend) {
	limited, cancel := context.WithTimeout(ctx, maxRoleCheck)
	defer cancel()
	unknown, complete, err := unknownRoles(limited, backends, o.Require)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		o.logger.Warn("the names of the roles could not be read, so the roles in require were not checked", zap.Error(err))
	}
	if len(unknown) > 0 && complete {
		o.logger.Warn("require names roles that no backend has; "+adviceOnRoles, zap.Strings("roles", unknown))
	}
}

// checkReachable returns an error if no credential of a static backend meets one of the requirements.
func checkReachable(requirements []frappe.Requirement, listed *static.Backend) error {
	for _, required := range requirements {
		if !canMeet(listed, required) {
			return fmt.Errorf("require: no credential of the static backend matches %s, so no request can pass; %s", required, adviceOnRoles)
		}
	}
	return nil
}

// canMeet reports whether a listed credential meets the requirement. A placeholder may have any value, so it counts as a
// match. API keys have every scope.
func canMeet(listed *static.Backend, required frappe.Requirement) bool {
	if required.Validate() != nil {
		return true // reported elsewhere
	}
	meets := func(user string, roles []string) bool {
		return matchesAny([]string{user}, required.Users) || matchesAny(roles, required.Roles)
	}
	return len(listed.Tokens) > 0 && len(required.Scopes) > 0 ||
		slices.ContainsFunc(listed.Tokens, func(t static.Token) bool { return meets(t.User, t.Roles) }) ||
		slices.ContainsFunc(listed.Bearers, func(b static.Bearer) bool { return meets(b.User, b.Roles) })
}

func matchesAny(have, want []string) bool {
	return len(want) > 0 && slices.ContainsFunc(have, func(name string) bool {
		return slices.Contains(want, name) || strings.Contains(name, "{")
	})
}
