package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// maxSkew is how much Redis's clock may differ from this machine's before it is reported.
const maxSkew = time.Second

// node is what a server says about itself.
type node struct {
	where string            // empty if there is only one
	info  map[string]string // by the names of INFO
}

// CheckHealth implements frappe.HealthChecker.
func (s *Store) CheckHealth(ctx context.Context) []frappe.Finding {
	client, err := reach(ctx, s.connection)
	if err != nil {
		return []frappe.Finding{unreachable(err)}
	}
	findings := []frappe.Finding{frappe.OK("reachable", "%s", s)}
	nodes, err := primaries(ctx, client)
	if err != nil {
		findings = append(findings, frappe.Warning("version", "not known, since INFO is refused: %v; Redis 6.2 or later is needed", s.connection.address.public(err)))
	}
	for _, n := range nodes {
		findings = append(findings, n.version(6, 2), n.role(), n.eviction(), n.persistence())
	}
	return append(findings, s.checkRights(ctx), s.checkClock(ctx))
}

// reach waits until Redis can be reached. A store that was provisioned just now has not connected yet.
func reach(ctx context.Context, c *connection) (rueidis.Client, error) {
	return call(ctx, c, func(ctx context.Context, client rueidis.Client) (rueidis.Client, error) {
		return client, client.Do(ctx, client.B().Ping().Build()).Error()
	})
}

// unreachable is the finding about a Redis that cannot be used, with what to do where Redis's own words do not say it.
func unreachable(err error) frappe.Finding {
	finding := frappe.Trouble("reachable", "%v", err)
	if answer := new(rueidis.RedisError); errors.As(err, &answer) {
		switch code, _, _ := strings.Cut(answer.Error(), " "); code {
		case "NOAUTH":
			return finding.Advise("write the option password, or a user into the URL as well")
		case "WRONGPASS":
			return finding.Advise("correct the option password, or the user in the URL")
		}
	}
	if _, failed := errors.AsType[*net.OpError](err); failed {
		return finding.Advise("start Redis, or correct its address in the URL; until then, Caddy goes on without it")
	}
	return finding
}

