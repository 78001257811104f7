package redis

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// Parts of errors.
const (
	suchAs  = "; write one such as redis://redis.internal:6379/0"
	escaped = ", and special characters of a password as %23 and the like, or use the option password"
)

// TestCaddyfile: what each option becomes, and what each mistake is told.
func TestCaddyfile(t *testing.T) {
	const short = "redis redis://h {\nsecret " + secret + "\n"
	for _, test := range []struct{ name, input, want string }{
		{
			"all", "redis rediss://user@h:6379/0 {\npassword {env.P}\ntls_ca /ca.pem\nsecret {file./s}\n" +
				"prefix p\ntimeout 50ms\n}",
			`{"url":"rediss://user@h:6379/0","password":"{env.P}","tls_ca":"/ca.pem","secret":"{file./s}",` +
				`"prefix":"p","timeout":50000000}`,
		},
		{
			"TLS and Sentinels", "redis rediss://h?master_set=m {\nsecret {file./s}\ntls_cert /c\ntls_key /k\n" +
				"tls_server_name n\nsentinel_user u\nsentinel_password p\n}",
			`{"url":"rediss://h?master_set=m","sentinel_user":"u","sentinel_password":"p","tls_cert":"/c","tls_key":"/k",` +
				`"tls_server_name":"n","secret":"{file./s}"}`,
		},
		{
			"certificate without its key", "redis rediss://h {\nsecret {env.S}\ntls_cert /c\n}",
			"tls_cert needs tls_key, a PEM file with the key of that certificate, at Caddyfile:4",
		},
		{
			"key without its certificate", "redis rediss://h {\nsecret {env.S}\ntls_key /k\n}",
			"tls_key needs tls_cert, a PEM file with the certificate of that key, at Caddyfile:4",
		},
		{
			"certificate without TLS", "redis redis://h {\nsecret {env.S}\ntls_cert /c\ntls_key /k\n}",
			"tls_cert needs TLS; write the URL as rediss://…, at Caddyfile:5",
		},
		{
			"server name without TLS", "redis redis://h {\nsecret {env.S}\ntls_server_name n\n}",
			"tls_server_name needs TLS; write the URL as rediss://…, at Caddyfile:4",
		},
		{
			"password of no Sentinel", "redis redis://h {\nsecret {env.S}\nsentinel_password p\n}",
			"sentinel_password needs Sentinels; add ?master_set=<name> to the URL, with the name of the primary that they " +
				"watch, at Caddyfile:4",
		},
		{
			"user of a Sentinel without a password", "redis redis://h?master_set=m {\nsecret {env.S}\nsentinel_user u\n}",
			"sentinel_user needs sentinel_password, at Caddyfile:4",
		},
		{
			"another name for the certificate", short + "cert x\n}",
			"share redis has no option cert; write tls_cert <file> and tls_key <file>, at Caddyfile:3",
		},
		{"least", short + "}", `{"url":"redis://h","secret":"` + secret + `"}`},
		{"placeholder", "redis {env.URL} {\nsecret {env.S}\n}", `{"url":"{env.URL}","secret":"{env.S}"}`},
		{"no URL", "redis", "the URL of Redis is missing" + suchAs + ", at Caddyfile:1"},
		{
			"two URLs", "redis redis://a redis://b",
			"share redis: unexpected argument redis://b; options go into a block, at Caddyfile:1",
		},
		{
			"no scheme", "redis h:6379 {\nsecret x\n}",
			"the URL of Redis is not complete" + suchAs + escaped + ", at Caddyfile:1",
		},
		{
			"another scheme", "redis http://h {\nsecret x\n}",
			"http:// is no scheme of Redis; write redis://, rediss:// (TLS) or unix://, at Caddyfile:1",
		},
		{"no host", "redis redis:// {\nsecret x\n}", "the URL of Redis has no host" + suchAs + ", at Caddyfile:1"},
		{
			"port", "redis redis://h:63790 {\nsecret x\n}",
			"secret: 1 bytes are too few; it needs 32 or more, such as the output of openssl rand -hex 32, at Caddyfile:2",
		},
		{
			"no port", "redis redis://h:637900 {\nsecret x\n}",
			"the URL of Redis: a port is a number from 1 to 65535" + suchAs + ", at Caddyfile:1",
		},
		{
			"port 0", "redis rediss://h:0 {\nsecret x\n}",
			"the URL of Redis: a port is a number from 1 to 65535" + suchAs + ", at Caddyfile:1",
		},
		{
			"empty port", "redis valkey://h:/0 {\nsecret x\n}",
			"the URL of Redis: a port is a number from 1 to 65535" + suchAs + ", at Caddyfile:1",
		},
		{
			"port of another address", "redis redis://h?addr=i:99999 {\nsecret x\n}",
			"addr in the URL of Redis: a port is a number from 1 to 65535; write one such as addr=redis2.internal:6379, at " +
				"Caddyfile:1",
		},
		{
			"feed, port", "frappe_events redis://h:65536",
			"the URL of Redis: a port is a number from 1 to 65535" + suchAs + ", at Caddyfile:1",
		},
		{
			"no path", "redis unix://s {\nsecret x\n}",
			"the path of a Unix socket must begin with a slash; write one such as unix:///run/redis/redis.sock, at Caddyfile:1",
		},
		{
			"unknown parameter", "redis redis://h?adr=b {\nsecret x\n}",
			"the URL of Redis has no parameter adr; did you mean addr?, at Caddyfile:1",
		},
		{
			"no verification", "redis rediss://h?skip_verify=1 {\nsecret x\n}",
			"the URL of Redis has no parameter skip_verify; it has addr, client_name, db, master_set, at Caddyfile:1",
		},
		{"slip", short + "passwrd x\n}", "share redis has no option passwrd; did you mean password?, at Caddyfile:3"},
		{
			"user", short + "user x\n}",
			"share redis has no option user; write it into the URL, as redis://<user>@<host>, at Caddyfile:3",
		},
		{"TLS", short + "tls\n}", "share redis has no option tls; write the URL as rediss://…, at Caddyfile:3"},
		{"twice", short + "prefix a\nprefix b\n}", "prefix is given twice, at Caddyfile:4"},
		{
			"no secret", "redis redis://h",
			"secret is missing; write secret {file./run/secrets/frappe_auth}, with the same 32 bytes or more on every Caddy; " +
				"openssl rand -hex 32 makes one, at Caddyfile:1",
		},
		{
			"short secret", "redis redis://h {\nsecret short\n}",
			"secret: 5 bytes are too few; it needs 32 or more, such as the output of openssl rand -hex 32, at Caddyfile:2",
		},
		{"bad prefix", short + "prefix a/b\n}", "prefix: use up to 64 letters, digits, and _ . : -, at Caddyfile:3"},
		{"too long a timeout", short + "timeout 1m\n}", "timeout: 1m0s is not between 10ms and 5s, at Caddyfile:3"},
		{"no timeout", short + "timeout 0\n}", "timeout must not be 0; remove the line to use the default, at Caddyfile:3"},
		{
			"feed", "frappe_events rediss://h:11000 {\npassword p\nsite a b\nsite c\ntls_ca /ca\n}",
			`{"url":"rediss://h:11000","password":"p","tls_ca":"/ca","sites":["a","b","c"]}`,
		},
		{
			"feed, TLS and Sentinels", "frappe_events rediss://h?master_set=m {\ntls_cert /c\ntls_key /k\n" +
				"tls_server_name n\nsentinel_password p\n}",
			`{"url":"rediss://h?master_set=m","sentinel_password":"p","tls_cert":"/c","tls_key":"/k","tls_server_name":"n"}`,
		},
		{
			"feed, certificate without its key", "frappe_events rediss://h {\ntls_cert /c\n}",
			"tls_cert needs tls_key, a PEM file with the key of that certificate, at Caddyfile:3",
		},
		{"feed, least", "frappe_events unix:///s?db=1", `{"url":"unix:///s?db=1"}`},
		{"feed without a URL", "frappe_events", "the URL of Redis is missing" + suchAs + ", at Caddyfile:1"},
		{
			"feed, slip", "frappe_events redis://h {\nsites a\n}",
			"feed frappe_events has no option sites; did you mean site?, at Caddyfile:2",
		},
		{
			"feed, no site", "frappe_events redis://h {\nsite\n}",
			"site needs the name of a site, as its directory in the bench is called, at Caddyfile:2",
		},
		{
			"feed, empty site", "frappe_events redis://h {\nsite \"\"\n}",
			"site: a name is empty; remove it, or write the name of the site's directory in the bench, at Caddyfile:2",
		},
		{
			"feed, URL for a site", "frappe_events redis://h {\nsite a\nsite https://erp.example.com\n}",
			`site: "https://erp.example.com" is not a valid site name; write the name of the site's directory in the bench, ` +
				`at Caddyfile:3`,
		},
		{
			"feed, site with a port", "frappe_events redis://h {\nsite erp.example.com:8000\n}",
			`site: "erp.example.com:8000" is not a valid site name; write the name of the site's directory in the bench, at ` +
				`Caddyfile:2`,
		},
		{
			"feed with a secret", "frappe_events redis://h {\nsecret x\n}",
			"feed frappe_events has no option secret; it only listens, and stores nothing, at Caddyfile:2",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			tokens, err := caddyfile.Tokenize([]byte(test.input), "Caddyfile")
			if err != nil {
				t.Fatal(err)
			}
			var module caddyfile.Unmarshaler = new(Store)
			if strings.HasPrefix(test.input, "frappe_events") {
				module = new(FrappeEvents)
			}
			var got string
			if err := module.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err != nil {
				got = err.Error()
			} else {
				raw, err := json.Marshal(module)
				if err != nil {
					t.Fatal(err)
				}
				got = string(raw)
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestProvision: what only shows when placeholders are expanded, or in JSON, is told when the configuration is loaded.
func TestProvision(t *testing.T) {
	t.Setenv("TEST_SHORT", "short\n")
	t.Setenv("TEST_PLAIN", "redis://h")
	t.Setenv("TEST_PORT", "redis://h:65536")
	t.Setenv("TEST_URL", "nonsense://user:hidden@h")
	dir := testutil.Certificates(t)
	for _, test := range []struct {
		name  string
		store Store
		want  string
	}{
		{
			"unknown placeholder",
			Store{URL: "redis://h", SharedSecret: "{env.TEST_NOT_THERE}"},
			"secret: the placeholder {env.TEST_NOT_THERE} is empty or unknown; set it where Caddy runs, or write the value " +
				"itself",
		},
		{
			"short secret",
			Store{URL: "redis://h", SharedSecret: "{env.TEST_SHORT}"},
			"secret: 5 bytes are too few; it needs 32 or more, such as the output of openssl rand -hex 32",
		},
		{
			"URL", Store{URL: "{env.TEST_URL}"}, "nonsense:// is no scheme of Redis; write redis://, rediss:// (TLS) or unix://",
		},
		{
			"password in a URL that cannot be parsed",
			Store{URL: "redis://:hidden%@h"},
			"the URL of Redis cannot be parsed" + suchAs + escaped,
		},
		{"database", Store{URL: "redis://:hidden@h/x"}, `invalid database number: "x" in the URL of Redis` + suchAs},
		{
			"slash in a password",
			Store{URL: "redis://user:123/hidden@h"},
			"the URL of Redis has an @ behind its host" + suchAs + escaped,
		},
		{
			"question mark in a password",
			Store{URL: "redis://user:123?hidden=x@h"},
			"the URL of Redis has an @ behind its host" + suchAs + escaped,
		},
		{"port", Store{URL: "{env.TEST_PORT}"}, "the URL of Redis: a port is a number from 1 to 65535" + suchAs},
		{
			"two passwords",
			Store{URL: "redis://:hidden@h", Password: "hidden"},
			"the password is given twice, in the URL and as an option; remove it from the URL",
		},
		{"user without a password", Store{URL: "redis://u@h"}, "user u has no password; add the option password"},
		{"CA without TLS", Store{URL: "redis://h", TLSCA: "/ca.pem"}, "tls_ca needs TLS; write the URL as rediss://…"},
		{"no CA", Store{URL: "rediss://h", TLSCA: "/not/there"}, "tls_ca: open /not/there: no such file or directory"},
		{
			"nonsense as CA",
			Store{URL: "rediss://h", TLSCA: "store_test.go"},
			"tls_ca: store_test.go contains no certificate; give a PEM file",
		},
		{
			"no certificate",
			Store{URL: "rediss://h", TLSCert: "/not/there", TLSKey: "/not/there"},
			"tls_cert: open /not/there: no such file or directory",
		},
		{
			"key of another certificate",
			Store{URL: "rediss://h", TLSCert: dir + "/cert.pem", TLSKey: dir + "/client.key"},
			"tls_cert " + dir + "/cert.pem, tls_key " + dir + "/client.key: private key does not match public key; give two " +
				"PEM files, with a certificate and its key",
		},
		{
			"key as certificate",
			Store{URL: "rediss://h", TLSCert: dir + "/key.pem", TLSKey: dir + "/key.pem"},
			"tls_cert " + dir + "/key.pem, tls_key " + dir + "/key.pem: failed to find certificate PEM data in certificate " +
				"input, but did find a private key; PEM inputs may have been switched; give two PEM files, with a certificate " +
				"and its key",
		},
		{
			"TLS options that only a placeholder shows to be wrong",
			Store{URL: "{env.TEST_PLAIN}", TLSServerName: "n"},
			"tls_server_name needs TLS; write the URL as rediss://…",
		},
		{"prefix", Store{URL: "redis://h", Prefix: "{env.TEST_SHORT}}"}, "prefix: use up to 64 letters, digits, and _ . : -"},
		{
			"bare number",
			Store{URL: "redis://h", RequestTimeout: 100},
			`timeout: 100ns is shorter than a millisecond; a bare number in JSON is nanoseconds, so write a text such as "60s"`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.store.SharedSecret == "" {
				test.store.SharedSecret = secret
			}
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			if err := test.store.Provision(ctx); err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
			if err := test.store.Cleanup(); err != nil {
				t.Error(err)
			}
		})
	}
}
