package main

import (
	"context"
	"errors"
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

// renewals is how many requests a site gets per second for so many verdicts in use: each is renewed by the first use
// after four fifths of its ttl.
func renewals(verdicts, ttl float64) float64 { return verdicts / (0.8*ttl + verdicts/fleetRate) }

// measureFleets counts what the site is asked by fleets.
func (h *harness) measureFleets(ctx context.Context) (string, error) {
	fleets := []fleet{
		{1, 200, 1, 2}, {4, 200, 4, 2}, {4, 200, 1, 2}, {4, 400, 4, 2}, {4, 400, 1, 2}, {4, 200, 4, 4}, {4, 200, 1, 4},
	}
	if h.smoke {
		fleets = fleets[:3]
	}
	var text strings.Builder
	fmt.Fprintf(&text, "\nFleets at %d requests per second, and what the site is asked\n\n"+
		"| Caddys | credentials | ttl | share redis | requests to the site while all is new | then, per second "+
		"| by the formula |\n|---|---|---|---|---|---|---|\n", fleetRate)
	for _, f := range fleets {
		fmt.Fprintf(os.Stderr, "fleet: %+v\n", f)
		row, err := h.measureFleet(ctx, f)
		if err != nil {
			return "", fmt.Errorf("%+v: %w", f, err)
		}
		text.WriteString(row)
	}
	return text.String(), nil
}

// measureFleet has each Caddy asked for each credential, and then Caddys at random for credentials at random. It
// returns a row of the table.
func (h *harness) measureFleet(ctx context.Context, f fleet) (row string, err error) {
	h.stopServers() // the fleet before
	s, options, servers := newSite(0), "", make([]*server, f.caddys)
	if f.memories < f.caddys {
		options = shared
	}
	for i := range servers {
		servers[i] = protect(s, 1000, time.Duration(f.ttl)*time.Second, options)
		if err := h.start(ctx, servers[i]); err != nil {
			return "", err
		}
	}
	if options != "" {
		err = h.waitShared(ctx, servers...)
	}
	credential, asked := h.numbers(f.credentials), s.asked.Load()
	for _, server := range servers {
		err = errors.Join(err, use(ctx, server, credential, f.credentials))
	}
	verdicts, first, steady := f.credentials*f.memories, s.asked.Load()-asked, 0.0
	if err == nil && first != int64(verdicts) {
		err = fmt.Errorf("the site got %d requests", first)
	}
	for _, seconds := range []int{2 * f.ttl, 5 * f.ttl} { // the first are over when the verdicts no longer end together
		if err != nil || h.smoke && steady > 0 {
			break
		}
		asked = s.asked.Load()
		_, err = attack(ctx, fleetRate, seconds*fleetRate, func(int64) (string, http.Header) {
			at, number := rand.IntN(len(servers)), rand.Int64N(int64(f.credentials)) //nolint:gosec // no secret
			return servers[at].address, authorization(credential + number)
		})
		steady = float64(s.asked.Load()-asked) / float64(seconds)
	}
	expected := renewals(float64(verdicts), float64(f.ttl))
	share := map[bool]string{true: "yes", false: "no"}[f.memories < f.caddys]
	return fmt.Sprintf("| %d | %d | %ds | %s | %d | %.1f | %.1f |\n", f.caddys, f.credentials, f.ttl, share, first,
		steady, expected), err
}
