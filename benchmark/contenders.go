package main

import (
	"fmt"
	"runtime"
	"slices"
)

// group is contenders that are measured side by side, in the same rounds.
type group struct {
	name       string
	title      string
	chart      bool // its rates can be shown on one scale with those of other groups
	contenders []contender
}

// contender is a server under a load, and what it has to answer for its figures to mean anything.
type contender struct {
	name    string
	site    *site
	load    load
	want    answer
	without int    // the status without a credential; 0: the same as with one
	cache   string // what frappe_auth has to say of the credential once it was used
	asks    asks
	memory  memory
	against []against
}

// answer is a response.
type answer struct {
	status int
	body   string
}

// asks is how often a contender asks a double.
type asks int

const (
	never asks = iota
	eachTime
)

// memory is how many credentials a contender keeps in memory more than another.
type memory struct {
	credentials int
	over        string
}

// against compares a contender to another of its group.
type against struct {
	other   string
	metric  metric
	inverse bool   // how many times the other's figure is this one's
	says    string // the ratio in words, with a verb for it
	atLeast float64
	atMost  float64
}

// metric is a figure of a measurement.
type metric string

const (
	throughput metric = "requests per second"
	p50        metric = "p50"
	p99        metric = "p99"
)

func (m metric) of(x measurement) float64 {
	switch m {
	case p50:
		return x.P50
	case p99:
		return x.P99
	case throughput:
	}
	return x.Rate
}

// sizes are what a smoke test has less of.
type sizes struct {
	keys        int // of backend static
	users       int // of backend database
	populations []int
	indexes     int // length of the list that a population is used by
}

var (
	fullSizes  = sizes{keys: 20_000, users: 100_000, populations: []int{1, 1000, 100_000, 1_000_000}, indexes: 1 << 20}
	smokeSizes = sizes{keys: 200, users: 1000, populations: []int{1, 100, 1000}, indexes: 1 << 12}
)

// The credentials of Caddyfile.example, and what knows them by their hashes.
const (
	token  = "token 2c6245becaa0961:61066224add85e6" //nolint:gosec // an example
	basic  = "Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg=="
	bearer = "Bearer 641cc7393fbf7e529b94837c181e81" //nolint:gosec // an example
	wrong  = "token 2c6245becaa0961:wrong"

	// distinctBearer has a verb for a number, which Go and Lua take for the same.
	distinctBearer = "Bearer %030x" //nolint:gosec // grants nothing

	example = `frappe_auth {
		backend static {
			token 2c6245becaa0961 sha256:708a11bd2c1ecdd5f774a80d15d45d3796beb5f0f7434439522136fe3a8937ca alice@example.com "Report Manager"
			bearer sha256:6525c0fccc047228cda3b9e06a8b4977877dfa2ac890c36a84fa929761ec6746 alice@example.com "Report Manager"
		}
		cache {
			ttl 24h
			negative_ttl 1h
		}
		failures off
	}`
)

var (
	ok           = answer{200, "ok"}
	file         = answer{200, fileContent}
	verdict      = answer{200, `{"message":"alice@example.com"}`}
	unauthorized = answer{status: 401}
)

// groups are everything that is measured.
func groups(s sizes) []group {
	return []group{
		limit(), denial(), serving(), servers(), cold(s), population(s), scaling(), latency(),
	}
}

