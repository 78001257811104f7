package docs_test

import (
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestPrometheusRule: the alerts of Kubernetes are those of monitoring/alerts.yml.
func TestPrometheusRule(t *testing.T) {
	const file = "monitoring/prometheusrule.yaml"
	var rule strings.Builder
	rule.WriteString("# Generated from alerts.yml by `make golden`.\napiVersion: monitoring.coreos.com/v1\n" +
		"kind: PrometheusRule\nmetadata:\n  name: frappe-auth\nspec:\n")
	for line := range strings.Lines(testutil.Page(t, "monitoring/alerts.yml")) {
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case line != "\n":
			rule.WriteString("  ")
		}
		rule.WriteString(line)
	}
	testutil.Golden(t, file, rule.String())
}
