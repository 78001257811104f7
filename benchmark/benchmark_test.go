package main

import (
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
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

// TestPlots: the plots of the documents are drawn from measured.md. `go run . -plot` draws them anew.
func TestPlots(t *testing.T) {
	all, err := plots()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range all {
		got, err := os.ReadFile(filepath.Join(images, name))
		if err != nil || string(got) != want {
			t.Errorf("%s: not drawn from %s; `go run . -plot` does it: %v", name, measured, err)
		}
		if err := xml.Unmarshal([]byte(want), new(struct{})); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := os.ReadFile(measured)
	if err != nil {
		t.Fatal(err)
	}
	groups, counts, err := parseMeasured(string(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		for _, b := range g.bars {
			if !strings.Contains(all["cpu.svg"], fmt.Sprintf(">%s</text>", b.name)) ||
				!strings.Contains(all["cpu.svg"], fmt.Sprintf(">%.1f µs</text>", b.cpu)) {
				t.Errorf("the plot does not show %v", b)
			}
		}
	}
	if points := strings.Count(all["renewals.svg"], "<circle"); points != len(counts)+1 { // and one in the legend
		t.Errorf("%d points for %d counts", points, len(counts))
	}
}

// TestMeasuredIsShown: the documents show the rows of measured.md, and the plots.
func TestMeasuredIsShown(t *testing.T) {
	documents := ""
	for _, name := range []string{"performance.md", "scaling.md"} {
		text, err := os.ReadFile("../docs/" + name)
		if err != nil {
			t.Fatal(err)
		}
		documents += string(text)
	}
	text, err := os.ReadFile(measured)
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "|") {
			rows++
			if !strings.Contains(documents, line) {
				t.Errorf("no document has %s", line)
			}
		}
	}
	if rows < 30 {
		t.Errorf("only %d rows", rows)
	}
	for _, name := range []string{"cpu.svg", "renewals.svg"} {
		if !strings.Contains(documents, "](images/"+name+")") {
			t.Errorf("no document shows %s", name)
		}
	}
}

func TestParseMeasured(t *testing.T) {
	const text = "2026-01-01\n\n" + tableHead + "| **One** | | | | | |\n| a | 10 | 3.5 | | | CPU 1 of b |\n| b | 10 | | | | |\n" +
		"| **Two** | | | | | |\n| c, d | 400 | 7 | 0.1 | 0.2 | |\n\n| 4 | 200 | 2s | no | 800 | 329.9 | 333.3 |\n"
	groups, counts, err := parseMeasured(text)
	if got := fmt.Sprint(groups, counts, err); got != "[{One [{a 3.5}]} {Two [{c, d 7}]}] [{2 800 329.9}] <nil>" {
		t.Error(got)
	}
	if _, _, err := parseMeasured("nothing"); err == nil {
		t.Error("nothing is something")
	}
}
