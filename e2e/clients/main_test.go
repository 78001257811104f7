// Package clients drives a running Caddy with clients that need libraries of their own: Chromium, an MCP client and HTTP/3.
package clients

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	_ "github.com/caddy-frappe/frappe-auth" // registers frappe_auth
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// runCaddy runs Caddy with sites that have the names of hosts, with certificates of its own, and returns the port of them
// all and the directory with the certificates. PORT stands for the port in the sites. Global options may come before them.
func runCaddy(t *testing.T, sites string, hosts ...string) (c *testutil.Caddy, port, storage string) {
	t.Helper()
	address := testutil.FreeAddress(t)
	port, storage = testutil.PortOf(address), t.TempDir()
	sites, isOptions := strings.CutPrefix(sites, "{\n")
	if !isOptions {
		sites = "}\n" + sites
	}
	c = testutil.RunCaddy(t, fmt.Sprintf(`{
	storage file_system %q
	skip_install_trust
	local_certs
	auto_https disable_redirects
	https_port %s
%s`, storage, port, strings.ReplaceAll(sites, "PORT", port)))
	for _, host := range hosts {
		testutil.Eventually(t, "Caddy has a certificate for "+host, func() bool {
			conn, err := (&tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", address)
			if err != nil {
				return false
			}
			conn.Close()
			return true
		})
	}
	return c, port, storage
}

// dialOnly returns a function that dials one port of this machine, whatever the address.
func dialOnly(port string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}
}
