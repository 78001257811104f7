package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// simulation is many Caddys that share a Redis. They are sites of one process, each with a memory and connections of
// its own.
type simulation struct {
	*harness
	site                             *site
	caddys, credentials, revocations int
	cold                             int // credentials that each Caddy is asked for in a cold start
	servers                          []*server
}

// restart replaces all Caddys by new ones, which know nothing, and waits until they share.
func (s *simulation) restart(ctx context.Context) error {
	s.stopServers()
	s.servers = nil
	for i := range s.caddys {
		// The name of its connection keeps a Caddy from sharing its memory with the others of this process.
		server := protect(s.site, s.credentials/s.caddys+2*s.cold, day, fmt.Sprintf(
			"share redis redis://REDIS?client_name=%d {\nsecret %s\ntimeout 2s\n}\nmax_inflight 1024\nname %[1]d\n", i, secret))
		server.directives = strings.Replace(server.directives, "respond ok", "respond {http.auth.frappe.cache}", 1)
		s.servers = append(s.servers, server)
	}
	if err := s.start(ctx, s.servers...); err != nil {
		return err
	}
	return s.waitShared(ctx, s.servers...)
}

// redisDuring returns by how much the numbers of Redis's INFO grow while something is done.
func (s *simulation) redisDuring(ctx context.Context, do func() error) (grown map[string]float64, err error) {
	host, port, _ := net.SplitHostPort(s.redis)
	grown = make(map[string]float64)
	for _, sign := range []float64{-1, 1} {
		if sign > 0 {
			err = do()
		}
		text, infoErr := exec.CommandContext( //nolint:gosec // made here
			ctx, "redis-cli", "-h", host, "-p", port, "info", "everything",
		).Output()
		err = errors.Join(err, infoErr)
		for line := range strings.Lines(string(text)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			number, _ := strconv.ParseFloat(value, 64) // what is no number does not matter
			grown[name] += sign * number
		}
	}
	return grown, err
}

// measure puts the Caddys in front of a Redis, and sends requests in phases.
func (s *simulation) measure(ctx context.Context) (text string, err error) {
	text = fmt.Sprintf("\nA simulation of %d Caddys that share a Redis\n\n"+
		"| | requests | to the site | commands of Redis, each | bytes to and from it, each | its CPU µs, each "+
		"| its memory in bytes, each |\n|---|---|---|---|---|---|---|\n", s.caddys)
	first, fresh := s.numbers(s.credentials), s.numbers(s.cold)
	own := func(i int) (int, int64) { return i * s.caddys / s.credentials, first + int64(i) } // one Caddy after the other
	cold := func(i int) (int, int64) { return i % s.caddys, fresh + int64(i/s.caddys) }
	again := func(i int) (int, int64) { return i % s.caddys, first + int64(i*7919%s.credentials) }
	all := s.caddys * s.cold
	for _, phase := range []struct {
		title           string
		restart         bool // all Caddys, before
		requests, asked int  // of the Caddys, of the site
		request         func(i int) (at int, credential int64)
	}{
		{fmt.Sprintf("a cold start: the same %d credentials at each Caddy", s.cold), true, all, s.cold, cold},
		{"the others, each at one Caddy", false, s.credentials, s.credentials, own},
		{"the same again", false, s.credentials, 0, own},
		{fmt.Sprintf("a restart of all Caddys: %d of them at each", s.cold), true, all, 0, again},
	} {
		fmt.Fprintln(os.Stderr, "simulation:", phase.title)
		if phase.restart {
			if err := s.restart(ctx); err != nil {
				return "", err
			}
		}
		asked := s.site.asked.Load()
		redis, err := s.redisDuring(ctx, func() error {
			_, err := attack(ctx, 0, phase.requests, func(n int64) (string, http.Header) {
				at, credential := phase.request(int(n))
				return s.servers[at].address, authorization(credential)
			})
			return err
		})
		if asked = s.site.asked.Load() - asked; err != nil || asked != int64(phase.asked) {
			return "", errors.Join(err, fmt.Errorf("%s: the site got %d requests", phase.title, asked))
		}
		n := float64(phase.requests)
		text += fmt.Sprintf("| %s | %d | %d | %.1f | %.0f | %.1f | %.0f |\n", phase.title, phase.requests, asked,
			redis["total_commands_processed"]/n, (redis["total_net_input_bytes"]+redis["total_net_output_bytes"])/n,
			1e6*(redis["used_cpu_user"]+redis["used_cpu_sys"])/n, max(0, redis["used_memory"]/n))
	}
	idle, err := s.redisDuring(ctx, func() error { time.Sleep(5 * s.duration); return nil })
	if err != nil {
		return "", err
	}
	revoked, err := s.revoke(ctx, fresh)
	return text + fmt.Sprintf("\nWithout requests, Redis executes %.0f commands a second. %s\n",
		idle["total_commands_processed"]/s.duration.Seconds()/5, revoked), err
}

// revoke has one Caddy cache a credential and another one revoke it, again and again. It says how long the first still
// took it from its cache.
func (s *simulation) revoke(ctx context.Context, credential int64) (text string, err error) {
	var times []float64 // in ms
	for n := range s.revocations {
		other := s.servers[1+n%(s.caddys-1)]
		if err := use(ctx, other, credential, 1); err != nil {
			return "", err
		}
		began, took, answered := time.Now(), 0.0, make(chan error)
		go func() {
			status, answer, err := send(ctx, http.MethodDelete,
				s.admin+"/frappe_auth/cache?handler=0&user=alice@example.com", nil)
			if err == nil && status != http.StatusNoContent {
				err = fmt.Errorf("the revocation is answered with %d %s", status, answer)
			}
			answered <- err
		}()
		for from := "hit"; from == "hit" && err == nil; {
			took = time.Since(began).Seconds() * 1e3
			_, from, err = send(ctx, http.MethodGet, other.address, authorization(credential))
		}
		if err = errors.Join(err, <-answered); err != nil {
			return "", err
		}
		times = append(times, took)
	}
	slices.Sort(times)
	return fmt.Sprintf("After a revocation at one Caddy, another one grants for up to "+
		"%.1f ms (p50), %.1f ms (p99), %.1f ms (at most).",
		times[len(times)/2], times[len(times)*99/100], times[len(times)-1]), nil
}
