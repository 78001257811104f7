package frappeauth_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	frappeauth "github.com/caddy-frappe/frappe-auth"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestUserHeaderNames: user_header refuses a header that already has a meaning, in every spelling of its name.
func TestUserHeaderNames(t *testing.T) {
	for _, test := range []struct {
		wrong string // what the error says; empty: there is none
		names []string
	}{
		{"", []string{
			"X-Frappe-User", "x_frappe_user", "Remote-User", "X-Remote-User", "X-Forwarded-User",
			"X-Forwarded-Preferred-Username", "X-Auth-Request-User", "X-WEBAUTH-USER", "User", "Contentious", "Hosts", "Proxy", "Security-User", "Tea",
		}},
		{"already has a meaning", []string{
			"Connection", "CONNECTION", "Keep-Alive", "keep_alive", "Keep.Alive", "TE", "te", "Trailer", "Transfer-Encoding",
			"transfer_encoding", "Upgrade", "Expect", "HTTP2-Settings", "Host", "host", "Content-Length", "Content_Length",
			"content.length", "Content-Type", "Content-Encoding", "Proxy-Connection", "Proxy-Authorization", "proxy_user",
			"Authorization", "authorization", "Cookie", "Forwarded", "Via", "Max-Forwards", "X-Forwarded-For",
			"x_forwarded_for", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "X-Frappe-Site-Name",
			"Frappe-Authorization-Source", "Origin", "Sec-Fetch-Dest", "Sec-WebSocket-Key",
		}},
		{"is not a header name", []string{"X User", "X:User", "Jürgen", "X\nUser", "{http.auth.user.id}"}},
	} {
		for _, name := range test.names {
			t.Run(name, func(t *testing.T) {
				config, err := json.Marshal(map[string]any{
					"user_header": name,
					"backends": []any{map[string]any{"backend": "static",
						"bearers": []any{map[string]any{"hash": testutil.Hash("t"), "user": "alice"}}}},
				})
				if err != nil {
					t.Fatal(err)
				}
				h := new(frappeauth.Handler)
				if err := json.Unmarshal(config, h); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
				defer cancel()
				err = h.Provision(ctx)
				switch {
				case err == nil:
					defer h.Cleanup() //nolint:errcheck // of no consequence here
					if test.wrong != "" {
						t.Error("it is accepted")
					}
				case test.wrong == "" || !strings.Contains(err.Error(), test.wrong) ||
					!strings.Contains(err.Error(), "such as X-Frappe-User"):
					t.Error(err)
				}
			})
		}
	}
}
