package frappeauth_test

import (
	"context"
	"encoding/json"
	"fmt"
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
			"X-Forwarded-Preferred-Username", "X-Auth-Request-User", "X-WEBAUTH-USER", "User", "Contentious", "Hosts", "Proxy",
			"Security-User", "Tea",
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
					"backends": []any{map[string]any{
						"backend": "static",
						"bearers": []any{map[string]any{"hash": testutil.Hash("t"), "user": "alice"}},
					}},
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
					defer h.Cleanup() //nolint:errcheck // the test is over
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

// TestErrorsInJSON: mistakes in JSON are errors, too, in the handler and in the provider.
func TestErrorsInJSON(t *testing.T) {
	const site = `{"backend": "site", "urls": ["https://erp.example.com"]}`
	static := `{"backend": "static", "tokens": [{"key": "k", "hash": "` + testutil.Hash("x") +
		`", "user": "alice@example.com", "roles": ["Employee"]}]}`
	for _, test := range []struct{ name, options, want string }{
		{"well", `"backends": [` + site + `], "cache": {"ttl": "60s"}`, ""},
		{"no ttl", `"backends": [` + site + `], "cache": {"ttl": 0}`, ""},
		{"ttl in nanoseconds that are enough", `"backends": [` + site + `], "cache": {"ttl": 60000000000}`, ""},
		{
			"ttl as a bare number", `"backends": [` + site + `], "cache": {"ttl": 60}`,
			`cache ttl: 60ns is shorter than a millisecond`,
		},
		{
			"negative_ttl as a bare number", `"backends": [` + site + `], "cache": {"negative_ttl": 5}`,
			`cache negative_ttl: 5ns is shorter`,
		},
		{
			"stale_if_error as a bare number", `"backends": [` + site + `], "cache": {"stale_if_error": 3600}`,
			`cache stale_if_error: 3.6µs is shorter`,
		},
		{"window as a bare number", `"backends": [` + site + `], "failures": {"window": 60}`, `write a text such as "60s"`},
		{
			"two identical backends", `"backends": [` + site + `, {"urls": [ "https://erp.example.com" ], "backend": "site"}]`,
			"the same backend is given twice",
		},
		{"two different backends", `"backends": [` + site + `, ` + static + `]`, ""},
		{"role that nobody has", `"backends": [` + static +
			`], "require": [{"roles": ["Employee"]}, {"roles": ["System", "Manager"]}]`, "role System or role Manager"},
		{
			"user who is not listed", `"backends": [` + static + `], "require": [{"users": ["bob@example.com"]}]`,
			"user bob@example.com",
		},
		{"role that somebody has", `"backends": [` + static + `], "require": [{"roles": ["Manager", "Employee"]}]`, ""},
	} {
		for form, config := range map[string]string{
			"handler":  `{"handler": "frappe_auth", ` + test.options + `}`,
			"provider": `{"handler": "authentication", "providers": {"frappe": {` + test.options + `}}}`,
		} {
			t.Run(test.name+", "+form, func(t *testing.T) {
				err := validate(t, config)
				if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
					t.Errorf("%v, want %q", err, test.want)
				}
			})
		}
	}
}

// validate loads a configuration in JSON with one handler, and returns why it is bad.
func validate(t *testing.T, handler string) error {
	t.Helper()
	return testutil.Validate(t, fmt.Appendf(nil, `{"admin": {"disabled": true}, "apps": {"http": {"servers": {"s": {
		"listen": ["127.0.0.1:0"], "routes": [{"handle": [%s]}]}}}}}`, handler))
}

// TestProviderRefusesHandlerOptions: an option that only the handler has is an error that says so. So is an unknown
// option.
func TestProviderRefusesHandlerOptions(t *testing.T) {
	for name, value := range map[string]string{
		"login": `"/login"`, "login_for": `["app.example.com"]`, "login_secret": `"x"`, "old_login_secrets": `["x"]`,
		"protected_resource": `{}`, "anonymous": `true`, "allow_preflight": `true`,
		"hide_credentials": `true`, "user_header": `"X-Frappe-User"`, "match": `[]`, "logn": `"/login"`,
		"trusted_origins": `["https://app.example.com"]`,
	} {
		err := validate(t, `{"handler": "authentication", "providers": {"frappe": {
			"backends": [{"backend": "site", "urls": ["https://erp.example.com"]}], "`+name+`": `+value+`}}}`)
		want := "has no option " + name + "; it cannot answer or change requests, so use the handler frappe_auth"
		switch name {
		case "logn":
			want = "the provider frappe has no field logn; if you mean login, it cannot answer"
		case "trusted_origins":
			want = "add session to schemes"
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWebhookUnknownFields: unknown fields are errors, and the one for the former name of a field has the new name.
func TestWebhookUnknownFields(t *testing.T) {
	for field, want := range map[string]string{"for": "write handler_name", "fro": "frappe_auth_webhook has no field fro"} {
		err := validate(t, `{"handler": "frappe_auth_webhook", "secret": "s3cret", "`+field+`": "erp"}`)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", field, err, want)
		}
	}
}
