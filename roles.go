package frappeauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/static"
)

// frappeRoles are standard roles of Frappe, ERPNext and HRMS whose names contain a space. A role that is missing here
// only means that its warning is missing.
var frappeRoles = []string{
	"Accounts Manager", "Accounts User", "Dashboard Manager", "Desk User", "Employee Self Service", "Expense Approver", "Fleet Manager",
	"Fulfillment User", "HR Manager", "HR User", "Inbox User", "Item Manager", "Knowledge Base Contributor", "Knowledge Base Editor",
	"Leave Approver", "Maintenance Manager", "Maintenance User", "Manufacturing Manager", "Manufacturing User", "Newsletter Manager",
	"Prepared Report User", "Projects Manager", "Projects User", "Purchase Manager", "Purchase Master Manager", "Purchase User",
	"Quality Manager", "Report Manager", "Sales Manager", "Sales Master Manager", "Sales User", "Script Manager", "Stock Manager",
	"Stock User", "Support Team", "System Manager", "Website Manager", "Workspace Manager",
}

// splitRoles finds Frappe roles that a requirement lists word by word, because the quotes are missing.
func splitRoles(listed []string) (split []string) {
	for from := range listed {
		for to := from + 2; to <= min(len(listed), from+4); to++ {
			if joined := strings.Join(listed[from:to], " "); slices.Contains(frappeRoles, joined) {
				split = append(split, joined)
			}
		}
	}
	return split
}

// barred reports whether nobody can meet one of the requirements, because it names only unknown roles.
func barred(requirements []Requirement, unknown []string) bool {
	return slices.ContainsFunc(requirements, func(required Requirement) bool {
		return len(required.Users) == 0 && len(required.Roles) > 0 &&
			!slices.ContainsFunc(required.Roles, func(role string) bool { return !slices.Contains(unknown, role) })
	})
}

// requiredRoles returns all roles that the requirements name, each once.
func requiredRoles(requirements []Requirement) (names []string) {
	for _, required := range requirements {
		names = append(names, required.Roles...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// unknownRoles returns the required roles that no backend has, among the backends that can list their roles. complete
// reports whether all backends can; then nobody can have an unknown role. If some backends fail, the result still covers
// the others.
func unknownRoles(ctx context.Context, backends []namedBackend, requirements []Requirement) (unknown []string, complete bool, err error) {
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
			failed = append(failed, fmt.Errorf("backend %s: %w", b.name, err))
			continue
		}
		known = append(known, names...)
		asked++
	}
	if asked > 0 {
		unknown = slices.DeleteFunc(requiredRoles(requirements), func(role string) bool { return slices.Contains(known, role) })
	}
	return unknown, asked == len(backends), errors.Join(failed...)
}

// adviceOnRoles is the advice on unknown roles in errors and warnings.
const adviceOnRoles = "check the spelling, and quote names that contain spaces, as in require role \"System Manager\""

// maxRoleCheck is how long the backends may take to list their roles after a configuration is loaded.
const maxRoleCheck = 10 * time.Second

// checkRoles warns about required roles that probably nobody has. Backends that need a call are asked in the background,
// until stop is called.
func (o *Options) checkRoles(ctx context.Context, backends []namedBackend) (stop func()) {
	for _, required := range o.Require {
		for _, role := range splitRoles(required.Roles) {
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
func (o *Options) warnOfUnknownRoles(ctx context.Context, backends []namedBackend) {
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
func checkReachable(requirements []Requirement, listed *static.Backend) error {
	for _, required := range requirements {
		if !canMeet(listed, required) {
			return fmt.Errorf("require: no credential of the static backend matches %s, so no request can pass; %s", required, adviceOnRoles)
		}
	}
	return nil
}

// canMeet reports whether a listed credential meets the requirement. A placeholder may have any value, so it counts as a
// match.
func canMeet(listed *static.Backend, required Requirement) bool {
	if len(required.Roles) == 0 && len(required.Users) == 0 {
		return true // an empty requirement is reported elsewhere
	}
	meets := func(user string, roles []string) bool {
		return matchesAny([]string{user}, required.Users) || matchesAny(roles, required.Roles)
	}
	return slices.ContainsFunc(listed.Tokens, func(t static.Token) bool { return meets(t.User, t.Roles) }) ||
		slices.ContainsFunc(listed.Bearers, func(b static.Bearer) bool { return meets(b.User, b.Roles) })
}

func matchesAny(have, want []string) bool {
	return len(want) > 0 && slices.ContainsFunc(have, func(name string) bool {
		return slices.Contains(want, name) || strings.Contains(name, "{")
	})
}

// String describes who meets the requirement, as in `role System Manager or user alice@example.com`.
func (r Requirement) String() string {
	parts := make([]string, 0, len(r.Roles)+len(r.Users))
	for _, role := range r.Roles {
		parts = append(parts, "role "+role)
	}
	for _, user := range r.Users {
		parts = append(parts, "user "+user)
	}
	return strings.Join(parts, " or ")
}

// checkDistinct returns an error if a backend is given twice. Asking it again could only give the same answer.
func checkDistinct(backends []json.RawMessage) error {
	seen := make(map[string]bool)
	for _, raw := range backends {
		var value any
		decoder := json.NewDecoder(bytes.NewReader(raw))
		decoder.UseNumber()
		if err := decoder.Decode(&value); err != nil {
			return fmt.Errorf("backends: %w", err)
		}
		canonical, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("backends: %w", err)
		}
		if seen[string(canonical)] {
			return errors.New("the same backend is given twice; remove one, or give the other site its own address or site_name")
		}
		seen[string(canonical)] = true
	}
	return nil
}
