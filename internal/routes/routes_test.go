package routes_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"

	_ "github.com/caddy-frappe/frappe-auth" // registers the directive
	"github.com/caddy-frappe/frappe-auth/internal/routes"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestGolden: the map of each Caddyfile, and what is found in it.
func TestGolden(t *testing.T) {
	testutil.GoldenFiles(t, "internal/routes/testdata/*.caddyfiletest", func(t *testing.T, input string) string {
		adapted, _, err := testutil.Adapt(input)
		if err != nil {
			t.Fatal(err)
		}
		got := described(httpIn(t, adapted))
		if strings.Contains(got, "s3cret") {
			t.Error("it shows a secret")
		}
		return got
	})
}

// httpIn returns the http app in the JSON of a configuration.
func httpIn(t *testing.T, config []byte) any {
	t.Helper()
	var parsed struct{ Apps map[string]any }
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	return parsed.Apps["http"]
}

// described is the map of an http app, and what is found in it.
func described(http any) string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range routes.Map(http) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row.Site, row.Route, row.LeadsTo, row.Access())
	}
	table.Flush()
	for _, f := range routes.Findings(http) {
		fmt.Fprintf(&text, "\n%s %s at %s:\n  %s\n", f.Result, f.Check, f.Where, f.Finding)
	}
	return text.String()
}

// TestLargeConfigurations: a thousand sites take little time, and so do named routes that invoke each other.
func TestLargeConfigurations(t *testing.T) {
	var sites strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&sites, "a%d.example.com {\nfrappe_auth /api/* https://erp.example.com\nreverse_proxy app%d:8000\n}\n", i, i)
	}
	adapted, _, err := testutil.Adapt(sites.String())
	if err != nil {
		t.Fatal(err)
	}
	many := httpIn(t, adapted)
	if rows, found := routes.Map(many), routes.Findings(many); len(rows) != 2000 || len(found) != 1000 {
		t.Errorf("%d rows, %d findings", len(rows), len(found))
	}
	named := make(map[string]any)
	invoke := func(n int) any { return map[string]any{"handler": "invoke", "name": fmt.Sprint(n % 40)} }
	for i := range 40 {
		named[fmt.Sprint(i)] = map[string]any{"handle": []any{invoke(i + 1), invoke(i + 2)}}
	}
	start := map[string]any{"handle": []any{invoke(0)}}
	routes.Findings(map[string]any{"servers": map[string]any{"a": map[string]any{
		"named_routes": named, "routes": []any{start, start},
	}}})
}

// TestProvider: the provider of Caddy's authentication protects, too. What is not as Caddy writes it is no error.
func TestProvider(t *testing.T) {
	for _, test := range []struct{ name, http, want string }{
		{
			"provider", `{"servers": {"a": {"listen": [":443"], "routes": [{"handle": [
				{"handler": "authentication", "providers": {"frappe": {"name": "erp"}, "http_basic": {}}},
				{"handler": "static_response"}]}]}}}`, "every host  /*  respond  authentication frappe erp\n",
		},
		{
			"only other providers", `{"servers": {"a": {"listen": [":443"], "routes": [{"handle": [
				{"handler": "authentication", "providers": {"http_basic": {}}}, {"handler": "file_server"}]}]}}}`,
			"every host  /*  file_server .  http_basic\n",
		},
		{"nothing", `null`, ""},
		{"other types", `{"servers": {"a": {"listen": 1, "routes": [1, {"match": {}, "handle": [null, {"handler": 2,
			"providers": []}, {"handler": "subroute", "routes": {}}, {"handler": "headers", "request": []},
			{"handler": "frappe_auth", "match": [null], "require": 1, "protected_resource": {"resource": 1}}]}],
			"errors": [], "named_routes": []}, "b": 1}}`, "every host  /*  nothing: 200, empty  frappe_auth\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var http any
			if err := json.Unmarshal([]byte(test.http), &http); err != nil {
				t.Fatal(err)
			}
			if got := described(http); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}
