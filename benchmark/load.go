package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// measureGroup starts the servers of a group, measures the contenders in rounds, and returns the rows of the table.
func (h *harness) measureGroup(ctx context.Context, g group) (string, error) {
	for i := range g.contenders {
		c := &g.contenders[i]
		c.status, c.without = cmp.Or(c.status, http.StatusOK), cmp.Or(c.without, http.StatusUnauthorized)
		for _, s := range []*server{c.server, c.through} {
			if s != nil && s.stop == nil {
				if err := h.start(ctx, s); err != nil {
					return "", err
				}
				defer s.stop()
			}
		}
		if err := h.prepare(ctx, c); err != nil {
			return "", fmt.Errorf("%s: %w", c.name, err)
		}
	}
	rounds := make(map[string][]measurement)
	for round := range h.rounds {
		fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", g.name, round+1, h.rounds)
		order := slices.Clone(g.contenders)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			m, err := h.measure(ctx, c)
			if err != nil {
				return "", fmt.Errorf("%s: %w", c.name, err)
			}
			rounds[c.name] = append(rounds[c.name], m)
		}
	}
	return tableRows(g, rounds), nil
}

// header is what a request carries: the credential of that number, if there is more than one.
func (c contender) header(n int64) http.Header {
	if strings.Contains(c.credential, "%") {
		return http.Header{"Authorization": {fmt.Sprintf(c.credential, c.first+n)}}
	}
	return http.Header{"Authorization": {c.credential}}
}

// prepare fills the cache of a contender, checks its answers, and runs its load once unmeasured.
func (h *harness) prepare(ctx context.Context, c *contender) (err error) {
	if c.population > 0 {
		fmt.Fprintf(os.Stderr, "%s: filling the cache\n", c.name)
		before, beforeErr := c.server.heap(ctx)
		useErr := c.use(ctx, c.server, c.population)
		after, afterErr := c.server.heap(ctx)
		c.heap, err = (after-before)/float64(c.population), errors.Join(beforeErr, useErr, afterErr)
	}
	if c.through != nil {
		err = h.waitShared(ctx, c.through, c.server)
	}
	if err == nil {
		_, err = get(ctx, c.server.address, c.header(0), c.status)
		_, withoutErr := get(ctx, c.server.address, nil, c.without)
		err = errors.Join(err, withoutErr)
	}
	if err == nil && !h.smoke {
		_, err = h.measure(ctx, *c)
	}
	return err
}

