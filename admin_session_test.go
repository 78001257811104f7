package frappeauth

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/admin"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestCheckSession: the admin API says what handlers do with a session, and does not show it.
func TestCheckSession(t *testing.T) {
	site := testutil.NewRecordedSite(t, testutil.OnMariaDB)
	var config strings.Builder
	for name, schemes := range map[string]string{"people": "session", "others": "token", "guests": "token\nanonymous", "all": "session\nanonymous"} {
		fmt.Fprintf(&config, "http://%s {\nfrappe_auth {\nbackend site %s\nname %s\nschemes %s\n}\n}\n", testutil.FreeAddress(t), site.URL, name, schemes)
	}
	testutil.RunCaddy(t, config.String())
	for _, test := range []struct {
		name, handler, session string
		status                 int
		user                   string
	}{
		{"good", "people", testutil.RecordedSession, 200, "Administrator"},
		{"unknown", "people", "dead", 401, ""},
		{"Guest", "people", "Guest", 401, ""},
		{"not accepted", "others", testutil.RecordedSession, 401, ""},
		{"not accepted, anonymous", "guests", testutil.RecordedSession, 200, "Guest"},
		{"Guest, anonymous", "all", "Guest", 200, "Guest"},
		{"unknown, anonymous", "all", "dead", 401, ""},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodPost, "/frappe_auth/check?handler="+test.handler, strings.NewReader("Cookie: a=b; sid="+test.session))
		if err := serveAdmin(w, r); err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		var got admin.Checked
		body := w.Body.String()
		if err := json.Unmarshal([]byte(body), &got); err != nil || len(got.Verdicts) != 1 {
			t.Fatalf("%s: %v in %s", test.name, err, body)
		}
		if v := got.Verdicts[0]; v.Status != test.status || v.User != test.user || strings.Contains(body, test.session+`"`) && test.session != "Guest" {
			t.Errorf("%s: %s", test.name, body)
		}
	}
}
