package main

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// group is what is measured together, and shown by rows of the common table or by a table of its own.
type group struct {
	name    string
	measure func(context.Context) (text string, err error)
}

// contender is a server under a load, with the answers that make its figures mean something.
type contender struct {
	name       string
	server     *server
	credential string  // sent with each request. With a verb for its number, each request has a new one
	cookie     string  // sent in place of a credential
	population int     // so many credentials at random
	through    *server // that has already used each new credential
	rate       int     // requests per second; default: as many as the server can take
	status     int     // of the answers; default: 200
	without    int     // status of the answer without a credential; default: 401
	asks       bool    // its site at least once for each request; else never, since all verdicts are cached or shared
	base       string  // contender that it is compared with
	first      int64   // number of the first new credential
}

// The credentials of Caddyfile.example, and others.
const (
	token    = "token 2c6245becaa0961:61066224add85e6"              //nolint:gosec // an example
	basic    = "Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg==" //nolint:gosec // an example
	bearer   = "Bearer 641cc7393fbf7e529b94837c181e81"              //nolint:gosec // an example
	bad      = "token bad:bad"
	numbered = "Bearer %030x"

	setHeader = "request_header X-User alice@example.com\nrespond ok" // about the least that a directive can do
	// basicAuth knows the same API key, by what `caddy hash-password` makes of the secret.
	basicAuth = "basic_auth {\n2c6245becaa0961 $2a$14$wnNGRTAzH51McuRhJn/S5..qpnSY9GnZd8eel4w9/ONlHpBQ/A8.q\n}\n"

	secret = "0123456789abcdef0123456789abcdef"
	shared = "share redis redis://REDIS {\nsecret " + secret + "\n}\n"
	day    = 24 * time.Hour
)

// header is what a request carries: the credential of that number, if there is more than one.
func (c contender) header(n int64) http.Header {
	if c.cookie != "" {
		return http.Header{"Cookie": {c.cookie}}
	}
	if c.credential == numbered {
		return authorization(c.first + n)
	}
	return http.Header{"Authorization": {c.credential}}
}

func authorization(number int64) http.Header {
	return http.Header{"Authorization": {fmt.Sprintf(numbered, number)}}
}

// loginCookie is the cookie of a session that comes from the ERP's host, as package relay seals it.
func loginCookie() string {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "frappe-auth login, version 1, session", 32)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	plain := fmt.Sprintf("%d\n%s", time.Now().UnixNano(), strings.Repeat("0123456789abcde", 4)[:56])
	sealed := aead.Seal(nil, nil, []byte(plain), []byte("http://127.0.0.1")) //nolint:gosec // the nonce is random
	return "frappe_auth=" + base64.RawURLEncoding.EncodeToString(sealed)
}

// numbers returns the first of so many numbers of credentials that nobody has used.
func (h *harness) numbers(count int) int64 { return h.serial.Add(int64(count)) - int64(count) + 1 }

// protect is a Caddy with frappe_auth, and further options of it.
func protect(s *site, cacheSize int, ttl time.Duration, options string) *server {
	return &server{site: s, directives: fmt.Sprintf("frappe_auth {\nbackend site %s\n"+
		"cache {\nsize %d\nttl %s\nbearer_ttl %[3]s\nnegative_ttl 1h\n}\nfailures off\n%s}\nrespond ok",
		s.url, cacheSize, ttl, options)}
}

