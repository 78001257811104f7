package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"
)

// report is everything that was measured, as it is written as JSON.
type report struct {
	Go          string        `json:"go"`
	CPUs        int           `json:"cpus"`
	Rounds      int           `json:"rounds"`
	Seconds     float64       `json:"seconds"`
	Connections int           `json:"connections"`
	Threads     int           `json:"threads"`
	Groups      []groupResult `json:"groups"`
}

type groupResult struct {
	Name       string   `json:"name"`
	Title      string   `json:"title"`
	Contenders []result `json:"contenders"`

	inChart bool
}

type result struct {
	Name               string        `json:"name"`
	Median             measurement   `json:"median"`
	Rounds             []measurement `json:"rounds"`
	ResidentBytes      int           `json:"resident_bytes"`
	BytesPerCredential float64       `json:"bytes_per_credential,omitempty"`
	Ratios             []ratio       `json:"ratios,omitempty"`
}

// ratio is a comparison within each round.
type ratio struct {
	Other   string    `json:"other"`
	Metric  metric    `json:"metric"`
	Text    string    `json:"text"`
	Median  float64   `json:"median"`
	Rounds  []float64 `json:"rounds"`
	AtLeast float64   `json:"at_least,omitempty"`
	AtMost  float64   `json:"at_most,omitempty"`
	Met     *bool     `json:"met,omitempty"` // none where nothing is aimed at
}

// measureGroup starts the contenders of a group, measures them in rounds, and ends them.
func (h *harness) measureGroup(ctx context.Context, g group) (*groupResult, error) {
	s, err := newStage(ctx, h)
	if err != nil {
		return nil, err
	}
	defer s.close()
	fmt.Fprintf(os.Stderr, "%s: starting\n", g.name)
	if err := s.start(g.contenders); err != nil {
		return nil, err
	}
	measured := &groupResult{Name: g.name, Title: g.title, inChart: g.chart, Contenders: make([]result, len(g.contenders))}
	runners := make([]*runner, len(g.contenders))
	for i, c := range g.contenders {
		if runners[i], err = s.prepare(c); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		measured.Contenders[i] = result{Name: c.name, ResidentBytes: runners[i].resident}
	}
	if err := s.setRate(runners); err != nil {
		return nil, err
	}
	for round := range h.rounds {
		fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", g.name, round+1, h.rounds)
		order := make([]int, len(runners))
		for i := range order {
			order[i] = i
		}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			m, err := runners[i].measure(h.options)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", g.contenders[i].name, err)
			}
			measured.Contenders[i].Rounds = append(measured.Contenders[i].Rounds, m)
		}
	}
	measured.compare(g)
	return measured, nil
}

// runner drives one contender.
type runner struct {
	stage     *stage
	contender contender
	at        *server
	script    string
	resident  int     // bytes of memory that the server takes when its cache is filled
	rate      float64 // where it is to be constant
}

// prepare fills the cache of a contender, sees that it answers what it should, and runs its load briefly.
func (s *stage) prepare(c contender) (*runner, error) {
	r := &runner{stage: s, contender: c, at: s.servers[c.site]}
	var err error
	if n := c.site.warm; n > 0 && !s.warmed[c.site] {
		fmt.Fprintf(os.Stderr, "filling the cache with %s credentials\n", grouped(n))
		if err := warm(s.ctx, r.at.address, c.load, n, s.h.connections); err != nil {
			return nil, err
		}
		s.warmed[c.site] = true
	}
	if err := s.verify(c); err != nil {
		return nil, err
	}
	if r.resident, err = residentMemory(r.at.cmd.Process.Pid); err != nil {
		return nil, err
	}
	if r.script, err = c.load.writeScript(s.dir, r.at.address, s.h.threads); err != nil {
		return nil, err
	}
	if !s.h.smoke {
		brief := s.h.options
		brief.duration = min(brief.duration, time.Second)
		_, err = r.wrk(brief)
	}
	return r, err
}

