package frappe

import (
	"context"
	"fmt"
)

// HealthChecker is an optional interface of a Backend that can check its source and its configuration, for `caddy
// frappe-auth doctor`.
type HealthChecker interface {
	// CheckHealth checks everything that verifications depend on, in the order in which an operator would. It must return
	// soon after ctx is done.
	CheckHealth(ctx context.Context) []Finding
}

// Pinger is an optional interface of a Backend that can find out whether its source answers, without a credential. With
// metrics on, a backend that nobody has called for a while is pinged, so that the metric backend_up is right.
type Pinger interface {
	// Ping returns an error if the source cannot be reached, or could not give a verdict. site is Credential.Site of the
	// last call that failed, for a SiteResolver. It must return soon after ctx is done.
	Ping(ctx context.Context, site string) error
}

// Finding is the result of one check of a backend. It must not contain a secret.
type Finding struct {
	// Check names what was checked, such as `reachable`.
	Check string

	// Result is the outcome of the check.
	Result Result

	// Detail says what was found. If Advice is empty, it may also say what to do.
	Detail string

	// Advice says what to do if something is wrong.
	Advice string
}

// Advise returns the finding with advice. format and args are those of fmt.Sprintf.
func (f Finding) Advise(format string, args ...any) Finding {
	f.Advice = fmt.Sprintf(format, args...)
	return f
}

// String returns what was found and what to do, as one sentence.
func (f Finding) String() string {
	if f.Advice == "" {
		return f.Detail
	}
	return f.Detail + "; " + f.Advice
}

// Result is the outcome of a check.
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

// OK returns a finding that all is well. format and args are those of fmt.Sprintf.
func OK(check, format string, args ...any) Finding {
	return Finding{Check: check, Result: ResultOK, Detail: fmt.Sprintf(format, args...)}
}

// Warning returns a finding that something should be looked at.
func Warning(check, format string, args ...any) Finding {
	return Finding{Check: check, Result: ResultWarning, Detail: fmt.Sprintf(format, args...)}
}

// Trouble returns a finding that verifications do not work, or will fail.
func Trouble(check, format string, args ...any) Finding {
	return Finding{Check: check, Result: ResultTrouble, Detail: fmt.Sprintf(format, args...)}
}
