package telemetry_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// gather returns the values of all series, as `name{values of labels}`; of a histogram, the number of observations.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]float64)
	for _, family := range families {
		name, ok := strings.CutPrefix(family.GetName(), "caddy_frappe_auth_")
		if !ok {
			t.Errorf("a metric is named %s", family.GetName())
		}
		for _, series := range family.GetMetric() {
			var values []string
			for _, label := range series.GetLabel() {
				values = append(values, label.GetValue())
			}
			key := fmt.Sprintf("%s{%s}", name, strings.Join(values, ","))
			found[key] = series.GetCounter().GetValue() + series.GetGauge().GetValue() + float64(series.GetHistogram().GetSampleCount())
		}
	}
	return found
}

// TestCounters: every series is there before its first event, and each function moves its own series only.
func TestCounters(t *testing.T) {
	telemetry.ExpectRequests("granted")
	telemetry.ExpectLookups("hit")
	telemetry.ExpectDeliveries("accepted")
	telemetry.ExpectBackend("site")
	registry := prometheus.NewPedanticRegistry()
	read := func() telemetry.Snapshot { return telemetry.Snapshot{} }
	for range 2 { // as when two handlers enable metrics
		if err := telemetry.Register(registry, read); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name  string
		count func()
		moved []string
	}{
		{"request", func() { telemetry.CountRequest(frappe.SchemeToken, "granted") }, []string{"requests_total{granted,token}"}},
		{"request without a credential", func() { telemetry.CountRequest("", "granted") }, []string{"requests_total{granted,none}"}},
		{"lookup", func() { telemetry.CountLookup("hit") }, []string{"cache_lookups_total{hit}"}},
		{"eviction", func() { telemetry.CountEviction(telemetry.VerdictDenied) }, []string{"cache_evictions_total{denied}"}},
		{"granted", func() { telemetry.CountCall("site", nil, time.Second) }, []string{"backend_call_duration_seconds{site}", "backend_calls_total{site,granted}"}},
		{
			"denied", func() { telemetry.CountCall("site", fmt.Errorf("bad: %w", frappe.ErrDenied), 0) },
			[]string{"backend_call_duration_seconds{site}", "backend_calls_total{site,denied}"},
		},
		{
			"unavailable", func() { telemetry.CountCall("site", errors.New("down"), 0) },
			[]string{"backend_call_duration_seconds{site}", "backend_calls_total{site,unavailable}"},
		},
		{"rejection", func() { telemetry.CountRejection("site", telemetry.ReasonThrottled) }, []string{"backend_rejections_total{site,throttled}"}},
		{"revocation", func() { telemetry.CountRevocation(telemetry.SourceWatch) }, []string{"revocations_total{watch}"}},
		{"delivery", func() { telemetry.CountDelivery("accepted") }, []string{"webhook_deliveries_total{accepted}"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := gather(t, registry)
			test.count()
			var moved []string
			for key, value := range gather(t, registry) {
				if was, ok := before[key]; !ok || value != was {
					moved = append(moved, key)
				}
				if was, ok := before[key]; value != was && (!ok || value != was+1) {
					t.Errorf("%s went from %v (%t) to %v", key, was, ok, value)
				}
			}
			if slices.Sort(moved); !slices.Equal(moved, test.moved) {
				t.Errorf("%v moved, want %v", moved, test.moved)
			}
		})
	}
}

// TestGauges: a scrape reads the snapshot anew, and a backend that does not watch has no age.
func TestGauges(t *testing.T) {
	now := telemetry.Snapshot{
		Granted: 1, Denied: 2, Capacity: 3, FailingClients: 4,
		Backends: map[string]telemetry.BackendSnapshot{"static": {}, "database": {InFlight: 5, Waiting: 6, OpenBreakers: 7, WatchAge: new(8 * time.Second)}},
	}
	registry := prometheus.NewPedanticRegistry()
	if err := telemetry.Register(registry, func() telemetry.Snapshot { return now }); err != nil {
		t.Fatal(err)
	}
	check := func(want map[string]float64) {
		t.Helper()
		got := gather(t, registry)
		maps.DeleteFunc(got, func(key string, _ float64) bool {
			name, _, _ := strings.Cut(key, "{")
			return strings.HasSuffix(name, "_total") || name == "backend_call_duration_seconds"
		})
		if !maps.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	}
	check(map[string]float64{
		"cache_entries{granted}": 1, "cache_entries{denied}": 2, "cache_max_entries{granted}": 3, "cache_max_entries{denied}": 3, "failing_clients{}": 4,
		"backend_calls_in_flight{static}": 0, "backend_calls_waiting{static}": 0, "backend_breakers_open{static}": 0,
		"backend_calls_in_flight{database}": 5, "backend_calls_waiting{database}": 6, "backend_breakers_open{database}": 7,
		"backend_watch_age_seconds{database}": 8,
	})
	now = telemetry.Snapshot{}
	check(map[string]float64{
		"cache_entries{granted}": 0, "cache_entries{denied}": 0, "cache_max_entries{granted}": 0, "cache_max_entries{denied}": 0, "failing_clients{}": 0,
	})
}
