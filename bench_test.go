package frappeauth

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/rate"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/static"
)

func provisioned(tb testing.TB, handler string) *Handler {
	tb.Helper()
	h := new(Handler)
	if err := json.Unmarshal([]byte(handler), h); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	tb.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		tb.Fatal(err)
	}
	h.auth.logger, h.auth.verifier.logger = zap.NewNop(), zap.NewNop()
	tb.Cleanup(func() {
		if err := h.Cleanup(); err != nil {
			tb.Error(err)
		}
	})
	return h
}

// prepared is a request as Caddy hands it to a handler.
func prepared(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
	r = r.WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: "192.0.2.1"}))
	renew(r)
	return r
}

// renew turns a request into the next one, with a new Replacer, as Caddy makes it.
func renew(r *http.Request) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	*repl = *caddy.NewReplacer()
	repl.Map(noPlaceholders) // in place of Caddy's
	delete(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), decisionVar)
}

func noPlaceholders(string) (any, bool) { return nil, false }

var nothing = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })

// hitCases are cached credentials in each scheme.
var hitCases = []struct {
	name, authorization string
	allocations         float64 // of ServeHTTP
}{
	// The decision, and the function that looks up placeholders in it.
	{"token", "token 2c6245becaa0961:61066224add85e6", 2},
	// The same, and the decoded pair.
	{"Basic", "Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg==", 3},
	{"Bearer", "Bearer 641cc7393fbf7e529b94837c181e81", 2},
}

// benchBackend knows alice, by the credentials of the example.
func benchBackend() string {
	return fmt.Sprintf(`{"backend": "static",
		"tokens": [{"key": "2c6245becaa0961", "hash": %q, "user": "alice@example.com", "roles": ["Employee"]}],
		"bearers": [{"hash": %q, "user": "alice@example.com"}]}`,
		testutil.Hash(testutil.AliceSecret), testutil.Hash(testutil.AliceToken))
}

