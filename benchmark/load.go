package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// load is the requests that a contender gets.
type load struct {
	path          string // default: /
	authorization string // with a verb for a number where there are several
	distinct      int    // so many credentials in turn; 0: always the same
	indexes       []uint32
	constantRate  bool // not as fast as they are answered, but at half of what the group's first contender takes
}

// several reports whether the credential changes from request to request.
func (l load) several() bool { return l.distinct > 0 || l.indexes != nil }

// credential is the one of a number.
func (l load) credential(n int) string {
	if !l.several() {
		return l.authorization
	}
	return fmt.Sprintf(l.authorization, n)
}

func (l load) at() string {
	if l.path == "" {
		return "/"
	}
	return l.path
}

// uniform is numbers below n, each as often as any other.
func uniform(n, length int) []uint32 {
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // repeatable on purpose
	return numbers(length, func() uint32 { return random.Uint32N(uint32(n)) })
}

// zipf is numbers below n of which few are frequent and many are rare, as clients mostly are.
func zipf(n, length int) []uint32 {
	random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // repeatable on purpose
	source := rand.NewZipf(random, 1.1, 1, uint64(n-1))
	order := random.Perm(n) // the frequent ones are not those that were warmed first
	return numbers(length, func() uint32 { return uint32(order[source.Uint64()]) })
}

func numbers(length int, next func() uint32) []uint32 {
	all := make([]uint32, length)
	for i := range all {
		all[i] = next()
	}
	return all
}

// script is what wrk runs. Requests with changing credentials are put together by hand, since wrk.format takes longer
// than a server may. Those of a population bear a number that is never the same: Lua keeps one copy of texts that are equal,
// and would have less to do, and to leave to the server, with few credentials than with many. Threads start at different
// places.
var script = template.Must(template.New("script").Parse(`
{{- if .Several}}
local threads = 0
function setup(thread)
	thread:set("id", threads)
	threads = threads + 1
end
local at
local before = "GET {{.Path}} HTTP/1.1\r\nHost: {{.Host}}\r\nAuthorization: "
{{- if .Indexes}}
local ffi = require("ffi")
local file = io.open({{printf "%q" .Indexes}}, "rb")
raw = file:read("*a") -- global, since a pointer into it does not keep it
file:close()
local indexes = ffi.cast("const uint32_t*", raw)
local length = #raw / 4
local number = 0
function init(args)
	at = (tonumber(args[1]) + id * 7919) % length
end
function request()
	at = at + 1
	if at >= length then at = 0 end
	number = number + 1
	return before .. string.format("{{.Authorization}}\r\nX-Number: %d\r\n\r\n", tonumber(indexes[at]), number)
end
{{- else}}
function init(args)
	at = (tonumber(args[1]) + id * math.floor({{.Distinct}} / {{.Threads}})) % {{.Distinct}}
end
function request()
	at = at + 1
	if at >= {{.Distinct}} then at = 0 end
	return before .. string.format("{{.Authorization}}", at) .. "\r\n\r\n"
end
{{- end}}
{{- else if .Authorization}}
wrk.headers["Authorization"] = "{{.Authorization}}"
{{- end}}
function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format('\nRESULT {"requests": %d, "duration": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d, "p50": %f, "p99": %f, "p999": %f}\n',
		summary.requests, summary.duration, e.connect, e.read, e.write, e.timeout, e.status,
		latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
`))

// writeScript writes the script of a load, and the numbers that it goes by.
func (l load) writeScript(dir, host string, threads int) (string, error) {
	dir, err := os.MkdirTemp(dir, "wrk-*")
	if err != nil {
		return "", err
	}
	indexes := ""
	if l.indexes != nil {
		indexes = filepath.Join(dir, "indexes")
		raw := make([]byte, 0, 4*len(l.indexes))
		for _, n := range l.indexes {
			raw = binary.NativeEndian.AppendUint32(raw, n)
		}
		if err := os.WriteFile(indexes, raw, 0o600); err != nil {
			return "", err
		}
	}
	var text bytes.Buffer
	err = script.Execute(&text, map[string]any{
		"Several": l.several(), "Path": l.at(), "Host": host, "Indexes": indexes, "Authorization": l.authorization,
		"Distinct": l.distinct, "Threads": threads,
	})
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "script.lua")
	return name, os.WriteFile(name, text.Bytes(), 0o600)
}

// outcome is what a load generator says.
type outcome struct {
	Requests int     `json:"requests"`
	Duration float64 `json:"duration"` // microseconds, as all times here
	Connect  int     `json:"connect"`
	Read     int     `json:"read"`
	Write    int     `json:"write"`
	Timeout  int     `json:"timeout"`
	Status   int     `json:"status"` // answers with status 400 and above
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
	P999     float64 `json:"p999"`
}

// check reports what makes the figures useless.
func (o outcome) check(status int) error {
	refused := 0
	if status >= 400 {
		refused = o.Requests
	}
	switch {
	case o.Connect+o.Read+o.Write+o.Timeout > 0:
		return fmt.Errorf("%d connections failed, %d reads, %d writes, %d requests timed out", o.Connect, o.Read, o.Write, o.Timeout)
	case o.Requests == 0:
		return fmt.Errorf("no request was answered")
	case o.Status != refused:
		return fmt.Errorf("%d of %d answers had status 400 or above, where all should have %d", o.Status, o.Requests, status)
	}
	return nil
}

// wrk runs wrk against an address. It only counts whole seconds, and ends early on an interrupt.
func wrk(ctx context.Context, o options, address, path, script string, start int) (outcome, error) {
	seconds := int(o.duration.Seconds()) + 1
	cmd := exec.CommandContext(ctx, o.wrk, "-t", strconv.Itoa(o.threads), "-c", strconv.Itoa(o.connections), //nolint:gosec // found by program
		"-d", strconv.Itoa(seconds), "-s", script, "http://"+address+path, "--", strconv.Itoa(start))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		return outcome{}, err
	}
	enough := time.AfterFunc(o.duration, func() { _ = cmd.Process.Signal(os.Interrupt) })
	defer enough.Stop()
	err := cmd.Wait()
	_, result, found := strings.Cut(stdout.String(), "\nRESULT ")
	if err != nil || !found {
		return outcome{}, fmt.Errorf("wrk: %w\n%s%s", err, stdout.Bytes(), stderr.Bytes())
	}
	var out outcome
	return out, json.Unmarshal([]byte(result), &out)
}

// measurement is one round of one contender. Times are in microseconds.
type measurement struct {
	Rate float64 `json:"requests_per_second"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p99_9_us"`
	CPU  float64 `json:"server_cpu_us_per_request"`
}

func (o outcome) measurement(cpu time.Duration) measurement {
	return measurement{
		Rate: float64(o.Requests) / o.Duration * 1e6,
		P50:  o.P50, P99: o.P99, P999: o.P999,
		CPU: float64(cpu.Microseconds()) / float64(o.Requests),
	}
}

// median is the middle one of some values, or between the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}
