package main

import (
	"strings"
	"testing"
)

func TestTableRows(t *testing.T) {
	contenders := []contender{{name: "alone"}, {name: "other", base: "alone"}, {name: "constant", base: "alone", rate: 5}}
	rows := tableRows("Grants", contenders, map[string][]measurement{
		"alone":    {{rate: 100, cpu: 10, p99: 1}, {rate: 400, cpu: 30, p99: 1}, {rate: 200, cpu: 20, p99: 1}},
		"other":    {{rate: 50, cpu: 20}, {rate: 100, cpu: 40}, {rate: 300}}, // one CPU time is missing
		"constant": {{rate: 100, p99: 2}, {rate: 100, p99: 3}, {rate: 100, p99: 4}},
	})
	want := `| **Grants** | | | | | |
| alone | 200 | 20.0 | | 1.00 | |
| other | 100 | | | | requests/s 0.500 of alone |
| constant | 100 | | | 3.00 | p99 3.000 of alone |
`
	if rows != want {
		t.Errorf("got\n%swant\n%s", rows, want)
	}
}

func TestParseWrk(t *testing.T) {
	const summary, end = "Running 1s test\n  Latency 1.00ms\n  300 requests in 2.00s, 40.96KB read\n", "Requests/sec:    150.25\nTransfer/sec:     19.51KB\n"
	for _, c := range []struct {
		name, output string
		status       int
		rate         float64 // 0: an error
	}{
		{"granted", summary + end, 200, 150.25},
		{"denied", summary + "  Non-2xx or 3xx responses: 300\n" + end, 401, 150.25},
		{"granted instead of denied", summary + end, 401, 0},
		{"some denied", summary + "  Non-2xx or 3xx responses: 1\n" + end, 200, 0},
		{"some failed", summary + "  Socket errors: connect 0, read 1, write 0, timeout 0\n" + end, 200, 0},
		{"none answered", strings.Replace(summary, "300", "0", 1) + end, 200, 0},
		{"no result", "unable to connect to localhost:1 Connection refused\n", 200, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if m, err := parseWrk(c.output, c.status); m[rate] != c.rate || (err == nil) != (c.rate > 0) {
				t.Errorf("got %v, %v, want %v requests/s", m, err, c.rate)
			}
		})
	}
}
