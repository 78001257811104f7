package frappeauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// providerConfig is a site whose only authentication provider is frappe with these options.
func providerConfig(address, options string) []byte {
	return fmt.Appendf(nil, `{"admin": {"disabled": true, "config": {"persist": false}}, "apps": {"http": {"servers": {"x": {"listen": [%q], "routes": [{"handle": [
		{"handler": "authentication", "providers": {"frappe": {%s}}}, {"handler": "static_response", "body": "{http.auth.user.id}"}]}]}}}}}`, address, options)
}

// TestProviderOptions: an option that only the handler has is refused by its name, and an unknown one is an error.
func TestProviderOptions(t *testing.T) {
	for name, value := range map[string]string{
		"login": `"/login"`, "protected_resource": `{}`, "anonymous": `true`, "allow_preflight": `true`, "hide_credentials": `true`,
		"user_header": `"X-Frappe-User"`, "match": `[]`, "logn": `"/login"`, "trusted_origins": `["https://app.example.com"]`,
	} {
		config := providerConfig(freeAddress(t), `"backends": [{"backend": "site", "urls": ["https://erp.example.com"]}], "`+name+`": `+value)
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

// TestProviderSession: the provider takes sessions, too, and refuses them across sites.
func TestProviderSession(t *testing.T) {
	address, site := freeAddress(t), newRecordedSite(t, onMariaDB)
	runCaddy(t, "")
	if err := caddy.Load(providerConfig(address, `"backends": [{"backend": "site", "urls": ["`+site.URL+`"]}], "schemes": ["session"], "trusted_origins": ["https://app.example.com"]`), true); err != nil {
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
		got := requestOver(t, clientWithoutMagic, test.method, "http://"+address, test.headers...)
		if got.Status != test.status || got.Body != test.body || (got.Status == 401) != (got.Header.Get("Www-Authenticate") != "") {
			t.Errorf("%s: %d %q %v", test.name, got.Status, got.Body, got.Header)
		}
	}
}
