package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// group is contenders that are measured side by side, in the same rounds.
type group struct {
	name, title string
	contenders  []contender
	run         func(context.Context) (string, error) // measures it in a way of its own
}

// contender is a server under a load, with the answers that make its figures mean something.
type contender struct {
	name       string
	server     *server
	credential string  // sent with each request. With a verb for the number, each request has a new one
	population int     // so many credentials at random
	through    *server // that has already used each credential
	rate       int     // requests per second; default: as many as the server can take
	flood      *flood  // beside the load
	status     int     // of the answers; default: 200
	without    int     // status of the answer without a credential; default: 401
	asks       int     // its site: never, always or limited
	base       string  // contender that it is compared with

	first int64   // number of the first new credential
	heap  float64 // bytes for each credential of the population
}

// never, always and limited are how often a server asks its site while it is measured: not at all, since all verdicts are
// cached or shared; at least once for each request; or any number of times, but never more than max_inflight at once.
const never, always, limited = 0, 1, 2

const maxInflight = 16 // the default of frappe_auth

// The credentials of Caddyfile.example.
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
	cached = 24 * time.Hour // outlasts every measurement
)

// protect is a Caddy with frappe_auth, further options of it, and directives.
func protect(s *site, cacheSize int, ttl time.Duration, options, directives string) *server {
	return caddyServer(s, fmt.Sprintf("frappe_auth {\nbackend site %s\ncache {\nsize %d\nttl %s\nbearer_ttl %[3]s\nnegative_ttl 1h\n}\nfailures off\n%s}\n%s",
		s.url, cacheSize, ttl, options, directives))
}

// known is a Caddy that has cached whatever it was once asked.
func known(directives string) *server {
	return protect(newSite(0, anyNumber), 1000, cached, "", directives)
}

func forwardAuth(delay time.Duration, workers int) *server {
	s := newSite(delay, workers)
	return caddyServer(s, "forward_auth "+s.url+" {\nuri "+pathLoggedUser+"\n}\nrespond ok")
}

const alone, requestHeader = "Caddy alone", "Caddy, request_header"

// baselines are nothing, and about the least that a directive can do.
func baselines() []contender {
	return []contender{
		{name: alone, server: caddyServer(nil, "respond ok"), credential: token, without: 200},
		{name: requestHeader, server: caddyServer(nil, "request_header X-User alice@example.com\nrespond ok"), credential: token, without: 200, base: alone},
	}
}

// groups are all that is measured.
func groups(populations []int) []group {
	return []group{
		{name: "grant", title: "A cached grant, and what else checks credentials", contenders: grants()},
		{name: "denial", title: "A cached denial", contenders: denials()},
		{name: "files", title: "A file, by Caddy and by nginx", contenders: files()},
		{name: "latency", title: "A cached grant, at 2,000 requests per second", contenders: latency()},
		{name: "miss", title: "Credentials that this Caddy sees for the first time, at 200 requests per second", contenders: misses()},
		{name: "population", title: "Many cached credentials, used at random", contenders: population(populations)},
		{name: "flood", title: fmt.Sprintf("Good clients beside a flood of %d requests per second, with a site that takes 8 ms", floodRate), contenders: floods()},
	}
}

func grants() []contender {
	one := known("respond ok")
	return append(
		baselines(),
		contender{name: "frappe_auth, token", server: one, credential: token, base: requestHeader},
		contender{name: "frappe_auth, Basic", server: one, credential: basic, base: requestHeader},
		contender{name: "frappe_auth, Bearer", server: one, credential: bearer, base: requestHeader},
		contender{name: "frappe_auth, token, share redis", server: protect(newSite(0, anyNumber), 1000, cached, shared, "respond ok"), credential: token, base: "frappe_auth, token"},
		contender{name: "basic_auth, bcrypt, cached", server: caddyServer(nil, basicAuth+"respond ok"), credential: basic, base: "frappe_auth, Basic"},
		contender{name: "forward_auth, site takes 0 ms", server: forwardAuth(0, anyNumber), credential: token, asks: always, base: "frappe_auth, token"},
		contender{name: "forward_auth, 8 ms", server: forwardAuth(8*time.Millisecond, anyNumber), credential: token, asks: always, base: "frappe_auth, token"},
		contender{name: "forward_auth, 8 ms of 4 workers", server: forwardAuth(8*time.Millisecond, 4), credential: token, asks: always, base: "frappe_auth, token"},
	)
}

