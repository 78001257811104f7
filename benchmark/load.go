package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync/atomic"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const (
	connections  = "32" // of wrk
	constantRate = 2000 // requests per second of the group latency
	floodRate    = 2000 // requests per second of a flood
)

// populationScript has wrk send credentials at random. Every request has another number: Lua keeps one copy of equal
// strings, so that without it few credentials would cost wrk less than many.
const populationScript = `local number = 0
function request()
	number = number + 1
	return string.format("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: %s\r\nX-Number: %%d\r\n\r\n", math.random(0, %d), number)
end
`

// wrk sends requests as fast as they are answered.
func (h *harness) wrk(ctx context.Context, c contender) (measurement, int64, error) {
	// wrk takes whole seconds only, and prints its result when interrupted.
	args := []string{"-t1", "-c", connections, "-d", strconv.Itoa(int(h.duration.Seconds()) + 1), "-H", "Authorization: " + c.header(0).Get("Authorization")}
	if c.population > 0 {
		script := filepath.Join(h.dir, "wrk.lua")
		if err := os.WriteFile(script, fmt.Appendf(nil, populationScript, c.credential, c.population-1), 0o600); err != nil {
			return nil, 0, err
		}
		args = append(args, "-s", script)
	}
	cmd := exec.CommandContext(ctx, "wrk", append(args, "http://"+c.server.address)...) //nolint:gosec // all of it is made here
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return nil, 0, err
	}
	interrupt := time.AfterFunc(h.duration, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer interrupt.Stop()
	if err := cmd.Wait(); err != nil {
		return nil, 0, fmt.Errorf("wrk: %w\n%s", err, &output)
	}
	return parseWrk(output.String(), c.status)
}

// wrkOutput does not match where wrk reports socket errors. The second number is of answers with status 400 and above.
var wrkOutput = regexp.MustCompile(`(\d+) requests in .*\n(?:  Non-2xx or 3xx responses: (\d+)\n)?Requests/sec: +([\d.]+)\n`)

// parseWrk reads the output of wrk. It returns an error unless every request got the status.
func parseWrk(output string, status int) (measurement, int64, error) {
	found := wrkOutput.FindStringSubmatch(output)
	if found == nil || found[1] == "0" || status < 400 && found[2] != "" || status >= 400 && found[2] != found[1] {
		return nil, 0, fmt.Errorf("every request should be answered with %d, but wrk printed\n%s", status, output)
	}
	requests, err := strconv.ParseInt(found[1], 10, 64)
	perSecond, rateErr := strconv.ParseFloat(found[3], 64)
	return measurement{rate: perSecond}, requests, errors.Join(err, rateErr)
}

// constant sends requests at a constant rate, however slowly they are answered.
func (h *harness) constant(ctx context.Context, c contender) (measurement, int64, error) {
	m := attack(ctx, constantRate, h.duration, c.server.address, c.header)
	if n := m.StatusCodes["200"]; n == 0 || n != int(m.Requests) {
		return nil, 0, fmt.Errorf("%d of %d requests were granted: %v", n, m.Requests, m.Errors)
	}
	return measurement{rate: m.Rate, p50: m.Latencies.P50.Seconds() * 1e3, p99: m.Latencies.P99.Seconds() * 1e3}, int64(m.Requests), nil
}

// fillCache uses each credential of a population once.
func fillCache(ctx context.Context, c contender) error {
	m := attack(ctx, 0, 0, c.server.address, func(n int64) http.Header {
		if n >= int64(c.population) {
			return nil
		}
		return c.header(n)
	})
	if granted := m.StatusCodes["200"]; granted != c.population {
		return fmt.Errorf("%d of %d credentials were granted: %v", granted, c.population, m.Errors)
	}
	return nil
}

// flood is requests with bad credentials, each another, from a number of addresses in turn.
type flood struct {
	path      string
	addresses int64
	serial    atomic.Int64 // of the credentials
}

// run floods a server. It returns an error if a bad credential was granted. Without a flood it does nothing.
func (f *flood) run(ctx context.Context, address string, duration time.Duration) error {
	if f == nil {
		return nil
	}
	m := attack(ctx, floodRate, duration, address+f.path, func(n int64) http.Header {
		from := n % f.addresses
		return http.Header{
			"Authorization":   {fmt.Sprintf("Bearer bad-%d", f.serial.Add(1))},
			"X-Forwarded-For": {fmt.Sprintf("198.18.%d.%d", from>>8, from&255)},
		}
	})
	if granted := m.StatusCodes["200"]; granted > 0 || m.Requests == 0 {
		return fmt.Errorf("flood: %d of %d bad credentials were granted", granted, m.Requests)
	}
	return nil
}

// attack sends requests at a rate, or as fast as 16 connections can if it is 0, until the duration is over, ctx is done, or
// there is no header for a number.
func attack(ctx context.Context, rate int, duration time.Duration, url string, header func(n int64) http.Header) *vegeta.Metrics {
	var serial atomic.Int64
	targets := func(t *vegeta.Target) error {
		*t = vegeta.Target{Method: http.MethodGet, URL: "http://" + url, Header: header(serial.Add(1) - 1)}
		if t.Header == nil {
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
	return m
}
