package backends

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// roleAdvice is the advice on unknown roles in errors and warnings.
const roleAdvice = "check the spelling, and quote names that contain spaces, as in require role \"System Manager\""

// maxRoleCheck is how long the backends may take to list their roles.
const maxRoleCheck = 10 * time.Second

// unknownRoles returns the required roles that none of the backends that can list their roles has. complete reports
// whether all backends listed their roles, so that nobody can have an unknown role. If a backend fails, the result
// covers the others.
func unknownRoles(
	ctx context.Context, from []Loaded, requirements []frappe.Requirement,
) (unknown []string, complete bool, err error) {
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

// CheckReachable returns an error if one of the requirements is met by none of the listed credentials.
func CheckReachable(requirements []frappe.Requirement, listed interface{ CanMeet(frappe.Requirement) bool }) error {
	for _, required := range requirements {
		if !listed.CanMeet(required) {
			return fmt.Errorf("require: no credential of the static backend matches %s, so no request can pass; %s", required,
				roleAdvice)
		}
	}
	return nil
}

// WatchRoles asks the backends for the names of their roles in the background, and logs a warning about required roles
// that do not exist. stop ends this, and waits until nothing is logged any more.
func WatchRoles(
	ctx context.Context, logger *zap.Logger, from []Loaded, requirements []frappe.Requirement,
) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		warnUnknownRoles(ctx, logger, from, requirements)
	}()
	return func() {
		cancel()
		<-done
	}
}

func warnUnknownRoles(ctx context.Context, logger *zap.Logger, from []Loaded, requirements []frappe.Requirement) {
	limited, cancel := context.WithTimeout(ctx, maxRoleCheck)
	defer cancel()
	unknown, complete, err := unknownRoles(limited, from, requirements)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		logger.Warn("the names of the roles could not be read, so the roles in require were not checked", zap.Error(err))
	}
	if len(unknown) > 0 && complete {
		logger.Warn("require names roles that no backend has; "+roleAdvice, zap.Strings("roles", unknown))
	}
}

// CheckRoles returns a finding about the required roles. found is false if there is nothing to report.
func CheckRoles(
	ctx context.Context, from []Loaded, requirements []frappe.Requirement,
) (finding frappe.Finding, found bool) {
	const check = "require role"
	required := allRequired(requirements)
	if len(required) == 0 {
		return frappe.Finding{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, maxRoleCheck)
	defer cancel()
	unknown, complete, err := unknownRoles(ctx, from, requirements)
	names := strings.Join(unknown, ", ")
	switch {
	case err != nil:
		return frappe.Warning(check, "the names of the roles could not be read: %v", err), true
	case len(unknown) == 0 && complete:
		return frappe.OK(check, "all of these exist: %s", strings.Join(required, ", ")), true
	case len(unknown) > 0 && complete && unreachable(requirements, unknown):
		return frappe.Trouble(check, "no backend has %s, so nobody can pass", names).Advise(roleAdvice), true
	case len(unknown) > 0 && complete:
		return frappe.Warning(check, "no backend has %s", names).Advise(roleAdvice), true
	case len(unknown) > 0:
		finding := frappe.Warning(check, "only a backend that cannot list its roles could have %s", names)
		return finding.Advise(roleAdvice), true
	}
	return frappe.Finding{}, false
}

// unreachable reports whether nobody can meet one of the requirements, because it names only unknown roles.
func unreachable(requirements []frappe.Requirement, unknown []string) bool {
	return slices.ContainsFunc(requirements, func(required frappe.Requirement) bool {
		return len(required.Users) == 0 && len(required.Scopes) == 0 && len(required.Clients) == 0 &&
			len(required.Roles) > 0 &&
			!slices.ContainsFunc(required.Roles, func(role string) bool { return !slices.Contains(unknown, role) })
	})
}

// allRequired returns all roles that the requirements name, each once.
func allRequired(requirements []frappe.Requirement) (names []string) {
	for _, required := range requirements {
		names = append(names, required.Roles...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
