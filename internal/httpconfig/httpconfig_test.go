package httpconfig_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/httpconfig"
)

func parsed(t *testing.T, text string) (http any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &http); err != nil {
		t.Fatal(err)
	}
	return http
}

func TestHandlers(t *testing.T) {
	for _, test := range []struct {
		name, http string
		where      []string
	}{
		{"none", `{"servers": {"a": {"routes": [{"handle": [{"handler": "file_server"}]}]}}}`, nil},
		{"no app", `null`, nil},
		{"every host", `{"servers": {"a": {"listen": [":443"], "routes": [{"handle": [{"handler": "frappe_auth"}]}]}}}`, []string{"every host"}},
		{
			"hosts and path", `{"servers": {"a": {"listen": [":8443"], "routes": [{"match": [{"host": ["a.example", "b.example"]}], "handle": [
			{"handler": "subroute", "routes": [{"match": [{"path": ["/api/*"]}], "handle": [{"handler": "frappe_auth"}]}]}]}]}}}`,
			[]string{"a.example:8443, b.example:8443 /api/*"},
		},
		{"provider", `{"servers": {"a": {"listen": [":80"], "routes": [{"handle": [
			{"handler": "authentication", "providers": {"frappe": {"realm": "x"}, "http_basic": {}}},
			{"handler": "authentication", "providers": {"http_basic": {}}}]}]}}}`, []string{"every host"}},
		{"named route", `{"servers": {"a": {"listen": [":8080"], "named_routes": {"r": {"handle": [{"handler": "frappe_auth"}]}}}}}`, []string{":8080"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var where []string
			for _, h := range httpconfig.Handlers(parsed(t, test.http)) {
				where = append(where, h.Where)
				if h.JSON["handler"] != nil || h.Module == httpconfig.ProviderModule && h.JSON["realm"] != "x" {
					t.Errorf("%s has the JSON %v", h.Module, h.JSON)
				}
			}
			if !slices.Equal(where, test.where) {
				t.Errorf("got %q, want %q", where, test.where)
			}
		})
	}
}

func TestWebhooks(t *testing.T) {
	got := httpconfig.Webhooks(parsed(t, `{"servers": {"a": {"listen": [":80"], "routes": [
		{"match": [{"path": ["/hook"]}], "handle": [{"handler": "frappe_auth_webhook", "handler_name": "erp"}]},
		{"handle": [{"handler": "frappe_auth_webhook"}, {"handler": "other", "handler_name": "x"}]}]}}}`))
	if want := []httpconfig.Webhook{{Handler: "erp", Where: "every host /hook"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestEarlyUses: named routes that invoke each other end the walk.
func TestEarlyUses(t *testing.T) {
	early := httpconfig.EarlyUse{By: "root", Placeholder: "{http.auth.user.id}", Where: "every host"}
	for _, test := range []struct {
		name, routes string
		want         []httpconfig.EarlyUse
	}{
		{"before", `[{"handle": [{"handler": "vars", "root": "/srv/{http.auth.user.id}"}, {"handler": "frappe_auth"}]}]`, []httpconfig.EarlyUse{early}},
		{"after", `[{"handle": [{"handler": "frappe_auth"}, {"handler": "vars", "root": "/srv/{http.auth.user.id}"}]}]`, nil},
		{"other branch of a group", `[{"group": "g", "handle": [{"handler": "vars", "root": "/srv/{http.auth.user.id}"}]}, {"group": "g", "handle": [{"handler": "frappe_auth"}]}]`, nil},
		{"terminal", `[{"terminal": true, "handle": [{"handler": "vars", "root": "/srv/{http.auth.user.id}"}]}, {"handle": [{"handler": "frappe_auth"}]}]`, nil},
		{"endless", `[{"handle": [{"handler": "invoke", "name": "again"}]}]`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			http := parsed(t, `{"servers": {"a": {"listen": [":443"], "routes": `+test.routes+`, "named_routes": {
				"again": {"handle": [{"handler": "invoke", "name": "again"}]}}}}}`)
			if got := httpconfig.EarlyUses(http); !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
