package site_test

import (
	"testing"

	"github.com/caddy-frappe/frappe-auth/site"
)

// TestPrivate: which hosts are this machine's or a private network's. What goes through proxies of the environment is
// tested in e2e, as Go reads the environment once.
func TestPrivate(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "::1": true, "10.1.2.3": true, "192.168.0.1": true, "fd00::1": true,
		"169.254.1.1": true, "backend": true, "erp.internal": true, "ERP.Lan": true, "erp.local.": true, "a.erp.localhost": true,
		"erp.example.com": false, "192.0.2.1": false, "2001:db8::1": false, "internal.example.com": false, "10.example.com": false,
	} {
		if got := site.Private(host); got != want {
			t.Errorf("%s: %t, want %t", host, got, want)
		}
	}
}
