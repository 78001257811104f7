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
func (h *harness) runSoak(ctx context.Context) error {
	s := newSite(0, anyNumber)
	// The configuration after n reloads. Every third one changes the backends, and so drops the cache.
	config := func(n int) *server {
		other := strings.Repeat("backend static {\nbearer sha256:"+strings.Repeat("0", 64)+" nobody@example.com\n}\n", n/3%2)
		return protect(s, 1000+n%2, cached, other, "frappe_auth_webhook /hook "+secret+"\nrespond {http.auth.user.id}")
	}
	caddy := config(0)
	if err := h.start(ctx, caddy); err != nil {
		return err
	}
	defer caddy.stop()
	goroutines, heap, err := caddy.usage(ctx)
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var wg sync.WaitGroup
	for status, credentials := range map[string][]string{"200": {token, basic, bearer}, "401": {bad, "Bearer bad", "token nonsense"}} {
		wg.Go(func() {
			m := attack(ctx, soakRate, h.soak, func(n int64) (string, http.Header) {
				return caddy.address, http.Header{"Authorization": {credentials[n%int64(len(credentials))]}}
			})
			if reset := m.StatusCodes["0"]; m.StatusCodes[status]+reset != int(m.Requests) || reset > int(m.Requests)/100 {
				fail(fmt.Errorf("%d requests, which should have status %s: %v %v", m.Requests, status, m.StatusCodes, m.Errors))
			}
		})
	}
	revocations, reloads := 0, 0
	for start := time.Now(); ctx.Err() == nil && time.Since(start) < h.soak; revocations++ {
		err := caddy.revoke(ctx, fmt.Sprintf("soak-%d", revocations))
		if err == nil && time.Since(start) > time.Duration(reloads+1)*max(h.soak/30, time.Second) {
			reloads++
			_, err = send(ctx, http.MethodPost, caddy.admin+"/load", http.Header{"Content-Type": {"text/caddyfile"}}, h.expand(caddy, config(reloads).config), http.StatusOK)
		}
		if err != nil {
			fail(err)
		}
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // connections end
	goroutinesAfter, heapAfter, err := caddy.usage(ctx)
	fmt.Printf("\nSoak of %s: %d credentials per second, %d revocations, %d reloads, no wrong answer. Goroutines %.0f before, %.0f after; heap %.1f MiB before, %.1f MiB after.\n",
		h.soak, 2*soakRate, revocations, reloads, goroutines, goroutinesAfter, heap/(1<<20), heapAfter/(1<<20))
	if err == nil && (goroutinesAfter > goroutines+5 || heapAfter > heap+16<<20) {
		err = errors.New("a leak")
	}
	return err
}

// delivery is a delivery of Frappe's webhook about an access token, and its headers.
func delivery(token, secret string) (string, http.Header) {
	content := `{"doctype": "OAuth Bearer Token", "name": "` + token + `"}`
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(content))
	return content, http.Header{"X-Frappe-Webhook-Signature": {base64.StdEncoding.EncodeToString(mac.Sum(nil))}}
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
	content, signature := delivery(token, secret)
	_, hookErr := send(ctx, http.MethodPost, s.address+"/hook", signature, content, http.StatusNoContent)
	_, err := send(ctx, http.MethodGet, s.address, authorization, "", http.StatusUnauthorized)
	return errors.Join(hookErr, err)
}
