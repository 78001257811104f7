package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
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
	caddys, credentials, revocations int
	start                            int // credentials that each Caddy is asked for in a cold start
}

// everybody is a backend that grants all that is not revoked, without the HTTP of a site.
type everybody struct{}

var (
	everybodyAsked   atomic.Int64
	everybodyRevoked sync.Map // access tokens
)

func init() { caddy.RegisterModule(everybody{}) }

func (everybody) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.frappe_auth.backends.everybody", New: func() caddy.Module { return new(everybody) }}
}

func (everybody) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	everybodyAsked.Add(1)
	if _, revoked := everybodyRevoked.Load(c.Token); revoked {
		return frappe.Identity{}, frappe.ErrDenied
	}
	return frappe.Identity{User: c.Token[18:] + "@example.com"}, nil
}

// simulation is many Caddys in this process, each with the handler, the cache and the connections of a real one.
type simulation struct {
	scale
	harness *harness
	redis   rueidis.Client
	infoErr error
	caddys  []*frappeauth.Handler
	stop    func()
}

// restart replaces all Caddys by new ones, which know nothing, and waits until they share.
func (s *simulation) restart(ctx context.Context) error {
	s.stop()
	conf, cancel := caddy.NewContext(caddy.ActiveContext())
	s.caddys, s.stop = nil, func() {
		for _, h := range s.caddys {
			_ = h.Cleanup()
		}
		cancel()
	}
	ttl, generation := caddy.Duration(day), s.harness.serial.Add(1)
	for i := range s.scale.caddys {
		h := new(frappeauth.Handler)
		h.Name, h.MaxInflight = strconv.Itoa(i), 1024
		h.Cache = &frappeauth.CacheConfig{TTL: &ttl, BearerTTL: &ttl, Size: s.credentials/s.scale.caddys + 2*s.start}
		h.BackendsRaw = append(h.BackendsRaw, []byte(`{"backend": "everybody"}`))
		// The name of its connection keeps a Caddy from sharing its memory with the others of this process.
		h.ShareRaw = fmt.Appendf(nil, `{"store": "redis", "url": "redis://%s?client_name=%d-%d", "secret": %q, "timeout": "2s"}`, s.harness.redis, generation, i, secret)
		if err := h.Provision(conf); err != nil {
			return err
		}
		s.caddys = append(s.caddys, h)
	}
	for i := range s.caddys {
		for credential := s.unused(); s.ask(i, credential) != "miss" || s.ask((i+1)%len(s.caddys), credential) != "shared"; credential = s.unused() {
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// unused is the number of a credential that is not one of the million.
func (s *simulation) unused() int { return 1<<30 + int(s.harness.serial.Add(1)) }

// ask sends a request to a Caddy. It returns where the verdict came from, or the refusal.
func (s *simulation) ask(at, credential int) (from string) {
	repl, address := caddy.NewReplacer(), fmt.Sprintf("10.%d.%d.%d", credential>>8&255, credential&255, at)
	ctx := context.WithValue(context.Background(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: address})
	r := httptest.NewRequestWithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, repl), http.MethodGet, "/", nil)
	r.Header.Set("Authorization", fmt.Sprintf(numbered, credential))
	err := s.caddys[at].ServeHTTP(httptest.NewRecorder(), r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		from, _ = repl.GetString("http.auth.frappe.cache")
		return nil
	}))
	if err != nil {
		return err.Error()
	}
	return from
}

// info are the numbers of Redis's INFO.
func (s *simulation) info(ctx context.Context) map[string]float64 {
	text, err := s.redis.Do(ctx, s.redis.B().Info().Section("everything").Build()).ToString()
	s.infoErr = errors.Join(s.infoErr, err)
	numbers := make(map[string]float64)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		numbers[name], _ = strconv.ParseFloat(value, 64) // what is no number does not matter
	}
	return numbers
}

// phase is requests, which must all be granted, and how many of them ask the backend.
type phase struct {
	title           string
	requests, asked int
	restart         bool // all Caddys, before
	request         func(i int) (at, credential int)
}

// run sends the requests from 256 clients at once. It returns a row of the table, and how much the memory of Redis grew.
func (s *simulation) run(ctx context.Context, p phase) (row string, memory float64, err error) {
	fmt.Fprintln(os.Stderr, "simulation:", p.title)
	if p.restart {
		err = s.restart(ctx)
	}
	var (
		clients       sync.WaitGroup
		next, granted atomic.Int64
	)
	before := s.info(ctx)
	began, asked := time.Now(), everybodyAsked.Load()
	for range 256 {
		clients.Go(func() {
			for i := int(next.Add(1)) - 1; i < p.requests && ctx.Err() == nil && err == nil; i = int(next.Add(1)) - 1 {
				if from := s.ask(p.request(i)); from == "hit" || from == "shared" || from == "miss" {
					granted.Add(1)
				}
			}
		})
	}
	clients.Wait()
	took, asked, after := time.Since(began).Seconds(), everybodyAsked.Load()-asked, s.info(ctx)
	if err == nil && (asked != int64(p.asked) || granted.Load() != int64(p.requests)) {
		err = fmt.Errorf("%s: %d requests were granted, and %d asked the backend", p.title, granted.Load(), asked)
	}
	each := func(name string) float64 { return (after[name] - before[name]) / float64(p.requests) }
	return fmt.Sprintf("| %s | %d | %d | %.1f | %.0f | %.1f | %.1f |\n", p.title, p.requests, asked, each("total_commands_processed"),
		each("total_net_input_bytes")+each("total_net_output_bytes"), 1e6*(each("used_cpu_user")+each("used_cpu_sys")), took), after["used_memory"] - before["used_memory"], err
}

