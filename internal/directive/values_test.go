package directive_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/directive"
)

func TestCheckDuration(t *testing.T) {
	for d, ok := range map[time.Duration]bool{
		0: true, 1: false, 60: false, time.Millisecond - 1: false, time.Millisecond: true, time.Minute: true, -1: true,
	} {
		err := directive.CheckDuration("cache ttl", caddy.Duration(d))
		if (err == nil) != ok {
			t.Errorf("%s: %v", d, err)
		}
		if err != nil && !strings.HasSuffix(err.Error(), `write a text such as "60s"`) {
			t.Error(err)
		}
	}
}

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
		{"leading zeros", "https://x:0443", 443, false},
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

// TestExpand: a placeholder without a value is an error that names it, but the error never contains a possible
// password.
func TestExpand(t *testing.T) {
	t.Setenv("PLACEHOLDER_TEST", "value")
	t.Setenv("PLACEHOLDER_EMPTY", "")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, value, want, fails string }{
		{"none", "plain", "plain", ""},
		{"environment", "a {env.PLACEHOLDER_TEST} b", "a value b", ""},
		{"file", "{file." + file + "}", "from a file", ""},
		{
			"empty", "{env.PLACEHOLDER_EMPTY}", "",
			"option: the placeholder {env.PLACEHOLDER_EMPTY} is empty or unknown; set it where Caddy runs, or write the " +
				"value itself",
		},
		{"no such file", "{file." + file + "x}", "", "the placeholder {file." + file + "x} is empty or unknown"},
		{
			"braces in a password", "hunter{s3cret}", "",
			"option: the text in braces is not a placeholder that is known when the configuration is loaded",
		},
		{"of a request", "{http.request.host}", "", "write one such as {env.NAME} or {file./path}"},
		{"unclosed brace", "a{b", "a{b", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := directive.Expand("option", test.value)
			if test.fails == "" && (err != nil || got != test.want) {
				t.Errorf("%q, %v", got, err)
			}
			if test.fails != "" &&
				(err == nil || got != "" || !strings.Contains(err.Error(), test.fails) || strings.Contains(err.Error(), "s3cret")) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
