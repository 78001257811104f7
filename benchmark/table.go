package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// figure is what is measured, and a column of the table.
type figure string

const (
	rate figure = "requests/s"
	cpu  figure = "CPU µs" // of the server, for one request
	p50  figure = "p50 ms"
	p99  figure = "p99 ms"

	requests figure = "requests" // not shown
)

// measurement is one round of one contender. A figure that was not measured is absent.
type measurement map[figure]float64

const tableHead = "| | requests/s | CPU µs | p50 ms | p99 ms | compared, medians of the rounds |\n" +
	"|---|---|---|---|---|---|\n"

// tableRows are the rows of a group.
func tableRows(title string, contenders []contender, rounds map[string][]measurement) string {
	var text strings.Builder
	fmt.Fprintf(&text, "| **%s** | | | | | |\n", title)
	for _, c := range contenders {
		fmt.Fprintf(&text, "| %s |", c.name)
		var compared []string
		for _, f := range []figure{rate, cpu, p50, p99} {
			values, ratios := make([]float64, len(rounds[c.name])), make([]float64, len(rounds[c.name]))
			for round, m := range rounds[c.name] {
				values[round] = m[f]
				if c.base != "" && (c.rate == 0 || f != rate) {
					ratios[round] = m[f] / rounds[c.base][round][f]
				}
			}
			if value := median(values); value > 0 {
				fmt.Fprintf(&text, " %.*f", map[figure]int{cpu: 1, p50: 2, p99: 2}[f], value)
			}
			text.WriteString(" |")
			if ratio := median(ratios); ratio > 0 {
				compared = append(compared, fmt.Sprintf("%s %.3f", strings.Fields(string(f))[0], ratio))
			}
		}
		if compared != nil {
			fmt.Fprintf(&text, " %s of %s", strings.Join(compared, ", "), c.base)
		}
		text.WriteString(" |\n")
	}
	return text.String()
}

// median is the median of the values of some rounds. It is 0 if one of them is absent, or infinite.
func median(values []float64) float64 {
	slices.Sort(values) // NaN first
	if len(values) == 0 || !(values[0] > 0) || math.IsInf(values[len(values)-1], 1) {
		return 0
	}
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
