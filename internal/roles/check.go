package roles

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
)

// Advice is the advice on unknown roles in errors and warnings.
const Advice = "check the spelling, and quote names that contain spaces, as in require role \"System Manager\""

// maxCheck is how long the backends may take to list their roles.
const maxCheck = 10 * time.Second

// unknownIn returns the required roles that no backend has, among the backends that can list their roles. complete
// reports whether all backends can; then nobody can have an unknown role. If some backends fail, the result still covers
// the others.
func unknownIn(ctx context.Context, from []backends.Backend, requirements []frappe.Requirement) (unknown []string, complete bool, err error) {
	var (
		known  []string
		asked  int
		failed []error
	)
	for _, b := range from {
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
		unknown = slices.DeleteFunc(allRequired(requirements), func(role string) bool { return slices.Contains(known, role) })
	}
	return unknown, asked == len(from), errors.Join(failed...)
}

// CheckReachable returns an error if no credential of a backend that lists them all meets one of the requirements.
func CheckReachable(requirements []frappe.Requirement, listed interface{ CanMeet(frappe.Requirement) bool }) error {
	for _, required := range requirements {
		if !listed.CanMeet(required) {
			return fmt.Errorf("require: no credential of the static backend matches %s, so no request can pass; %s", required, Advice)
		}
	}
	return nil
}

// WarnSplit logs a warning about each role that a requirement lists word by word.
func WarnSplit(logger *zap.Logger, requirements []frappe.Requirement) {
	for _, required := range requirements {
		for _, role := range split(required.Roles) {
			logger.Warn("require role lists the words of one role as several roles; write its name in quotes",
				zap.String("write", fmt.Sprintf("require role %q", role)))
		}
	}
}

// Watch asks the backends in the background for the names of their roles, and logs a warning about required roles that they
// do not have. It logs nothing once stop is called, which waits for the end.
func Watch(ctx context.Context, logger *zap.Logger, from []backends.Backend, requirements []frappe.Requirement) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		warn(ctx, logger, from, requirements)
	}()
	return func() {
		cancel()
		<-done
	}
}

func warn(ctx context.Context, logger *zap.Logger, from []backends.Backend, requirements []frappe.Requirement) {
	limited, cancel := context.WithTimeout(ctx, maxCheck)
	defer cancel()
	unknown, complete, err := unknownIn(limited, from, requirements)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		logger.Warn("the names of the roles could not be read, so the roles in require were not checked", zap.Error(err))
	}
	if len(unknown) > 0 && complete {
		logger.Warn("require names roles that no backend has; "+Advice, zap.Strings("roles", unknown))
	}
}

// Find returns what there is to say about the required roles. found is false if there is nothing.
func Find(ctx context.Context, from []backends.Backend, requirements []frappe.Requirement) (finding frappe.Finding, found bool) {
	const check = "require role"
	ctx, cancel := context.WithTimeout(ctx, maxCheck)
	defer cancel()
	unknown, complete, err := unknownIn(ctx, from, requirements)
	names := strings.Join(unknown, ", ")
	switch {
	case err != nil:
		return frappe.Warning(check, "the names of the roles could not be read: %v", err), true
	case len(unknown) == 0 && complete:
		return frappe.OK(check, "all of these exist: %s", strings.Join(allRequired(requirements), ", ")), true
	case len(unknown) > 0 && complete && barred(requirements, unknown):
		return frappe.Trouble(check, "no backend has %s, so nobody can pass", names).Advise(Advice), true
	case len(unknown) > 0 && complete:
		return frappe.Warning(check, "no backend has %s", names).Advise(Advice), true
	case len(unknown) > 0:
		return frappe.Warning(check, "only a backend that cannot list its roles could have %s", names).Advise(Advice), true
	}
	return frappe.Finding{}, false
}
