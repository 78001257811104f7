package command

import (
	"net"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestInvocation: init names the program as the operator called it, also if that was `go run`.
func TestInvocation(t *testing.T) {
	for program, want := range map[string]string{
		"caddy":                                  "caddy",
		"./caddy":                                "./caddy",
		"/usr/bin/caddy":                         "/usr/bin/caddy",
		"/home/a b/it's":                         `'/home/a b/it'\''s'`,
		"/tmp/go-build3141592653/b001/exe/caddy": "go run ./cmd/caddy",
		"/home/a/.cache/go-build/0f/0f3c7a91d2-d/caddy": "go run ./cmd/caddy",
		"/home/a/go-builder/caddy/go-build":             "/home/a/go-builder/caddy/go-build",
	} {
		if got := invocation(program); got != want {
			t.Errorf("%s: got %s, want %s", program, got, want)
		}
	}
}

// TestRequest: the request that init suggests has the scheme, the host and the port at which Caddy answers.
func TestRequest(t *testing.T) {
	for address, want := range map[string]string{
		defaultAddress:             "http://127.0.0.1:8080/",
		"files.example.com":        "https://files.example.com/",
		"http://files.example.com": "http://files.example.com/",
		"files.example.com:80":     "http://files.example.com:80/",
		"files.example.com:8443":   "https://files.example.com:8443/",
		"https://":                 "--insecure https://127.0.0.1/",
		"localhost":                "--insecure https://localhost/",
		"192.0.2.1":                "--insecure https://192.0.2.1/",
		"[::1]:8443":               "--insecure 'https://[::1]:8443/'",
		"erp.internal":             "--insecure https://erp.internal/",
		"*.example.com":            "",
	} {
		if want != "" {
			want = `curl -H "Authorization: token <api_key>:<api_secret>" ` + want
		}
		if got := request(address); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
}

// TestListening: init finds a server that already answers at the port of the Caddyfile, on this machine only.
func TestListening(t *testing.T) {
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	used := testutil.PortOf(server.Addr().String())
	for address, want := range map[string]string{
		":" + used:                              "127.0.0.1:" + used,
		"http://localhost:" + used:              "127.0.0.1:" + used,
		"https://files.example.com:" + used:     "",
		"files.example.com":                     "",
		":" + testutil.FreePort(t):              "",
		"http://127.0.0.1:" + used + "/reports": "127.0.0.1:" + used,
	} {
		if got := listening(address); got != want {
			t.Errorf("%s: got %q, want %q", address, got, want)
		}
	}
}
