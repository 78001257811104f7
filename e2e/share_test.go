package e2e

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	frappeauth "github.com/caddy-frappe/frappe-auth"
	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

func init() {
	caddy.RegisterModule(doubleStore{})
	caddy.RegisterModule(doubleFeed{})
}

// doubleStore is `share double`. All of them use theClient.
type doubleStore struct{ *testutil.StoreClient }

var (
	theStore  = testutil.NewMemoryStore()
	theClient = theStore.Client("0123456789abcdef0123456789abcdef")
)

func (doubleStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.frappe_auth.stores.double",
		New: func() caddy.Module { return &doubleStore{theClient} },
	}
}

func (*doubleStore) MarshalJSON() ([]byte, error) { return []byte("{}"), nil }

func (*doubleStore) UnmarshalJSON([]byte) error { return nil }

func (*doubleStore) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*doubleStore) CheckHealth(context.Context) []frappe.Finding {
	return []frappe.Finding{frappe.OK("store", "double")}
}

func (*doubleFeed) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return nil }

func (*doubleFeed) CheckHealth(context.Context) []frappe.Finding {
	return []frappe.Finding{frappe.Trouble("feed", "double")}
}

// doubleFeed is `feed double`. It reports what is sent to theFeed.
type doubleFeed struct{}

var theFeed = make(chan frappe.Change)

func (doubleFeed) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.frappe_auth.feeds.double", New: func() caddy.Module { return new(doubleFeed) }}
}

func (*doubleFeed) Watch(ctx context.Context, observe func([]frappe.Change)) {
	observe(nil)
	for {
		select {
		case c := <-theFeed:
			observe([]frappe.Change{c})
		case <-ctx.Done():
			return
		}
	}
}

// TestChangesWithoutTheSharedStore: changes of a feed, a webhook and the admin API take effect here while the store is
// unreachable. The webhook and the admin API say that other Caddys do not know yet, and the metrics show it.
func TestChangesWithoutTheSharedStore(t *testing.T) {
	t.Cleanup(func() { theClient.SetAway(false) })
	address, metrics := testutil.FreeAddress(t), testutil.FreeAddress(t)
	secret := "token-of-alice"
	testutil.RunCaddy(t, `{
		metrics
	}
	http://`+address+` {
		route /hook {
			frappe_auth_webhook s3cret
		}
		route {
			frappe_auth {
				backend static {
					bearer `+testutil.Hash(secret)+` alice@example.com
				}
				share double
				feed double
			}
			respond "{http.auth.frappe.cache}"
		}
	}
	http://`+metrics+` {
		metrics
	}`)
	fetch := func() string { return testutil.Get(t, "http://"+address+"/", "Authorization: Bearer "+secret).Body }
	testutil.Eventually(t, "the state is known", func() bool { return len(theStore.Keys("s")) > 0 })
	if got := fetch() + " " + fetch(); got != "miss hit" {
		t.Errorf("at first: %s", got)
	}
	theFeed <- frappe.Change{User: "alice@example.com"}
	testutil.Eventually(t, "what the feed reports is revoked", func() bool { return fetch() == "miss" })

	body := []byte(`{"doctype": "User", "name": "alice@example.com"}`)
	theClient.SetAway(true)
	before := theStore.Snapshot()
	if got := deliver(t, "http://"+address+"/hook", body,
		sign(string(body))); got.Status != http.StatusServiceUnavailable ||
		!strings.Contains(errorOf(t, got), "shared store") {
		t.Errorf("a delivery without the store: %d %s", got.Status, got.Body)
	}
	if got := fetch(); got != "miss" {
		t.Errorf("after a delivery without the store: %s", got)
	}
	admin := func(method, path string) *httptest.ResponseRecorder {
		recorder := httptest.NewRecorder()
		for _, route := range (frappeauth.AdminAPI{}).Routes() {
			if route.Pattern != path {
				continue
			}
			err := route.Handler.ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
			if refused, ok := errors.AsType[caddy.APIError](err); ok {
				recorder.WriteHeader(refused.HTTPStatus)
				recorder.WriteString(refused.Err.Error())
			}
		}
		return recorder
	}
	drop := func() *httptest.ResponseRecorder { return admin(http.MethodDelete, "/frappe_auth/cache") }
	if got := admin(http.MethodGet, "/frappe_auth/").Body.String(); !strings.Contains(got, `"store":{"source":"a double","up":`) ||
		strings.Contains(got, `"failures":0`) ||
		!strings.Contains(got, `"revocations_pending":1`) ||
		!strings.Contains(got, `"feeds":[{"name":"double","watch_age_seconds":`) {
		t.Errorf("the overview without the store: %s", got)
	}
	if got := drop(); got.Code != http.StatusServiceUnavailable || !strings.Contains(got.Body.String(), "dropped here") ||
		strings.Contains(got.Body.String(), "\n") {
		t.Errorf("a drop without the store: %d %s", got.Code, got.Body)
	}
	if got := fetch(); got != "miss" {
		t.Errorf("after a drop without the store: %s", got)
	}
	theClient.SetAway(false)
	testutil.Eventually(t, "what could not be published is", func() bool {
		now := theStore.Snapshot()
		return slices.ContainsFunc(theStore.Keys("s"), func(key string) bool { return now[key] != before[key] })
	})
	if got := drop(); got.Code != http.StatusNoContent {
		t.Errorf("a drop: %d %s", got.Code, got.Body)
	}

	scraped := testutil.Get(t, "http://"+metrics+"/metrics").Body
	for _, want := range []string{
		"caddy_frappe_auth_store_up ", "caddy_frappe_auth_store_failures_total ", "caddy_frappe_auth_store_look_age_seconds ",
		"caddy_frappe_auth_store_revocations_published_total ", "caddy_frappe_auth_store_revocations_received_total ",
		`caddy_frappe_auth_backend_watch_age_seconds{backend="double"}`,
		`caddy_frappe_auth_revocations_total{source="feed"} 1`,
		`caddy_frappe_auth_cache_lookups_total{result="shared"}`,
		`caddy_frappe_auth_webhook_deliveries_total{outcome="unpublished"} 1`,
	} {
		if !strings.Contains(scraped, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// TestReloadWithNewSecret: a reload uses the new secret, even if the configuration, which only refers to it, is
// unchanged.
func TestReloadWithNewSecret(t *testing.T) {
	before := theClient.Key
	t.Cleanup(func() { theClient.Key = before })
	address, token := testutil.FreeAddress(t), "token-of-bob"
	config := `http://` + address + ` {
		frappe_auth {
			backend static {
				bearer ` + testutil.Hash(token) + ` bob@example.com
			}
			share double
		}
		respond "{http.auth.frappe.cache}"
	}`
	c := testutil.RunCaddy(t, config)
	fetch := func() string { return testutil.Get(t, "http://"+address+"/", "Authorization: Bearer "+token).Body }
	fetch()
	c.Load(config)
	if got := fetch(); got != "hit" {
		t.Errorf("after a reload with the same secret: %s", got)
	}
	theClient.Key = "another secret of at least 32 bytes"
	c.Load(config)
	testutil.Eventually(t, "what was cached under another secret is dropped", func() bool { return fetch() == "miss" })
}
