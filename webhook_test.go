package frappeauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	frappeauth "github.com/caddy-frappe/frappe-auth"
)

// TestWebhookUnknownFields: unknown fields are errors, and the one for the former name of a field has the new name.
func TestWebhookUnknownFields(t *testing.T) {
	for field, want := range map[string]string{"for": "write handler_name", "fro": `unknown field "fro"`} {
		raw := fmt.Sprintf(`{"secret": "s3cret", %q: "erp"}`, field)
		if err := caddy.StrictUnmarshalJSON([]byte(raw), new(frappeauth.Webhook)); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", field, err, want)
		}
	}
}
