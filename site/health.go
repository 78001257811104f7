package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// pathPing is a method that Frappe answers with `pong`, without a credential.
const pathPing = "/api/method/ping"

// CheckHealth implements frappe.HealthChecker.
func (s *Backend) CheckHealth(ctx context.Context) []frappe.Finding {
	findings := make([]frappe.Finding, 0, 4*len(s.addresses))
	for i := range s.addresses {
		call := request{backend: s, address: &s.addresses[i]}
		name := "address"
		if len(s.addresses) > 1 {
			name = fmt.Sprintf("address %d", i+1)
		}
		findings = append(findings, call.examine(ctx, name)...)
	}
	return findings
}

// Ping implements frappe.Pinger. It asks as Verify does, without a credential, which Frappe refuses.
func (s *Backend) Ping(ctx context.Context, site string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.Timeout))
	defer cancel()
	defer s.closeIfUnloaded()
	_, err := s.askAddresses(ctx, request{backend: s, site: site}, request.identity)
	if errors.Is(err, frappe.ErrDenied) {
		return nil
	}
	return err
}

// examine checks an address without a credential: whether a Frappe site answers, and whether it refuses a guest.
func (c request) examine(ctx context.Context, name string) []frappe.Finding {
	if c.backend.ResolvesSites() {
		warning := frappe.Warning(name, "the site depends on the request")
		return []frappe.Finding{warning.Advise("try one with `caddy frappe-auth check --url`")}
	}
	findings := append(c.examineTransport(name), c.examineProxy(name)...)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.backend.Timeout))
	defer cancel()

	asked := time.Now()
	a, err := c.ping(ctx)
	if err != nil {
		return append(findings, frappe.Trouble(name, "%v", reasonOf(err)))
	}
	findings = append(findings,
		frappe.OK(name, "answered ping with pong in %s", time.Since(asked).Round(100*time.Microsecond)))

	switch _, err := c.loggedUser(ctx); {
	case err == nil:
		return append(findings,
			frappe.Trouble(name, "accepts a request without a credential").Advise("check the proxies in front of Frappe"))
	case !errors.Is(err, frappe.ErrDenied):
		return append(findings, frappe.Trouble(name, "%v", reasonOf(err)))
	}
	return append(findings,
		frappe.OK(name, "refuses a request without a credential"),
		examineClock(a.header.Get("Date"), time.Now()))
}

// ping returns an error unless a Frappe site answers at the address.
func (c request) ping(ctx context.Context) (siteAnswer, error) {
	a, err := c.get(ctx, pathPing, "")
	if err != nil {
		return a, err
	}
	var pong string
	if err := a.member("message", &pong); err != nil {
		return a, c.noVerdict(a.status, err)
	}
	if a.status != http.StatusOK || pong != "pong" {
		return a, c.noVerdict(a.status, errors.New("ping is not answered with pong; is this the address of a Frappe site?"))
	}
	return a, nil
}

// examineTransport warns if credentials are sent unencrypted over a public network.
func (c request) examineTransport(name string) []frappe.Finding {
	host := c.address.url.Hostname()
	if c.address.url.Scheme != "http" || c.address.socket != "" || Private(host) {
		return nil
	}
	warning := frappe.Warning(name, "credentials are sent to %s without encryption", host)
	return []frappe.Finding{warning.Advise("write https://")}
}

// maxSkew is how much the two clocks may differ. A Date header has a resolution of one second.
const maxSkew = 5 * time.Second

// examineClock compares the site's clock with this machine's.
func examineClock(date string, now time.Time) frappe.Finding {
	const check = "clock"
	theirs, err := http.ParseTime(date)
	if err != nil {
		return frappe.Warning(check, "the site sends no Date header")
	}
	skew := now.Sub(theirs).Truncate(time.Second)
	if skew.Abs() > maxSkew {
		return frappe.Warning(check, "differs from this machine's by %s", skew.Abs()).Advise("run NTP on both")
	}
	return frappe.OK(check, "at most %s from this machine's", maxSkew)
}

// Interface guards
var (
	_ frappe.HealthChecker = (*Backend)(nil)
	_ frappe.Pinger        = (*Backend)(nil)
)
