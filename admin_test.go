package frappeauth_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"

	frappeauth "github.com/caddy-frappe/frappe-auth"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestAdminDuringReload: the admin API answers at any moment of a reload.
func TestAdminDuringReload(t *testing.T) {
	handler := `{"name": "files", "backends": [{"backend": "static", "bearers": [{"hash": "` + testutil.Hash("x") +
		`", "user": "alice@example.com"}]}]}`
	var (
		wg   sync.WaitGroup
		done = make(chan struct{})
	)
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := serveAdmin(httptest.NewRecorder(),
					httptest.NewRequest(http.MethodGet, "/frappe_auth/", nil)); err != nil {
					t.Error(err)
				}
				check := httptest.NewRequest(http.MethodPost, "/frappe_auth/check", strings.NewReader("Bearer x"))
				if err := serveAdmin(httptest.NewRecorder(), check); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 200 {
		ctx, unload := caddy.NewContext(caddy.Context{Context: context.Background()})
		if _, err := ctx.LoadModuleByID("http.handlers.frappe_auth", []byte(handler)); err != nil {
			t.Error(err)
		}
		unload()
	}
	close(done)
	wg.Wait()
}

// serveAdmin routes a request as Caddy's admin API does.
func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	routes := frappeauth.AdminAPI{}.Routes()
	i := slices.IndexFunc(routes, func(route caddy.AdminRoute) bool { return route.Pattern == r.URL.Path })
	return routes[i].Handler.ServeHTTP(w, r)
}
