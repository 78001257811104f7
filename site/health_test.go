package site_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestPing: a site answers a ping if it could verify credentials, and is asked without one.
func TestPing(t *testing.T) {
	away := "http://" + testutil.FreeAddress(t)
	for _, test := range []struct {
		name, answer string
		first        string // the address before that of the site
		up           bool
	}{
		{"refuses a guest", "guest-15.http", "", true},
		{"refuses a guest, newest", "guest-17.http", "", true},
		{"second address", "guest-15.http", away, true},
		{"maintenance", "maintenance.http", "", false},
		{"database down", "database-down.http", "", false},
		{"no such site", "unknown-site.http", "", false},
		{"away", "", away, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var urls []string
			if test.first != "" {
				urls = append(urls, test.first)
			}
			if test.answer != "" {
				double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
						t.Error("it was sent a credential")
					}
					testutil.Reply(t, w, testutil.Answer(t, test.answer))
				}))
				defer double.Close()
				urls = append(urls, double.URL)
			}
			if err := mustLoadSite(t, map[string]any{"urls": urls}).Ping(t.Context(), ""); (err == nil) != test.up {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestPingOfTenant: a ping asks about the tenant that failed.
func TestPingOfTenant(t *testing.T) {
	double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := "guest-15.http"
		if r.Host == "down.example" {
			answer = "maintenance.http"
		}
		testutil.Reply(t, w, testutil.Answer(t, answer))
	}))
	defer double.Close()
	site := mustLoadSite(t, map[string]any{"urls": []string{double.URL}, "site_name": "{http.request.host}"})
	if err := site.Ping(t.Context(), "up.example"); err != nil {
		t.Error(err)
	}
	if err := site.Ping(t.Context(), "down.example"); err == nil {
		t.Error("a tenant in maintenance answers")
	}
}
