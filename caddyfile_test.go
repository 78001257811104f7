package frappeauth_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	_ "github.com/caddy-frappe/frappe-auth/database" // registers its options
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	_ "github.com/caddy-frappe/frappe-auth/redis" // registers its options
)

// TestCaddyfileGolden: the JSON of each subdirective, and the error of each mistake.
func TestCaddyfileGolden(t *testing.T) {
	for name, value := range map[string]string{
		"URL": "http://127.0.0.1:8000", "SITE": "erp.localhost",
		"WEBHOOK": "s3cret",
	} {
		t.Setenv("FRAPPE_AUTH_TEST_"+name, value)
	}
	testutil.GoldenFiles(t, "testdata/caddyfile/*.caddyfiletest", func(t *testing.T, input string) string {
		adapted, _, err := testutil.Adapt(input)
		if err != nil {
			return err.Error() + "\n"
		}
		// A Caddyfile that adapts also loads.
		if err := testutil.Validate(t, adapted); err != nil {
			t.Error(err)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, adapted, "", "\t"); err != nil {
			t.Fatal(err)
		}
		return indented.String() + "\n"
	})
}

// FuzzCaddyfile: no input makes the adapter panic, and what it adapts is JSON.
func FuzzCaddyfile(f *testing.F) {
	for _, input := range testutil.GoldenInputs(f, "testdata/caddyfile/*.caddyfiletest") {
		_, block, found := strings.Cut(input, "frappe_auth")
		if found {
			f.Add("frappe_auth" + strings.TrimSuffix(strings.TrimSpace(block), "}"))
		}
	}
	f.Fuzz(func(t *testing.T, directive string) {
		if strings.Contains(directive, "import") {
			t.Skip("reads files")
		}
		adapted, _, err := testutil.Adapt("http://localhost {\n" + directive + "\n}")
		if err == nil && !json.Valid(adapted) {
			t.Errorf("%q adapts to %q", directive, adapted)
		}
	})
}

// TestInvalidPorts: in every option with a URL, an invalid port is an error with its line.
func TestInvalidPorts(t *testing.T) {
	for _, option := range []struct{ name, line string }{ // %s is the port with its colon
		{"backend site", "backend site https://erp.example.com%s"},
		{"backend site, another address", "backend site http://10.0.0.1 http://10.0.0.2%s/erp"},
		{"trusted_origins", "trusted_origins https://a.example.com https://app.example.com%s"},
		{"resource", "protected_resource {\nauthorization_server https://erp.example.com\n" +
			"resource https://mcp.example.com%s/mcp\n}"},
		{"authorization_server", "protected_resource {\nscopes all\nauthorization_server https://[2001:db8::1]%s\n}"},
		{"share redis", "share redis rediss://redis.internal%s/0 {\nsecret 0123456789abcdef0123456789abcdef\n}"},
		{"share redis, another address", "share redis redis://redis.internal?addr=other.internal%s {\n" +
			"secret 0123456789abcdef0123456789abcdef\n}"},
		{"feed frappe_events", "feed frappe_events redis://redis.internal%s {\nsite erp\n}"},
	} {
		for port, good := range map[string]bool{
			"": true, ":1": true, ":65535": true, ":0": false, ":65536": false,
			":99999": false, ":": false,
		} {
			t.Run(option.name+" with "+port, func(t *testing.T) {
				text := "http://localhost {\nfrappe_auth https://first.example.com {\nschemes bearer session\n" +
					fmt.Sprintf(option.line, port) + "\n}\n}"
				_, _, err := testutil.Adapt(text)
				if good {
					if err != nil {
						t.Error(err)
					}
					return
				}
				before, _, _ := strings.Cut(option.line, "%s")
				want := fmt.Sprintf("Caddyfile:%d", 4+strings.Count(before, "\n"))
				if err == nil || !strings.Contains(err.Error(), "a port is a number from 1 to 65535") ||
					!strings.HasSuffix(err.Error(), want) {
					t.Errorf("got %v, want %s", err, want)
				}
			})
		}
	}
	if _, _, err := testutil.Adapt("http://localhost {\nfrappe_auth https://erp.example.com:65536\n}"); err == nil ||
		!strings.Contains(err.Error(), "a port is a number from 1 to 65535") {
		t.Errorf("the URL behind frappe_auth: %v", err)
	}
}