// simulate puts many Caddys in front of one Redis.
func (h *harness) simulate(ctx context.Context, size scale) (text string, err error) {
	if err := caddy.Load([]byte(`{"admin": {"disabled": true, "config": {"persist": false}}, "logging": {"logs": {"default": {"level": "ERROR"}}}}`), true); err != nil {
		return "", err
	}
	redis, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{h.redis}, DisableCache: true})
	if err != nil {
		return "", err
	}
	defer redis.Close()
	s := &simulation{scale: size, harness: h, redis: redis, stop: func() {}}
	defer func() { s.stop() }()
	text = fmt.Sprintf("\nA simulation of %d Caddys that share a Redis\n\n"+
		"| | requests | to the backend | commands of Redis, each | bytes to and from it, each | its CPU µs, each | seconds |\n|---|---|---|---|---|---|---|\n", size.caddys)
	own := func(i int) (int, int) { return i * size.caddys / size.credentials, i } // one Caddy after the other
	all, memory := size.caddys*size.start, 0.0
	for _, p := range []phase{
		{fmt.Sprintf("a cold start: the same %d credentials at each Caddy", size.start), all, size.start, true, func(i int) (int, int) { return i % size.caddys, 1<<29 + i/size.caddys }},
		{"the others, each at one Caddy", size.credentials, size.credentials, false, own},
		{"the same again", size.credentials, 0, false, own},
		{fmt.Sprintf("a restart of all Caddys: %d of them at each", size.start), all, 0, true, func(i int) (int, int) { return i % size.caddys, i * 7919 % size.credentials }},
	} {
		row, grown, err := s.run(ctx, p)
		if err != nil {
			return "", err
		}
		text, memory = text+row, max(memory, grown)
	}
	before := s.info(ctx)
	time.Sleep(5 * h.duration)
	commands := (s.info(ctx)["total_commands_processed"] - before["total_commands_processed"]) / h.duration.Seconds() / 5
	took, err := s.revoke(ctx)
	return text + fmt.Sprintf("\nA verdict takes %.0f bytes of Redis's memory. Without requests, Redis executes %.0f commands a second. "+
		"After a webhook at one Caddy, another one grants for up to %.1f ms (p50), %.1f ms (p99), %.1f ms (at most).\n",
		memory/float64(size.credentials), commands, took[0], took[1], took[2]), errors.Join(s.infoErr, err)
}

// revoke has all Caddys cache a credential, and revokes it by a webhook at the first, again and again. It returns p50, p99 and
// the maximum of how many milliseconds another Caddy still granted it.
func (s *simulation) revoke(ctx context.Context) (took [3]float64, err error) {
	conf, cancel := caddy.NewContext(caddy.ActiveContext())
	defer cancel()
	hook := &frappeauth.Webhook{Secret: secret, HandlerName: "0"}
	if err := hook.Provision(conf); err != nil {
		return took, err
	}
	var times []float64
	for range s.revocations {
		credential, others := s.unused(), make([]float64, len(s.caddys)-1)
		for i := range s.caddys {
			s.ask(i, credential)
		}
		token := fmt.Sprintf(numbered, credential)[len("Bearer "):]
		content := `{"doctype": "OAuth Bearer Token", "name": "` + token + `"}`
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(content))
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(content))
		r.Header.Set("X-Frappe-Webhook-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		everybodyRevoked.Store(token, true)
		var polling sync.WaitGroup
		began := time.Now()
		for i := range others {
			polling.Go(func() {
				for from := "hit"; from == "hit" && ctx.Err() == nil; time.Sleep(time.Millisecond) {
					others[i] = time.Since(began).Seconds() * 1e3
					from = s.ask(i+1, credential)
				}
			})
		}
		w := httptest.NewRecorder()
		hookErr := hook.ServeHTTP(w, r, nil)
		polling.Wait()
		if hookErr != nil || w.Code != http.StatusNoContent {
			return took, fmt.Errorf("the webhook was answered with %d %s: %w", w.Code, w.Body, errors.Join(hookErr, ctx.Err()))
		}
		times = append(times, others...)
	}
	slices.Sort(times)
	return [3]float64{times[len(times)/2], times[len(times)*99/100], times[len(times)-1]}, nil
}
