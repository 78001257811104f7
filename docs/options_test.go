package docs_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	frappeauth "github.com/caddy-frappe/frappe-auth"
	_ "github.com/caddy-frappe/frappe-auth/database" // registers the backend
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	_ "github.com/caddy-frappe/frappe-auth/redis" // registers store and feed
	"github.com/caddy-frappe/frappe-auth/site"
)

// provisioned loads a module and provisions it, as Caddy does.
func provisioned[T any](t *testing.T, id, config string) T {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID(id, []byte(config))
	if err != nil {
		t.Fatal(err)
	}
	return module.(T) //nolint:forcetypeassert // what the id names
}

// TestReadmeDefaults: the default that the README shows for an option is what the handler has without it.
func TestReadmeDefaults(t *testing.T) {
	const handler = "http.handlers.frappe_auth"
	h := provisioned[*frappeauth.Handler](t, handler, `{"backends": [{"backend": "site", "urls": ["http://127.0.0.1:1"]}]}`)
	long := provisioned[*frappeauth.Handler](t, handler, `{"cache": {"ttl": "1h"}, "backends": [{"backend": "site", "urls": ["http://127.0.0.1:1"]}]}`)
	erp := provisioned[*site.Backend](t, "http.frappe_auth.backends.site", `{"urls": ["http://127.0.0.1:1"]}`)
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

// TestReadmeOptions: the tables of the README and of docs/database.md have a row for each option.
func TestReadmeOptions(t *testing.T) {
	for _, test := range []struct{ module, page string }{
		{"http.handlers.frappe_auth", "README.md"},
		{"http.handlers.frappe_auth_webhook", "README.md"},
		{"http.frappe_auth.backends.site", "README.md"},
		{"http.frappe_auth.backends.database", "docs/database.md"},
	} {
		info, err := caddy.GetModule(test.module)
		if err != nil {
			t.Fatal(err)
		}
		names := optionNames(reflect.TypeOf(info.New()).Elem())
		if len(names) < 2 {
			t.Errorf("%s has only the options %q", test.module, names)
		}
		for _, name := range names {
			switch name {
			case "backends": // of which each is a line
				name = "backend"
			case "feeds":
				name = "feed"
			case "urls", "secret", "site", "match":
				continue // arguments
			case "handler_name": // since in JSON handler names the module
				name = "handler"
			}
			if !regexp.MustCompile("(?m)^\\| `" + name + "\\b").MatchString(testutil.Page(t, test.page)) {
				t.Errorf("%s has no row for %s of %s", test.page, name, test.module)
			}
		}
	}
}

// optionNames are the JSON names of the fields of a module, with those of `cache`, which is a block of options.
func optionNames(structure reflect.Type) (names []string) {
	for field := range structure.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
			names = append(names, optionNames(field.Type)...)
		case name == "cache":
			names = append(names, optionNames(field.Type.Elem())...)
		case field.IsExported() && name != "" && name != "-":
			names = append(names, name)
		}
	}
	return names
}