func denials() []contender {
	const response, failure = "Caddy alone, respond 401", "Caddy alone, error 401"
	return []contender{
		{name: response, server: caddyServer(nil, "respond 401"), credential: bad, status: 401},
		{name: failure, server: caddyServer(nil, "error 401"), credential: bad, status: 401, base: response},
		{name: "frappe_auth", server: known("respond ok"), credential: bad, status: 401, base: failure},
	}
}

func files() []contender {
	asking := func(cachePath, cache string) *server {
		s := newSite(0, anyNumber)
		upstream := "upstream site { server " + strings.TrimPrefix(s.url, "http://") + "; keepalive 64; keepalive_requests 1000000000; }\n"
		return nginxServer(s, upstream+cachePath, "location / { auth_request /auth; } location = /auth { internal; proxy_pass http://site"+pathLoggedUser+`;
			proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass_request_body off; proxy_set_header Content-Length "";`+cache+"}")
	}
	caching := asking("proxy_cache_path verdicts keys_zone=verdicts:10m;", "proxy_cache verdicts; proxy_cache_key $http_authorization; proxy_cache_valid 200 24h;")
	return []contender{
		{name: "Caddy, file_server", server: caddyServer(nil, "file_server"), credential: token, without: 200},
		{name: "Caddy, frappe_auth", server: known("file_server"), credential: token, base: "Caddy, file_server"},
		{name: "nginx", server: nginxServer(nil, "", ""), credential: token, without: 200},
		{name: "nginx, auth_request, site takes 0 ms", server: asking("", ""), credential: token, asks: always, base: "nginx"},
		{name: "nginx, auth_request, proxy_cache", server: caching, credential: token, base: "nginx"},
	}
}

func latency() []contender {
	all := append(
		baselines(),
		contender{name: "frappe_auth", server: known("respond ok"), credential: token, base: requestHeader},
		contender{name: "forward_auth, 8 ms", server: forwardAuth(8*time.Millisecond, anyNumber), credential: token, asks: always, base: requestHeader},
	)
	for i := range all {
		all[i].rate = 2000
	}
	return all
}

func misses() []contender {
	s := newSite(8*time.Millisecond, anyNumber)
	first, second := protect(s, 100_000, cached, shared, "respond ok"), protect(s, 100_000, cached, shared, "respond ok")
	alone := protect(s, 100_000, cached, "", "respond ok")
	const hit = "a hit, for comparison"
	return []contender{
		{name: hit, server: alone, credential: token, rate: 200},
		{name: "answered by Redis", server: second, through: first, credential: numbered, rate: 200, base: hit},
		{name: "answered by a site that takes 8 ms", server: alone, credential: numbered, rate: 200, asks: always, base: hit},
		{name: "the same, with share redis", server: first, credential: numbered, rate: 200, asks: always, base: "answered by a site that takes 8 ms"},
	}
}

func population(sizes []int) (all []contender) {
	for _, n := range sizes {
		server := protect(newSite(0, anyNumber), slices.Max(sizes), cached, "", "respond ok")
		c := contender{name: fmt.Sprintf("%d cached", n), server: server, credential: numbered, population: n}
		if all != nil {
			c.base = all[0].name
		}
		all = append(all, c)
	}
	return all
}

func floods() []contender {
	s := newSite(8*time.Millisecond, anyNumber)
	server := caddyServer(s, "respond /absent 404\nfrappe_auth "+s.url+"\nrespond ok", "servers {\ntrusted_proxies static 127.0.0.1/32\n}")
	with := func(name, base string, f *flood) contender {
		return contender{name: name, server: server, credential: token, flood: f, asks: limited, base: base}
	}
	return []contender{
		with("no flood", "", nil),
		with("404, one address", "", &flood{path: "/absent", addresses: 1}),
		with("bad credentials, one address", "404, one address", &flood{path: "/", addresses: 1}),
		with("404, 10,000 addresses", "", &flood{path: "/absent", addresses: 10_000}),
		with("bad credentials, 10,000 addresses", "404, 10,000 addresses", &flood{path: "/", addresses: 10_000}),
	}
}
