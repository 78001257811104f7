package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// exampleCaddyfile is a Caddyfile of examples/, as global options and sites, without comments above and without the admin
// endpoint, which is each test's own.
func exampleCaddyfile(t *testing.T, name string) (globals, sites string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../examples", name, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	if formatted := string(caddyfile.Format(raw)); formatted != text {
		t.Errorf("%s is not formatted as caddy fmt does:\n%s", name, formatted)
	}
	if address := regexp.MustCompile(`redis://[a-z-]+:6379`); address.MatchString(text) {
		text = address.ReplaceAllString(text, "redis://"+testutil.StartRedis(t).Address)
	}
	globals, sites, ok := strings.Cut(text[strings.Index(text, "{\n")+2:], "\n}\n")
	if without := strings.Replace(globals, "\tadmin 127.0.0.1:2019\n", "", 1); !ok || without == globals {
		t.Fatalf("%s has no global options with an admin endpoint", name)
	} else {
		globals = without
	}
	return globals, sites
}

// startExamples runs a Caddyfile of examples/ with the addresses and paths of the outside replaced, and returns the address
// of each port.
func startExamples(t *testing.T, name string, ports []string, replacements ...string) map[string]string {
	t.Helper()
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s by %q %q", r.URL.Path, r.Header.Get("X-Frappe-User"), r.Header.Get("Authorization"))
	}))
	t.Cleanup(application.Close)
	globals, sites := exampleCaddyfile(t, name)
	addresses := make(map[string]string)
	for _, port := range ports {
		addresses[port] = testutil.FreeAddress(t)
		replacements = append(replacements, "\n:"+port+" {", "\nhttp://"+addresses[port]+" {")
	}
	replacements = append(replacements, "app:80", strings.TrimPrefix(application.URL, "http://"))
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(sites, replacements[i]) {
			t.Errorf("%s does not have %q", name, replacements[i])
		}
	}
	start(t, globals, strings.NewReplacer(replacements...).Replace(sites), "FRAPPE_AUTH_SECRET="+strings.Repeat("0123456789abcdef", 4), "REDIS_PASSWORD=unused")
	return addresses
}

// TestComposeExample: whom the site's database knows is let in, whom only Frappe knows as well, and nobody else.
func TestComposeExample(t *testing.T) {
	site := siteDouble(t)
	address := startExamples(t, "compose", []string{"8081"},
		"/home/frappe/frappe-bench/sites/{$SITE:frontend}", sqliteSite(t), "site_name {$SITE:frontend}", "site_name a.erp.example.com", "http://backend:8000", site)["8081"]
	for _, test := range []struct {
		name   string
		header string
		status int
		body   string
	}{
		{"a key of the database", tokenHeader, 200, `/x by "alice@example.com" ""`},
		{"a wrong secret", wrongHeader, 401, ""},
		{"an unknown token", "Authorization: Bearer other", 401, ""},
		{"none", "X-Frappe-User: Administrator", 401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := ask(t, "GET", "http://"+address+"/x", "", test.header)
			if status != test.status || status == 200 && body != test.body {
				t.Errorf("%d %q", status, body)
			}
		})
	}
}

// TestKubernetesExample: probes and metrics have a port of their own, which needs no credential; the other one does.
func TestKubernetesExample(t *testing.T) {
	addresses := startExamples(t, "kubernetes", []string{"9180", "8080"}, "https://erp.example.com", siteDouble(t))
	testutil.Eventually(t, "the store is used", func() bool {
		_, body := ask(t, "GET", "http://"+addresses["9180"]+"/metrics", "")
		return strings.Contains(body, "\ncaddy_frappe_auth_store_up 1\n")
	})
	for path, want := range map[string]string{"/healthz": "", "/metrics": "caddy_frappe_auth_requests_total"} {
		if status, body := ask(t, "GET", "http://"+addresses["9180"]+path, ""); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.300q", path, status, body)
		}
	}
	for header, want := range map[string]int{"Authorization: Bearer good-token": 200, wrongHeader: 401, "X-Frappe-User: Administrator": 401} {
		if status, body := ask(t, "GET", "http://"+addresses["8080"]+"/healthz", "", header); status != want {
			t.Errorf("%s: %d %q, want %d", header, status, body, want)
		}
	}
}
