package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// group is contenders that are measured side by side, in the same rounds.
type group struct {
	name, title string
	contenders  []contender
	measure     func(context.Context) (string, error) // instead, with a table of its own
}

// contender is a server under a load, with the answers that make its figures mean something.
type contender struct {
	name       string
	server     *server
	credential string  // sent with each request. With a verb for its number, each request has a new one
	population int     // so many credentials at random
	through    *server // that has already used each new credential
	rate       int     // requests per second; default: as many as the server can take
	status     int     // of the answers; default: 200
	without    int     // status of the answer without a credential; default: 401
	asks       bool    // its site at least once for each request; else never, since all verdicts are cached or shared
	base       string  // contender that it is compared with

	first int64   // number of the first new credential
	heap  float64 // bytes for each credential of the population
}

// The credentials of Caddyfile.example, and others.
const (
	token    = "token 2c6245becaa0961:61066224add85e6"              //nolint:gosec // an example
	basic    = "Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg==" //nolint:gosec // an example
	bearer   = "Bearer 641cc7393fbf7e529b94837c181e81"              //nolint:gosec // an example
	bad      = "token bad:bad"
	numbered = "Bearer %030x"

	// basicAuth knows the same API key, by what `caddy hash-password` makes of the secret.
	basicAuth = "basic_auth {\n2c6245becaa0961 $2a$14$wnNGRTAzH51McuRhJn/S5..qpnSY9GnZd8eel4w9/ONlHpBQ/A8.q\n}\n"

	secret = "0123456789abcdef0123456789abcdef"
	shared = "share redis redis://REDIS {\nsecret " + secret + "\n}\n"
	day    = 24 * time.Hour
)

// protect is a Caddy with frappe_auth, and further options of it.
func protect(s *site, cacheSize int, ttl time.Duration, options string) *server {
	return caddyServer(s, fmt.Sprintf("frappe_auth {\nbackend site %s\ncache {\nsize %d\nttl %s\nbearer_ttl %[3]s\nnegative_ttl 1h\n}\nfailures off\n%s}\nrespond ok",
		s.url, cacheSize, ttl, options))
}

func forwardAuth(delay time.Duration) *server {
	s := newSite(delay)
	return caddyServer(s, "forward_auth "+s.url+" {\nuri "+pathLoggedUser+"\n}\nrespond ok")
}

// groups are all that is measured.
func (h *harness) groups() []group {
	populations, simulated := []int{1, 10_000, 100_000, 1_000_000}, scale{caddys: 100, credentials: 1_000_000, start: 500, revocations: 20}
	if h.smoke {
		populations, simulated = []int{1, 100, 1000}, scale{caddys: 5, credentials: 1000, start: 100, revocations: 2}
	}
	return []group{
		{name: "grant", title: "A cached verdict, and what else checks credentials", contenders: grants()},
		{name: "latency", title: "At 400 requests per second, with a site that takes 8 ms", contenders: latency()},
		{name: "population", title: "Many cached credentials, used at random", contenders: population(populations)},
		{name: "fleet", measure: h.measureFleets},
		{name: "simulation", measure: func(ctx context.Context) (string, error) { return h.simulate(ctx, simulated) }},
	}
}

const requestHeader, byToken = "Caddy, request_header", "frappe_auth, token" //nolint:gosec // names

// baselines are nothing, and about the least that a directive can do.
func baselines(rate int) []contender {
	return []contender{
		{name: "Caddy alone", server: caddyServer(nil, "respond ok"), credential: token, without: 200, rate: rate},
		{name: requestHeader, server: caddyServer(nil, "request_header X-User alice@example.com\nrespond ok"), credential: token, without: 200, rate: rate, base: "Caddy alone"},
	}
}

func grants() []contender {
	s := newSite(0)
	one, sharing := protect(s, 1000, day, ""), protect(s, 1000, day, shared)
	return append(
		baselines(0),
		contender{name: byToken, server: one, credential: token, base: requestHeader},
		contender{name: "frappe_auth, Basic", server: one, credential: basic, base: requestHeader},
		contender{name: "frappe_auth, Bearer", server: one, credential: bearer, base: requestHeader},
		contender{name: "frappe_auth, token, share redis", server: sharing, credential: token, base: byToken},
		contender{name: "Caddy, error 401", server: caddyServer(nil, "error 401"), credential: bad, status: 401, base: requestHeader},
		contender{name: "frappe_auth, a cached denial", server: one, credential: bad, status: 401, base: "Caddy, error 401"},
		contender{name: "basic_auth, bcrypt, cached", server: caddyServer(nil, basicAuth+"respond ok"), credential: basic, base: "frappe_auth, Basic"},
		contender{name: "forward_auth, site takes 0 ms", server: forwardAuth(0), credential: token, asks: true, base: byToken},
		contender{name: "forward_auth, 8 ms", server: forwardAuth(8 * time.Millisecond), credential: token, asks: true, base: byToken},
	)
}

func latency() []contender {
	const rate, bySite = 400, "a new credential, answered by the site"
	s := newSite(8 * time.Millisecond)
	one, first, second := protect(s, 100_000, day, ""), protect(s, 100_000, day, shared), protect(s, 100_000, day, shared)
	return append(
		baselines(rate),
		contender{name: byToken, server: one, credential: token, rate: rate, base: requestHeader},
		contender{name: "a new credential, answered by Redis", server: second, through: first, credential: numbered, rate: rate, base: byToken},
		contender{name: bySite, server: one, credential: numbered, rate: rate, asks: true, base: byToken},
		contender{name: "the same, with share redis", server: first, credential: numbered, rate: rate, asks: true, base: bySite},
		contender{name: "forward_auth", server: forwardAuth(8 * time.Millisecond), credential: token, rate: rate, asks: true, base: bySite},
	)
}

func population(sizes []int) (all []contender) {
	for _, n := range sizes {
		server := protect(newSite(0), slices.Max(sizes), day, "")
		all = append(all, contender{name: fmt.Sprintf("%d cached", n), server: server, credential: numbered, population: n, base: "1 cached"})
	}
	all[0].base = ""
	return all
}
