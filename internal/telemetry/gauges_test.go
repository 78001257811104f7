package telemetry_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// TestGauges: each scrape reads a new snapshot, and a backend that does not watch has no age.
func TestGauges(t *testing.T) {
	now := telemetry.Snapshot{
		Granted: 1, Denied: 2, Capacity: 3, FailingClients: 4, Streams: 5,
		Contacts: map[telemetry.Contact]telemetry.ContactSnapshot{},
		Backends: map[string]telemetry.BackendSnapshot{
			"static": {}, "database": {InFlight: 5, Waiting: 6, OpenBreakers: 7, WatchAge: new(8 * time.Second)},
		},
	}
	registry := prometheus.NewPedanticRegistry()
	if err := telemetry.Register(registry, func() telemetry.Snapshot { return now }); err != nil {
		t.Fatal(err)
	}
	early, late := time.UnixMilli(1_500), time.UnixMilli(2_000)
	shared, alone := telemetry.Contact{Backend: "site", Handler: "files"}, telemetry.Contact{Backend: "static"}
	now.AddContact(shared, true, late)
	now.AddContact(shared, false, early)
	now.AddContact(shared, true, time.Time{})
	now.AddContact(alone, true, time.Time{})
	check := func(want map[string]float64) {
		t.Helper()
		got := gather(t, registry)
		maps.DeleteFunc(got, func(key string, _ float64) bool {
			name, _, _ := strings.Cut(key, "{")
			return strings.HasSuffix(name, "_total") || name == "backend_call_duration_seconds" || name == "build_info"
		})
		if !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	check(map[string]float64{
		"cache_entries{granted}": 1, "cache_entries{denied}": 2, "cache_max_entries{granted}": 3,
		"cache_max_entries{denied}": 3, "failing_clients{}": 4, "streams_open{}": 5,
		"backend_calls_in_flight{static}": 0, "backend_calls_waiting{static}": 0, "backend_breakers_open{static}": 0,
		"backend_calls_in_flight{database}": 5, "backend_calls_waiting{database}": 6, "backend_breakers_open{database}": 7,
		"backend_watch_age_seconds{database}": 8,
		"backend_up{site,files}":              0, "backend_last_verdict_timestamp_seconds{site,files}": 1.5,
		"backend_up{static,}": 1,
	})
	now = telemetry.Snapshot{}
	check(map[string]float64{
		"cache_entries{granted}": 0, "cache_entries{denied}": 0, "cache_max_entries{granted}": 0,
		"cache_max_entries{denied}": 0, "failing_clients{}": 0, "streams_open{}": 0,
	})
}
