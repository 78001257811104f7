package routes

import (
	"encoding/json"
	"slices"
	"testing"
)

func fromJSON(t *testing.T, text string) (http any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &http); err != nil {
		t.Fatal(err)
	}
	return http
}

func TestProtections(t *testing.T) {
	for _, test := range []struct {
		name, http string
		where      []string
	}{
		{"none", `{"servers": {"a": {"routes": [{"handle": [{"handler": "file_server"}]}]}}}`, nil},
		{"no app", `null`, nil},
		{
			"every host", `{"servers": {"a": {"listen": [":443"], "routes": [{"handle": [{"handler": "frappe_auth"}]}]}}}`,
			[]string{"every host"},
		},
		{
			"hosts and path",
			`{"servers": {"a": {"listen": [":8443"], "routes": [{"match": [{"host": ["a.example", "b.example"]}], "handle": [
				{"handler": "subroute", "routes": [
					{"match": [{"path": ["/api/*"]}], "handle": [{"handler": "frappe_auth"}]}]}]}]}}}`,
			[]string{"a.example:8443, b.example:8443 /api/*"},
		},
		{"provider", `{"servers": {"a": {"listen": [":80"], "routes": [{"handle": [
			{"handler": "authentication", "providers": {"frappe": {"realm": "x"}, "http_basic": {}}},
			{"handler": "authentication", "providers": {"http_basic": {}}}]}]}}}`, []string{"every host"}},
		{
			"named route",
			`{"servers": {"a": {"listen": [":8080"], "named_routes": {"r": {"handle": [{"handler": "frappe_auth"}]}}}}}`,
			[]string{":8080"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var where []string
			for _, p := range Protections(fromJSON(t, test.http)) {
				where = append(where, p.Where)
				if p.Options["handler"] != nil || p.Module == ProviderModule && p.Options["realm"] != "x" {
					t.Errorf("%s has the JSON %v", p.Module, p.Options)
				}
			}
			if !slices.Equal(where, test.where) {
				t.Errorf("got %q, want %q", where, test.where)
			}
		})
	}
}

func TestFindWebhooks(t *testing.T) {
	got := findWebhooks(fromJSON(t, `{"servers": {"a": {"listen": [":80"], "routes": [
		{"match": [{"path": ["/hook"]}], "handle": [{"handler": "frappe_auth_webhook", "handler_name": "erp"}]},
		{"handle": [{"handler": "frappe_auth_webhook"}, {"handler": "other", "handler_name": "x"}]}]}}}`))
	if want := []webhook{{handler: "erp", where: "every host /hook"}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