func BenchmarkHit(b *testing.B) {
	h := provisioned(b, `{"backends": [`+benchBackend()+`]}`)
	for _, c := range hitCases {
		b.Run(c.name, func(b *testing.B) {
			r, w := prepared(c.authorization), httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				renew(r)
				if err := h.ServeHTTP(w, r, nothing); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("only the Replacer", func(b *testing.B) { // which is part of the above, and of every request
		r := prepared("")
		b.ReportAllocs()
		for b.Loop() {
			renew(r)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			r, w := prepared(hitCases[0].authorization), httptest.NewRecorder()
			for pb.Next() {
				renew(r)
				if err := h.ServeHTTP(w, r, nothing); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkDenied(b *testing.B) {
	for name, cache := range map[string]string{
		"cached": `{"negative_ttl": 3600000000000}`,
		"asked":  `{"negative_ttl": 0}`,
	} {
		b.Run(name, func(b *testing.B) {
			h := provisioned(b, `{"failures": {"max": -1}, "cache": `+cache+`, "backends": [`+benchBackend()+`]}`)
			r := prepared("token 2c6245becaa0961:wrong")
			b.ReportAllocs()
			for b.Loop() {
				renew(r)
				if h.ServeHTTP(httptest.NewRecorder(), r, nothing) == nil {
					b.Fatal("granted")
				}
			}
		})
	}
}

func BenchmarkMiss(b *testing.B) {
	h := provisioned(b, `{"cache": {"ttl": 0}, "backends": [`+benchBackend()+`]}`)
	r, w := prepared(hitCases[0].authorization), httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		renew(r)
		if err := h.ServeHTTP(w, r, nothing); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCacheSize reports the time of a request with one of so many cached credentials, picked at random, and the
// memory that each credential takes.
func BenchmarkCacheSize(b *testing.B) {
	for _, size := range []int{1, 1000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			token := func(i int) string { return fmt.Sprintf("%030x", i) }
			h := provisioned(b, `{"backends": [`+benchBackend()+`]}`)
			before := heapInUse()
			original := h.auth.verifier
			b.Cleanup(func() { h.auth.verifier = original })
			h.auth.verifier = newTestVerifier(b, everybody{}, func(c *verifierConfig) {
				c.cacheSize, c.lifetimes.TTL = size, 24*time.Hour
			})
			for i := range size {
				h.auth.verifier.verifyFrom(b.Context(), "", nil, bearer(token(i)))
			}
			perCredential := float64(heapInUse()-before) / float64(size)

			// Caddy has just read the header of a request, so the headers lie in memory in the order of the requests.
			random := rand.New(rand.NewPCG(1, 1)) //nolint:gosec // repeatable on purpose
			headers := make([]string, 1<<16)
			for i := range headers {
				headers[i] = "Bearer " + token(random.IntN(size))
			}
			r, w := prepared("Bearer x"), httptest.NewRecorder()
			authorization := r.Header["Authorization"]
			i := 0
			for b.Loop() {
				renew(r)
				authorization[0] = headers[i&(len(headers)-1)]
				if err := h.ServeHTTP(w, r, nothing); err != nil {
					b.Fatal(err)
				}
				i++
			}
			if size >= 1000 {
				b.ReportMetric(perCredential, "B/credential")
			}
		})
	}
}

// BenchmarkFloodMemory reports the memory that is in use after a million bad credentials from as many clients.
func BenchmarkFloodMemory(b *testing.B) {
	for b.Loop() {
		v := newTestVerifier(b, denyAll{}, func(c *verifierConfig) {
			c.cacheSize = defaultCacheSize
			c.failures = rate.Limit{Max: defaultMaxFailures, Window: time.Duration(defaultFailureWindow)}
		})
		before := heapInUse()
		for i := range 1_000_000 {
			address := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
			v.verifyFrom(b.Context(), address, nil, bearer(fmt.Sprintf("%030x", i)))
		}
		b.ReportMetric(float64(heapInUse()-before)/(1<<20), "MiB")
		runtime.KeepAlive(v)
	}
}

// denyAll denies every credential.
type denyAll struct{}

func (denyAll) Verify(context.Context, frappe.Credential) (frappe.Identity, error) {
	return frappe.Identity{}, frappe.ErrDenied
}

// everybody grants each access token to a different user.
type everybody struct{}

func (everybody) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	return frappe.Identity{User: c.Token[10:] + "@example.com"}, nil
}

func heapInUse() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// BenchmarkEqualCost compares the time for an unknown API key with the time for a wrong secret, in one run. The ratio
// is what an attacker could measure.
func BenchmarkEqualCost(b *testing.B) {
	const bcrypt = "$2a$04$0UYO3mMh8qN4/ZiNwxUDg.3WFAZ5NpZKJkKNd2JHVHsmTTFxQXm1S"
	const argon2id = "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"
	for name, hashes := range map[string][]string{
		"sha256":   {testutil.Hash("s")},
		"bcrypt":   {bcrypt},
		"argon2id": {argon2id},
		"mixed":    {testutil.Hash("s"), bcrypt, argon2id},
	} {
		b.Run(name, func(b *testing.B) {
			backend := new(static.Backend)
			for i, hash := range hashes {
				backend.Tokens = append(backend.Tokens, static.Token{Key: fmt.Sprintf("known%d", i), Hash: hash, User: "alice"})
			}
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			if err := backend.Provision(ctx); err != nil {
				b.Fatal(err)
			}
			var spent [2]time.Duration
			keys := [2]string{"unknown", "known0"}
			for b.Loop() {
				for i, key := range keys {
					start := time.Now()
					if _, err := backend.Verify(b.Context(), frappe.Credential{
						Scheme: frappe.SchemeToken, Key: key,
						Secret: "wrong",
					}); err == nil {
						b.Fatal("granted")
					}
					spent[i] += time.Since(start)
				}
			}
			b.ReportMetric(float64(spent[0])/float64(spent[1]), "unknown/wrong")
		})
	}
}

// TestHitAllocations: a cached grant allocates only the decision and what looks up placeholders in it.
func TestHitAllocations(t *testing.T) {
	if info, _ := debug.ReadBuildInfo(); slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		t.Skip("the race detector allocates, too")
	}
	h := provisioned(t, `{"backends": [`+benchBackend()+`]}`)
	w := httptest.NewRecorder()
	for _, c := range hitCases {
		r := prepared(c.authorization)
		if err := h.ServeHTTP(w, r, nothing); err != nil {
			t.Fatal(err)
		}
		caddys := testing.AllocsPerRun(200, func() { renew(r) })
		all := testing.AllocsPerRun(200, func() {
			renew(r)
			h.ServeHTTP(w, r, nothing) //nolint:errcheck // as above
		})
		if got := all - caddys; got > c.allocations {
			t.Errorf("%s: %v allocations, want %v", c.name, got, c.allocations)
		}
	}
}
