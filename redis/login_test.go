package redis

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddy-frappe/frappe-auth/frappe"
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
	if _, err := s.Read(soon(t), frappe.Position{}, time.Millisecond); err != nil { // starts the log
		return err
	}
	if _, err := s.Append(soon(t), []byte("x"), time.Hour); err != nil {
		return err
	}
	return s.Reset(soon(t), "none")
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
		{name: "secret from a file", store: Store{URL: server.url() + "?client_name=s", Password: password, SharedSecret: "{file." + file(t, secret+"\r\n") + "}"}},
		{name: "wrong", store: Store{URL: server.url(), Password: "wrong-password"}, refusals: "WRONGPASS"},
		{name: "none", store: Store{URL: server.url()}, refusals: "NOAUTH"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := open(t, &test.store)
			err := usable(t, s)
			switch {
			case test.refusals == "" && err != nil, test.refusals != "" && (err == nil || !strings.Contains(err.Error(), test.refusals)):
				t.Error(err)
			case err != nil && strings.Contains(err.Error(), "wrong-password"), strings.Contains(s.String(), "with"):
				t.Errorf("the password is shown: %s, %v", s, err)
			}
			if string(s.Secret()) != secret {
				t.Errorf("secret %q", s.Secret())
			}
		})
	}
}

// TestUnknownLogin: a server that does not know how to log in repeats the password. No error, log or finding does.
func TestUnknownLogin(t *testing.T) {
	for name, secret := range map[string]string{"short": password, "longer than what is repeated": strings.Repeat("pass-with-", 30)} {
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
				if strings.Contains(text, secret[:10]) || !strings.Contains(text, "AUTH") && !strings.Contains(text, "in its own words") {
					t.Error(text)
				}
			}
		})
	}
}

// documentedUser returns the ACL line of docs/redis.md for a user, with its rules as arguments of ACL SETUSER.
func documentedUser(t testing.TB, name string) []string {
	t.Helper()
	line := regexp.MustCompile(`(?m)^user ` + name + ` (.*)$`).FindStringSubmatch(string(testutil.ReadFile(t, "docs/redis.md")))
	if line == nil {
		t.Fatalf("docs/redis.md has no user %s", name)
	}
	return append([]string{"ACL", "SETUSER", name}, strings.Fields(strings.ReplaceAll(line[1], "choose-a-password", "chosen"))...)
}

// TestRights: the users of the documentation may do what is needed, and nothing else.
func TestRights(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		rules := documentedUser(t, "caddy")
		server.Must(rules...)
		server.Must(documentedUser(t, "caddy_events")...)
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
			server.Must("SCRIPT", "FLUSH") // a script that is known needs no EVAL
			server.Must("DEL", "{frappe_auth}:revocations")
			if err := usable(t, s); err == nil {
				t.Errorf("%s is not needed", rule)
			}
		}
	})
}

// certificates makes a CA and a certificate for 127.0.0.1, and returns the directory of ca.pem, cert.pem and key.pem.
func certificates(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	template := func(serial int64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		}
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := template(1)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	write("ca.pem", "CERTIFICATE", der)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := template(2)
	leaf.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	if der, err = x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey); err != nil {
		t.Fatal(err)
	}
	write("cert.pem", "CERTIFICATE", der)
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	write("key.pem", "PRIVATE KEY", der)
	return dir
}

// TestTLS: with rediss, the certificate is verified.
func TestTLS(t *testing.T) {
	dir := certificates(t)
	secure := testutil.FreeAddress(t)
	startRedis(t, "--tls-port", testutil.PortOf(secure), "--tls-cert-file", filepath.Join(dir, "cert.pem"),
		"--tls-key-file", filepath.Join(dir, "key.pem"), "--tls-ca-cert-file", filepath.Join(dir, "ca.pem"), "--tls-auth-clients", "no")
	for _, test := range []struct {
		name  string
		store Store
		want  string
	}{
		{"its CA", Store{URL: "rediss://" + secure, TLSCA: filepath.Join(dir, "ca.pem")}, ""},
		{"the system's CAs", Store{URL: "rediss://" + secure}, "certificate"},
		{"another CA", Store{URL: "rediss://" + secure, TLSCA: filepath.Join(certificates(t), "ca.pem")}, "certificate"},
		{"another host", Store{URL: "rediss://localhost:" + testutil.PortOf(secure), TLSCA: filepath.Join(dir, "ca.pem")}, "certificate"},
		{"no TLS", Store{URL: "redis://" + secure}, "reachable"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := usable(t, open(t, &test.store))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Error(err)
			}
		})
	}
}
