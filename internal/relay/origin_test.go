package relay_test

import (
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/relay"
)

// TestOrigin: scheme and host of a request as browsers write an origin, or none.
func TestOrigin(t *testing.T) {
	for _, test := range []struct{ scheme, host, want string }{
		{"https", "app.example.com", "https://app.example.com"},
		{"https", "APP.Example.com:443", "https://app.example.com"},
		{"http", "app.example.com:80", "http://app.example.com"},
		{"https", "app.example.com:80", "https://app.example.com:80"},
		{"http", "localhost:8443", "http://localhost:8443"},
		{"https", "192.0.2.1:8443", "https://192.0.2.1:8443"},
		{"https", "[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"},
		{"https", "[2001:db8::1]", "https://[2001:db8::1]"},
		{"https", "xn--bcher-kva.example", "https://xn--bcher-kva.example"},
		{"https", "", ""},
		{"https", "app.example.com.", ""},
		{"https", ".example.com", ""},
		{"https", "app..example.com", ""},
		{"https", "app.example.com:", ""},
		{"https", "app.example.com:0", ""},
		{"https", "app.example.com:65536", ""},
		{"https", "app.example.com:443:80", ""},
		{"https", "app.example.com/x", ""},
		{"https", "app.example.com@evil.example", ""},
		{"https", "app.example.com?x", ""},
		{"https", "app.example.com#x", ""},
		{"https", `app.example.com\x`, ""},
		{"https", "app.example.com\n", ""},
		{"https", "bücher.example", ""},
		{"https", "-app.example.com", ""},
		{"https", strings.Repeat("a", 300) + ".example", ""},
		{"ftp", "app.example.com", ""},
		{"", "app.example.com", ""},
	} {
		if got, ok := relay.Origin(test.scheme, test.host); got != test.want || ok != (test.want != "") {
			t.Errorf("%s %q: %q", test.scheme, test.host, got)
		}
	}
}

// TestAllow: which origins the hosts of login_for have.
func TestAllow(t *testing.T) {
	hosts := relay.Hosts{"grafana.example.com", "files.example.net:8443", "*.apps.example.com", "*.lan.example:8443", "[2001:db8::1]"}
	for _, host := range hosts {
		if err := relay.CheckHost(host); err != nil {
			t.Error(err)
		}
	}
	for _, test := range []struct {
		origin, erp string
		want        bool
	}{
		{"https://grafana.example.com", "https", true},
		{"https://grafana.example.com", "http", true},
		{"http://grafana.example.com", "http", true},
		{"http://grafana.example.com", "https", false},
		{"https://grafana.example.com:8443", "https", false},
		{"https://files.example.net:8443", "https", true},
		{"https://files.example.net", "https", false},
		{"https://x.apps.example.com", "https", true},
		{"https://x.y.apps.example.com", "https", false},
		{"https://apps.example.com", "https", false},
		{"https://.apps.example.com", "https", false},
		{"https://xapps.example.com", "https", false},
		{"https://x.apps.example.com:8443", "https", false},
		{"https://x.lan.example:8443", "https", true},
		{"https://x.lan.example", "https", false},
		{"https://[2001:db8::1]", "https", true},
		{"https://evil.example", "https", false},
		{"https://grafana.example.com.evil.example", "https", false},
		{"", "https", false},
	} {
		if got := hosts.Allow(test.origin, test.erp); got != test.want {
			t.Errorf("%s from %s: %t", test.origin, test.erp, got)
		}
	}
}

// TestHostErrors: what can be no host, and what is no URL of the ERP's host, are errors that say what to write.
func TestHostErrors(t *testing.T) {
	for _, host := range []string{
		"", "*", "*.", "*.com", "*.*.example.com", "app.*.example.com", "*app.example.com", "https://app.example.com", "app.example.com/",
		"app.example.com:0", "App.example.com", "app.example.com:443", "app.example.com:80", "bücher.example", "*.192.0.2.1", "{env.HOST}", "a b",
	} {
		if err := relay.CheckHost(host); err == nil || !strings.Contains(err.Error(), "write") && !strings.Contains(err.Error(), "leave it out") {
			t.Errorf("%q: %v", host, err)
		}
	}
	for _, address := range []string{
		"https://", "https:///login", "https://erp.example.com/login", "https://erp.example.com/?x", "https://erp.example.com?",
		"https://erp.example.com/#x", "https://user@erp.example.com", "ftp://erp.example.com", "https:erp.example.com", "https://erp.example.com:0",
		"https://*.example.com",
	} {
		if _, err := relay.ParseERP(address); err == nil || !strings.Contains(err.Error(), "such as https://erp.example.com") {
			t.Errorf("%q: %v", address, err)
		}
	}
	for address, want := range map[string]string{
		"https://erp.example.com": "https://erp.example.com", "https://ERP.example.com/": "https://erp.example.com",
		"http://erp.lan:8080": "http://erp.lan:8080",
	} {
		if got, err := relay.ParseERP(address); got != want || err != nil {
			t.Errorf("%s: %s %v", address, got, err)
		}
	}
}
