package redis

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/fleet"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const password = "pass/word#with@signs"

// usable returns an error if a store cannot do all that requests need.
func usable(t testing.TB, s *Store) error {
	t.Helper()
	for _, f := range s.CheckHealth(soon(t)) {
		if f.Result == frappe.ResultTrouble {
			return finding(f)
		}
	}
	l := connected(t, s)
	query := fleet.SyncQuery{
		Note: s.key("n"), Write: "x", Rings: []fleet.StateKeys{stateKeys}, Known: []string{""},
	}
	if _, err := l.Sync(soon(t), query); err != nil {
		return err
	}
	return l.Wait(soon(t), []fleet.StateKeys{{Wake: s.key("w")}}, []string{"0-0"}, time.Millisecond)
}

type finding frappe.Finding

func (f finding) Error() string { return f.Check + ": " + f.Detail }

func file(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPassword: the password comes from wherever it is kept, and is never shown.
func TestPassword(t *testing.T) {
	server := startRedis(t, "--requirepass", password)
	t.Setenv("TEST_REDIS_PASSWORD", password)
	t.Setenv("TEST_REDIS_URL", server.url())
	for _, test := range []struct {
		name     string
		store    Store
		refusals string
	}{
		{name: "environment", store: Store{URL: server.url(), Password: "{env.TEST_REDIS_PASSWORD}"}},
		{name: "file", store: Store{URL: server.url(), Password: "{file." + file(t, password+"\n") + "}"}},
		{name: "inline", store: Store{URL: server.url(), Password: password}},
		{name: "in the URL", store: Store{URL: "redis://:pass%2Fword%23with%40signs@" + server.Address}},
		{name: "URL from the environment", store: Store{URL: "{env.TEST_REDIS_URL}", Password: password}},
		{name: "user default", store: Store{URL: "redis://default@" + server.Address, Password: password}},
		{name: "database", store: Store{URL: server.url() + "/3", Password: password}},
		{name: "socket", store: Store{URL: "unix://" + server.Socket + "?db=2", Password: password}},
		{
			name: "secret from a file", store: Store{
				URL: server.url() + "?client_name=s", Password: password, SharedSecret: "{file." + file(t, secret+"\r\n") + "}",
			},
		},
		{name: "wrong", store: Store{URL: server.url(), Password: "wrong-password"}, refusals: "WRONGPASS"},
		{name: "none", store: Store{URL: server.url()}, refusals: "NOAUTH"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, &test.store)
			err := usable(t, s)
			switch {
			case test.refusals == "" && err != nil,
				test.refusals != "" && (err == nil || !strings.Contains(err.Error(), test.refusals)):
				t.Error(err)
			case err != nil && strings.Contains(err.Error(), "wrong-password"), strings.Contains(s.String(), "with"):
				t.Errorf("the password is shown: %s, %v", s, err)
			}
			if string(s.Secrets()[0]) != secret {
				t.Errorf("secret %q", s.Secrets()[0])
			}
		})
	}
}

// TestUnknownLogin: a server that does not know how to log in repeats the password. No error, log or finding does.
func TestUnknownLogin(t *testing.T) {
	for name, secret := range map[string]string{
		"short": password, "longer than what is repeated": strings.Repeat("pass-with-", 30),
	} {
		t.Run(name, func(t *testing.T) {
			server := startRedis(t, "--requirepass", secret, "--rename-command", "AUTH", "", "--rename-command", "HELLO", "")
			s := open(t, &Store{URL: server.url(), Password: secret})
			f := openFeed(t, &FrappeEvents{URL: server.url(), Password: secret})
			core, logs := zapobserver.New(zap.InfoLevel)
			logged := subscribe(f.subscription.address, nil, "", zap.New(core))
			t.Cleanup(func() { _ = logged.Destruct() })
			testutil.Eventually(t, "the feed logs that it cannot log in", func() bool { return logs.Len() > 0 })
			shown := []string{fmt.Sprint(logs.All()[0].ContextMap()), promptly(t, get(s)).Error()}
			for _, finding := range append(s.CheckHealth(soon(t)), f.CheckHealth(soon(t))...) {
				shown = append(shown, finding.Detail)
			}
			if len(shown) != 4 {
				t.Errorf("%d texts: %q", len(shown), shown)
			}
			for _, text := range shown {
				if strings.Contains(text, secret[:10]) ||
					!strings.Contains(text, "AUTH") && !strings.Contains(text, "in its own words") {
					t.Error(text)
				}
			}
		})
	}
}

