package site_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestSiteConfiguration: a mistake is an error when the configuration is loaded, and the error says what to write.
func TestSiteConfiguration(t *testing.T) {
	t.Setenv("TEST_SITE", "erp.localhost")
	t.Setenv("TEST_EMPTY", "")
	t.Setenv("TEST_URL", "http://127.0.0.1:8000")
	t.Setenv("TEST_LOGIN", "alice:61066224add85e6")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const missing = "the placeholder {env.TEST_UNSET} is empty or unknown"
	for _, test := range []struct {
		name, option string
		value        any
		fails        string // empty: it loads
	}{
		{"environment", "site_name", "{env.TEST_SITE}", ""},
		{"environment and request", "site_name", "{env.TEST_SITE}.{http.request.host}", ""},
		{"placeholder of another module", "site_name", "{tenant}.example", ""},
		{"unset", "site_name", "{env.TEST_UNSET}", "site_name {env.TEST_UNSET}: " + missing},
		{"empty", "site_name", "{env.TEST_EMPTY}", "the placeholder {env.TEST_EMPTY} is empty"},
		{"unset next to a name", "site_name", "erp{env.TEST_UNSET}", missing},
		{"unset next to one of the request", "site_name", "{env.TEST_UNSET}.{http.request.host}", missing},
		{"missing file", "site_name", "{file./nonexistent}", "the placeholder {file./nonexistent} is empty"},
		{"empty file", "site_name", "{file." + empty + "}", "is empty or unknown"},
		{"unknown", "site_name", "{system.hostnam}", "the placeholder {system.hostnam} is empty or unknown"},
		{"unclosed brace", "site_name", "{http.request.host", "is not a valid site name"},
		{"can never be a name", "site_name", "sites/{http.request.host}", "is not a valid site name"},
		{"dot at the end", "site_name", "erp.localhost.", "is not a valid site name"},

		{"environment", "urls", "{env.TEST_URL}", ""},
		{"path where Frappe is mounted", "urls", "https://example.com/erp", ""},
		{
			"paths with api in them", "urls", "https://a.example/api/erp https://a.example/apis https://a.example/erp/api.v1",
			"",
		},
		{"paths like pages", "urls", "https://a.example/apps/erp https://a.example/app/erp https://a.example/application", ""},
		{"page", "urls", "https://a.example/app", "remove /app and everything after it; write https://a.example"},
		{"page of a user", "urls", "https://a.example/erp/app/user/alice", "write https://a.example/erp"},
		{"page of an older version", "urls", "https://a.example/desk#Form/User", "remove /desk"},
		{"login page", "urls", "https://a.example/login?redirect-to=/", "remove /login"},
		{"comma in a path", "urls", "https://example.com/a,b", ""},
		{"Unix socket", "urls", "unix//run/frappe.sock", ""},
		{"unset", "urls", "http://127.0.0.1:8000 {env.TEST_UNSET}", missing},
		{"unset host", "urls", "http://{env.TEST_UNSET}:8000", missing},
		{"host of the request", "urls", "http://{http.request.host}:8000", "an address cannot depend on the request"},
		{"api", "urls", "https://a.example/api", "remove /api and everything after it; write https://a.example"},
		{"api and a slash", "urls", "https://a.example/api/", "remove /api"},
		{"method", "urls", "https://a.example/api/method/frappe.auth.get_logged_user", "remove /api"},
		{"version 2 of the API", "urls", "https://a.example/api/v2/method/ping", "remove /api"},
		{"method below a mount", "urls", "https://a.example/erp/api/method/ping", "write https://a.example/erp"},
		{"method of the environment", "urls", "{env.TEST_URL}/api/method", "remove /api"},
		{"comma", "urls", "https://a.example,https://b.example", "separate addresses with spaces"},
		{"comma and Unix socket", "urls", "https://a.example/x,unix//run/b", "separate addresses with spaces"},
		{"comma after Unix socket", "urls", []string{"unix//run/a, http://b"}, "separate addresses with spaces"},
		{"comma at the end", "urls", "https://a.example, https://b.example", "separate addresses with spaces"},
		{"comma between hosts", "urls", "https://a.example,b.example", "separate addresses with spaces"},
		{"password", "urls", "https://{env.TEST_LOGIN}@a.example", "contains a user name"},
		{"password without a scheme", "urls", "{env.TEST_LOGIN}@a.example", "write http:// or https://"},
		{"comma and password", "urls", "https://{env.TEST_LOGIN}@a,https://b", "separate addresses with spaces"},

		{"a millisecond", "timeout", "1ms", ""},
		{"bare number", "timeout", 5, "timeout: 5ns is shorter than a millisecond; a bare number in JSON is nanoseconds"},
		{"larger bare number", "timeout", 5000, `write a text such as "60s"`},
		{"negative", "timeout", -1, "timeout"},
	} {
		t.Run(test.option+" "+test.name, func(t *testing.T) {
			config := map[string]any{"urls": []string{"http://127.0.0.1:8000"}, test.option: test.value}
			if urls, ok := test.value.(string); ok && test.option == "urls" {
				config["urls"] = strings.Fields(urls)
			}
			_, err := loadSite(t, config)
			switch {
			case test.fails == "" && err != nil:
				t.Error(err)
			case test.fails != "" && (err == nil || !strings.Contains(err.Error(), test.fails)):
				t.Errorf("error %v, want %q", err, test.fails)
			case err != nil && strings.Contains(err.Error(), "61066224add85e6"):
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

// TestUnsetSiteNameInCaddyfile: Caddy does not start, and names the placeholder.
func TestUnsetSiteNameInCaddyfile(t *testing.T) {
	c := testutil.RunCaddy(t, "http://"+testutil.FreeAddress(t)+" {\nrespond ok\n}")
	err := c.TryLoad(fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site http://127.0.0.1:8000 {\nsite_name "+
		"{env.FRAPPE_AUTH_TEST_NOT_SET}\n}\n}\n}", testutil.FreeAddress(t)))
	if err == nil || !strings.Contains(err.Error(), "{env.FRAPPE_AUTH_TEST_NOT_SET}") {
		t.Errorf("error %v", err)
	}
}
