package frappeauth

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
)

// FailureLimit is how many credentials of one client may be denied before its credentials are refused with status 429
// unless they are already known to be good. A client is Caddy's `{http.vars.client_ip}`, IPv6 by /64: behind another
// proxy, configure `trusted_proxies`, or all clients count as one.
//
// A credential counts when a backend denies it, or cannot judge it while it judges others, unless the credential is already
// known to be bad: a service that goes on sending a key that was revoked costs its neighbours nothing.
type FailureLimit struct {
	// How many denied credentials are allowed at once, 1 to 1000000; negative: any number. Default: 20.
	Max int `json:"max,omitempty"`

	// How long it takes until as many are allowed again, 1 second to 24 hours. Default: `1m`.
	Window caddy.Duration `json:"window,omitempty"`
}

const (
	defaultMaxFailures   = 20
	maxFailuresLimit     = 1_000_000
	defaultFailureWindow = caddy.Duration(time.Minute)
	minFailureWindow     = caddy.Duration(time.Second)
	maxFailureWindow     = caddy.Duration(24 * time.Hour)
)

// withDefaults returns the limit with its defaults set; nil is an empty one.
func (l *FailureLimit) withDefaults() *FailureLimit {
	var limit FailureLimit
	if l != nil {
		limit = *l
	}
	if limit.Max == 0 {
		limit.Max = defaultMaxFailures
	}
	if limit.Window == 0 {
		limit.Window = defaultFailureWindow
	}
	return &limit
}

// validate reports what is wrong with the configuration.
func (l FailureLimit) validate() error {
	if l.Max > maxFailuresLimit {
		return fmt.Errorf("failures: %d is more than %d", l.Max, maxFailuresLimit)
	}
	if err := directive.CheckDuration("failures", l.Window); err != nil {
		return err
	}
	if l.Window != 0 && (l.Window < minFailureWindow || l.Window > maxFailureWindow) {
		return fmt.Errorf("failures: %s is not between %s and %s",
			time.Duration(l.Window), time.Duration(minFailureWindow), time.Duration(maxFailureWindow))
	}
	return nil
}

// rate is the limit as the limiter takes it.
func (l FailureLimit) rate() rate.Limit {
	return rate.Limit{Max: l.Max, Window: time.Duration(l.Window)}
}

func (l *FailureLimit) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	const usage = "write failures off, or failures with a number and a time window, such as failures 20 1m"
	args := d.RemainingArgs()
	switch {
	case len(args) == 1 && args[0] == "off":
		l.Max = -1
		return directive.NoBlock(d, "failures")
	case len(args) != 2:
		return d.Err(usage)
	}
	var err error
	if l.Max, err = directive.ParseNumber(args[0]); err != nil {
		return d.Errf("failures: %w; %s", err, usage)
	}
	if l.Window, err = directive.ParseDuration(args[1]); err != nil {
		return d.Errf("failures: %w; %s", err, usage)
	}
	return directive.NoBlock(d, "failures")
}
