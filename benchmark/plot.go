package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// measured is what the command printed when the figures of the documents were measured.
const measured = "measured.md"

// images is where the plots are.
const images = "../docs/images"

// bars are the CPU times of a group of contenders.
type bars struct {
	title string
	bars  []bar
}

type bar struct {
	name string
	cpu  float64 // µs for one request
}

// count is what a site was asked by a fleet.
type count struct {
	ttl       int     // seconds
	verdicts  float64 // in use, in all memories
	perSecond float64
}

var (
	barRow     = regexp.MustCompile(`^\| ([^|*]+) \| \d+ \| ([\d.]+) \|`)
	titleRow   = regexp.MustCompile(`^\| \*\*(.+)\*\* \|`)
	population = regexp.MustCompile(`^\d+ cached$`)
	fleetRow   = regexp.MustCompile(`^\| \d+ \| \d+ \| (\d+)s \| (?:yes|no) \| (\d+) \| ([\d.]+) \|`)
)

// parseMeasured reads what the command printed.
func parseMeasured(text string) (groups []bars, counts []count, err error) {
	number := func(s string) float64 {
		f, wrong := strconv.ParseFloat(s, 64)
		err = errors.Join(err, wrong)
		return f
	}
	for line := range strings.Lines(text) {
		if m := titleRow.FindStringSubmatch(line); m != nil {
			groups = append(groups, bars{title: m[1]})
		} else if m := fleetRow.FindStringSubmatch(line); m != nil {
			counts = append(counts, count{ttl: int(number(m[1])), verdicts: number(m[2]), perSecond: number(m[3])})
		} else if m := barRow.FindStringSubmatch(line); m != nil && len(groups) > 0 {
			g := &groups[len(groups)-1]
			g.bars = append(g.bars, bar{m[1], number(m[2])})
		}
	}
	if len(groups) == 0 || len(counts) == 0 {
		err = errors.Join(err, errors.New("it has no contenders or no fleets"))
	}
	return groups, counts, err
}

// plots are the images by name.
func plots() (map[string]string, error) {
	text, err := os.ReadFile(measured)
	if err != nil {
		return nil, err
	}
	groups, counts, err := parseMeasured(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", measured, err)
	}
	return map[string]string{"cpu.svg": cpuPlot(groups), "renewals.svg": renewalsPlot(counts)}, nil
}

func drawPlots() error {
	all, err := plots()
	if err != nil {
		return err
	}
	for name, image := range all {
		file := filepath.Join(images, name)
		err = errors.Join(err, os.WriteFile(file, []byte(image), 0o644)) //nolint:gosec // an image for everybody
	}
	return err
}

// Colours that can be told apart in grey, too.
const (
	ours   = "#0969da"
	others = "#8c959f"
	ink    = "#1f2328"
	grid   = "#d0d7de"
)

// drawing is an SVG image in the making.
type drawing struct {
	strings.Builder
	width, height float64
}

func (d *drawing) text(x, y float64, anchor, style, text string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" text-anchor="%s"%s>`, x, y, anchor, style)
	_ = xml.EscapeText(d, []byte(text)) // a Builder takes everything
	fmt.Fprintln(d, "</text>")
}

func (d *drawing) line(x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

const bold = ` font-weight="600"`

// image returns the whole image. It has a background, since text would be hard to read on a dark page.
func (d *drawing) image(title string) string {
	var escaped strings.Builder
	_ = xml.EscapeText(&escaped, []byte(title))
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]g %[2]g" role="img" `+
		`font-family="sans-serif" font-size="13" fill="%[3]s">
<title>%[4]s</title>
<rect width="%[1]g" height="%[2]g" fill="#ffffff"/>
%[5]s</svg>
`, d.width, d.height, ink, escaped.String(), d.String())
}

