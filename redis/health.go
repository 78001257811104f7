package redis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// maxSkew is how much Redis's clock may differ from this machine's before it is reported.
const maxSkew = time.Second

// node is what a server says about itself, by the names of INFO.
type node map[string]string

// CheckHealth implements frappe.HealthChecker.
func (s *Store) CheckHealth(ctx context.Context) []frappe.Finding {
	client, err := reach(ctx, s.connection)
	if err != nil {
		return []frappe.Finding{s.connection.address.unreachable(err)}
	}
	findings := []frappe.Finding{frappe.OK("reachable", "%s", s)}
	n, err := about(ctx, client)
	if err != nil {
		findings = append(findings, frappe.Warning("version", "not known, since INFO is refused: %v; Redis 6.2 or "+
			"later is needed", s.connection.address.public(err)))
	} else {
		findings = append(findings, n.version(6, 2), n.role(), n.eviction(), n.persistence())
	}
	if found, _ := hasQueues(ctx, client); found {
		findings = append(findings, frappe.Warning("purpose", "this is the redis_queue of a bench: what fills or "+
			"flushes it there concerns the shared results, too").
			Advise("use a Redis of Caddy's own"))
	}
	return append(findings, s.checkScripts(ctx)...)
}

// reach waits until Redis can be reached. A store that was provisioned just now has not connected yet.
func reach(ctx context.Context, c *connection) (rueidis.Client, error) {
	return call(ctx, c, func(ctx context.Context, client rueidis.Client) (rueidis.Client, error) {
		return client, client.Do(ctx, client.B().Ping().Build()).Error()
	})
}

// unreachable is the finding about a Redis that cannot be used, with what to do.
func (a *address) unreachable(err error) frappe.Finding {
	return frappe.Trouble("reachable", "%v", a.public(err)).Advise("%s", a.advice(err))
}

// advice says what to do about a Redis that cannot be used.
func (a *address) advice(err error) string {
	_, atSentinel := errors.AsType[*sentinelError](err)
	if answer, refused := errors.AsType[*rueidis.RedisError](err); refused {
		return a.loginAdvice(answer.Error(), atSentinel)
	}
	if a.option.TLSConfig != nil {
		if advice := a.tlsAdvice(err); advice != "" {
			return advice
		}
	}
	closed := wasClosed(err)
	switch _, network := errors.AsType[*net.OpError](err); {
	case errors.Is(err, errHTTP), errors.Is(err, errProtocol):
		return "correct the host and the port in the URL"
	case errors.Is(err, errTLS):
		return "write the URL as rediss://…"
	case errors.Is(err, errIsSentinel):
		return "add ?master_set=<name> to the URL, with the name of the primary that it watches"
	case errors.Is(err, errNoSentinel):
		return "remove master_set from the URL, or write the port of the Sentinels, which is 26379 by default"
	case errors.Is(err, errNoPrimary):
		return "correct master_set in the URL; `redis-cli -p 26379 sentinel masters` lists the names"
	case errors.Is(err, errUnreachable):
		return "give the server an address that others reach: replica-announce-ip, sentinel announce-ip or " +
			"cluster-announce-ip"
	case closed:
		return "look into the log of Redis, which says why it closes connections; if its port speaks TLS, write the " +
			"URL as rediss://…"
	case network && atSentinel:
		return "start the Sentinel, or correct its address in the URL; until then, Caddy goes on without it"
	case network:
		return "start Redis, or correct its address in the URL; until then, Caddy goes on without it"
	}
	return ""
}

// wasClosed reports whether an error is that of a connection that the server closed.
func wasClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// loginAdvice says what to do about a login that is refused.
func (a *address) loginAdvice(answer string, atSentinel bool) string {
	code, _, _ := strings.Cut(answer, " ")
	switch {
	case code == "NOAUTH" && atSentinel:
		return "write the option sentinel_password"
	case code == "NOAUTH":
		return "write the option password, or a user into the URL as well"
	case code == "WRONGPASS" && atSentinel:
		return "write the option sentinel_password with the password of the Sentinels, or correct it; without it, " +
			"they get the option password"
	case code == "WRONGPASS" && a.option.Username != "":
		return "correct the option password, or the user in the URL"
	case code == "WRONGPASS":
		return "correct the option password, or write the user that it belongs to into the URL, as " +
			"redis://<user>@<host>"
	case code == "LOADING":
		return "wait until Redis has read its data"
	case strings.HasPrefix(answer, "DB index"), strings.HasPrefix(answer, "invalid DB index"):
		return "correct the number of the database in the URL"
	}
	return ""
}

// tlsAdvice says what to do about TLS that fails. It is empty if something else does.
func (a *address) tlsAdvice(err error) string {
	var (
		unknown   x509.UnknownAuthorityError
		other     x509.HostnameError
		invalid   x509.CertificateInvalidError
		plain     tls.RecordHeaderError
		name      = a.option.TLSConfig.ServerName
		operation = ""
	)
	if failed, ok := errors.AsType[*net.OpError](err); ok {
		operation = failed.Op
	}
	closed := wasClosed(err)
	switch {
	case errors.As(err, &plain):
		return "the server there does not speak TLS: correct the port, or write redis:// if the network may read the " +
			"password"
	case errors.Is(err, context.DeadlineExceeded):
		return "nothing there answers with TLS: correct the port, or write redis:// if the network may read the " +
			"password"
	case errors.As(err, &unknown) && a.option.TLSConfig.RootCAs == nil:
		return "write the option tls_ca, with the CA that Redis's certificate is from"
	case errors.As(err, &unknown):
		return "correct the option tls_ca: Redis's certificate is from another CA"
	case errors.As(err, &other):
		return "write the option tls_server_name with a name that the certificate is valid for; now it must be valid " +
			"for " + name
	case errors.As(err, &invalid):
		return "replace Redis's certificate"
	case (operation == "remote error" || closed) && a.option.TLSConfig.Certificates == nil:
		return "Redis asks for a certificate: write the options tls_cert and tls_key, or set tls-auth-clients no in " +
			"Redis"
	case operation == "remote error" || closed:
		return "Redis refuses the certificate of tls_cert: use one that is from the CA in Redis's tls-ca-cert-file, " +
			"and has not expired"
	}
	return ""
}

