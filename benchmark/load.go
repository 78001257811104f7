package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

// compare starts the servers of the contenders, measures them side by side, in rounds, and returns the rows of the
// table.
func (h *harness) compare(ctx context.Context, title string, contenders []contender) (string, error) {
	for _, c := range contenders {
		if c.server.address == "" { // else it is that of another contender, too
			if err := h.start(ctx, c.server); err != nil {
				return "", err
			}
		}
	}
	for i := range contenders {
		if err := h.prepare(ctx, &contenders[i]); err != nil {
			return "", fmt.Errorf("%s: %w", contenders[i].name, err)
		}
	}
	rounds := make(map[string][]measurement)
	for round := range h.rounds {
		fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", title, round+1, h.rounds)
		order := slices.Clone(contenders)
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
	return tableRows(title, contenders, rounds), nil
}

// prepare fills the cache of a contender, checks its answers, and runs its load once unmeasured.
func (h *harness) prepare(ctx context.Context, c *contender) (err error) {
	c.status, c.without = cmp.Or(c.status, http.StatusOK), cmp.Or(c.without, http.StatusUnauthorized)
	if c.population > 0 {
		err = use(ctx, c.server, c.first, c.population)
	}
	if c.through != nil {
		err = h.waitShared(ctx, c.through, c.server)
	}
	status, _, statusErr := send(ctx, http.MethodGet, c.server.address, c.header(0))
	without, _, withoutErr := send(ctx, http.MethodGet, c.server.address, nil)
	if err = errors.Join(err, statusErr, withoutErr); err == nil && (status != c.status || without != c.without) {
		err = fmt.Errorf("it answers with %d, and without a credential with %d", status, without)
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
			first := h.numbers(1)
			if err := errors.Join(use(ctx, s, first, 1), use(ctx, servers[(i+1)%len(servers)], first, 1)); err != nil {
				return err
			}
		}
	}
	return nil
}

// measure measures a contender once. It returns an error if an answer or the number of requests to the site is wrong.
func (h *harness) measure(ctx context.Context, c contender) (m measurement, err error) {
	count := int(float64(c.rate) * h.duration.Seconds())
	if c.rate > 0 && c.credential == numbered {
		c.first = h.numbers(count)
		if c.through != nil {
			err = use(ctx, c.through, c.first, count)
		}
	}
	site := cmp.Or(c.server.site, new(site))
	asked, used := float64(site.asked.Load()), cpuTime(c.server.pid)
	if c.rate == 0 {
		m, err = h.wrk(ctx, c)
	} else if err == nil {
		m, err = attack(ctx, c.rate, count, func(n int64) (string, http.Header) { return c.server.address, c.header(n) })
	}
	asked, used = float64(site.asked.Load())-asked, cpuTime(c.server.pid)-used
	switch {
	case err != nil:
		return nil, err
	case c.asks && asked < m[requests] || !c.asks && asked > 0:
		return nil, fmt.Errorf("the site got %.0f requests during %.0f", asked, m[requests])
	}
	m[cpu] = float64(used.Microseconds()) / m[requests]
	return m, nil
}

// populationScript has wrk send credentials at random. Every request has another number: Lua keeps one copy of equal
// strings, so that without it few credentials would cost wrk less than many.
const populationScript = `local number = 0
function request()
	number = number + 1
	return string.format("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nX-Number: %%d\r\n\r\n",
		math.random(0, %d), number)
end
`

// wrk sends requests as fast as they are answered, over 32 connections.
func (h *harness) wrk(ctx context.Context, c contender) (measurement, error) {
	// wrk takes whole seconds only, and prints its result when interrupted.
	args := []string{"-t1", "-c32", "-d", strconv.Itoa(int(h.duration.Seconds()) + 1)}
	for name, values := range c.header(0) {
		args = append(args, "-H", name+": "+values[0])
	}
	if c.population > 0 {
		script := filepath.Join(h.dir, "wrk.lua")
		if err := os.WriteFile(script, fmt.Appendf(nil, populationScript, c.credential, c.population-1), 0o600); err != nil {
			return nil, err
		}
		args = append(args, "-s", script)
	}
	args = append(args, "http://"+c.server.address)
	cmd := exec.CommandContext(ctx, "wrk", args...) //nolint:gosec // all of it is made here
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	interrupt := time.AfterFunc(h.duration, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer interrupt.Stop()
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("wrk: %w\n%s", err, &output)
	}
	return parseWrk(output.String(), c.status)
}

// wrkOutput does not match where wrk reports socket errors. The second number is of answers with status 400 and above.
var wrkOutput = regexp.MustCompile(`(\d+) requests in .*\n(?:  Non-2xx or 3xx responses: (\d+)\n)?` +
	`Requests/sec: +(\d+\.\d+)\n`)

// parseWrk reads the output of wrk. It returns an error unless every request got the status.
func parseWrk(output string, status int) (measurement, error) {
	found := wrkOutput.FindStringSubmatch(output)
	if found == nil || found[1] == "0" || status < 400 && found[2] != "" || status >= 400 && found[2] != found[1] {
		return nil, fmt.Errorf("every request should be answered with %d, but wrk printed\n%s", status, output)
	}
	count, _ := strconv.ParseFloat(found[1], 64) // both are numbers: they matched
	perSecond, _ := strconv.ParseFloat(found[3], 64)
	return measurement{requests: count, rate: perSecond}, nil
}

// use uses numbered credentials once, at a server.
func use(ctx context.Context, s *server, first int64, count int) error {
	_, err := attack(ctx, 0, count, func(n int64) (string, http.Header) { return s.address, authorization(first + n) })
	return err
}

// attack sends so many requests from 64 clients, at a rate, or as fast as they can if it is 0. It returns an error
// unless all are granted.
func attack(
	ctx context.Context, perSecond, count int, request func(n int64) (address string, header http.Header),
) (measurement, error) {
	var serial atomic.Int64
	targets := func(t *vegeta.Target) error {
		n := serial.Add(1) - 1
		if n >= int64(count) {
			return vegeta.ErrNoTargets
		}
		address, header := request(n)
		*t = vegeta.Target{Method: http.MethodGet, URL: "http://" + address, Header: header}
		return nil
	}
	attacker := vegeta.NewAttacker(vegeta.MaxWorkers(64), vegeta.Timeout(20*time.Second))
	defer context.AfterFunc(ctx, func() { attacker.Stop() })()
	m := new(vegeta.Metrics)
	for result := range attacker.Attack(targets, vegeta.Rate{Freq: perSecond, Per: time.Second}, 0, "") {
		if result.Error != vegeta.ErrNoTargets.Error() {
			m.Add(result)
		}
	}
	m.Close()
	if granted := m.StatusCodes["200"]; granted != count {
		return nil, errors.Join(ctx.Err(), fmt.Errorf("%d of %d requests were granted: %v", granted, count, m.Errors))
	}
	return measurement{
		requests: float64(count), rate: m.Rate,
		p50: m.Latencies.P50.Seconds() * 1e3, p99: m.Latencies.P99.Seconds() * 1e3,
	}, nil
}

// send sends one request.
func send(ctx context.Context, method, url string, header http.Header) (status int, answer string, err error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+url, nil)
	if err != nil {
		return 0, "", err
	}
	r.Header = header.Clone()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}
