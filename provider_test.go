package frappeauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// providerConfig returns a configuration whose only authentication provider is frappe with these options.
func providerConfig(address, options string) []byte {
	return fmt.Appendf(nil, `{"admin": {"disabled": true, "config": {"persist": false}}, "apps": {"http": {"servers": {"x": {"listen": [%q], "routes": [{"handle": [
		{"handler": "authentication", "providers": {"frappe": {%s}}}, {"handler": "static_response", "body": "{http.auth.user.id}"}]}]}}}}}`, address, options)
}

// TestProviderRefusesHandlerOptions: an option that only the handler has is an error that says so. So is an unknown
// option.
func TestProviderRefusesHandlerOptions(t *testing.T) {
	for name, value := range map[string]string{
		"login": `"/login"`, "protected_resource": `{}`, "anonymous": `true`, "allow_preflight": `true`,
		"hide_credentials": `true`,
		"user_header":      `"X-Frappe-User"`, "match": `[]`, "logn": `"/login"`,
		"trusted_origins": `["https://app.example.com"]`,
	} {
		config := providerConfig(testutil.FreeAddress(t),
			`"backends": [{"backend": "site", "urls": ["https://erp.example.com"]}], "`+name+`": `+value)
		want := "has no option " + name + "; it cannot answer or change requests, so use the handler frappe_auth"
		switch name {
		case "logn":
			want = `unknown field "logn"`
		case "trusted_origins":
			want = "add session to schemes"
		}
		if err := testutil.Validate(t, config); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
