package directive_test

import (
	"net/url"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func TestPort(t *testing.T) {
	for _, test := range []struct {
		name, url string
		want      uint16
		fails     bool
	}{
		{"none", "https://x", 0, false},
		{"none, IPv6", "https://[2001:db8::1]/a:b", 0, false},
		{"a socket", "unix:///run/redis.sock", 0, false},
		{"the smallest", "https://x:1", 1, false},
		{"the largest", "https://x:65535/", 65535, false},
		{"zeros before it", "https://x:0443", 443, false},
		{"IPv6", "https://[::1]:8443", 8443, false},
		{"zero", "https://x:0", 0, true},
		{"too large", "https://x:65536", 0, true},
		{"far too large", "https://x:99999999999999999999", 0, true},
		{"empty", "https://x:", 0, true},
		{"empty before a path", "https://x:/login", 0, true},
		{"empty, IPv6", "https://[::1]:", 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, err := url.Parse(test.url)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := directive.Port(u); got != test.want || (err != nil) != test.fails {
				t.Errorf("got %d, %v", got, err)
			}
		})
	}
}
