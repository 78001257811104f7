package frappeauth

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/site"
)

// TestReadmeDefaults: the default that the README shows for an option is what the handler has without it.
func TestReadmeDefaults(t *testing.T) {
	h := provisioned(t, `{"backends": [`+benchBackend()+`]}`)
	long := provisioned(t, `{"cache": {"ttl": "1h"}, "backends": [`+benchBackend()+`]}`)
	erp := provisioned(t, `{"backends": [{"backend": "site", "urls": ["http://127.0.0.1:1"]}]}`).verifier.backends[0].Backend.(*site.Backend)
	off := func(on bool) string { return map[bool]string{false: "off", true: "on"}[on] }
	short := func(d caddy.Duration) string {
		text := strings.TrimSuffix(time.Duration(d).String(), "0s")
		if text == "" {
			return "0"
		}
		return text
	}
	either := func(empty bool, word string) string {
		if !empty {
			return "something"
		}
		return word
	}
	schemes := make([]string, len(h.Schemes))
	for i, scheme := range h.Schemes {
		schemes[i] = string(scheme)
	}
	want := map[string]string{
		"schemes": strings.Join(schemes, " "), "realm": h.Realm, "require": either(len(h.Require) == 0, "nothing"),
		"anonymous": off(h.Anonymous), "allow_preflight": off(h.AllowPreflight), "hide_credentials": off(h.HideCredentials),
		"user_header": either(h.UserHeader == "", "off"), "max_inflight": caddy.ToString(h.MaxInflight),
		"failures": caddy.ToString(h.Failures.Max) + " " + short(h.Failures.Window), "name": either(h.Name == "", "none"),
		"share": either(h.ShareRaw == nil, "none"), "feed": either(h.FeedsRaw == nil, "none"),
		"login": either(h.Login == "", "off"), "trusted_origins": either(len(h.TrustedOrigins) == 0, "none"),
		"protected_resource": either(h.ProtectedResource == nil, "off"),

		"size": caddy.ToString(h.Cache.Size), "ttl": short(*h.Cache.TTL), "bearer_ttl": "ttl, at most " + short(*long.Cache.BearerTTL),
		"session_ttl":  "ttl, at most " + short(*long.Cache.SessionTTL),
		"negative_ttl": short(*h.Cache.NegativeTTL), "stale_if_error": short(h.Cache.StaleIfError),

		"site_name": either(erp.SiteName == "", "none"), "timeout": short(erp.Timeout), "roles": off(erp.Roles),
		"refuse_disabled": off(erp.RefuseDisabled), "transport": either(erp.TransportRaw == nil, "http"),
	}
	readme := testutil.Page(t, "README.md")
	shown := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)\\b[^|]*\\|[^|]*\\| ([^|]+) \\|$").FindAllStringSubmatch(readme, -1) {
		shown[row[1]] = strings.ReplaceAll(row[2], "`", "")
	}
	for name, value := range want {
		if shown[name] != value {
			t.Errorf("the README shows %q as the default of %s, but it is %q", shown[name], name, value)
		}
	}
	for name, value := range shown {
		if _, ok := want[name]; !ok && value != "required" {
			t.Errorf("nothing checks the default of %s, %q", name, value)
		}
	}
}
