package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"time"
)

const fleetRate = 1000 // requests per second, for all Caddys together

// fleet is several Caddys behind a load balancer.
type fleet struct {
	caddys, credentials int
	ttl                 time.Duration
	share               bool
}

// expected is how many requests per second the site should get. A verdict is renewed by the first use after four fifths of
// its ttl, at each Caddy by itself or, with share, at any of them.
func (f fleet) expected() float64 {
	uses := float64(fleetRate) / float64(f.credentials) // of one credential, per second
	asking := 1.0
	if !f.share {
		asking, uses = float64(f.caddys), uses/float64(f.caddys)
	}
	return asking * float64(f.credentials) / (0.8*f.ttl.Seconds() + 1/uses)
}

// measureFleets counts what the site is asked by fleets: when all credentials are new to each Caddy, and then by requests with
// credentials at random to Caddys at random.
func (h *harness) measureFleets(ctx context.Context) (string, error) {
	text := fmt.Sprintf("\nA fleet at %d requests per second, and what the site is asked\n\n"+
		"| Caddys | credentials | ttl | share redis | requests to the site when all is new | then, per second | by the formula |\n|---|---|---|---|---|---|---|\n", fleetRate)
	fleets := []fleet{
		{1, 200, 2 * time.Second, false},
		{4, 200, 2 * time.Second, false},
		{4, 200, 2 * time.Second, true},
		{4, 400, 2 * time.Second, false},
		{4, 400, 2 * time.Second, true},
		{4, 200, 4 * time.Second, false},
		{4, 200, 4 * time.Second, true},
	}
	if h.smoke {
		fleets = fleets[:3]
	}
	for _, f := range fleets {
		fmt.Fprintf(os.Stderr, "fleet: %+v\n", f)
		first, steady, err := h.measureFleet(ctx, f)
		if err != nil {
			return "", err
		}
		if want := f.credentials * map[bool]int{false: f.caddys, true: 1}[f.share]; first != int64(want) {
			return "", fmt.Errorf("the site got %d requests, want %d: %+v", first, want, f)
		}
		text += fmt.Sprintf("| %d | %d | %s | %s | %d | %.1f | %.1f |\n", f.caddys, f.credentials, f.ttl, map[bool]string{true: "yes", false: "no"}[f.share], first, steady, f.expected())
	}
	return text, nil
}

func (h *harness) measureFleet(ctx context.Context, f fleet) (first int64, steady float64, err error) {
	s, options, servers := newSite(0, anyNumber), "", make([]*server, f.caddys)
	if f.share {
		options = shared
	}
	for i := range servers {
		servers[i] = protect(s, 1000, f.ttl, options)
		if err := h.start(ctx, servers[i]); err != nil {
			return 0, 0, err
		}
		defer servers[i].stop()
	}
	if f.share {
		if err := h.waitShared(ctx, servers...); err != nil {
			return 0, 0, err
		}
	}
	credentials := contender{credential: numbered, population: f.credentials}
	credentials.first = h.serial.Add(int64(f.credentials)) - int64(f.credentials) + 1
	asked := s.asked.Load()
	for _, server := range servers {
		if err := credentials.use(ctx, server, f.credentials); err != nil {
			return 0, 0, err
		}
	}
	first = s.asked.Load() - asked
	periods := []time.Duration{2, 5} // the first is over when the verdicts no longer end together
	if h.smoke {
		periods = periods[:1]
	}
	for _, n := range periods {
		asked = s.asked.Load()
		duration := n * f.ttl
		_, err := attack(ctx, fleetRate, duration, func(int64) (string, http.Header) {
			return servers[rand.IntN(len(servers))].address, credentials.header(rand.Int64N(int64(f.credentials))) //nolint:gosec // no secret
		})
		if err != nil {
			return 0, 0, err
		}
		steady = float64(s.asked.Load()-asked) / duration.Seconds()
	}
	return first, steady, nil
}
