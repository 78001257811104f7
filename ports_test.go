package frappeauth_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestPorts: a port that cannot be is an error in every option that takes a URL, with the line that it is in.
func TestPorts(t *testing.T) {
	for _, option := range []struct{ name, line string }{ // %s is the port with its colon
		{"backend site", "backend site https://erp.example.com%s"},
		{"backend site, another address", "backend site http://10.0.0.1 http://10.0.0.2%s/erp"},
		{"login", "login https://erp.example.com%s/login"},
		{"trusted_origins", "trusted_origins https://a.example.com https://app.example.com%s"},
		{"resource", "protected_resource {\nauthorization_server https://erp.example.com\nresource https://mcp.example.com%s/mcp\n}"},
		{"authorization_server", "protected_resource {\nscopes all\nauthorization_server https://[2001:db8::1]%s\n}"},
		{"share redis", "share redis rediss://redis.internal%s/0 {\nsecret 0123456789abcdef0123456789abcdef\n}"},
		{"share redis, another address", "share redis redis://redis.internal?addr=other.internal%s {\nsecret 0123456789abcdef0123456789abcdef\n}"},
		{"feed frappe_events", "feed frappe_events redis://redis.internal%s {\nsite erp\n}"},
	} {
		for port, good := range map[string]bool{"": true, ":1": true, ":65535": true, ":0": false, ":65536": false, ":99999": false, ":": false} {
			t.Run(option.name+" with "+port, func(t *testing.T) {
				text := "http://localhost {\nfrappe_auth https://first.example.com {\nschemes bearer session\n" + fmt.Sprintf(option.line, port) + "\n}\n}"
				_, _, err := adapt(text)
				if good {
					if err != nil {
						t.Error(err)
					}
					return
				}
				before, _, _ := strings.Cut(option.line, "%s")
				want := fmt.Sprintf("Caddyfile:%d", 4+strings.Count(before, "\n"))
				if err == nil || !strings.Contains(err.Error(), "a port is a number from 1 to 65535") || !strings.HasSuffix(err.Error(), want) {
					t.Errorf("got %v, want %s", err, want)
				}
			})
		}
	}
	if _, _, err := adapt("http://localhost {\nfrappe_auth https://erp.example.com:65536\n}"); err == nil || !strings.Contains(err.Error(), "a port is a number from 1 to 65535") {
		t.Errorf("the URL behind frappe_auth: %v", err)
	}
}