// documentedUser returns the ACL line of docs/redis.md for a user, with its rules as arguments of ACL SETUSER.
func documentedUser(t testing.TB, name string) []string {
	t.Helper()
	page := string(testutil.ReadFile(t, "docs/redis.md"))
	line := regexp.MustCompile(`(?m)^user ` + name + ` (.*)$`).FindStringSubmatch(page)
	if line == nil {
		t.Fatalf("docs/redis.md has no user %s", name)
	}
	rules := strings.Fields(strings.ReplaceAll(line[1], "choose-a-password", "chosen"))
	return append([]string{"ACL", "SETUSER", name}, rules...)
}

// TestRights: the users of the documentation may do what is needed, and nothing else.
func TestRights(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		rules := documentedUser(t, "caddy")
		server.Must(rules...)
		server.Must(documentedUser(t, "caddy_events")...)
		server.Must("SADD", "rq:queues", "rq:queue:default")
		s := open(t, &Store{URL: "redis://caddy@" + server.Address, Password: "chosen"})
		if err := usable(t, s); err != nil {
			t.Error(err)
		}
		for _, f := range s.CheckHealth(soon(t)) {
			if f.Result != frappe.ResultOK {
				t.Error(finding(f))
			}
		}
		other := open(t, &Store{URL: "redis://caddy@" + server.Address, Password: "chosen", Prefix: "other"})
		if err := set(other)(soon(t)); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("another prefix: %v", err)
		}
		f := openFeed(t, &FrappeEvents{URL: "redis://caddy_events@" + server.Address, Password: "chosen"})
		for _, f := range f.CheckHealth(soon(t)) {
			if f.Result != frappe.ResultOK {
				t.Error(finding(f))
			}
		}
		for _, rule := range rules {
			if !strings.HasPrefix(rule, "+") || rule == "+info" || rule == "+select" || rule == "+cluster|slots" {
				continue
			}
			server.Must(append(rules, "-"+rule[1:])...)
			server.Must("SCRIPT", "FLUSH")                 // a script that is known needs no EVAL
			server.Must("SET", s.key("w"), "another type") // then more is needed
			server.Must("DEL", "{frappe_auth}:doctor:state")
			if err := usable(t, s); err == nil {
				t.Errorf("%s is not needed", rule)
			}
		}
	})
}

// startTLS starts a server that also listens with TLS, with further arguments, and returns that address.
func startTLS(t testing.TB, dir string, args ...string) string {
	t.Helper()
	secure := testutil.FreeAddress(t)
	startRedis(t, append([]string{
		"--tls-port", testutil.PortOf(secure), "--tls-cert-file", filepath.Join(dir, "cert.pem"),
		"--tls-key-file", filepath.Join(dir, "key.pem"), "--tls-ca-cert-file", filepath.Join(dir, "ca.pem"),
	}, args...)...)
	return secure
}

