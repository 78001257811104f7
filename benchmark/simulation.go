package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	frappeauth "github.com/caddy-frappe/frappe-auth"
	"github.com/caddy-frappe/frappe-auth/frappe"
	_ "github.com/caddy-frappe/frappe-auth/redis" // registers share redis
)

// scale is how large the simulation is.
type scale struct {
	caddys, credentials int
	start               int // credentials that each Caddy is asked for in a cold start
	revocations         int
}

// everybody is a backend that grants whatever is not revoked, without the HTTP of a real site.
type everybody struct{}

var everybodyAsked atomic.Int64

var everybodyRevoked sync.Map // access tokens

func init() { caddy.RegisterModule(everybody{}) }

func (everybody) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.frappe_auth.backends.everybody", New: func() caddy.Module { return new(everybody) }}
}

func (everybody) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	everybodyAsked.Add(1)
	if _, revoked := everybodyRevoked.Load(c.Token); revoked {
		return frappe.Identity{}, frappe.ErrDenied
	}
	return frappe.Identity{User: c.Token[20:] + "@example.com"}, nil
}

// simulation is many Caddys in this process, each with the handler, the cache and the connections of a real one.
type simulation struct {
	scale
	redis  rueidis.Client
	caddys []*frappeauth.Handler
	stop   func()
}

// restart replaces all Caddys by new ones, which know nothing.
func (s *simulation) restart(redis string, generation int) error {
	s.stop()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	s.caddys, s.stop = nil, func() {
		for _, h := range s.caddys {
			_ = h.Cleanup()
		}
		cancel()
	}
	for i := range s.scale.caddys {
		h := new(frappeauth.Handler)
		h.BackendsRaw = append(h.BackendsRaw, []byte(`{"backend": "everybody"}`))
		// The name of its connection keeps a Caddy from sharing its memory with the others of this process.
		h.ShareRaw = fmt.Appendf(nil, `{"store": "redis", "url": "redis://%s?client_name=caddy-%d-%d", "secret": %q}`, redis, generation, i, secret)
		day := caddy.Duration(cached)
		h.Name, h.MaxInflight, h.Cache = strconv.Itoa(i), 1024, &frappeauth.CacheConfig{TTL: &day, BearerTTL: &day, Size: s.credentials/s.scale.caddys + 2*s.start}
		if err := h.Provision(ctx); err != nil {
			return err
		}
		s.caddys = append(s.caddys, h)
	}
	for i := range s.caddys { // each must be able to share with the next one
		for n := 0; s.ask(i, freshNumber.Add(1)) != "miss" || s.ask((i+1)%len(s.caddys), freshNumber.Load()) != "shared"; n++ {
			if n > 1000 {
				return errors.New("the Caddys do not share")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// freshNumber is the number of the last credential that is not one of those that are measured.
var freshNumber atomic.Int64

func init() { freshNumber.Store(1 << 40) }

// ask sends a request with a credential to a Caddy. It returns where the verdict came from, or the status of a refusal.
func (s *simulation) ask(at int, credential int64) string {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", fmt.Sprintf(numbered, credential))
	ip := fmt.Sprintf("10.%d.%d.%d", credential>>8&255, credential&255, at)
	ctx := context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: ip})
	repl := caddy.NewReplacer()
	source := ""
	err := s.caddys[at].ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, repl)),
		caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
			source, _ = repl.GetString("http.auth.frappe.cache")
			return nil
		}))
	if refused, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		source = strconv.Itoa(refused.StatusCode)
	}
	return source
}

// info are the numbers of Redis's INFO.
func (s *simulation) info(ctx context.Context) (map[string]float64, error) {
	text, err := s.redis.Do(ctx, s.redis.B().Info().Section("everything").Build()).ToString()
	numbers := make(map[string]float64)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if number, err := strconv.ParseFloat(value, 64); err == nil {
			numbers[name] = number
		}
	}
	return numbers, err
}

// phase sends requests from 64 clients at once, and returns a row about what they asked of the backend and of Redis.
func (s *simulation) phase(ctx context.Context, title string, requests int, want map[string]int, request func(i int) (at int, credential int64)) (string, error) {
	fmt.Fprintln(os.Stderr, "simulation:", title)
	before, err := s.info(ctx)
	if err != nil {
		return "", err
	}
	asked, began, sources := everybodyAsked.Load(), time.Now(), make(map[string]int)
	var (
		mu   sync.Mutex
		all  sync.WaitGroup
		next atomic.Int64
	)
	for range 64 {
		all.Go(func() {
			own := make(map[string]int)
			for i := int(next.Add(1)) - 1; i < requests && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				own[s.ask(request(i))]++
			}
			mu.Lock()
			defer mu.Unlock()
			for source, n := range own {
				sources[source] += n
			}
		})
	}
	all.Wait()
	took, asked := time.Since(began), everybodyAsked.Load()-asked
	after, err := s.info(ctx)
	if err != nil {
		return "", err
	}
	for source, n := range want {
		if sources[source] != n {
			return "", fmt.Errorf("%s: verdicts came from %v, want %v", title, sources, want)
		}
	}
	per := func(names ...string) (sum float64) {
		for _, name := range names {
			sum += (after[name] - before[name]) / float64(requests)
		}
		return sum
	}
	return fmt.Sprintf("| %s | %d | %d | %.1f | %.0f | %.1f | %.1f |\n", title, requests, asked, per("total_commands_processed"),
		per("total_net_input_bytes", "total_net_output_bytes"), 1e6*per("used_cpu_user", "used_cpu_sys"), took.Seconds()), nil
}

