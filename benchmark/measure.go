package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// measureGroup starts the servers of a group, measures the contenders in rounds, and returns the rows of the table.
func (h *harness) measureGroup(ctx context.Context, g group) (string, error) {
	for i := range g.contenders {
		c := &g.contenders[i]
		c.status, c.without = cmp.Or(c.status, http.StatusOK), cmp.Or(c.without, http.StatusUnauthorized)
		if c.server.stop == nil {
			if err := h.start(ctx, c.server); err != nil {
				return "", fmt.Errorf("%s: %w", c.name, err)
			}
			defer c.server.stop()
		}
		if err := h.prepare(ctx, *c); err != nil {
			return "", fmt.Errorf("%s: %w", c.name, err)
		}
	}
	rounds := make(map[string][]measurement)
	for round := range h.rounds {
		fmt.Fprintf(os.Stderr, "%s: round %d of %d\n", g.name, round+1, h.rounds)
		order := slices.Clone(g.contenders)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			m, err := h.measure(ctx, c)
			if err != nil {
				return "", fmt.Errorf("%s: %w", c.name, err)
			}
			rounds[c.name] = append(rounds[c.name], m)
		}
	}
	return tableRows(g, rounds), nil
}

// header is what a request carries: of a population, the credential of that number.
func (c contender) header(n int64) http.Header {
	if c.population > 0 {
		return http.Header{"Authorization": {fmt.Sprintf(c.credential, n)}}
	}
	return http.Header{"Authorization": {c.credential}}
}

// prepare fills the cache of a contender, checks its answers, and runs its load once unmeasured.
func (h *harness) prepare(ctx context.Context, c contender) error {
	if c.population > 0 {
		fmt.Fprintf(os.Stderr, "%s: filling the cache\n", c.name)
		if err := fillCache(ctx, c); err != nil {
			return err
		}
	}
	body, err := send(ctx, http.MethodGet, c.server.address, c.header(0), "", c.status)
	if err == nil && c.status == http.StatusOK && body != "ok" {
		err = fmt.Errorf("the answer is %q, want ok", body) // perhaps that of another handler
	}
	_, withoutErr := send(ctx, http.MethodGet, c.server.address, nil, "", c.without)
	if err = errors.Join(err, withoutErr); err != nil || h.smoke {
		return err
	}
	_, err = h.measure(ctx, c)
	return err
}

// send sends one request over a connection of its own. It returns the body, and an error unless the status is as wanted.
func send(ctx context.Context, method, url string, header http.Header, content string, status int) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+url, strings.NewReader(content))
	if err != nil {
		return "", err
	}
	r.Header, r.Close = header.Clone(), true
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != status {
		return "", fmt.Errorf("%s is answered with %d %q, want %d", url, resp.StatusCode, body, status)
	}
	return string(body), err
}

// measure measures a contender once. It returns an error if an answer or the number of requests to the site is wrong.
func (h *harness) measure(ctx context.Context, c contender) (measurement, error) {
	site := cmp.Or(c.server.site, new(site))
	asked, used := site.asked.Load(), cpuTime(c.server.pid)
	flooded := make(chan error, 1)
	go func() { flooded <- c.flood.run(ctx, c.server.address, h.duration) }()
	load := h.wrk
	if c.constant {
		load = h.constant
	}
	m, requests, err := load(ctx, c)
	asked, used = site.asked.Load()-asked, cpuTime(c.server.pid)-used
	if err := errors.Join(err, <-flooded); err != nil {
		return nil, err
	}
	switch {
	case c.asks == never && asked > 0, c.asks == always && asked < requests:
		return nil, fmt.Errorf("the site got %d requests during %d", asked, requests)
	case c.asks == limited && site.most.Load() > maxInflight:
		return nil, fmt.Errorf("the site got %d requests at once, but max_inflight is %d", site.most.Load(), maxInflight)
	}
	if used > 0 && c.flood == nil { // whose requests cost CPU as well
		m[cpu] = float64(used.Microseconds()) / float64(requests)
	}
	return m, nil
}