// limit compares a cached grant with Caddy alone, and with what else Caddy has.
func limit() group {
	const alone = "Caddy alone"
	respond := func(auth string) *site { return &site{auth: auth, rest: "respond ok"} }
	auth := respond(example)
	idle := idleHandler(alone)
	grant := func(name, authorization string) contender {
		return contender{
			name: name, site: auth, load: load{authorization: authorization}, want: ok, without: 401, cache: "hit",
			against: []against{
				{other: alone, says: "%s of the limit", atLeast: .97},
				{other: idle.name, says: "%s of a handler that does nothing"},
			},
		}
	}
	forward := func(name, double string, atLeast float64) contender {
		return contender{
			name: name, load: load{authorization: token}, want: ok, without: 401, asks: eachTime,
			site: &site{rest: "forward_auth " + double + " {\n uri " + pathLoggedUser + "\n}\nrespond ok"},
			against: []against{
				{other: alone, says: "%s of the limit"},
				{other: "frappe_auth, token", inverse: true, says: "frappe_auth is %s times as fast", atLeast: atLeast},
			},
		}
	}
	return group{name: "limit", title: "A credential that is known, and a response that costs nothing", chart: true, contenders: []contender{
		{name: alone, site: respond(""), load: load{authorization: token}, want: ok},
		idle,
		grant("frappe_auth, token", token),
		grant("frappe_auth, Basic", basic),
		grant("frappe_auth, Bearer", bearer),
		{
			name: "basic_auth, bcrypt, cached", site: respondBasicAuth(), load: load{authorization: basic}, want: ok, without: 401,
			against: []against{
				{other: alone, says: "%s of the limit"},
				{other: "frappe_auth, Basic", inverse: true, says: "frappe_auth is %s times as fast"},
			},
		},
		forward("forward_auth, site answers at once", `{{.Double "0s" 0}}`, 5),
		forward("forward_auth, site takes 8 ms", `{{.Double "8ms" 0}}`, 100),
		forward("forward_auth, site takes 8 ms of 4 workers", `{{.Double "8ms" 4}}`, 100),
	}}
}

// idleHandler is what Caddy needs for any handler at all: this one has nothing to do where nothing is logged.
func idleHandler(alone string) contender {
	return contender{
		name: "a handler that does nothing", site: &site{rest: "log_skip\nrespond ok"}, load: load{authorization: token}, want: ok,
		against: []against{{other: alone, says: "%s of the limit"}},
	}
}

func respondBasicAuth() *site {
	return &site{rest: "basic_auth {\n 2c6245becaa0961 {{.Hash \"61066224add85e6\"}}\n}\nrespond ok"}
}

// denial compares a cached denial with Caddy's own 401: one that is a response, and one that is an error, which
// handle_errors can handle, as those of frappe_auth can.
func denial() group {
	const response, failure = "Caddy alone, respond 401", "Caddy alone, error 401"
	bad := load{authorization: wrong}
	return group{name: "denial", title: "The same bad credential again and again", chart: true, contenders: []contender{
		{name: response, site: &site{rest: "respond 401"}, load: bad, want: unauthorized},
		{
			name: failure, site: &site{rest: "error 401"}, load: bad, want: unauthorized,
			against: []against{{other: response, says: "%s of a response"}},
		},
		{
			name: "frappe_auth", site: &site{auth: example, rest: "respond ok"}, load: bad, want: unauthorized,
			against: []against{
				{other: failure, says: "%s of Caddy's own error", atLeast: .9},
				{other: response, says: "%s of a response", atLeast: .9},
			},
		},
	}}
}

// serving compares what Caddy serves with and without frappe_auth.
func serving() group {
	const proxy = `reverse_proxy {{.Double "0s" 0}}`
	l := load{authorization: token}
	return group{name: "serving", title: "Files and proxied applications", chart: true, contenders: []contender{
		{name: "file_server", site: &site{rest: fileServer}, load: l, want: file},
		{
			name: "frappe_auth + file_server", site: &site{auth: example, rest: fileServer}, load: l, want: file, without: 401, cache: "hit",
			against: []against{{other: "file_server", says: "%s of file_server", atLeast: .97}},
		},
		{name: "reverse_proxy", site: &site{rest: proxy}, load: l, want: ok, asks: eachTime},
		{
			name: "frappe_auth + reverse_proxy", site: &site{auth: example, rest: proxy}, load: l, want: ok, without: 401, cache: "hit", asks: eachTime,
			against: []against{{other: "reverse_proxy", says: "%s of reverse_proxy", atLeast: .97}},
		},
	}}
}