// groups are all that is measured.
func (h *harness) groups() []group {
	sizes := []int{1, 10_000, 100_000, 1_000_000}
	simulated := simulation{
		harness: h, site: newSite(0), caddys: 100, credentials: 1_000_000, cold: 500, revocations: 200,
	}
	if h.smoke {
		sizes = []int{1, 100, 1000}
		simulated.caddys, simulated.credentials, simulated.cold, simulated.revocations = 5, 1000, 100, 2
	}
	const rate, alone, requestHeader = 400, "Caddy alone", "Caddy, request_header"
	const byToken, bySite = "frappe_auth, token", "a new credential, answered by the site" //nolint:gosec // names
	caddy := func(directives string) *server { return &server{directives: directives} }
	forwardAuth := func(s *site) *server {
		return &server{site: s, directives: "forward_auth " + s.url +
			" {\nuri /api/method/frappe.auth.get_logged_user\n}\nrespond ok"}
	}
	instant, slow := newSite(0), newSite(8*time.Millisecond)
	one, sharing := protect(instant, 1000, day, ""), protect(instant, 1000, day, shared)
	loggedIn := protect(instant, 1000, day,
		"schemes bearer session\nlogin http://erp.example.com\nlogin_secret "+secret+"\n")
	loggedIn.directives = strings.Replace(loggedIn.directives, "bearer_ttl", "session_ttl "+day.String()+"\nbearer_ttl", 1)
	grants := []contender{
		{name: alone, server: caddy("respond ok"), credential: token, without: 200},
		{name: requestHeader, server: caddy(setHeader), credential: token, without: 200, base: alone},
		{name: byToken, server: one, credential: token, base: requestHeader},
		{name: "frappe_auth, Basic", server: one, credential: basic, base: requestHeader},
		{name: "frappe_auth, Bearer", server: one, credential: bearer, base: requestHeader},
		{name: "frappe_auth, login on another host", server: loggedIn, cookie: loginCookie(), base: "frappe_auth, Bearer"},
		{name: "frappe_auth, token, share redis", server: sharing, credential: token, base: byToken},
		{name: "Caddy, error 401", server: caddy("error 401"), credential: bad, status: 401, base: requestHeader},
		{name: "frappe_auth, a cached denial", server: one, credential: bad, status: 401, base: "Caddy, error 401"},
		{
			name: "basic_auth, bcrypt, cached", server: caddy(basicAuth + "respond ok"), credential: basic,
			base: "frappe_auth, Basic",
		},
		{name: "forward_auth, site takes 0 ms", server: forwardAuth(instant), credential: token, asks: true, base: byToken},
		{name: "forward_auth, 8 ms", server: forwardAuth(slow), credential: token, asks: true, base: byToken},
	}
	one, sharing = protect(slow, 100_000, day, ""), protect(slow, 100_000, day, shared)
	latency := []contender{
		{name: alone, server: caddy("respond ok"), credential: token, without: 200, rate: rate},
		{name: requestHeader, server: caddy(setHeader), credential: token, without: 200, rate: rate, base: alone},
		{name: byToken, server: one, credential: token, rate: rate, base: requestHeader},
		{
			name: "a new credential, answered by Redis", server: protect(slow, 100_000, day, shared), through: sharing,
			credential: numbered, rate: rate, base: byToken,
		},
		{name: bySite, server: one, credential: numbered, rate: rate, asks: true, base: byToken},
		{name: "the same, with share redis", server: sharing, credential: numbered, rate: rate, asks: true, base: bySite},
		{name: "forward_auth", server: forwardAuth(slow), credential: token, rate: rate, asks: true, base: bySite},
	}
	population := make([]contender, len(sizes))
	for i, n := range sizes {
		server := protect(instant, slices.Max(sizes), day, "")
		population[i] = contender{
			name: fmt.Sprintf("%d cached", n), server: server, credential: numbered, population: n, base: "1 cached",
		}
	}
	population[0].base = ""
	compare := func(title string, contenders []contender) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) { return h.compare(ctx, title, contenders) }
	}
	return []group{
		{"grant", compare("A cached verdict, and what else checks credentials", grants)},
		{"latency", compare("At 400 requests per second, with a site that takes 8 ms", latency)},
		{"population", compare("Many cached credentials, used at random", population)},
		{"fleet", h.measureFleets},
		{"simulation", simulated.measure},
	}
}