// waitShared waits until each server takes a verdict from the one before it.
func (h *harness) waitShared(ctx context.Context, servers ...*server) error {
	for i, s := range servers {
		for asked := int64(-1); s.site.asked.Load() != asked+1; {
			asked = s.site.asked.Load()
			c := contender{credential: numbered, first: h.serial.Add(1)}
			if err := errors.Join(c.use(ctx, s, 1), c.use(ctx, servers[(i+1)%len(servers)], 1)); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure measures a contender once. It returns an error if an answer or the number of requests to the site is wrong.
func (h *harness) measure(ctx context.Context, c contender) (m measurement, err error) {
	if c.rate > 0 && c.credential == numbered {
		n := int64(float64(c.rate)*h.duration.Seconds()) + 10
		c.first = h.serial.Add(n) - n + 1
		if c.through != nil {
			err = c.use(ctx, c.through, int(n))
		}
	}
	var requests int64
	site := cmp.Or(c.server.site, new(site))
	asked, used := site.asked.Load(), cpuTime(c.server.pid)
	if c.rate > 0 {
		result, attackErr := attack(ctx, c.rate, h.duration, func(n int64) (string, http.Header) { return c.server.address, c.header(n) })
		requests, err = int64(result.Requests), errors.Join(err, attackErr)
		m = measurement{rate: result.Rate, p50: result.Latencies.P50.Seconds() * 1e3, p99: result.Latencies.P99.Seconds() * 1e3}
	} else {
		m, requests, err = h.wrk(ctx, c)
	}
	asked, used = site.asked.Load()-asked, cpuTime(c.server.pid)-used
	if err == nil && (c.asks && asked < requests || !c.asks && asked > 0) {
		err = fmt.Errorf("the site got %d requests during %d", asked, requests)
	}
	m[cpu] = float64(used.Microseconds()) / float64(requests)
	if c.population > 1 {
		m[heap] = c.heap
	}
	return m, err
}

// populationScript has wrk send credentials at random. Every request has another number: Lua keeps one copy of equal
// strings, so that without it few credentials would cost wrk less than many.
const populationScript = `local number = 0
function request()
	number = number + 1
	return string.format("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nX-Number: %%d\r\n\r\n", math.random(0, %d), number)
end
`

// wrk sends requests as fast as they are answered, over 32 connections.
func (h *harness) wrk(ctx context.Context, c contender) (measurement, int64, error) {
	// wrk takes whole seconds only, and prints its result when interrupted.
	args := []string{"-t1", "-c32", "-d", strconv.Itoa(int(h.duration.Seconds()) + 1), "-H", "Authorization: " + c.header(0).Get("Authorization")}
	if c.population > 0 {
		script := filepath.Join(h.dir, "wrk.lua")
		if err := os.WriteFile(script, fmt.Appendf(nil, populationScript, c.credential, c.population-1), 0o600); err != nil {
			return measurement{}, 0, err
		}
		args = append(args, "-s", script)
	}
	cmd := exec.CommandContext(ctx, "wrk", append(args, "http://"+c.server.address)...) //nolint:gosec // all of it is made here
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	interrupt := time.AfterFunc(h.duration, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer interrupt.Stop()
	if err := cmd.Run(); err != nil {
		return measurement{}, 0, fmt.Errorf("wrk: %w\n%s", err, &output)
	}
	return parseWrk(output.String(), c.status)
}

// wrkOutput does not match where wrk reports socket errors. The second number is of answers with status 400 and above.
var wrkOutput = regexp.MustCompile(`(\d+) requests in .*\n(?:  Non-2xx or 3xx responses: (\d+)\n)?Requests/sec: +([\d.]+)\n`)

// parseWrk reads the output of wrk. It returns an error unless every request got the status.
func parseWrk(output string, status int) (measurement, int64, error) {
	found := wrkOutput.FindStringSubmatch(output)
	if found == nil || found[1] == "0" || status < 400 && found[2] != "" || status >= 400 && found[2] != found[1] {
		return measurement{}, 0, fmt.Errorf("every request should be answered with %d, but wrk printed\n%s", status, output)
	}
	requests, err := strconv.ParseInt(found[1], 10, 64)
	perSecond, rateErr := strconv.ParseFloat(found[3], 64)
	return measurement{rate: perSecond}, requests, errors.Join(err, rateErr)
}

// use uses the first credentials of a contender once, at a server.
func (c contender) use(ctx context.Context, at *server, count int) error {
	_, err := attack(ctx, 0, 0, func(n int64) (string, http.Header) {
		if n >= int64(count) {
			return "", nil
		}
		return at.address, c.header(n)
	})
	return err
}

// attack sends requests at a rate, or as fast as 16 connections can if it is 0, until the duration is over, ctx is done, or
// there is no URL for a number. It returns an error unless all are granted.
func attack(ctx context.Context, rate int, duration time.Duration, request func(n int64) (url string, header http.Header)) (*vegeta.Metrics, error) {
	var serial atomic.Int64
	targets := func(t *vegeta.Target) error {
		url, header := request(serial.Add(1) - 1)
		*t = vegeta.Target{Method: http.MethodGet, URL: "http://" + url, Header: header}
		if url == "" {
			return vegeta.ErrNoTargets
		}
		return nil
	}
	options := []func(*vegeta.Attacker){vegeta.Timeout(20 * time.Second)}
	if rate == 0 {
		options = append(options, vegeta.MaxWorkers(16)) // a constant rate has as many as it needs
	}
	attacker := vegeta.NewAttacker(options...)
	defer context.AfterFunc(ctx, func() { attacker.Stop() })()
	m := new(vegeta.Metrics)
	for result := range attacker.Attack(targets, vegeta.Rate{Freq: rate, Per: time.Second}, duration, "") {
		if result.Error != vegeta.ErrNoTargets.Error() {
			m.Add(result)
		}
	}
	m.Close()
	if n := m.StatusCodes["200"]; n == 0 || n != int(m.Requests) {
		return m, errors.Join(ctx.Err(), fmt.Errorf("%d of %d requests were granted: %v", n, m.Requests, m.Errors))
	}
	return m, nil
}
