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

const tableHead = "| | requests/s | CPU µs | p50 ms | p99 ms | ratios, medians of the rounds |\n|---|---|---|---|---|---|\n"

// tableRows are the rows of a group.
func tableRows(title string, contenders []contender, rounds map[string][]measurement) string {
	var text strings.Builder
	fmt.Fprintf(&text, "| **%s** | | | | | |\n", title)
	for _, c := range contenders {
		fmt.Fprintf(&text, "| %s |", c.name)
		var ratios []string
		for _, f := range []figure{rate, cpu, p50, p99} {
			if value := median(rounds[c.name], func(_ int, m measurement) float64 { return m[f] }); value > 0 {
				fmt.Fprintf(&text, " %.*f", map[figure]int{cpu: 1, p50: 2, p99: 2}[f], value)
			}
			text.WriteString(" |")
			ratio := median(rounds[c.name], func(round int, m measurement) float64 {
				if c.base == "" || c.rate > 0 && f == rate {
					return 0
				}
				return m[f] / rounds[c.base][round][f]
			})
			if ratio > 0 {
				ratios = append(ratios, fmt.Sprintf("%s %.3f", strings.Fields(string(f))[0], ratio))
			}
		}
		if ratios != nil {
			fmt.Fprintf(&text, " %s of %s", strings.Join(ratios, ", "), c.base)
		}
		text.WriteString(" |\n")
	}
	return text.String()
}

// median is the median of a figure in some rounds. It is 0 if the figure is absent in one of them, or infinite.
func median(rounds []measurement, figure func(round int, m measurement) float64) float64 {
	values := make([]float64, len(rounds))
	for i, m := range rounds {
		values[i] = figure(i, m)
	}
	slices.Sort(values) // NaN first
	if len(values) == 0 || !(values[0] > 0) || math.IsInf(values[len(values)-1], 1) {
		return 0
	}
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}
