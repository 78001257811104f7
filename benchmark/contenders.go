package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// group is contenders that are measured side by side, in the same rounds.
type group struct {
	name, title string
	contenders  []contender
}

// contender is a server under a load, with the answers that make its figures mean something.
type contender struct {
	name       string
	server     *server
	credential string // sent with each request
	population int    // so many credentials at random, instead of one; credential has a verb for the number
	constant   bool   // a constant rate, instead of as much as the server can take
	flood      *flood // beside the load
	status     int    // of the answers; default: 200
	without    int    // status of the answer without a credential; default: 401
	asks       int    // its site: never, always or limited
	base       string // contender that it is compared with
}

// never, always and limited are how often a server asks its site while it is measured: not at all, since all verdicts are
// cached; at least once for each request; or any number of times, but never more than max_inflight at once.
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
)

// frappeAuth is the directive, with cached verdicts that outlast every measurement.
func frappeAuth(s *site, cacheSize int, timeout time.Duration) string {
	return fmt.Sprintf("frappe_auth {\nbackend site %s {\ntimeout %s\n}\ncache {\nsize %d\nttl 24h\nbearer_ttl 24h\nnegative_ttl 1h\n}\nfailures off\n}\n",
		s.url, timeout, cacheSize)
}

func protect(directives string, cacheSize int) *server {
	s := newSite(0, anyNumber)
	return caddyServer(s, frappeAuth(s, cacheSize, 5*time.Second)+directives)
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
		{"grant", "A cached grant, and what else checks credentials", grants()},
		{"denial", "A cached denial", denials()},
		{"files", "A file, by Caddy and by nginx", files()},
		{"latency", fmt.Sprintf("A cached grant at %d requests per second", constantRate), latency()},
		{"population", "Many cached credentials, used at random", population(populations)},
		{"flood", fmt.Sprintf("Good clients beside a flood of %d requests per second, with a site that takes 8 ms", floodRate), floods()},
	}
}

func grants() []contender {
	cached := protect("respond ok", 1000)
	return append(
		baselines(),
		contender{name: "frappe_auth, token", server: cached, credential: token, base: requestHeader},
		contender{name: "frappe_auth, Basic", server: cached, credential: basic, base: requestHeader},
		contender{name: "frappe_auth, Bearer", server: cached, credential: bearer, base: requestHeader},
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
		{name: "frappe_auth", server: protect("respond ok", 1000), credential: bad, status: 401, base: failure},
	}
}

func files() []contender {
	s := newSite(0, anyNumber)
	upstream := "upstream site { server " + strings.TrimPrefix(s.url, "http://") + "; keepalive 64; keepalive_requests 1000000000; }\n"
	ask := "location / { auth_request /auth; } location = /auth { internal; proxy_pass http://site" + pathLoggedUser + `;
		proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass_request_body off; proxy_set_header Content-Length "";`
	cache := "proxy_cache verdicts; proxy_cache_key $http_authorization; proxy_cache_valid 200 24h;"
	asking := nginxServer(s, upstream, ask+"}")
	caching := nginxServer(s, upstream+"proxy_cache_path verdicts keys_zone=verdicts:10m;", ask+cache+"}")
	return []contender{
		{name: "Caddy, file_server", server: caddyServer(nil, "file_server"), credential: token, without: 200},
		{name: "Caddy, frappe_auth", server: protect("file_server", 1000), credential: token, base: "Caddy, file_server"},
		{name: "nginx", server: nginxServer(nil, "", ""), credential: token, without: 200},
		{name: "nginx, auth_request, site takes 0 ms", server: asking, credential: token, asks: always, base: "nginx"},
		{name: "nginx, auth_request, proxy_cache", server: caching, credential: token, base: "nginx"},
	}
}

func latency() []contender {
	all := append(
		baselines(),
		contender{name: "frappe_auth", server: protect("respond ok", 1000), credential: token, base: requestHeader},
		contender{name: "forward_auth, 8 ms", server: forwardAuth(8*time.Millisecond, anyNumber), credential: token, asks: always, base: requestHeader},
	)
	for i := range all {
		all[i].constant = true
	}
	return all
}

func population(sizes []int) (all []contender) {
	for _, n := range sizes {
		c := contender{name: fmt.Sprintf("%d cached", n), server: protect("respond ok", slices.Max(sizes)), credential: numbered, population: n}
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
