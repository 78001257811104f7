package frappeauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// Examiner is an optional interface of a Backend that can tell what is wrong with its source or its configuration, for
// `caddy frappe-auth doctor`.
type Examiner interface {
	// Examine checks everything that verifications depend on, in the order in which an operator would. It returns soon
	// after ctx is done.
	Examine(ctx context.Context) []Finding
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

// maxExamination is how long the examination of one backend may take.
const maxExamination = 30 * time.Second

func cmdDoctor(fl caddycmd.Flags) (int, error) {
	handlers, unload, err := loadConfigured(fl, nil)
	if err != nil {
		return caddy.ExitCodeFailedStartup, err
	}
	defer unload()
	return examine(os.Stdout, handlers)
}

// examine writes a table of what is found about each backend, once for all handlers that share it.
func examine(w io.Writer, handlers []configured) (int, error) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "BACKEND\tCHECK\tRESULT\tDETAIL")
	seen := make(map[string]bool)
	code := 0
	for _, c := range handlers {
		for _, b := range c.verifier.backends {
			name := b.name + " " + b.source()
			if seen[name] {
				continue
			}
			seen[name] = true
			for _, f := range findingsOf(b) {
				if f.Result == ResultTrouble {
					code = exitTrouble
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", name, f.Check, f.Result, f.Detail)
			}
		}
	}
	return code, table.Flush()
}

func findingsOf(b namedBackend) []Finding {
	examiner, ok := b.Backend.(Examiner)
	if !ok {
		return []Finding{OK("configuration", "this backend has no checks of its own")}
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxExamination)
	defer cancel()
	return examiner.Examine(ctx)
}

// Examine implements Examiner: all it needs is in the configuration, which was read.
func (s *StaticBackend) Examine(context.Context) []Finding {
	return []Finding{OK("configuration", "nothing to reach: all of it is in the configuration")}
}

// Examine implements Examiner.
func (s *SiteBackend) Examine(ctx context.Context) []Finding {
	findings := make([]Finding, 0, 4*len(s.addresses))
	for i := range s.addresses {
		q := question{backend: s, address: &s.addresses[i]}
		name := "address"
		if len(s.addresses) > 1 {
			name = fmt.Sprintf("address %d", i+1)
		}
		findings = append(findings, q.examine(ctx, name)...)
	}
	return findings
}

// examine asks an address as nobody, which Frappe refuses, and what version it is.
func (q question) examine(ctx context.Context, name string) []Finding {
	if q.backend.Tenanted() {
		return []Finding{Warning(name, "the site depends on the request; `caddy frappe-auth check --url` tries one")}
	}
	findings := q.examineTransport(name)
	asked := time.Now()
	status, header, body, err := q.fetch(ctx, pathLoggedUser)
	took := time.Since(asked).Round(100 * time.Microsecond)
	var about map[string]json.RawMessage
	switch {
	case err != nil:
		return append(findings, Trouble(name, "%v", err))
	case status != http.StatusUnauthorized && status != http.StatusForbidden:
		return append(findings, Trouble(name, "%v", q.noVerdict(status, errors.New(likelyCause(status)))))
	case json.Unmarshal(body, &about) != nil:
		return append(findings, Trouble(name, "%v", q.noVerdict(status,
			errors.New("the answer is not JSON, so it is not Frappe's but of something in front of it"))))
	}
	findings = append(findings,
		OK(name, "refuses a request without a credential, in %s", took),
		q.examineVersion(ctx))
	return append(findings, examineClock(header.Get("Date"), time.Now()))
}

// examineTransport warns of credentials that others on the way can read.
func (q question) examineTransport(name string) []Finding {
	host := q.address.url.Hostname()
	ip := net.ParseIP(host)
	if q.address.url.Scheme != "http" || q.address.socket != "" || host == "localhost" || (ip != nil && (ip.IsLoopback() || ip.IsPrivate())) {
		return nil
	}
	return []Finding{Warning(name, "credentials go to %s without encryption; write https://", host)}
}

// examineVersion asks for the version of Frappe, which all versions known tell everybody.
func (q question) examineVersion(ctx context.Context) Finding {
	const check = "Frappe"
	status, _, body, err := q.fetch(ctx, pathVersion)
	var answer struct {
		Message string `json:"message"`
	}
	if err != nil || status != http.StatusOK || json.Unmarshal(body, &answer) != nil || !printable(answer.Message) {
		return Warning(check, "the site does not tell its version")
	}
	return versionFinding(check, answer.Message)
}

// pathVersion is frappe.handler.version, which needs no credential.
const pathVersion = "/api/method/version"

// versionFinding says what is known of a version of Frappe.
func versionFinding(check, version string) Finding {
	var major int
	if _, err := fmt.Sscanf(version, "%d.", &major); err != nil || major < 14 {
		return Warning(check, "%s; versions from 14 on are tested", version)
	}
	return OK(check, "%s", version)
}

// maxSkew is by how much clocks may differ, beside the second that a Date header leaves out.
const maxSkew = 5 * time.Second

// examineClock compares the site's clock with this machine's.
func examineClock(date string, now time.Time) Finding {
	const check = "clock"
	theirs, err := http.ParseTime(date)
	if err != nil {
		return Warning(check, "the site does not tell its time")
	}
	skew := now.Sub(theirs).Truncate(time.Second)
	if skew.Abs() > maxSkew {
		return Warning(check, "differs from this machine's by %s; run NTP on both", skew.Abs())
	}
	return OK(check, "as this machine's, give or take %s", maxSkew)
}

// printable reports whether a text is short printable ASCII, as what a site says must be before it is shown.
func printable(text string) bool {
	if text == "" || len(text) > 64 {
		return false
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// fetch gets a path and reads the answer, within the backend's timeout.
func (q question) fetch(ctx context.Context, path string) (status int, header http.Header, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(q.backend.Timeout))
	defer cancel()
	resp, err := q.backend.transport.RoundTrip(q.request(ctx, path, ""))
	if err != nil {
		return 0, nil, nil, q.noAnswer(err)
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBodySize))
	if err != nil {
		return 0, nil, nil, q.noAnswer(err)
	}
	return resp.StatusCode, resp.Header, body, nil
}

// Interface guards
var (
	_ Examiner = (*SiteBackend)(nil)
	_ Examiner = (*StaticBackend)(nil)
)
