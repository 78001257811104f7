package e2e

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestEarlyData: a request in TLS early data gets 425, asks no backend and counts as no failure: it may be a replay, and
// its address is not verified. The same request after the handshake is answered.
func TestEarlyData(t *testing.T) {
	site, asked := testutil.CountingSite(t)
	port := testutil.FreePort(t)
	testutil.RunCaddy(t, fmt.Sprintf(`{
	skip_install_trust
}
https://localhost:%s {
	tls internal
	frappe_auth %s {
		failures 1 1h
	}
	respond "{http.auth.user.id}"
}`, port, site))
	cache := tls.NewLRUClientSessionCache(1)
	ask := func(method, credential string) (status int, err error) {
		transport := &http3.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: cache},
			QUICConfig:      new(quic.Config),
		}
		defer transport.Close()
		r, err := http.NewRequestWithContext(t.Context(), method, "https://localhost:"+port, http.NoBody)
		if err != nil {
			return 0, err
		}
		r.Header.Set("Authorization", credential)
		resp, err := transport.RoundTrip(r)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		return resp.StatusCode, nil
	}
	const good = "token 2c6245becaa0961:61066224add85e6"
	testutil.Eventually(t, "Caddy has a certificate, and the client a ticket", func() bool {
		status, err := ask(http.MethodGet, good)
		return err == nil && status == http.StatusOK
	})
	before := asked.Load()
	for i := range 3 {
		status, err := ask(http3.MethodGet0RTT, fmt.Sprintf("token guess%d:x", i))
		if err != nil || status != http.StatusTooEarly {
			t.Fatalf("early data: %d, %v", status, err)
		}
	}
	if asked.Load() != before {
		t.Error("a backend was asked for early data")
	}
	if status, err := ask(http.MethodGet, good); err != nil || status != http.StatusOK {
		t.Errorf("after the handshake: %d, %v", status, err)
	}
}

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
