package main

import (
	"fmt"
	"html/template"
	"io"
	"strings"
)

// The measures of the chart, in pixels.
const (
	chartWidth  = 900
	labelWidth  = 320
	barWidth    = 330 // of the longest
	barHeight   = 16
	rowHeight   = 24
	titleHeight = 40
	margin      = 12
)

// bar is a contender in the chart.
type bar struct {
	Name, Value, Class string
	Y, Middle, Width   int
}

// heading is the title of a group in the chart.
type heading struct {
	Text string
	Y    int
}

// svg is drawn with the colours of a page in light or in dark mode, on no background of its own.
var svg = template.Must(template.New("svg").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="{{.Height}}" viewBox="0 0 {{.Width}} {{.Height}}" role="img" aria-label="{{.Label}}">
<title>{{.Label}}</title>
<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-weight: 600; }
.small { fill: #59636e; font-size: 12px; }
.bare { fill: #8c959f; }
.own { fill: #0969da; }
.other { fill: #bf8700; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.small { fill: #9198a1; }
.bare { fill: #6e7681; }
.own { fill: #4493f8; }
.other { fill: #d29922; }
}
</style>
{{range .Headings}}<text class="title" x="{{$.Margin}}" y="{{.Y}}">{{.Text}}</text>
{{end}}{{range .Bars}}<text x="{{$.LabelEnd}}" y="{{.Middle}}" text-anchor="end">{{.Name}}</text>
<rect class="{{.Class}}" x="{{$.Start}}" y="{{.Y}}" width="{{.Width}}" height="{{$.BarHeight}}" rx="2"/>
<text x="{{.Width}}" y="{{.Middle}}" dx="{{$.ValueStart}}">{{.Value}}</text>
{{end}}<text class="small" x="{{.Margin}}" y="{{.Foot}}">{{.Caption}}</text>
</svg>
`))

// chart draws the rates of the groups that one scale fits. Where none is among what was measured, all are drawn.
func (r *report) chart(w io.Writer) error {
	groups := r.charted()
	var (
		headings = make([]heading, 0, len(groups))
		bars     []bar
		fastest  = 1.
		y        = margin
	)
	for _, g := range groups {
		for _, c := range g.Contenders {
			fastest = max(fastest, c.Median.Rate)
		}
	}
	for _, g := range groups {
		headings = append(headings, heading{Text: g.Title, Y: y + titleHeight*5/8})
		y += titleHeight
		for _, c := range g.Contenders {
			bars = append(bars, bar{
				Name: c.Name, Value: value(c), Class: class(c.Name),
				Y: y + (rowHeight-barHeight)/2, Middle: y + rowHeight*11/16, Width: max(1, int(c.Median.Rate/fastest*barWidth)),
			})
			y += rowHeight
		}
	}
	return svg.Execute(w, map[string]any{
		"Width": chartWidth, "Height": y + titleHeight, "Headings": headings, "Bars": bars, "Margin": margin,
		"LabelEnd": labelWidth - 8, "Start": labelWidth, "ValueStart": labelWidth + 6, "BarHeight": barHeight,
		"Foot": y + titleHeight*5/8, "Label": "Requests per second",
		"Caption": fmt.Sprintf("Requests per second, median of %d rounds of %g s; %d cores shared with the load generator, %d connections.",
			r.Rounds, r.Seconds, r.CPUs, r.Connections),
	})
}

func (r *report) charted() []groupResult {
	var groups []groupResult
	for _, g := range r.Groups {
		if g.inChart {
			groups = append(groups, g)
		}
	}
	if groups == nil {
		return r.Groups
	}
	return groups
}

// value is what stands beside a bar.
func value(c result) string {
	text := grouped(int(c.Median.Rate + .5))
	if len(c.Ratios) > 0 {
		text += ", " + c.Ratios[0].Text
	}
	return text
}

// class tells by colour frappe_auth from what checks credentials otherwise, and from what checks none.
func class(name string) string {
	switch {
	case strings.Contains(name, "frappe_auth"):
		return "own"
	case strings.Contains(name, "auth"):
		return "other"
	}
	return "bare"
}
