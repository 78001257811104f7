package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"
)

const fleetRate = 1000 // requests per second, for all Caddys together

// fleet is several Caddys behind a load balancer.
type fleet struct {
	caddys, credentials, memories int // with share redis they have one memory
	ttl                           int // in seconds
}

// expected is how many requests per second the site should get. A verdict is renewed by the first use after four fifths of
// its ttl, in each memory.
func (f fleet) expected() float64 {
	verdicts := float64(f.memories * f.credentials)
	return verdicts / (0.8*float64(f.ttl) + verdicts/fleetRate)
}

// measureFleets counts what the site is asked by fleets.
func (h *harness) measureFleets(ctx context.Context) (string, error) {
	fleets := []fleet{{1, 200, 1, 2}, {4, 200, 4, 2}, {4, 200, 1, 2}, {4, 400, 4, 2}, {4, 400, 1, 2}, {4, 200, 4, 4}, {4, 200, 1, 4}}
	if h.smoke {
		fleets = fleets[:3]
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\nFleets at %d requests per second, and what the site is asked\n\n"+
		"| Caddys | credentials | ttl | share redis | requests to the site while all is new | then, per second | by the formula |\n|---|---|---|---|---|---|---|\n", fleetRate)
	for _, f := range fleets {
		fmt.Fprintf(os.Stderr, "fleet: %+v\n", f)
		first, steady, err := h.measureFleet(ctx, f)
		if err != nil {
			return "", err
		}
		if first != int64(f.credentials*f.memories) {
			return "", fmt.Errorf("%+v: the site got %d requests", f, first)
		}
		fmt.Fprintf(&text, "| %d | %d | %ds | %t | %d | %.1f | %.1f |\n", f.caddys, f.credentials, f.ttl, f.memories < f.caddys, first, steady, f.expected())
	}
	return text.String(), nil
}

// measureFleet has each Caddy asked for each credential, and then Caddys at random for credentials at random.
func (h *harness) measureFleet(ctx context.Context, f fleet) (first int64, steady float64, err error) {
	s, options, servers := newSite(0), "", make([]*server, f.caddys)
	if f.memories < f.caddys {
		options = shared
	}
	for i := range servers {
		servers[i] = protect(s, 1000, time.Duration(f.ttl)*time.Second, options)
		if err := h.start(ctx, servers[i]); err != nil {
			return 0, 0, err
		}
		defer servers[i].stop()
	}
	if options != "" {
		if err := h.waitShared(ctx, servers...); err != nil {
			return 0, 0, err
		}
	}
	c := contender{credential: numbered, first: h.serial.Add(int64(f.credentials)) - int64(f.credentials) + 1}
	asked := s.asked.Load()
	for _, server := range servers {
		if err := c.use(ctx, server, f.credentials); err != nil {
			return 0, 0, err
		}
	}
	first = s.asked.Load() - asked
	periods := []int{2, 5} // the first is over when the verdicts no longer end together
	if h.smoke {
		periods = periods[:1]
	}
	for _, n := range periods {
		asked = s.asked.Load()
		_, err := attack(ctx, fleetRate, time.Duration(n*f.ttl)*time.Second, func(int64) (string, http.Header) {
			return servers[rand.IntN(len(servers))].address, c.header(rand.Int64N(int64(f.credentials))) //nolint:gosec // no secret
		})
		if err != nil {
			return 0, 0, err
		}
		steady = float64(s.asked.Load()-asked) / float64(n*f.ttl)
	}
	return first, steady, nil
}