// TestTLS: with rediss, both sides show certificates that the other one verifies, and doctor says what to do where one
// fails.
func TestTLS(t *testing.T) {
	dir, foreign := testutil.Certificates(t), testutil.Certificates(t)
	lenient, strict := startTLS(t, dir, "--tls-auth-clients", "no"), startTLS(t, dir)
	old := startTLS(t, dir, "--tls-protocols", "TLSv1.2")
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	plain := startRedis(t)
	for _, test := range []struct {
		name  string
		store Store
		want  string // in what doctor says; empty if all is well
	}{
		{"its CA", Store{URL: "rediss://" + lenient, TLSCA: ca}, ""},
		{"the system's CAs", Store{URL: "rediss://" + lenient}, "write the option tls_ca"},
		{
			"another CA",
			Store{URL: "rediss://" + lenient, TLSCA: filepath.Join(foreign, "ca.pem")},
			"correct the option tls_ca",
		},
		{
			"another host",
			Store{URL: "rediss://localhost:" + testutil.PortOf(lenient), TLSCA: ca},
			"write the option tls_server_name",
		},
		{
			"another host, whose certificate is known",
			Store{URL: "rediss://localhost:" + testutil.PortOf(lenient), TLSCA: ca, TLSServerName: "redis.test"},
			"",
		},
		{
			"another name",
			Store{URL: "rediss://" + lenient, TLSCA: ca, TLSServerName: "other.test"},
			"now it must be valid for other.test",
		},
		{"no TLS here", Store{URL: "redis://" + lenient}, "rediss://"},
		{"no TLS there", Store{URL: "rediss://" + plain.Address, TLSCA: ca}, "write redis://"},
		{"a client's certificate", Store{URL: "rediss://" + strict, TLSCA: ca, TLSCert: cert, TLSKey: key}, ""},
		{"no certificate", Store{URL: "rediss://" + strict, TLSCA: ca}, "write the options tls_cert and tls_key"},
		{"a foreign certificate", Store{
			URL: "rediss://" + strict, TLSCA: ca,
			TLSCert: filepath.Join(foreign, "client.pem"), TLSKey: filepath.Join(foreign, "client.key"),
		}, "Redis refuses the certificate of tls_cert"},
		{"TLS 1.2, a client's certificate", Store{URL: "rediss://" + old, TLSCA: ca, TLSCert: cert, TLSKey: key}, ""},
		{"TLS 1.2, no certificate", Store{URL: "rediss://" + old, TLSCA: ca}, "write the options tls_cert and tls_key"},
		{"TLS 1.2, a foreign certificate", Store{
			URL: "rediss://" + old, TLSCA: ca,
			TLSCert: filepath.Join(foreign, "client.pem"), TLSKey: filepath.Join(foreign, "client.key"),
		}, "Redis refuses the certificate of tls_cert"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, &test.store)
			f := openFeed(t, &FrappeEvents{
				URL: s.URL, TLSCA: s.TLSCA, TLSCert: s.TLSCert, TLSKey: s.TLSKey, TLSServerName: s.TLSServerName,
			})
			for _, found := range []frappe.Finding{s.CheckHealth(soon(t))[0], f.CheckHealth(soon(t))[0]} {
				if test.want == "" && found.Result != frappe.ResultOK || !strings.Contains(found.Advice, test.want) {
					t.Error(found)
				}
			}
			if test.want == "" {
				if err := usable(t, s); err != nil {
					t.Error(err)
				}
				w := watch(t, f)
				testutil.Eventually(t, "the feed is subscribed", func() bool { return w.looked() > 0 })
			}
		})
	}
}

