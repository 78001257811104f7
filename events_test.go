package frappeauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

func init() {
	caddy.RegisterModule(eventRecorder{})
}

// eventRecorder is a handler of Caddy's events app that keeps what it gets.
type eventRecorder struct{}

var recorded struct {
	sync.Mutex
	events []string
}

func (eventRecorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.frappe_auth_test", New: func() caddy.Module { return new(eventRecorder) }}
}

func (eventRecorder) Handle(_ context.Context, e caddy.Event) error {
	recorded.Lock()
	defer recorded.Unlock()
	line := e.Name()
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		line += fmt.Sprintf(" %s=%v", key, e.Data[key])
	}
	recorded.events = append(recorded.events, line)
	return nil
}

var _ caddyevents.Handler = eventRecorder{}

// TestEvents: operators can hook into what happens, and learn no secret.
func TestEvents(t *testing.T) {
	recorded.Lock()
	recorded.events = nil
	recorded.Unlock()
	var down atomic.Bool
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case credentialOf(r) == "Bearer good":
			w.Write([]byte(`{"message":"alice@example.com"}`))
		default:
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte(`{}`))
		}
	}))
	defer site.Close()
	address := freeAddress(t)
	adapted, _, err := adapt(fmt.Sprintf("{\nadmin off\n}\nhttp://%s {\nfrappe_auth %s {\nfailures 1 1h\ncache {\nttl 0\n}\n}\nrespond ok\n}", address, site.URL))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	config["apps"].(map[string]any)["events"] = map[string]any{"subscriptions": []any{map[string]any{
		"events":   []string{"frappe_auth.denied", "frappe_auth.throttled", "frappe_auth.unavailable", "frappe_auth.recovered"},
		"handlers": []any{map[string]any{"handler": "frappe_auth_test"}},
	}}}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(raw, true); err != nil {
		t.Fatal(err)
	}
	defer caddy.Stop()

	get(t, "http://"+address, "Authorization: Bearer good")
	get(t, "http://"+address, "Authorization: token key:s3cret")
	down.Store(true)
	get(t, "http://"+address, "Authorization: Bearer good")
	get(t, "http://"+address, "Authorization: Bearer good")
	down.Store(false)
	get(t, "http://"+address, "Authorization: Bearer good")
	get(t, "http://"+address, "Authorization: token key:another-s3cret")

	want := []string{
		"frappe_auth.denied client_ip=127.0.0.1 scheme=token",
		"frappe_auth.unavailable backend=site site=",
		"frappe_auth.recovered backend=site site=",
		"frappe_auth.throttled client_ip=127.0.0.1 scheme=token",
	}
	var got []string
	testutil.Holds(5*time.Second, func() bool {
		recorded.Lock()
		defer recorded.Unlock()
		got = slices.Clone(recorded.events)
		return slices.Equal(got, want)
	})
	if !slices.Equal(got, want) {
		t.Fatalf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