// about asks a server about itself.
func about(ctx context.Context, client rueidis.Client) (node, error) {
	text, err := client.Do(ctx, client.B().Info().Build()).ToString()
	if err != nil {
		return nil, err
	}
	n := make(node)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			n[name] = value
		}
	}
	return n, nil
}

// hasQueues reports whether a server has the queues of a bench: RQ, which Frappe runs its jobs with, keeps a list of
// them and of the workers.
func hasQueues(ctx context.Context, client rueidis.Client) (bool, error) {
	for _, key := range []string{"rq:queues", "rq:workers"} {
		n, err := client.Do(ctx, client.B().Exists().Key(key).Build()).AsInt64()
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}

// version checks that a server is recent enough. Valkey says which Redis it is compatible with.
func (n node) version(major, minor int) frappe.Finding {
	const check = "version"
	name := "Redis " + n["redis_version"]
	if valkey := n["valkey_version"]; valkey != "" {
		name = "Valkey " + valkey
	}
	parts := strings.SplitN(n["redis_version"], ".", 3)
	if len(parts) < 2 {
		return frappe.Warning(check, "not known; Redis %d.%d or later is needed", major, minor)
	}
	first, err := strconv.Atoi(parts[0])
	second, err2 := strconv.Atoi(parts[1])
	if err != nil || err2 != nil || first < major || first == major && second < minor {
		return frappe.Trouble(check, "%s is too old; Redis %d.%d or later, or Valkey, is needed", name, major, minor)
	}
	return frappe.OK(check, "%s", name)
}

func (n node) role() frappe.Finding {
	const check = "writable"
	if n["role"] != "master" {
		return frappe.Trouble(check, "this is a read-only replica of %s; write the URL of the primary, or of the "+
			"Sentinels with master_set",
			n["master_host"])
	}
	return frappe.OK(check, "a primary")
}

func (n node) eviction() frappe.Finding {
	const check = "eviction"
	policy := n["maxmemory_policy"]
	if n["maxmemory"] == "0" {
		return frappe.OK(check, "no limit of memory")
	}
	if strings.HasPrefix(policy, "allkeys-") {
		return frappe.Warning(check, "maxmemory-policy %s may evict the state that holds the revocations; every "+
			"Caddy then drops its cached verdicts. "+
			"Use noeviction or volatile-lru", policy)
	}
	return frappe.OK(check, "%s", policy)
}

func (n node) persistence() frappe.Finding {
	const check = "persistence"
	if n["aof_enabled"] == "0" {
		return frappe.OK(check, "no append-only file; after a restart that loses data, every Caddy drops its cached "+
			"verdicts")
	}
	return frappe.OK(check, "append-only file")
}

// CheckHealth implements frappe.HealthChecker.
func (f *FrappeEvents) CheckHealth(ctx context.Context) []frappe.Finding {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := f.subscription.address
	var findings []frappe.Finding
	if err := safely(func() error { findings = f.examine(ctx, a); return nil }); err != nil {
		findings = []frappe.Finding{a.unreachable(err)}
	}
	return findings
}

func (f *FrappeEvents) examine(ctx context.Context, a *address) []frappe.Finding {
	asked := sentinels{address: a}
	defer asked.close()
	l, err := (&subscription{address: a}).connect(ctx, &asked)
	if err != nil {
		return []frappe.Finding{a.unreachable(fmt.Errorf("%s: %w", f, err))}
	}
	defer l.client.Close()
	findings := []frappe.Finding{frappe.OK("reachable", "%s", f)}
	if n, err := about(ctx, l.client); err == nil {
		findings = append(findings, n.version(6, 0))
	}
	subscribed, ended := hear(ctx, l.client, func(string) {})
	select {
	case <-subscribed:
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return append(findings, frappe.Trouble("channel", "%v; the user needs the right to SUBSCRIBE to the channel "+
			"%s: &%[2]s +subscribe", a.public(err), channel))
	}
	findings = append(findings, frappe.OK("channel", "%s may be heard", channel))
	return append(findings, f.checkBench(ctx, l.client))
}

// checkBench looks for a sign that a bench announces its changes in this Redis.
func (f *FrappeEvents) checkBench(ctx context.Context, client rueidis.Client) frappe.Finding {
	const check = "bench"
	found, err := hasQueues(ctx, client)
	switch {
	case err != nil:
		return frappe.Warning(check, "not known, since the user may not look for its "+
			"queues").Advise("give it the rights ~rq:* +exists")
	case found:
		return frappe.OK(check, "its queues are here")
	}
	return frappe.Warning(check, "no queue of a bench is in this Redis, so it may be the bench's cache, where "+
		"nothing is announced").
		Advise("write the URL of redis_queue in common_site_config.json, or of redis_socketio for Frappe 13 and 14; " +
			"a bench that has never run a job has no queue yet")
}

// Interface guards
var (
	_ frappe.HealthChecker = (*Store)(nil)
	_ frappe.HealthChecker = (*FrappeEvents)(nil)
)