// primaries asks the servers about themselves, without the replicas of a Cluster.
func primaries(ctx context.Context, client rueidis.Client) ([]node, error) {
	var nodes []node
	servers := client.Nodes()
	for _, where := range slices.Sorted(maps.Keys(servers)) {
		server := servers[where]
		text, err := server.Do(ctx, server.B().Info().Build()).ToString()
		if err != nil {
			return nodes, err
		}
		n := node{info: make(map[string]string)}
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				n.info[name] = value
			}
		}
		if len(servers) > 1 {
			if n.info["role"] != "master" {
				continue
			}
			n.where = where + ": "
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// version checks that a server is recent enough. Valkey says which Redis it is compatible with.
func (n node) version(major, minor int) frappe.Finding {
	const check = "version"
	name := "Redis " + n.info["redis_version"]
	if valkey := n.info["valkey_version"]; valkey != "" {
		name = "Valkey " + valkey
	}
	parts := strings.SplitN(n.info["redis_version"], ".", 3)
	if len(parts) < 2 {
		return frappe.Warning(check, "%snot known; Redis %d.%d or later is needed", n.where, major, minor)
	}
	first, err := strconv.Atoi(parts[0])
	second, err2 := strconv.Atoi(parts[1])
	if err != nil || err2 != nil || first < major || first == major && second < minor {
		return frappe.Trouble(check, "%s%s is too old; Redis %d.%d or later, or Valkey, is needed", n.where, name, major, minor)
	}
	return frappe.OK(check, "%s%s", n.where, name)
}

func (n node) role() frappe.Finding {
	const check = "writable"
	if n.info["role"] != "master" {
		return frappe.Trouble(check, "%sthis is a read-only replica of %s; write the URL of the primary, or of the Sentinels with master_set",
			n.where, n.info["master_host"])
	}
	return frappe.OK(check, "%sa primary", n.where)
}

func (n node) eviction() frappe.Finding {
	const check = "eviction"
	policy := n.info["maxmemory_policy"]
	if n.info["maxmemory"] == "0" {
		return frappe.OK(check, "%sno limit of memory", n.where)
	}
	if strings.HasPrefix(policy, "allkeys-") {
		return frappe.Warning(check, "%smaxmemory-policy %s may evict the log of revocations; every Caddy then drops its cached verdicts. "+
			"Use noeviction or volatile-lru", n.where, policy)
	}
	return frappe.OK(check, "%s%s", n.where, policy)
}

func (n node) persistence() frappe.Finding {
	const check = "persistence"
	if n.info["aof_enabled"] == "0" {
		return frappe.OK(check, "%sno append-only file; after a restart that loses data, every Caddy drops its cached verdicts", n.where)
	}
	return frappe.OK(check, "%sappend-only file", n.where)
}

// checkRights does once what requests do, under a name of its own.
func (s *Store) checkRights(ctx context.Context) frappe.Finding {
	const check, name, ttl = "commands", "doctor", time.Second
	steps := []struct {
		what string
		run  func() error
	}{
		{"store a value", func() error { return s.Set(ctx, name, []byte("-"), ttl) }},
		{"read a value", func() error { _, err := s.Get(ctx, name); return err }},
		{"delete a value", func() error { return s.Delete(ctx, name) }},
		{"lock", func() error { _, err := s.Lock(ctx, name, name, ttl); return err }},
		{"unlock", func() error { return s.Unlock(ctx, name, name) }},
		{"count failures", func() error { _, err := s.Charge(ctx, name, time.Millisecond, ttl); return err }},
		{"append to a log", func() error {
			return s.do(ctx, func(ctx context.Context, client rueidis.Client) error {
				_, err := appendTo(ctx, client, s.valueKey(name), nil, ttl)
				return err
			})
		}},
		{"delete that log", func() error { return s.Delete(ctx, name) }},
		{"read the log", func() error {
			_, err := s.Read(ctx, frappe.Position{ID: endOfLog}, time.Millisecond)
			return err
		}},
	}
	for _, step := range steps {
		if err := step.run(); err != nil {
			return frappe.Trouble(check, "cannot %s: %v; docs/redis.md has the rights that the user needs", step.what, err)
		}
	}
	return frappe.OK(check, "all that are needed are allowed")
}

// endOfLog is an ID after which no entry can be.
const endOfLog = "18446744073709551615-18446744073709551615"

func (s *Store) checkClock(ctx context.Context) frappe.Finding {
	const check = "clock"
	before := time.Now()
	theirs, err := s.Time(ctx)
	if err != nil {
		return frappe.Trouble(check, "%v", err)
	}
	after := time.Now()
	skew := max(before.Sub(theirs), theirs.Sub(after), 0)
	if skew > maxSkew {
		return frappe.Warning(check, "differs from this machine's by %s, so shared verdicts serve that much shorter; run NTP on both", skew.Round(time.Second))
	}
	return frappe.OK(check, "at most %s from this machine's", maxSkew)
}

// CheckHealth implements frappe.HealthChecker.
func (f *FrappeEvents) CheckHealth(ctx context.Context) []frappe.Finding {
	probe := &subscription{address: f.subscription.address}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client, err := probe.dial(ctx)
	if err != nil {
		return []frappe.Finding{unreachable(fmt.Errorf("%s: %w", f, probe.address.public(err)))}
	}
	defer client.Close()
	findings := []frappe.Finding{frappe.OK("reachable", "%s", f)}
	if nodes, err := primaries(ctx, client); err == nil {
		for _, n := range nodes {
			findings = append(findings, n.version(6, 0))
		}
	}
	subscribed, ended := hear(ctx, client, func(string) {})
	select {
	case <-subscribed:
	case err = <-ended:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return append(findings, frappe.Trouble("channel", "%v; the user needs the right to SUBSCRIBE to the channel %s: &%[2]s +subscribe", probe.address.public(err), channel))
	}
	return append(findings, frappe.OK("channel", "%s may be heard", channel))
}

// Interface guards
var (
	_ frappe.HealthChecker = (*Store)(nil)
	_ frappe.HealthChecker = (*FrappeEvents)(nil)
)
