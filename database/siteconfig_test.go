package database

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSiteConfig: what is wrong with a site's configuration is said, without its secrets.
func TestSiteConfig(t *testing.T) {
	good := map[string]any{
		"db_name":        "n",
		"db_password":    "s3cret",
		"encryption_key": "MUx-kgDuoW3K9ELDxqTkj66Ki_XXwUytLVR5IbGA5nE=",
	}
	with := func(name string, value any) map[string]any {
		changed := maps.Clone(good)
		changed[name] = value
		return changed
	}
	for _, test := range []struct {
		name   string
		conf   map[string]any
		common string
		want   string // of the database, or of the error
	}{
		{"defaults", good, `{}`, "mariadb n at 127.0.0.1:3306"},
		{"common", good, `{"db_host": "db.internal", "db_port": 3307}`, "mariadb n at db.internal:3307"},
		{"site over common", with("db_host", "own.internal"), `{"db_host": "db.internal"}`, "mariadb n at own.internal:3306"},
		{"postgres", with("db_type", "postgres"), `{}`, "postgres n at 127.0.0.1:5432"},
		{"port as text", with("db_port", "3308"), `{}`, "mariadb n at 127.0.0.1:3308"},
		{"socket", with("db_socket", "/run/mysqld/mysqld.sock"), `{}`, "mariadb n at /run/mysqld/mysqld.sock"},
		{"sqlite", with("db_type", "sqlite"), `{}`, "erp.example.com/db/n.db"},
		{"unknown type", with("db_type", "oracle"), `{}`, `db_type "oracle" is none of mariadb, postgres and sqlite`},
		{"no name", with("db_name", ""), `{}`, "db_name is missing"},
		{"no password", with("db_password", ""), `{}`, "db_password is missing"},
		{"no key yet", with("encryption_key", ""), `{}`, "mariadb n at 127.0.0.1:3306"},
		{"broken key", with("encryption_key", "s3cret"), `{}`, "encryption_key is not a Frappe key"},
		{"broken port", with("db_port", "x"), `{}`, "db_port is not a port number"},
		{"broken common", good, `{"db_host": `, "common_site_config.json is not valid JSON, at line 1, column 12"},
		{"no site", nil, `{}`, "has no site_config.json; give the site's directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &site{dir: t.TempDir() + "/erp.example.com"}
			if err := os.MkdirAll(s.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if test.conf != nil {
				s.configure(t, test.conf)
			}
			if err := os.WriteFile(s.dir+"/../common_site_config.json", []byte(test.common), 0o600); err != nil {
				t.Fatal(err)
			}
			settings, err := (&Backend{Site: s.dir}).readSettings()
			got := fmt.Sprint(err)
			if err == nil {
				got = settings.String()
			}
			if !strings.Contains(got, test.want) || strings.Contains(got, "s3cret") {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

// TestMessages: what is wrong with a path, a file or a number is said, with what to write.
func TestMessages(t *testing.T) {
	for _, test := range []struct{ name, config, want string }{
		{
			"broken", "{\n \"db_name\": \"n\",\n \"db_password\": \"s3cret\"\n \"db_type\": \"mariadb\"\n}",
			"site_config.json is not valid JSON, at line 4, column 2",
		},
		{"truncated", `{"db_password": "s3cret`, "site_config.json is not valid JSON, at line 1, column 23"},
		{"number", `{"db_name": 5}`, "site_config.json: db_name is not a string in quotes, at line 1, column 13"},
		{"array", `["s3cret"]`, "site_config.json is not a JSON object as Frappe writes it"},
		{"empty", ``, "site_config.json is not valid JSON, at line 1, column 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "site_config.json"), []byte(test.config), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := readSiteConfig(dir); err == nil || !strings.HasSuffix(err.Error(), test.want) ||
				strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
	if _, err := readSiteConfig("/sites/erp/site_config.json"); err == nil ||
		err.Error() != "/sites/erp/site_config.json is a file: give the site's directory, /sites/erp" {
		t.Errorf("the file in place of the directory: %v", err)
	}
	bench := t.TempDir()
	for _, dir := range []string{"sites/a.example.com", "sites/b.example.com", "sites/assets", "apps"} {
		if err := os.MkdirAll(filepath.Join(bench, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, site := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(bench, "sites", site+".example.com", "site_config.json"), []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sites := "; these are the bench's sites: BENCH/sites/a.example.com, BENCH/sites/b.example.com"
	for dir, want := range map[string]string{
		"/sites/erp.example.com": "there is no directory BENCH/sites/erp.example.com" + sites,
		"/nowhere/erp": "there is no directory BENCH/nowhere/erp; give the site's directory, " +
			"such as " + exampleSite,
		"":              "BENCH has no site_config.json" + sites,
		"/sites":        "BENCH/sites has no site_config.json" + sites,
		"/sites/assets": "BENCH/sites/assets has no site_config.json" + sites,
	} {
		_, err := readSiteConfig(bench + dir)
		if got := strings.ReplaceAll(fmt.Sprint(err), bench, "BENCH"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for conf, want := range map[string]string{
		`{"site": "/s", "poll_interval": 60}`: `poll_interval: 60ns is shorter than a millisecond; a bare ` +
			`number in JSON is nanoseconds, so write a text such as "60s"`,
		`{"site": "/s", "timeout": 5}`: `timeout: 5ns is shorter than a millisecond; a bare number in ` +
			`JSON is nanoseconds, so write a text such as "60s"`,
		`{"site": "/s", "poll_interval": 1000000000}`: "",
		`{"site": "/s", "timeout": "-5s"}`:            "timeout: -5s is not between 10ms and 1m0s",
	} {
		b := new(Backend)
		if err := json.Unmarshal([]byte(conf), b); err != nil {
			t.Fatal(err)
		}
		if err := b.validate(); (want == "" && err != nil) || (want != "" && (err == nil || err.Error() != want)) {
			t.Errorf("%s: %v, want %s", conf, err, want)
		}
	}
}

// authority is a certificate authority of a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := new(authority)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(
			1,
		), Subject: pkix.Name{CommonName: "a CA of a test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.certificate, a.key = a.issue(t, template)
	return a
}

// issue signs a certificate, the authority's own where it has none yet.
func (a *authority) issue(t *testing.T, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.certificate, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

// write writes ca.pem, and cert.pem and key.pem of a certificate for an address, to a directory that uid may read.
func (a *authority) write(t *testing.T, dir, commonName, address string, uid, gid int) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // another user runs PostgreSQL
		t.Fatal(err)
	}
	certificate, key := a.issue(t, &x509.Certificate{
		SerialNumber: big.NewInt(
			2,
		), Subject: pkix.Name{CommonName: commonName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.ParseIP(address)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: a.certificate.Raw},
		"cert.pem": {Type: "CERTIFICATE", Bytes: certificate.Raw},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: der},
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTLS: with db_ssl_ca connections are encrypted, the server's certificate is verified, and Caddy shows its own.
func TestTLS(t *testing.T) {
	forEachServer(t, func(t *testing.T, kind string) {
		dir, err := os.MkdirTemp("", "frappe-auth-tls")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user runs PostgreSQL
			t.Fatal(err)
		}
		uid, gid := os.Getuid(), os.Getgid()
		if kind == "postgres" {
			uid, gid = unprivileged(t, nil)
		}
		ours, theirs := newAuthority(t), newAuthority(t)
		ours.write(t, filepath.Join(dir, "server"), "server", "127.0.0.1", uid, gid)
		ours.write(t, filepath.Join(dir, "elsewhere"), "server", "192.0.2.1", uid, gid)
		theirs.write(t, filepath.Join(dir, "theirs"), "server", "127.0.0.1", uid, gid)
		file := func(name string) string { return filepath.Join(dir, name) }

		on := &server{kind: kind, tls: file("server")}
		t.Cleanup(func() {
			on.kill()
			os.RemoveAll(on.dir)
		})
		s := newSiteOn(t, kind, on)
		ours.write(t, filepath.Join(dir, "caddy"), s.name, "192.0.2.2", os.Getuid(), os.Getgid())
		if kind == "mariadb" {
			mustExec(t, s.admin, fmt.Sprintf("ALTER USER %s@'127.0.0.1' REQUIRE X509", s.name))
		} else {
			hba := filepath.Join(on.dir, "data", "pg_hba.conf")
			rules, err := os.ReadFile(hba)
			if err != nil {
				t.Fatal(err)
			}
			rules = append([]byte("hostssl all "+s.name+" 127.0.0.1/32 cert\nhost all "+s.name+" all reject\n"), rules...)
			if err := os.WriteFile(hba, rules, 0o600); err != nil {
				t.Fatal(err)
			}
			mustExec(t, s.admin, "SELECT pg_reload_conf()")
		}

		for _, test := range []struct {
			name string
			b    *Backend
			want string
		}{
			{
				"all options",
				&Backend{DBSSLCA: file("server/ca.pem"), DBSSLCert: file("caddy/cert.pem"), DBSSLKey: file("caddy/key.pem")},
				"alice@example.com",
			},
			{"no options", &Backend{}, "unavailable"},
			{"no certificate of Caddy", &Backend{DBSSLCA: file("server/ca.pem")}, "unavailable"},
			{
				"another CA", &Backend{DBSSLCA: file("theirs/ca.pem"), DBSSLCert: file("caddy/cert.pem"), DBSSLKey: file("caddy/key.pem")},
				"the server's certificate was not issued by a CA in " + file("theirs/ca.pem") + "; set db_ssl_ca to the " +
					"server's CA",
			},
		} {
			t.Run(test.name, func(t *testing.T) {
				test.b.Site = s.dir
				if got := verdict(provisioned(t, test.b), pair(s.creds.pairs["alice@example.com"])); !strings.Contains(
					got,
					test.want,
				) {
					t.Errorf("%s, want %s", got, test.want)
				}
			})
		}
		t.Run("the site's settings", func(t *testing.T) {
			conf := s.conf(t)
			for name, source := range map[string]string{"db_ssl_ca": "server/ca.pem", "db_ssl_cert": "caddy/cert.pem", "db_ssl_key": "caddy/key.pem"} {
				conf[name] = file(source)
			}
			s.configure(t, conf)
			look := looker(t, s)
			if got := look(); got != "" {
				t.Errorf("a look: %s", got)
			}
			if got := verdict(provisioned(t, &Backend{Site: s.dir}), pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
				t.Error(got)
			}
		})
		t.Run("a certificate of another address", func(t *testing.T) {
			on.kill()
			on.tls = file("elsewhere")
			on.start(t)
			if got := verdict(provisioned(t, &Backend{Site: s.dir}), pair(s.creds.pairs["alice@example.com"])); !strings.Contains(
				got,
				"set db_host to a name that is in the server's certificate",
			) {
				t.Error(got)
			}
			conf, alice := s.conf(t), pair(s.creds.pairs["alice@example.com"])
			b := provisioned(t, &Backend{Site: s.dir})
			followed := func() string {
				t.Helper()
				s.configure(t, conf)
				b.source.follow()
				return verdict(b, alice)
			}
			for value, want := range map[any]string{0: "alice@example.com", false: "alice@example.com", "0": "alice@example.com", 1: "set db_host"} {
				conf["db_ssl_check_hostname"] = value
				if got := followed(); !strings.Contains(got, want) {
					t.Errorf("with db_ssl_check_hostname %v: %s, want %s", value, got, want)
				}
			}
			conf["db_ssl_check_hostname"], conf["db_ssl_ca"] = 0, file("theirs/ca.pem")
			if got := followed(); !strings.Contains(got, "was not issued by a CA in") {
				t.Errorf("another CA, with db_ssl_check_hostname 0: %s", got)
			}
			delete(conf, "db_ssl_check_hostname")
			conf["db_ssl_ca"] = file("server/ca.pem")
			if got := followed(); !strings.Contains(got, "set db_host") {
				t.Errorf("without db_ssl_check_hostname: %s", got)
			}
		})
		t.Run("a server without TLS", func(t *testing.T) {
			on.kill()
			on.tls = ""
			on.start(t)
			if got := verdict(provisioned(t, &Backend{Site: s.dir}), pair(s.creds.pairs["alice@example.com"])); !strings.Contains(
				got,
				"enable TLS on the server, or remove db_ssl_ca",
			) {
				t.Error(got)
			}
		})
	})
}

// TestTLSFiles: what is wrong with the files is said when the configuration is loaded.
func TestTLSFiles(t *testing.T) {
	dir := t.TempDir()
	newAuthority(t).write(t, dir, "caddy", "192.0.2.1", os.Getuid(), os.Getgid())
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for _, test := range []struct {
		name          string
		ca, cert, key string
		want          string
	}{
		{"all", ca, cert, key, ""},
		{"CA alone", ca, "", "", ""},
		{"no CA", "", cert, key, "db_ssl_cert and db_ssl_key need db_ssl_ca; set it to the CA of the server's certificate"},
		{"no key", ca, cert, "", "db_ssl_cert and db_ssl_key belong together; give both or neither"},
		{"no file", dir + "/none.pem", "", "", "db_ssl_ca: open " + dir + "/none.pem: no such file or directory"},
		{"a key as CA", key, "", "", "db_ssl_ca: " + key + " contains no certificate; give a PEM file"},
		{"a key of another", ca, ca, key, "db_ssl_cert and db_ssl_key: " + ca + " and " + key + " are not PEM files " +
			"with a certificate and its key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			conf := siteConfig{
				DBName: "n", DBPassword: "s3cret", EncryptionKey: "MUx-kgDuoW3K9ELDxqTkj66Ki_XXwUytLVR5IbGA5nE=",
				DBSSLCA: test.ca, DBSSLCert: test.cert, DBSSLKey: test.key,
			}
			got := ""
			if _, err := conf.complete(""); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