// servers compares what Caddy and nginx each keep of their own rate when they check credentials.
func servers() group {
	l := load{authorization: token}
	kept := func(bare string) []against { return []against{{other: bare, says: "%s of its own bare rate"}} }
	return group{name: "servers", title: "A static file, by nginx and by Caddy", chart: true, contenders: []contender{
		{name: "nginx", site: &site{nginx: nginxBare}, load: l, want: file},
		{
			name: "nginx, auth_request", site: &site{nginx: nginxAsked}, load: l, want: file, without: 401,
			asks: eachTime, against: kept("nginx"),
		},
		{
			name: "nginx, auth_request, proxy_cache", site: &site{nginx: nginxCached}, load: l, want: file, without: 401,
			against: kept("nginx"),
		},
		{name: "Caddy, file_server", site: &site{rest: fileServer}, load: l, want: file},
		{
			name: "Caddy, frappe_auth + file_server", site: &site{auth: example, rest: fileServer}, load: l, want: file, without: 401,
			cache: "hit", against: kept("Caddy, file_server"),
		},
	}}
}

// cold compares requests whose credential was never seen, or was forgotten, with asking the same site through Caddy.
func cold(s sizes) group {
	const many = 1 << 40 // never the same again
	distinct := load{authorization: distinctBearer, distinct: many}
	ask := distinct
	ask.path = pathLoggedUser
	direct := func(name, double string) contender {
		return contender{
			name: name, site: &site{rest: "reverse_proxy " + double}, load: ask, want: verdict, without: 401, asks: eachTime,
		}
	}
	// So much in flight that what is compared is not the limit of how much Frappe is asked at once.
	asking := func(name, double string, compared ...against) contender {
		return contender{
			name: name, site: &site{auth: "frappe_auth {\n backend site " + double + "\n max_inflight 256\n}", rest: "respond ok"},
			load: distinct, want: ok, without: 401, asks: eachTime, against: compared,
		}
	}
	small := "\n cache {\n size 10\n}\n" // so that all of them are forgotten when their turn comes again
	const (
		atOnce     = "reverse_proxy to the site, at once"
		slow       = "reverse_proxy to the site, 8 ms"
		slowAuth   = "frappe_auth, site takes 8 ms"
		alone      = "Caddy alone, the same requests"
		slowDouble = `{{.Double "8ms" 0}}`
		fastDouble = `{{.Double "0s" 0}}`
	)
	return group{name: "cold", title: "A credential that is new, each time", contenders: []contender{
		{name: alone, site: &site{rest: "respond ok"}, load: distinct, want: ok},
		direct(atOnce, fastDouble),
		asking("frappe_auth, site answers at once", fastDouble, against{other: atOnce, says: "%s of asking the site directly"}),
		direct(slow, slowDouble),
		asking(slowAuth, slowDouble,
			against{other: slow, metric: p50, says: "%s of the median latency of asking directly", atMost: 1.1},
			against{other: slow, says: "%s of the rate of asking directly"}),
		{
			name:  fmt.Sprintf("frappe_auth, static, %s API keys", grouped(s.keys)),
			site:  &site{auth: "frappe_auth {\n backend static {\n{{.StaticTokens}}\n}" + small + "}", rest: "respond ok"},
			load:  load{authorization: staticToken, distinct: s.keys},
			want:  ok,
			cache: "hit", without: 401,
			against: []against{{other: alone, says: "%s of Caddy alone"}},
		},
		{
			name: fmt.Sprintf("frappe_auth, database, %s users", grouped(s.users)),
			site: &site{auth: "frappe_auth {\n backend database {{.Database}}" + small + "}", rest: "respond ok"},
			load: load{authorization: databaseToken, distinct: s.users},
			want: ok, cache: "hit", without: 401,
			against: []against{
				{other: alone, says: "%s of Caddy alone"},
				{other: slowAuth, says: "%s times as fast as a site that takes 8 ms"},
			},
		},
	}}
}