// cpuPlot shows the CPU that each contender needs for a request. Each group has its own scale.
func cpuPlot(groups []bars) string {
	const left, right, row = 280.0, 70.0, 24.0
	d := &drawing{width: 800}
	d.text(10, 24, "start", "", "CPU of the server for one request. Each group has its own scale.")
	y := 34.0
	for _, g := range groups {
		y += 22
		d.text(10, y, "start", bold, g.title)
		y += 10
		most := 0.0
		for _, b := range g.bars {
			most = max(most, b.cpu)
		}
		for _, b := range g.bars {
			colour := others
			if strings.HasPrefix(b.name, "frappe_auth") || strings.HasPrefix(b.name, "a new credential") ||
				population.MatchString(b.name) {
				colour = ours
			}
			length := (d.width - left - right) * b.cpu / most
			d.text(left-8, y+row/2+4, "end", "", b.name)
			fmt.Fprintf(d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n",
				left, y+3, length, row-6, colour)
			d.text(left+length+6, y+row/2+4, "start", "", fmt.Sprintf("%.1f µs", b.cpu))
			y += row
		}
		y += 8
	}
	fmt.Fprintf(d, `<rect x="10" y="%.1f" width="12" height="12" fill="%s"/>`+"\n", y+6, ours)
	d.text(28, y+17, "start", "", "frappe_auth")
	fmt.Fprintf(d, `<rect x="130" y="%.1f" width="12" height="12" fill="%s"/>`+"\n", y+6, others)
	d.text(148, y+17, "start", "", "Caddy without it")
	d.height = y + 30
	return d.image("CPU of the server for one request")
}

// renewalsPlot shows how often a site is asked: the formula as a curve for each ttl, and what was counted as points.
func renewalsPlot(counts []count) string {
	const left, top, right, bottom = 70.0, 20.0, 150.0, 60.0
	d := &drawing{width: 800, height: 420}
	mostX, mostY := 0.0, 0.0
	var ttls []int
	for _, c := range counts {
		mostX, mostY = max(mostX, c.verdicts), max(mostY, c.perSecond)
		if !slices.Contains(ttls, c.ttl) {
			ttls = append(ttls, c.ttl)
		}
	}
	slices.Sort(ttls)
	stepX := step(mostX)
	mostX = math.Ceil(mostX/stepX) * stepX
	mostY = max(mostY, renewals(mostX, float64(ttls[0])))
	stepY := step(mostY)
	mostY = math.Ceil(mostY/stepY) * stepY
	x := func(v float64) float64 { return left + (d.width-left-right)*v/mostX }
	y := func(v float64) float64 { return d.height - bottom - (d.height-top-bottom)*v/mostY }
	for v := 0.0; v <= mostX; v += stepX {
		d.line(x(v), y(0), x(v), y(mostY), grid)
		d.text(x(v), y(0)+20, "middle", "", fmt.Sprintf("%.0f", v))
	}
	for v := 0.0; v <= mostY; v += stepY {
		d.line(x(0), y(v), x(mostX), y(v), grid)
		d.text(x(0)-8, y(v)+4, "end", "", fmt.Sprintf("%.0f", v))
	}
	d.text((x(0)+x(mostX))/2, d.height-12, "middle", "", "results in use: credentials, times Caddys that do not share")
	fmt.Fprintf(d, `<g transform="translate(20 %.1f) rotate(-90)">`, (y(0)+y(mostY))/2)
	d.text(0, 0, "middle", "", "requests to the site per second")
	fmt.Fprintln(d, "</g>")
	for i, ttl := range ttls {
		colour := []string{ours, "#bc4c00", "#1a7f37", "#8250df"}[i%4]
		var path strings.Builder
		for step := range 101 {
			v := mostX * float64(step) / 100
			fmt.Fprintf(&path, "%s%.1f %.1f", map[bool]string{true: "M", false: "L"}[step == 0],
				x(v), y(renewals(v, float64(ttl))))
		}
		fmt.Fprintf(d, `<path d="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", path.String(), colour)
		d.text(x(mostX)+8, y(renewals(mostX, float64(ttl)))+4, "start", ` style="fill:`+colour+`"`,
			fmt.Sprintf("ttl %ds, the formula", ttl))
		for _, c := range counts {
			if c.ttl == ttl {
				fmt.Fprintf(d, `<circle cx="%.1f" cy="%.1f" r="5" fill="%s"/>`+"\n", x(c.verdicts), y(c.perSecond), colour)
			}
		}
	}
	fmt.Fprintf(d, `<circle cx="%.1f" cy="%.1f" r="5" fill="%s"/>`+"\n", x(mostX)+14, top+10, ink)
	d.text(x(mostX)+26, top+14, "start", "", "counted")
	return d.image(fmt.Sprintf("How often a site is asked at %d requests per second", fleetRate))
}

// step is a round distance of grid lines, of which there are three to seven.
func step(most float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(most)))
	switch {
	case most/power < 2:
		return power / 4
	case most/power < 4:
		return power / 2
	}
	return power
}