// setRate finds out how much the first contender takes, for those that are to get requests at a constant rate.
func (s *stage) setRate(runners []*runner) error {
	if !slices.ContainsFunc(runners, func(r *runner) bool { return r.contender.load.constantRate }) {
		return nil
	}
	out, err := runners[0].wrk(s.h.options)
	if err != nil {
		return err
	}
	for _, r := range runners {
		r.rate = float64(out.Requests) / out.Duration * 1e6 / 2
	}
	return nil
}

// wrk runs wrk once, starting with other credentials than the last time.
func (r *runner) wrk(o options) (outcome, error) {
	r.stage.h.runs++
	start := r.stage.h.runs * 100_000_007 // a prime, so that it starts anywhere among a round number of credentials
	return wrk(r.stage.ctx, o, r.at.address, r.contender.load.at(), r.script, start)
}

// measure measures once, and reports figures only of what was as it should be.
func (r *runner) measure(o options) (measurement, error) {
	askedBefore, err := r.stage.settled()
	if err != nil {
		return measurement{}, err
	}
	leader := r.at.cmd.Process.Pid
	cpuBefore := cpuTime(leader)
	var out outcome
	if r.contender.load.constantRate {
		out, err = constantRate(r.stage.ctx, r.stage.h.self, job{
			Address: r.at.address, Path: r.contender.load.at(), Authorization: r.contender.load.authorization,
			Rate: r.rate, Connections: o.connections, Duration: o.duration, Status: r.contender.want.status,
		})
	} else {
		out, err = r.wrk(o)
	}
	if err != nil {
		return measurement{}, err
	}
	cpu := cpuTime(leader) - cpuBefore
	if err := out.check(r.contender.want.status); err != nil {
		return measurement{}, err
	}
	askedAfter, err := r.stage.asked()
	if err != nil {
		return measurement{}, err
	}
	return out.measurement(cpu), r.contender.asks.check(askedAfter-askedBefore, out.Requests)
}

// check reports whether a site was asked as often as it should.
func (a asks) check(asked, requests int) error {
	switch {
	case a == never && asked > 0:
		return fmt.Errorf("a site was asked %d times during %d requests, where none should be", asked, requests)
	case a == eachTime && asked < requests:
		return fmt.Errorf("a site was asked only %d times during %d requests", asked, requests)
	}
	return nil
}

// compare works the medians and ratios out.
func (g *groupResult) compare(from group) {
	byName := make(map[string]*result)
	for i := range g.Contenders {
		r := &g.Contenders[i]
		byName[r.Name] = r
		r.Median = medianMeasurement(r.Rounds)
	}
	for _, c := range from.contenders {
		r := byName[c.name]
		for _, a := range c.against {
			r.Ratios = append(r.Ratios, a.ratio(r.Rounds, byName[a.other].Rounds))
		}
		if n := c.memory.credentials; n > 0 {
			r.BytesPerCredential = float64(r.ResidentBytes-byName[c.memory.over].ResidentBytes) / float64(n)
		}
	}
}

func (a against) ratio(own, other []measurement) ratio {
	if a.metric == "" {
		a.metric = throughput
	}
	r := ratio{Other: a.other, Metric: a.metric, AtLeast: a.atLeast, AtMost: a.atMost}
	for i := range own {
		value := a.metric.of(own[i]) / a.metric.of(other[i])
		if a.inverse {
			value = 1 / value
		}
		r.Rounds = append(r.Rounds, value)
	}
	r.Median = median(r.Rounds)
	r.Text = fmt.Sprintf(a.says, number(r.Median))
	if a.atLeast > 0 || a.atMost > 0 {
		met := r.Median >= a.atLeast && (a.atMost == 0 || r.Median <= a.atMost)
		r.Met = &met
	}
	return r
}

// medianMeasurement has the median of each figure.
func medianMeasurement(rounds []measurement) measurement {
	of := func(figure func(measurement) float64) float64 {
		values := make([]float64, len(rounds))
		for i, m := range rounds {
			values[i] = figure(m)
		}
		return median(values)
	}
	return measurement{
		Rate: of(func(m measurement) float64 { return m.Rate }),
		P50:  of(func(m measurement) float64 { return m.P50 }),
		P99:  of(func(m measurement) float64 { return m.P99 }),
		P999: of(func(m measurement) float64 { return m.P999 }),
		CPU:  of(func(m measurement) float64 { return m.CPU }),
	}
}
