package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// The columns of the table: the name, so many of figures, and what the contender is compared to.
var headings = []string{"", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "CPU µs", "compared"}

// table prints everything in one table.
func (r *report) table(w io.Writer) error {
	rows := [][]string{headings}
	for _, g := range r.Groups {
		rows = append(rows, nil, []string{g.Name + ": " + g.Title})
		for _, c := range g.Contenders {
			rows = append(rows, c.rows()...)
		}
	}
	widths := columnWidths(rows)
	var text strings.Builder
	fmt.Fprintf(&text, "%s, %d cores, %d rounds of %g s each, %d connections, %d threads of wrk\n\n",
		r.Go, r.CPUs, r.Rounds, r.Seconds, r.Connections, r.Threads)
	for _, row := range rows {
		text.WriteString(formatRow(row, widths) + "\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// rows are a contender's: a line of figures, and further ones for more than one comparison.
func (c result) rows() [][]string {
	m := c.Median
	rows := [][]string{{
		"  " + c.Name, grouped(int(m.Rate + .5)), milliseconds(m.P50), milliseconds(m.P99), milliseconds(m.P999),
		fmt.Sprintf("%.1f", m.CPU), "",
	}}
	remarks := make([]string, 0, len(c.Ratios)+1)
	for _, r := range c.Ratios {
		remarks = append(remarks, r.String())
	}
	if c.BytesPerCredential != 0 {
		remarks = append(remarks, fmt.Sprintf("%.0f bytes of memory per credential", c.BytesPerCredential))
	}
	for i, remark := range remarks {
		if i > 0 {
			rows = append(rows, make([]string, len(headings)))
		}
		rows[i][len(headings)-1] = remark
	}
	return rows
}

func milliseconds(us float64) string { return fmt.Sprintf("%.2f", us/1000) }

// String is the ratio in words, with what it should be.
func (r ratio) String() string {
	if r.Met == nil {
		return r.Text
	}
	sign, bound := "≥", r.AtLeast
	if r.AtMost > 0 {
		sign, bound = "≤", r.AtMost
	}
	verdict := "met"
	if !*r.Met {
		verdict = "missed"
	}
	return fmt.Sprintf("%s (%s %g: %s)", r.Text, sign, bound, verdict)
}

// number writes a ratio with as many digits as mean something.
func number(x float64) string {
	switch {
	case x >= 100:
		return fmt.Sprintf("%.0f", x)
	case x >= 10:
		return fmt.Sprintf("%.1f", x)
	}
	return fmt.Sprintf("%.3f", x)
}

// columnWidths are those that the figures need. A row of one text only is a heading, and may be as long as it likes.
func columnWidths(rows [][]string) []int {
	widths := make([]int, len(headings))
	for _, row := range rows {
		if len(row) == 1 {
			continue
		}
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// formatRow aligns names and remarks to the left, figures to the right.
func formatRow(row []string, widths []int) string {
	if len(row) == 1 {
		return row[0]
	}
	var line strings.Builder
	for i, cell := range row {
		padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
		switch i {
		case 0:
			line.WriteString(cell + padding)
		case len(widths) - 1:
			line.WriteString("  " + cell)
		default:
			line.WriteString("  " + padding + cell)
		}
	}
	return strings.TrimRight(line.String(), " ")
}

// json writes every figure of every round.
func (r *report) json(w io.Writer) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "\t")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}
