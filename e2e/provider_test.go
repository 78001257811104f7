package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestProvider: the provider verifies credentials in Caddy's authentication handler, beside another provider.
func TestProvider(t *testing.T) {
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter,
		_ *http.Request,
	) {
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer down.Close()
	good, unavailable := testutil.FreeAddress(t), testutil.FreeAddress(t)
	server := func(address string, backend any) map[string]any {
		return map[string]any{
			"listen": []string{address},
			"routes": []any{map[string]any{"handle": []any{
				map[string]any{"handler": "authentication", "providers": map[string]any{
					"frappe": map[string]any{"backends": []any{backend}},
					"http_basic": map[string]any{"accounts": []any{map[string]any{
						"username": "carol", "password": "$2a$04$0UYO3mMh8qN4/ZiNwxUDg.3WFAZ5NpZKJkKNd2JHVHsmTTFxQXm1S",
					}}},
				}},
				map[string]any{"handler": "static_response", "body": "{http.auth.user.id}|{http.auth.user.roles}"},
			}}},
			"errors": map[string]any{"routes": []any{map[string]any{"handle": []any{
				map[string]any{"handler": "static_response", "body": "{http.auth.frappe.error}"},
			}}}},
		}
	}
	static := map[string]any{"backend": "static", "tokens": []any{map[string]any{
		"key": testutil.AliceKey, "hash": testutil.Hash(testutil.AliceSecret), "user": "alice@example.com",
		"roles": []string{"Employee"},
	}}}
	config, err := json.Marshal(map[string]any{
		"admin": map[string]any{"disabled": true},
		"apps": map[string]any{"http": map[string]any{"servers": map[string]any{
			"good":        server(good, static),
			"unavailable": server(unavailable, map[string]any{"backend": "site", "urls": []string{down.URL}}),
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	defer caddy.Stop()

	for _, test := range []struct {
		name, address, authorization string
		status                       int
		body                         string
	}{
		{"good", good, testutil.AlicePair, 200, "alice@example.com|Employee"},
		{"bad", good, "token x:y", 401, "credential denied"},
		{"none", good, "", 401, "no credential"},
		{"of the other provider", good, "Basic " + "Y2Fyb2w6c2VjcmV0", 401, ""},
		{"unavailable", unavailable, testutil.AlicePair, 401, "the credential could not be verified"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := testutil.Get(t, "http://"+test.address, "Authorization: "+test.authorization)
			if got.Status != test.status || (test.body != "" && got.Body != test.body) {
				t.Errorf("%d %q, want %d %q", got.Status, got.Body, test.status, test.body)
			}
			if got.Status == 401 && got.Header["Www-Authenticate"] == nil {
				t.Error("401 without a challenge")
			}
		})
	}
}

// providerConfig returns a configuration whose only authentication provider is frappe with these options.
func providerConfig(address, options string) []byte {
	return fmt.Appendf(nil, `{"admin": {"disabled": true, "config": {"persist": false}}, "apps": {"http": {"servers": {"x": {"listen": [%q], "routes": [{"handle": [
		{"handler": "authentication", "providers": {"frappe": {%s}}}, {"handler": "static_response", "body": "{http.auth.user.id}"}]}]}}}}}`, address, options)
}

// TestProviderSessions: the provider accepts sessions, and refuses them on requests across sites.
func TestProviderSessions(t *testing.T) {
	address, site := testutil.FreeAddress(t), testutil.NewRecordedSite(t, testutil.OnMariaDB)
	testutil.RunCaddy(t, "")
	if err := caddy.Load(providerConfig(address, `"backends": [{"backend": "site", "urls": ["`+site.URL+
		`"]}], "schemes": ["session"], "trusted_origins": ["https://app.example.com"]`), true); err != nil {
		t.Fatal(err)
	}
	const cookie = "Cookie: sid=" + loggedIn
	for _, test := range []struct {
		name, method string
		headers      []string
		status       int
		body         string
	}{
		{"session", "GET", []string{cookie}, 200, "Administrator"},
		{"none", "GET", nil, 401, ""},
		{"another site", "POST", []string{cookie, "Origin: https://evil.example.net"}, 401, ""},
		{"a trusted origin", "POST", []string{cookie, "Origin: https://app.example.com"}, 200, "Administrator"},
	} {
		got := testutil.RequestOver(t, testutil.Client, test.method, "http://"+address, test.headers...)
		if got.Status != test.status || got.Body != test.body ||
			(got.Status == 401) != (got.Header.Get("Www-Authenticate") != "") {
			t.Errorf("%s: %d %q %v", test.name, got.Status, got.Body, got.Header)
		}
	}
}
