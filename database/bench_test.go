package database

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	frappeauth "github.com/caddy-frappe/frappe-auth"
	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	sitebackend "github.com/caddy-frappe/frappe-auth/site"
)

// BenchmarkCold compares verifications that are not cached: of this backend on each database, with few users and with
// 100,000, and of backend site against a double that takes 8 ms, as Frappe does. It reports the median time of one at a
// time, and how many a second four clients at once get.
func BenchmarkCold(b *testing.B) {
	frappe := new(sitebackend.Backend)
	if err := json.Unmarshal([]byte(`{"urls": ["`+slowSite(b)+`"]}`), frappe); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	if err := frappe.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	b.Run("site that takes 8 ms", func(b *testing.B) { measure(b, frappe, bearer("x")) })

	for _, kind := range kinds {
		for _, users := range []int{0, 100_000} {
			b.Run(fmt.Sprintf("%s with %d more users", kind, users), func(b *testing.B) {
				s := newSite(b, kind)
				if kind == "sqlite" && users > 0 {
					b.Skip("the fixture has no indexes on SQLite")
				}
				s.addUsers(b, users)
				backend := provisioned(b, &Backend{Site: s.dir})
				b.Run("pair", func(b *testing.B) { measure(b, backend, pair(s.creds.pairs["alice@example.com"])) })
				b.Run("token", func(b *testing.B) { measure(b, backend, bearer(s.creds.bearer["alice"])) })
				b.Run("unknown key", func(b *testing.B) { measure(b, backend, pair([2]string{"0123456789abcde", "x"})) })
			})
		}
	}
}

