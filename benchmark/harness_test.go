package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSelected: who is compared to others comes with them.
func TestSelected(t *testing.T) {
	for pattern, want := range map[string][]string{
		"^denial/":                 {"Caddy alone, respond 401", "Caddy alone, error 401", "frappe_auth"},
		"^denial/frappe_auth$":     {"Caddy alone, respond 401", "Caddy alone, error 401", "frappe_auth"},
		"^denial/Caddy alone":      {"Caddy alone, respond 401", "Caddy alone, error 401"},
		"^population/1,000 .*form": {"1 credential", "1,000 credentials, uniform"},
		"no such contender":        nil,
	} {
		var got []string
		for _, g := range groups(fullSizes) {
			for _, c := range g.selected(regexp.MustCompile(pattern).MatchString).contenders {
				got = append(got, c.name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s selects %q", pattern, got)
		}
	}
}

// TestGroups: whom a contender is compared to is there, before it.
func TestGroups(t *testing.T) {
	for _, g := range append(groups(fullSizes), groups(smokeSizes)...) {
		var names []string
		for _, c := range g.contenders {
			if slices.Contains(names, c.name) {
				t.Errorf("%s has two of %s", g.name, c.name)
			}
			for _, a := range c.against {
				if !slices.Contains(names, a.other) {
					t.Errorf("%s/%s is compared to %q", g.name, c.name, a.other)
				}
			}
			names = append(names, c.name)
		}
	}
}

func TestRatio(t *testing.T) {
	own := []measurement{{Rate: 90}, {Rate: 210}, {Rate: 95}}
	other := []measurement{{Rate: 100}, {Rate: 200}, {Rate: 100}}
	r := against{says: "%s of it", atLeast: .97}.ratio(own, other)
	if math.Abs(r.Median-.95) > 1e-9 || r.String() != "0.950 of it (≥ 0.97: missed)" {
		t.Errorf("%v, %s", r.Median, r)
	}
	r = against{says: "%s times it", inverse: true, atMost: 1.1}.ratio(own, other)
	if r.String() != "1.053 times it (≤ 1.1: met)" {
		t.Error(r)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("the median of an even number of values is %v", m)
	}
}

// TestOutcome: figures of errors are no figures.
func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		outcome outcome
		status  int
		good    bool
	}{
		{outcome{Requests: 10}, 200, true},
		{outcome{Requests: 10, Status: 1}, 200, false},
		{outcome{Requests: 10, Status: 10}, 401, true},
		{outcome{Requests: 10, Status: 9}, 401, false},
		{outcome{Requests: 10, Read: 1}, 200, false},
		{outcome{}, 200, false},
	} {
		if err := c.outcome.check(c.status); (err == nil) != c.good {
			t.Errorf("%+v: %v", c.outcome, err)
		}
	}
	if never.check(1, 10) == nil || eachTime.check(9, 10) == nil || never.check(0, 10) != nil || eachTime.check(12, 10) != nil {
		t.Error("how often a site is asked goes unnoticed")
	}
}

func TestIndexes(t *testing.T) {
	counts := func(all []uint32, n int) []int {
		found := make([]int, n)
		for _, i := range all {
			found[i]++
		}
		slices.Sort(found)
		return found
	}
	const n, length = 100, 100_000
	if c := counts(uniform(n, length), n); c[0] < 800 || c[n-1] > 1200 {
		t.Errorf("uniform: from %d to %d times", c[0], c[n-1])
	}
	if c := counts(zipf(n, length), n); c[0] > 400 || c[n-1] < 10_000 {
		t.Errorf("Zipf: from %d to %d times", c[0], c[n-1])
	}
}

// TestConstantRate: the rate is kept, and what a slow answer delays counts as waiting, although nothing was sent.
func TestConstantRate(t *testing.T) {
	stall := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-stall:
			time.Sleep(2 * window)
		default:
		}
		io.WriteString(w, "ok")
	}))
	defer server.Close()
	j := job{Address: strings.TrimPrefix(server.URL, "http://"), Path: "/", Rate: 1000, Connections: 1, Status: 200}
	for _, c := range []struct {
		windows  int
		requests int
		p50, p99 float64 // at least, in microseconds
	}{
		// Until the window is over and for as long again there is no connection to send over.
		{1, 100, 150_000, 199_000},
		// In half of the windows nothing waits for long. Between the halves is the median.
		{4, 400, 25_000, 49_000},
	} {
		stall <- struct{}{}
		j.Duration = time.Duration(c.windows) * window
		out, err := j.run(context.Background())
		if err != nil || out.check(200) != nil {
			t.Fatal(err, out)
		}
		if out.Requests != c.requests || out.P50 < c.p50 || out.P99 < c.p99 {
			t.Errorf("%d windows: %+v", c.windows, out)
		}
	}
	j.Status = 204
	if out, err := j.run(context.Background()); err != nil || out.check(204) == nil {
		t.Error("another status goes unnoticed", err)
	}
}

func TestReport(t *testing.T) {
	g := denial()
	measured := groupResult{Name: g.name, Title: g.title, Contenders: []result{
		{Name: g.contenders[0].name, Rounds: []measurement{{Rate: 20_000, P50: 100}}},
		{Name: g.contenders[1].name, Rounds: []measurement{{Rate: 20_000, P50: 100}}},
		{Name: g.contenders[2].name, Rounds: []measurement{{Rate: 19_000, P50: 110}}},
	}}
	measured.compare(g)
	r := &report{Groups: []groupResult{measured}}
	var table, chart, figures bytes.Buffer
	if err := errors.Join(r.table(&table), r.chart(&chart), r.json(&figures)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table.String(), "19,000") || !strings.Contains(table.String(), "0.950 of Caddy's own error (≥ 0.9: met)") {
		t.Error(table.String())
	}
	if err := xml.Unmarshal(chart.Bytes(), new(struct{})); err != nil || !strings.Contains(chart.String(), "19,000") {
		t.Error(err, chart.String())
	}
	if !json.Valid(figures.Bytes()) {
		t.Error(figures.String())
	}
}
