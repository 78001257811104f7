package plugins

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestRateLimits: requests are limited for each user, whatever the credential and the address of the client.
func TestRateLimits(t *testing.T) {
	r := run(t, "Limits for each user")
	for i := range 100 {
		if status, body := r.get("app.example.com/x", byAlice); status != 200 || body != `/x by "alice@example.com"` {
			t.Fatalf("request %d: %d %q", i, status, body)
		}
	}
	if status, _ := r.get("app.example.com/x", byAlice); status != 429 {
		t.Errorf("one too many: %d", status)
	}
	if status, body := r.get("app.example.com/x", byBob); status != 200 || body != `/x by "bob@example.com"` {
		t.Errorf("another user: %d %q", status, body)
	}
	for range 3 {
		if status, _ := r.get("app.example.com/x", byNone); status != 401 {
			t.Errorf("a bad credential: %d", status)
		}
	}
}

// TestRateLimitsWithoutOrder: the plugin's own order is before authentication, so that users share a limit.
func TestRateLimitsWithoutOrder(t *testing.T) {
	r := runWith(t, "Limits for each user", "order rate_limit after frappe_auth", "")
	for range 100 {
		r.get("app.example.com/x", byAlice)
	}
	if status, _ := r.get("app.example.com/x", byBob); status != 429 {
		t.Errorf("another user: %d, so the line `order` is not needed", status)
	}
}

// TestAuditLog: the log has one line for each granted request, with the user and without a secret, whatever the name of
// its parameter.
func TestAuditLog(t *testing.T) {
	r := run(t, "An audit log by user")
	r.get("app.example.com/reports/1?secret=s3cret&token=s3cret&a=1;key=s3cret&s3cret&a=%3Fs3cret?s3cret", byAlice,
		"Cookie: sid=s3cret", "Referer: https://app.example.com/?token=s3cret", "X-Api-Key: s3cret")
	r.get("app.example.com/reports/2", byBob)
	r.get("app.example.com/reports/3", byNone)
	var lines []string
	testutil.Eventually(t, "there are two lines", func() bool {
		raw, _ := os.ReadFile(filepath.Join(r.files, "audit.log"))
		lines = strings.Split(strings.TrimSpace(string(raw)), "\n")
		return len(lines) >= 2
	})
	type line struct {
		UserID  string `json:"user_id"`
		Status  int
		Request struct{ Method, URI string }
	}
	for i, want := range []line{
		{"alice@example.com", 200, struct{ Method, URI string }{"GET", "/reports/1?"}},
		{"bob@example.com", 200, struct{ Method, URI string }{"GET", "/reports/2"}},
	} {
		var got line
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil || got != want {
			t.Errorf("%s: %+v, %v", lines[i], got, err)
		}
		if strings.Contains(lines[i], "s3cret") || strings.Contains(lines[i], testutil.AliceSecret) {
			t.Errorf("the log holds a secret: %s", lines[i])
		}
	}
	if len(lines) != 2 {
		t.Errorf("%d lines: %v", len(lines), lines)
	}
}

// TestApplicationToken: the application gets its own token and the user, and never the client's credential.
func TestApplicationToken(t *testing.T) {
	t.Setenv("APP_TOKEN", "token-of-the-application")
	r := run(t, "An application that needs its own token")
	if status, body := r.get("app.example.com/x", byAlice, "X-Frappe-User: Administrator"); status != 200 ||
		body != `/x by "alice@example.com"` {
		t.Errorf("%d %q", status, body)
	}
	if got := r.seen.Get("Authorization"); got != "Bearer token-of-the-application" {
		t.Errorf("the application sees %q", got)
	}
	r.seen = nil
	if status, _ := r.get("app.example.com/x", byNone); status != 401 || r.seen != nil {
		t.Errorf("a bad credential: %d, and the application saw %v", status, r.seen)
	}
}

// TestSeveralSites: credentials of both sites are granted, and the application knows which site it was.
func TestSeveralSites(t *testing.T) {
	r := run(t, "One sign-on for several sites")
	for host, want := range map[string]string{
		"erp.apps.example.com": "alice@example.com",
		"crm.apps.example.com": "alice@crm.example.com",
	} {
		if status, body := r.get(host+"/x", byAlice); status != 200 || body != `/x by "`+want+`"` {
			t.Errorf("%s: %d %q", host, status, body)
		}
		if status, _ := r.get(host+"/x", byNone); status != 401 {
			t.Errorf("%s, a bad credential: %d", host, status)
		}
	}
}