// slowSite is the URL of a double that takes 8 ms, as Frappe does.
func slowSite(b *testing.B) string {
	double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(8 * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"message": "alice@example.com"}`)
	}))
	b.Cleanup(double.Close)
	return double.URL
}

// addUsers adds users with keys, roles and tokens, as a site of that size has them, and the indexes that Frappe makes.
func (s *site) addUsers(b *testing.B, n int) {
	b.Helper()
	tx, err := s.admin.Begin()
	if err != nil {
		b.Fatal(err)
	}
	query := dialects[s.kind].query
	for start := 0; start < n; start += 1000 {
		for table, row := range map[string]string{
			`"tabUser" ("name", "modified", "api_key", "docstatus", "idx")`: `('user%[1]d', '2026-01-01', ` +
				`'key%[1]d', 0, 0)`,
			`"tabHas Role" ("name", "docstatus", "idx", "role", "parent", "parenttype")`: `('role%[1]d', 0, 0, 'Employee', ` +
				`'user%[1]d', 'User')`,
			`"tabOAuth Bearer Token" ("name", "modified", "user", "docstatus", "idx")`: `('token%[1]d', '2026-01-01', ` +
				`'user%[1]d', 0, 0)`,
			`"__Auth" ("doctype", "name", "fieldname", "password", "encrypted")`: `('User', 'user%[1]d', ` +
				`'api_secret', 'x', 0)`,
		} {
			statement := "INSERT INTO " + table + " VALUES "
			for i := start; i < start+1000; i++ {
				if i > start {
					statement += ", "
				}
				statement += fmt.Sprintf(row, i)
			}
			if _, err := tx.Exec(query(statement)); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
	if s.kind == "postgres" { // the dump of PostgreSQL comes without them
		for _, index := range []string{`"tabHas Role" ("parent")`, `"tabUser" ("modified")`, `"tabOAuth Bearer Token" ` +
			`("modified")`} {
			s.change(b, "CREATE INDEX ON "+index)
		}
		s.change(b, "ANALYZE")
	}
}

func measure(b *testing.B, backend frappe.Backend, c frappe.Credential) {
	b.Helper()
	times := make([]time.Duration, 0, 1000)
	for b.Loop() {
		start := time.Now()
		backend.Verify(b.Context(), c) //nolint:errcheck // an unknown key is denied
		times = append(times, time.Since(start))
	}
	slices.Sort(times)

	const clients = 4
	together := func(each int) time.Duration {
		start := time.Now()
		var wg sync.WaitGroup
		for range clients {
			wg.Go(func() {
				for range each {
					backend.Verify(b.Context(), c) //nolint:errcheck // as above
				}
			})
		}
		wg.Wait()
		return time.Since(start)
	}
	together(20) // opens the connections
	each := len(times)
	rate := float64(clients*each) / together(each).Seconds()
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(rate, "verifications/s")
}

// BenchmarkPoll reports what a look for changes costs where nothing changed. Frappe 16 has no indexes on modified.
func BenchmarkPoll(b *testing.B) {
	sites := map[string]func(b *testing.B) *site{
		"mariadb":                  func(b *testing.B) *site { return newSite(b, "mariadb") },
		"mariadb without an index": func(b *testing.B) *site { return newSiteOf(b, "mariadb", "mariadb-site-16", mariaDB) },
		"postgres":                 func(b *testing.B) *site { return newSite(b, "postgres") },
	}
	for _, kind := range slices.Sorted(maps.Keys(sites)) {
		for _, users := range []int{0, 100_000} {
			b.Run(fmt.Sprintf("%s with %d more users", kind, users), func(b *testing.B) {
				s := sites[kind](b)
				s.addUsers(b, users)
				backend := provisioned(b, &Backend{Site: s.dir, PollInterval: maxPollInterval})
				p := &poller{source: backend.source}
				if _, err := p.look(b.Context()); err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					if changes, err := p.look(b.Context()); err != nil || changes != nil {
						b.Fatal(changes, err)
					}
				}
			})
		}
	}
}

// BenchmarkOverhead compares a request whose credential is not cached with calling its backend directly, in turns, and
// reports the median time of each.
func BenchmarkOverhead(b *testing.B) {
	known := pair([2]string{"2c6245becaa0961", "61066224add85e6"})
	bcrypted, err := bcrypt.GenerateFromPassword([]byte(known.Secret), 10)
	if err != nil {
		b.Fatal(err)
	}
	for name, hash := range map[string]string{
		"sha256": testutil.Hash(known.Secret),
		"bcrypt": string(bcrypted),
	} {
		b.Run("static, "+name, func(b *testing.B) {
			overhead(
				b,
				fmt.Appendf(
					nil,
					`{"backend": "static", "tokens": [{"key": %q, "hash": %q, "user": "alice@example.com"}]}`,
					known.Key,
					hash,
				),
				known,
			)
		})
	}

	b.Run("site that takes 8 ms", func(b *testing.B) {
		overhead(b, fmt.Appendf(nil, `{"backend": "site", "urls": [%q]}`, slowSite(b)), known)
	})

	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			s := newSite(b, kind)
			overhead(b, fmt.Appendf(nil, `{"backend": "database", "site": %q}`, s.dir), pair(s.creds.pairs["alice@example.com"]))
		})
	}
}

// overhead measures a backend of that configuration directly, and behind a handler that caches nothing, with a pair.
func overhead(b *testing.B, conf json.RawMessage, c frappe.Credential) {
	b.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	b.Cleanup(cancel)
	never := caddy.Duration(0)
	h := &frappeauth.Handler{Options: frappeauth.Options{
		BackendsRaw: []json.RawMessage{conf}, Cache: &frappeauth.CacheConfig{TTL: &never},
	}}
	raws := struct {
		BackendRaw json.RawMessage `caddy:"namespace=http.frappe_auth.backends inline_key=backend"`
	}{conf}
	loaded, err := ctx.LoadModule(&raws, "BackendRaw")
	if err != nil {
		b.Fatal(err)
	}
	if err := h.Provision(ctx); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = h.Cleanup() })
	backend := loaded.(frappe.Backend)

	w, next := httptest.NewRecorder(), caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	var took [2][]time.Duration
	for b.Loop() {
		r := httptest.NewRequestWithContext(b.Context(), http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "token "+c.Key+":"+c.Secret)
		values := context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer())
		r = r.WithContext(context.WithValue(values, caddyhttp.VarsCtxKey, make(map[string]any)))
		for i, ask := range []func() error{
			func() error { _, err := backend.Verify(b.Context(), c); return err },
			func() error { return h.ServeHTTP(w, r, next) },
		} {
			start := time.Now()
			if err := ask(); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(start))
		}
	}
	var medians [2]float64 // in microseconds
	for i := range took {
		slices.Sort(took[i])
		medians[i] = float64(took[i][len(took[i])/2].Nanoseconds()) / 1000
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(medians[0], "direct-µs")
	b.ReportMetric(medians[1], "handler-µs")
	b.ReportMetric(medians[1]/medians[0], "handler/direct")
}
