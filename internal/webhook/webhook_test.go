package webhook_test

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"testing"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/webhook"
)

// TestRecordedDeliveries: what Frappe 15.44.2 sent, signed with `s3cret`, says what has changed, and nothing to a receiver
// with another secret.
func TestRecordedDeliveries(t *testing.T) {
	for _, test := range []struct {
		file string
		want frappe.Change
	}{
		{"user-on_update.http", frappe.Change{User: "bob@example.com"}},
		{"oauth-bearer-token-on_update.http", frappe.Change{Token: "2d6f2973a9c21c820d549cdb01d1b3"}},
	} {
		t.Run(test.file, func(t *testing.T) {
			raw, err := os.ReadFile("../../testdata/webhook/" + test.file)
			if err != nil {
				t.Fatal(err)
			}
			for secret, accepted := range map[string]bool{"s3cret": true, "s3cre": false} {
				r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
				if err != nil {
					t.Fatal(err)
				}
				receiver := &webhook.Receiver{Secret: secret}
				changes, refusal := receiver.Receive(httptest.NewRecorder(), r)
				switch {
				case accepted && (refusal != nil || !reflect.DeepEqual(changes, []frappe.Change{test.want})):
					t.Errorf("%+v %+v, want %+v", changes, refusal, test.want)
				case !accepted && (len(changes) > 0 || refusal == nil || refusal.Outcome != webhook.BadSignature):
					t.Errorf("secret %s: %+v %+v", secret, changes, refusal)
				}
			}
		})
	}
}