// simulate puts many Caddys in front of one Redis.
func (h *harness) simulate(ctx context.Context) (string, error) {
	s := &simulation{scale: h.simulated, stop: func() {}}
	defer func() { s.stop() }()
	var err error
	if s.redis, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{h.redis.address}, DisableCache: true}); err != nil {
		return "", err
	}
	defer s.redis.Close()
	if err := s.redis.Do(ctx, s.redis.B().Flushall().Build()).Error(); err != nil {
		return "", err
	}
	if err := s.restart(h.redis.address, 0); err != nil {
		return "", err
	}
	n, everywhere := s.scale.caddys, s.scale.caddys*s.start
	text := fmt.Sprintf("\nA simulation of %d Caddys that share a Redis\n\n| | requests | to the backend | commands of Redis, each | bytes to and from it, each | its CPU µs, each | seconds |\n|---|---|---|---|---|---|---|\n", n)
	var row string
	add := func(err error) error { text += row; return err }

	row, err = s.phase(ctx, fmt.Sprintf("cold start: the same %d credentials at each", s.start), everywhere,
		map[string]int{"miss": s.start, "shared": everywhere - s.start}, func(i int) (int, int64) { return i % n, int64(1<<30 + i/n) })
	if add(err) != nil {
		return "", err
	}
	before, err := s.info(ctx)
	if err != nil {
		return "", err
	}
	row, err = s.phase(ctx, "all credentials, each at one Caddy", s.credentials, map[string]int{"miss": s.credentials},
		func(i int) (int, int64) { return i % n, int64(i) })
	if add(err) != nil {
		return "", err
	}
	after, err := s.info(ctx)
	if err != nil {
		return "", err
	}
	row, err = s.phase(ctx, "the same again", s.credentials, map[string]int{"hit": s.credentials}, func(i int) (int, int64) { return i % n, int64(i) })
	if add(err) != nil {
		return "", err
	}
	if err := s.restart(h.redis.address, 1); err != nil {
		return "", err
	}
	row, err = s.phase(ctx, fmt.Sprintf("all Caddys restarted: %d of the credentials at each", s.start), everywhere,
		map[string]int{"shared": everywhere}, func(i int) (int, int64) { return i % n, int64((i/n*7919 + i) % s.credentials) })
	if add(err) != nil {
		return "", err
	}
	idle, err := s.idle(ctx, h.duration)
	if err != nil {
		return "", err
	}
	times, err := s.revoke(ctx)
	if err != nil {
		return "", err
	}
	text += fmt.Sprintf("\n%d verdicts take %.0f bytes of Redis's memory each. %s "+
		"A revocation by a webhook at one Caddy: until one of the others refuses, %.1f ms (p50), %.1f ms (p99); until all do, %.1f ms at most, %d times.\n",
		s.credentials, (after["used_memory"]-before["used_memory"])/float64(s.credentials), idle,
		milliseconds(times[len(times)/2]), milliseconds(times[len(times)*99/100]), milliseconds(times[len(times)-1]), s.revocations)
	return text, nil
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// idle says what Caddys without requests ask of Redis.
func (s *simulation) idle(ctx context.Context, duration time.Duration) (string, error) {
	before, err := s.info(ctx)
	time.Sleep(5 * duration)
	after, infoErr := s.info(ctx)
	perSecond := func(name string) float64 { return (after[name] - before[name]) / (5 * duration.Seconds()) }
	return fmt.Sprintf("Without requests, Redis executes %.0f commands and uses %.1f ms of CPU per second.", perSecond("total_commands_processed"),
		1e3*(perSecond("used_cpu_user")+perSecond("used_cpu_sys"))), errors.Join(err, infoErr)
}

// revoke has each Caddy cache a credential, revokes it at one of them, and returns, sorted, how long the others still granted it.
func (s *simulation) revoke(ctx context.Context) (times []time.Duration, err error) {
	hook := &frappeauth.Webhook{Secret: secret, HandlerName: "0"}
	provisioned, cancel := caddy.NewContext(caddy.Context{Context: ctx})
	defer cancel()
	if err := hook.Provision(provisioned); err != nil {
		return nil, err
	}
	for range s.revocations {
		credential := freshNumber.Add(1)
		for i := range s.caddys {
			if from := s.ask(i, credential); from != "miss" && from != "shared" {
				return nil, fmt.Errorf("a verdict came from %s", from)
			}
		}
		time.Sleep(rand.N(100 * time.Millisecond)) //nolint:gosec // so that revocations come at any time of the Caddys' reading
		token := strings.TrimPrefix(fmt.Sprintf(numbered, credential), "Bearer ")
		everybodyRevoked.Store(token, true)
		content, header := delivery(token, secret)
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(content))
		r.Header = header
		took, began := make([]time.Duration, len(s.caddys)-1), time.Now()
		var all sync.WaitGroup
		for i := range took {
			all.Go(func() {
				for s.ask(i+1, credential) != "401" && time.Since(began) < time.Minute {
					time.Sleep(time.Millisecond)
				}
				took[i] = time.Since(began)
			})
		}
		w := httptest.NewRecorder()
		if err := hook.ServeHTTP(w, r, nil); err != nil || w.Code != http.StatusNoContent {
			return nil, fmt.Errorf("the webhook was answered with %d %s: %w", w.Code, w.Body, err)
		}
		all.Wait()
		times = append(times, took...)
	}
	slices.Sort(times)
	if times[len(times)-1] > time.Minute {
		return nil, errors.New("a revocation did not arrive")
	}
	return times, nil
}
