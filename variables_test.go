package frappeauth_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestVariablesHoldNoSecret: what the handler keeps in the request's variables, which any handler or log may print, has no
// secret in it.
func TestVariablesHoldNoSecret(t *testing.T) {
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, "http://"+address+" {\nfrappe_auth {\n"+testutil.StaticSite(t)+"}\n"+
		"respond \"{http.vars.frappe_auth.decision}\"\nhandle_errors {\nrespond \"{http.vars.frappe_auth.decision}\" 401\n}\n}")
	for _, test := range []struct {
		name, header, secret string
		status               int
	}{
		{"token", testutil.AlicePair, testutil.AliceSecret, http.StatusOK},
		{"Basic", testutil.AliceBasic, testutil.AliceSecret, http.StatusOK},
		{"Bearer", testutil.AliceBearer, testutil.AliceToken, http.StatusOK},
		{"a bad pair", "token " + testutil.AliceKey + ":not-her-secret", "not-her-secret", http.StatusUnauthorized},
		{"a bad access token", "Bearer not-her-token", "not-her-token", http.StatusUnauthorized},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := testutil.Get(t, "http://"+address, "Authorization: "+test.header)
			if got.Status != test.status || got.Body == "" || strings.Contains(got.Body, test.secret) {
				t.Errorf("%d %s", got.Status, got.Body)
			}
		})
	}
}
