package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestEarlyDataBehindAProxy: a proxy that accepts early data says so (RFC 8470 section 5.1).
func TestEarlyDataBehindAProxy(t *testing.T) {
	site, asked := testutil.CountingSite(t)
	address := testutil.FreeAddress(t)
	c := testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond ok\n}", address, site))
	if got := testutil.Get(t, "http://"+address, tokenHeader, "Early-Data: 1"); got.Status != http.StatusTooEarly {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if asked.Load() != 0 || !strings.Contains(c.Logs(), "early data may be a replay") {
		t.Error("a backend was asked, or the log does not say why")
	}
	if got := testutil.Get(t, "http://"+address, tokenHeader); got.Status != http.StatusOK {
		t.Errorf("%d %s", got.Status, got.Body)
	}
}
