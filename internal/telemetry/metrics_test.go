package telemetry_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/telemetry"
)

// gather returns the values of all series by `name{label values}`. The value of a histogram is its number of
// observations.
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
			observations := float64(series.GetHistogram().GetSampleCount())
			found[key] = series.GetCounter().GetValue() + series.GetGauge().GetValue() + observations
		}
	}
	return found
}

// TestCounters: every series exists before its first event, and each function changes only its own series.
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
		name    string
		count   func()
		changed []string
	}{
		{
			"request", func() { telemetry.CountRequest(frappe.SchemeToken, "granted") },
			[]string{"requests_total{granted,token}"},
		},
		{
			"request without a credential", func() { telemetry.CountRequest("", "granted") },
			[]string{"requests_total{granted,none}"},
		},
		{"lookup", func() { telemetry.CountLookup("hit") }, []string{"cache_lookups_total{hit}"}},
		{"eviction", func() { telemetry.CountEviction(telemetry.VerdictDenied) }, []string{"cache_evictions_total{denied}"}},
		{
			"granted", func() { telemetry.CountCall("site", nil, time.Second) },
			[]string{"backend_call_duration_seconds{site}", "backend_calls_total{site,granted}"},
		},
		{
			"denied", func() { telemetry.CountCall("site", fmt.Errorf("bad: %w", frappe.ErrDenied), 0) },
			[]string{"backend_call_duration_seconds{site}", "backend_calls_total{site,denied}"},
		},
		{
			"unavailable", func() { telemetry.CountCall("site", errors.New("down"), 0) },
			[]string{"backend_call_duration_seconds{site}", "backend_calls_total{site,unavailable}"},
		},
		{
			"rejection", func() { telemetry.CountRejection("site", telemetry.ReasonThrottled) },
			[]string{"backend_rejections_total{site,throttled}"},
		},
		{"revocation", func() { telemetry.CountRevocation(telemetry.SourceWatch) }, []string{"revocations_total{watch}"}},
		{"delivery", func() { telemetry.CountDelivery("accepted") }, []string{"webhook_deliveries_total{accepted}"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := gather(t, registry)
			test.count()
			var changed []string
			for key, value := range gather(t, registry) {
				if was, ok := before[key]; !ok || value != was {
					changed = append(changed, key)
				}
				if was, ok := before[key]; value != was && (!ok || value != was+1) {
					t.Errorf("%s went from %v (%t) to %v", key, was, ok, value)
				}
			}
			if slices.Sort(changed); !slices.Equal(changed, test.changed) {
				t.Errorf("%v changed, want %v", changed, test.changed)
			}
		})
	}
}
