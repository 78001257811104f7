package frappe

import (
	"context"
	"fmt"
)

// HealthChecker is an optional interface of a Backend that can tell what is wrong with its source or its configuration, for
// `caddy frappe-auth doctor`.
type HealthChecker interface {
	// CheckHealth checks everything that verifications depend on, in the order in which an operator would. It returns soon
	// after ctx is done.
	CheckHealth(ctx context.Context) []Finding
}

// Finding is what one check of a backend found. It holds no secret.
type Finding struct {
	// Check names what was checked, such as `reachable`.
	Check string

	// Result says how it is.
	Result Result

	// Detail says what was found, and where it is not well, what to do.
	Detail string
}

// Result is how a check of a backend came out.
type Result string

// The results of checks.
const (
	// ResultOK: all is well.
	ResultOK Result = "ok"

	// ResultWarning: verifications work, but something should be looked at.
	ResultWarning Result = "warning"

	// ResultTrouble: verifications do not work, or will fail.
	ResultTrouble Result = "TROUBLE"
)

// OK makes a finding that all is well.
func OK(check, format string, args ...any) Finding {
	return Finding{Check: check, Result: ResultOK, Detail: fmt.Sprintf(format, args...)}
}

// Warning makes a finding that something should be looked at.
func Warning(check, format string, args ...any) Finding {
	return Finding{Check: check, Result: ResultWarning, Detail: fmt.Sprintf(format, args...)}
}

// Trouble makes a finding that verifications do not work, or will fail.
func Trouble(check, format string, args ...any) Finding {
	return Finding{Check: check, Result: ResultTrouble, Detail: fmt.Sprintf(format, args...)}
}
