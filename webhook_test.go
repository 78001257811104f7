package frappeauth_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	frappeauth "github.com/caddy-frappe/frappe-auth"
)

// TestWebhookUnknownFields: the former name of the field is an error that names the new one, and so is any other unknown field.
func TestWebhookUnknownFields(t *testing.T) {
	for field, want := range map[string]string{"for": "write handler_name", "fro": `unknown field "fro"`} {
		raw := fmt.Sprintf(`{"secret": "s3cret", %q: "erp"}`, field)
		if err := caddy.StrictUnmarshalJSON([]byte(raw), new(frappeauth.Webhook)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", field, err, want)
		}
	}
}
