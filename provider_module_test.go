package frappeauth_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// TestProvider: the same verification in Caddy's authentication handler, beside another provider.
func TestProvider(t *testing.T) {
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer down.Close()
	good, unavailable := freeAddress(t), freeAddress(t)
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
		"key": aliceKey, "hash": hashed(aliceSecret), "user": "alice@example.com", "roles": []string{"Employee"},
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
		{"good", good, aliceToken, 200, "alice@example.com|Employee"},
		{"bad", good, "token x:y", 401, "credential denied"},
		{"none", good, "", 401, "no credential"},
		{"of the other provider", good, "Basic " + "Y2Fyb2w6c2VjcmV0", 401, ""},
		{"unavailable", unavailable, aliceToken, 401, "the credential could not be verified"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := get(t, "http://"+test.address, "Authorization: "+test.authorization)
			if got.Status != test.status || (test.body != "" && got.Body != test.body) {
				t.Errorf("%d %q, want %d %q", got.Status, got.Body, test.status, test.body)
			}
			if got.Status == 401 && got.Header["Www-Authenticate"] == nil {
				t.Error("401 without a challenge")
			}
		})
	}
}
