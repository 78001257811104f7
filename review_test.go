package frappeauth

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frappe/frappe-auth/internal/routes"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestReviewSeesTheConfiguration: in a loaded configuration the same is found as in its JSON, except for the trusted
// proxies, which Caddy does not show.
func TestReviewSeesTheConfiguration(t *testing.T) {
	files, err := filepath.Glob("internal/routes/testdata/*.caddyfiletest")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, _, _ := strings.Cut(string(raw), "----------\n")
			globals, own := "{\nadmin off\nauto_https off\n", strings.HasPrefix(input, "{\n")
			if !own {
				globals += "}\n"
			}
			adapted, _, err := testutil.Adapt(globals + strings.TrimPrefix(input, "{\n"))
			if err != nil {
				t.Fatal(err)
			}
			var parsed struct{ Apps map[string]any }
			if err := json.Unmarshal(adapted, &parsed); err != nil {
				t.Fatal(err)
			}
			http := parsed.Apps["http"]
			found := slices.DeleteFunc(routes.Findings(http), func(f routes.Finding) bool { return f.Check == "trusted_proxies" })

			loaded := routes.Loaded(loadedApp(t, adapted), configuredJSON)
			if got, want := accesses(loaded), accesses(http); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if got := routes.Findings(loaded); !slices.Equal(got, found) {
				t.Errorf("got\n%v\nwant\n%v", got, found)
			}
		})
	}
}

// accesses are the rows of the map.
func accesses(http any) (all []string) {
	for _, r := range routes.Map(http) {
		all = append(all, strings.Join([]string{r.Site, r.Route, r.LeadsTo, r.Access()}, " | "))
	}
	return all
}

// loadedApp loads the http app of a configuration.
func loadedApp(t *testing.T, config []byte) *caddyhttp.App {
	t.Helper()
	var parsed caddy.Config
	if err := json.Unmarshal(config, &parsed); err != nil {
		t.Fatal(err)
	}
	provisioned, err := caddy.ProvisionContext(&parsed)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(provisioned)
	t.Cleanup(cancel)
	app, err := ctx.App("http")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*caddyhttp.App)
}
