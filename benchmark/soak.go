package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

const soakRate = 500 // good, and as many bad, credentials per second

// runSoak puts a Caddy under a constant rate of good and of bad credentials, and reloads it again and again while further
// credentials are revoked by webhooks. It returns an error if an answer is wrong, or if goroutines or memory grow.
func (h *harness) runSoak(ctx context.Context) (string, error) {
	port, err := freePort(ctx)
	if err != nil {
		return "", err
	}
	s := &server{site: newSite(0, anyNumber), admin: "127.0.0.1:" + port}
	s.config = s.soakConfig(0)
	if err := h.start(ctx, s); err != nil {
		return "", err
	}
	defer s.stop()
	goroutines, heap, err := s.usage(ctx)
	if err != nil {
		return "", err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var wg sync.WaitGroup
	for status, credentials := range map[string][]string{"200": {token, basic, bearer}, "401": {bad, "Bearer bad", "token nonsense"}} {
		wg.Go(func() {
			m := attack(ctx, soakRate, h.soak, s.address, func(n int64) http.Header {
				return http.Header{"Authorization": {credentials[n%int64(len(credentials))]}}
			})
			if reset := m.StatusCodes["0"]; m.StatusCodes[status]+reset != int(m.Requests) || reset > int(m.Requests)/100 {
				fail(fmt.Errorf("%d requests, which should have status %s: %v %v", m.Requests, status, m.StatusCodes, m.Errors))
			}
		})
	}
	revocations, reloads := 0, 0
	for start := time.Now(); ctx.Err() == nil && time.Since(start) < h.soak; revocations++ {
		err := s.revoke(ctx, fmt.Sprintf("soak-%d", revocations))
		if err == nil && time.Since(start) > time.Duration(reloads+1)*max(h.soak/30, time.Second) {
			reloads++
			config := strings.ReplaceAll(s.soakConfig(reloads), "PORT", s.port)
			_, err = send(ctx, http.MethodPost, s.admin+"/load", http.Header{"Content-Type": {"text/caddyfile"}}, config, http.StatusOK)
		}
		if err != nil {
			fail(err)
		}
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return "", err
	}
	goroutinesAfter, heapAfter, err := s.usage(ctx)
	summary := fmt.Sprintf("Soak of %s: %d credentials per second, %d revocations, %d reloads, no wrong answer. "+
		"Goroutines %.0f before, %.0f after; heap %.1f MiB before, %.1f MiB after.\n",
		h.soak, 2*soakRate, revocations, reloads, goroutines, goroutinesAfter, heap, heapAfter)
	if err == nil && (goroutinesAfter > goroutines+5 || heapAfter > heap+16) {
		err = errors.New("a leak: " + summary)
	}
	return summary, err
}

// soakConfig is the configuration after n reloads. Every third one changes the backend, and so drops the cache.
func (s *server) soakConfig(n int) string {
	auth := frappeAuth(s.site, 1000+n%2, time.Duration(10+n/3%2)*time.Second)
	c := caddyServer(nil, "frappe_auth_webhook /hook s3cret\n"+auth+"respond {http.auth.user.id}", "metrics")
	return strings.Replace(c.config, "admin off", "admin "+s.admin, 1)
}

// revoke uses an access token, revokes it, delivers Frappe's webhook, and uses it again.
func (s *server) revoke(ctx context.Context, token string) error {
	authorization := http.Header{"Authorization": {"Bearer " + token}}
	for range 2 {
		if user, err := send(ctx, http.MethodGet, s.address, authorization, "", http.StatusOK); err != nil || user != token+"@example.com" {
			return errors.Join(err, fmt.Errorf("%s is granted to %q", token, user))
		}
	}
	s.site.revoked.Store(token, true)
	delivery := `{"doctype": "OAuth Bearer Token", "name": "` + token + `"}`
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(delivery))
	signature := http.Header{"X-Frappe-Webhook-Signature": {base64.StdEncoding.EncodeToString(mac.Sum(nil))}}
	_, hookErr := send(ctx, http.MethodPost, s.address+"/hook", signature, delivery, http.StatusNoContent)
	_, err := send(ctx, http.MethodGet, s.address, authorization, "", http.StatusUnauthorized)
	return errors.Join(hookErr, err)
}

// usage is the number of goroutines and the MiB of heap once connections had time to end.
func (s *server) usage(ctx context.Context) (goroutines, heap float64, err error) {
	time.Sleep(2 * time.Second)
	_, gcErr := send(ctx, http.MethodGet, s.admin+"/debug/pprof/heap?gc=1", nil, "", http.StatusOK)
	metrics, err := send(ctx, http.MethodGet, s.admin+"/metrics", nil, "", http.StatusOK)
	read := func(name string, value *float64) error {
		_, rest, _ := strings.Cut(metrics, "\n"+name+" ")
		_, err := fmt.Sscan(rest, value)
		return err
	}
	err = errors.Join(gcErr, err, read("go_goroutines", &goroutines), read("go_memstats_heap_inuse_bytes", &heap))
	return goroutines, heap / (1 << 20), err
}
