package main

import (
	"strings"
	"testing"
)

func TestTableRows(t *testing.T) {
	g := group{title: "Grants", contenders: []contender{{name: "alone"}, {name: "other", base: "alone"}, {name: "constant", base: "alone", constant: true}}}
	rows := tableRows(g, map[string][]measurement{
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
	const good = "Running 1s test\n\nRESULT {\"requests\": 300, \"microseconds\": 2000000, \"failed\": 0, \"refused\": 0}\n"
	for _, c := range []struct {
		name, output string
		status       int
		rate         float64 // 0: an error
	}{
		{"granted", good, 200, 150},
		{"denied", strings.Replace(good, `refused": 0`, `refused": 300`, 1), 401, 150},
		{"granted instead of denied", good, 401, 0},
		{"some denied", strings.Replace(good, `refused": 0`, `refused": 1`, 1), 200, 0},
		{"some failed", strings.Replace(good, `failed": 0`, `failed": 1`, 1), 200, 0},
		{"none answered", strings.Replace(good, "300", "0", 1), 200, 0},
		{"no result", "unable to connect", 200, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if m, _, err := parseWrk(c.output, c.status); m[rate] != c.rate || (err == nil) != (c.rate > 0) {
				t.Errorf("got %v, %v, want %v requests/s", m, err, c.rate)
			}
		})
	}
}