// TestRenewedCertificate: another certificate in the same files is used from the next load on.
func TestRenewedCertificate(t *testing.T) {
	dir, foreign := testutil.Certificates(t), testutil.Certificates(t)
	strict := startTLS(t, dir)
	files := t.TempDir()
	install := func(from string) {
		for _, name := range []string{"client.pem", "client.key"} {
			content, err := os.ReadFile(filepath.Join(from, name))
			if err == nil {
				err = os.WriteFile(filepath.Join(files, name), content, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	load := func() *Store {
		return open(t, &Store{
			URL: "rediss://" + strict, TLSCA: filepath.Join(dir, "ca.pem"),
			TLSCert: filepath.Join(files, "client.pem"), TLSKey: filepath.Join(files, "client.key"),
		})
	}
	install(foreign)
	if err := usable(t, load()); err == nil {
		t.Error("a foreign certificate works")
	}
	install(dir)
	if err := usable(t, load()); err != nil {
		t.Error(err)
	}
}

// TestSentinelLogin: Sentinels get their own password, or that of Redis, and their own certificates are verified.
func TestSentinelLogin(t *testing.T) {
	dir := testutil.Certificates(t)
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	primary := startRedis(t, "--requirepass", "of-redis")
	secure := startTLS(t, dir)
	sentinel := func(lines ...string) string {
		s := &server{testutil.NewRedisServer(t, requireServer(t, "redis-server"))}
		s.Args = []string{"--sentinel"}
		s.Config = file(t, strings.Join(lines, "\n")+"\n")
		s.Start()
		return s.Address
	}
	watching := "sentinel monitor main 127.0.0.1 " + testutil.PortOf(primary.Address) +
		" 1\nsentinel auth-pass main of-redis"
	bare, same := sentinel(watching), sentinel(watching, "requirepass of-redis")
	other := sentinel(watching, "requirepass of-sentinel", "user caddy on >of-caddy allchannels +@all")
	private := testutil.FreeAddress(t)
	sentinel(
		"sentinel monitor main 127.0.0.1 "+testutil.PortOf(secure)+" 1", "tls-replication yes",
		"tls-port "+testutil.PortOf(private), "tls-cert-file "+filepath.Join(dir, "cert.pem"),
		"tls-key-file "+filepath.Join(dir, "key.pem"), "tls-ca-cert-file "+ca,
	)
	const name = "?master_set=main"
	for _, test := range []struct {
		test string
		Store
		want string // in what doctor says; empty if all is well
	}{
		{"none", Store{URL: "redis://" + bare + name, Password: "of-redis"}, ""},
		{"that of Redis", Store{URL: "redis://" + same + name, Password: "of-redis"}, ""},
		{"its own", Store{URL: "redis://" + other + name, Password: "of-redis", SentinelPassword: "of-sentinel"}, ""},
		{
			"a user's",
			Store{URL: "redis://" + other + name, Password: "of-redis", SentinelUser: "caddy", SentinelPassword: "of-caddy"},
			"",
		},
		{
			"the second Sentinel knows",
			Store{URL: "redis://" + testutil.FreeAddress(t) + name + "&addr=" + bare, Password: "of-redis"},
			"",
		},
		{"not its own", Store{URL: "redis://" + other + name, Password: "of-redis"}, "write the option sentinel_password"},
		{
			"a wrong one",
			Store{URL: "redis://" + other + name, Password: "of-redis", SentinelPassword: "wrong"},
			"write the option sentinel_password",
		},
		{"no password at all", Store{URL: "redis://" + other + name}, "write the option sentinel_password"},
		{
			"a wrong one for Redis",
			Store{URL: "redis://" + other + name, Password: "wrong", SentinelPassword: "of-sentinel"},
			"correct the option password",
		},
		{"none for Redis", Store{URL: "redis://" + bare + name}, "write the option password"},
		{
			"another primary",
			Store{URL: "redis://" + bare + "?master_set=other", Password: "of-redis"},
			"correct master_set in the URL",
		},
		{
			"no Sentinel",
			Store{URL: "redis://" + primary.Address + name, Password: "of-redis"},
			"remove master_set from the URL",
		},
		{
			"no Sentinel there",
			Store{URL: "redis://" + testutil.FreeAddress(t) + name, Password: "of-redis"},
			"start the Sentinel",
		},
		{"no name", Store{URL: "redis://" + bare, Password: "of-redis"}, "add ?master_set=<name> to the URL"},
		{"TLS", Store{URL: "rediss://" + private + name, TLSCA: ca, TLSCert: cert, TLSKey: key}, ""},
		{
			"TLS, by another name", Store{
				URL: "rediss://localhost:" + testutil.PortOf(private) + name, TLSCA: ca, TLSCert: cert, TLSKey: key,
				TLSServerName: "redis.test",
			}, "",
		},
		{
			"TLS, no certificate", Store{URL: "rediss://" + private + name, TLSCA: ca}, "write the options tls_cert and tls_key",
		},
	} {
		t.Run(test.test, func(t *testing.T) {
			s := open(t, &test.Store)
			found := s.CheckHealth(soon(t))[0]
			if test.want == "" && found.Result != frappe.ResultOK || !strings.Contains(found.Advice, test.want) {
				t.Error(found)
			}
			if strings.Contains(found.String(), "of-") {
				t.Errorf("a password is shown: %s", found)
			}
			f := openFeed(t, &FrappeEvents{
				URL: s.URL, Password: s.Password, SentinelUser: s.SentinelUser, SentinelPassword: s.SentinelPassword,
				TLSCA: s.TLSCA, TLSCert: s.TLSCert, TLSKey: s.TLSKey, TLSServerName: s.TLSServerName,
			})
			if test.want == "" {
				w := watch(t, f)
				testutil.Eventually(t, "the feed is subscribed", func() bool { return w.looked() > 0 })
			}
		})
	}
}