// population compares many cached credentials with one.
func population(s sizes) group {
	g := group{name: "population", title: "So many credentials in the cache"}
	name := func(n int, how string) string {
		if n == 1 {
			return "1 credential"
		}
		return fmt.Sprintf("%s credentials, %s", grouped(n), how)
	}
	one := name(s.populations[0], "uniform")
	for _, n := range s.populations {
		warmed := &site{
			auth: fmt.Sprintf("frappe_auth {\n backend site {{.Double \"0s\" 0}}\n cache {\n size %d\n ttl 24h\n}\n max_inflight 1024\n}", s.populations[len(s.populations)-1]),
			rest: "respond ok", warm: n,
		}
		add := func(how string, m memory, indexes []uint32) {
			c := contender{
				name: name(n, how), site: warmed, load: load{authorization: distinctBearer, indexes: indexes},
				want: ok, without: 401, cache: "hit", memory: m,
			}
			if n > 1 {
				c.against = []against{{other: one, says: "%s of the rate with one", atLeast: .9}}
			}
			g.contenders = append(g.contenders, c)
		}
		if n == 1 {
			add("uniform", memory{}, uniform(n, s.indexes))
			continue
		}
		var m memory
		if n >= 100_000 { // fewer take less than what a server's memory varies by
			m = memory{credentials: n, over: one}
		}
		add("uniform", m, uniform(n, s.indexes))
		add("Zipf", memory{}, zipf(n, s.indexes))
	}
	return g
}

// scaling compares frappe_auth with Caddy alone on one, two and all cores. What its lock costs does not show here: Caddy
// does not turn the mutex profile on.
func scaling() group {
	g := group{name: "scaling", title: "So many cores for Caddy"}
	cores := []int{1, 2, runtime.NumCPU()}
	slices.Sort(cores)
	first := ""
	for _, n := range slices.Compact(cores) {
		if n > runtime.NumCPU() {
			continue
		}
		env := []string{fmt.Sprintf("GOMAXPROCS=%d", n)}
		alone := fmt.Sprintf("GOMAXPROCS=%d, Caddy alone", n)
		name := fmt.Sprintf("GOMAXPROCS=%d, frappe_auth", n)
		compared := []against{{other: alone, says: "%s of Caddy alone on as many", atLeast: .97}}
		if first == "" {
			first = name
		} else {
			compared = append(compared, against{other: first, says: "%s times as fast as on one"})
		}
		g.contenders = append(
			g.contenders,
			contender{name: alone, site: &site{rest: "respond ok", env: env}, load: load{authorization: token}, want: ok},
			contender{
				name: name, site: &site{auth: example, rest: "respond ok", env: env}, load: load{authorization: token},
				want: ok, without: 401, cache: "hit", against: compared,
			},
		)
	}
	return g
}

// latency compares what a client waits for at half the rate that Caddy alone takes.
func latency() group {
	const alone = "Caddy alone"
	l := load{authorization: token, constantRate: true}
	compared := func(atMost float64) []against {
		return []against{
			{other: alone, metric: p50, says: "%s of the p50 of Caddy alone"},
			{other: alone, metric: p99, says: "%s of the p99 of Caddy alone", atMost: atMost},
		}
	}
	idle := idleHandler(alone)
	idle.load, idle.against = l, compared(0)
	return group{name: "latency", title: "At a constant rate, half of what Caddy alone takes", contenders: []contender{
		{name: alone, site: &site{rest: "respond ok"}, load: l, want: ok},
		idle,
		{
			name: "frappe_auth", site: &site{auth: example, rest: "respond ok"}, load: l, want: ok, without: 401, cache: "hit",
			against: compared(1.1),
		},
	}}
}

// grouped writes a number as people read it.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
