package docs_test

import (
	"encoding/json"
	"regexp"
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

// panel is a panel of the dashboard, or a row.
type panel struct {
	ID          int
	Type, Title string
	Description string
	GridPos     struct{ X, Y, W, H int }
	Collapsed   bool
	Targets     []struct{ Expr, LegendFormat string }
	Panels      []panel
}

// TestDashboard: the dashboard begins with whether all is well, its panels have their own places and say what they
// show, and the metrics and alerts that it names exist.
func TestDashboard(t *testing.T) {
	var dashboard panel
	if err := json.Unmarshal([]byte(testutil.Page(t, "monitoring/dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	operations, alerts := testutil.Page(t, "docs/operations.md"), testutil.Page(t, "monitoring/alerts.yml")
	ids, places := make(map[int]string), make(map[[2]int]string)
	var examine func(panels []panel, places map[[2]int]string)
	examine = func(panels []panel, places map[[2]int]string) {
		for _, p := range panels {
			if other, taken := ids[p.ID]; taken {
				t.Errorf("%s and %s have the same id", p.Title, other)
			}
			ids[p.ID] = p.Title
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other, taken := places[[2]int{x, y}]; taken || x >= 24 {
						t.Fatalf("%s is over %s, or outside", p.Title, other)
					}
					places[[2]int{x, y}] = p.Title
				}
			}
			if p.Type == "row" {
				if p.Collapsed == (len(p.Panels) == 0) {
					t.Errorf("the row %s is closed without panels, or open with some", p.Title)
				}
				examine(p.Panels, make(map[[2]int]string))
				continue
			}
			if p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
				t.Errorf("panel %d %s lacks a description or queries", p.ID, p.Title)
			}
			for _, alert := range regexp.MustCompile(`Alert: (\w+)`).FindAllStringSubmatch(p.Description, -1) {
				if !strings.Contains(alerts, "alert: "+alert[1]+"\n") {
					t.Errorf("%s names the alert %s, which does not exist", p.Title, alert[1])
				}
			}
			for _, target := range p.Targets {
				for _, name := range regexp.MustCompile(`caddy_frappe_auth_\w+`).FindAllString(target.Expr, -1) {
					if !strings.Contains(operations, "`"+strings.TrimSuffix(name, "_bucket")+"`") {
						t.Errorf("%s shows %s, which docs/operations.md does not have", p.Title, name)
					}
				}
			}
		}
	}
	examine(dashboard.Panels, places)
	first := dashboard.Panels[1]
	if dashboard.Panels[0].Type != "row" || first.Type != "stat" || !strings.Contains(first.Targets[0].Expr, "backend_up") {
		t.Errorf("it begins with %s", first.Title)
	}
}
