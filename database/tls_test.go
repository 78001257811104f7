package database

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
	"strings"
	"testing"
	"time"
)

// authority is a certificate authority of a test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := new(authority)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a CA of a test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
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
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: commonName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
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
			{"all options", &Backend{DBSSLCA: file("server/ca.pem"), DBSSLCert: file("caddy/cert.pem"), DBSSLKey: file("caddy/key.pem")}, "alice@example.com"},
			{"no options", &Backend{}, "unavailable"},
			{"no certificate of Caddy", &Backend{DBSSLCA: file("server/ca.pem")}, "unavailable"},
			{
				"another CA", &Backend{DBSSLCA: file("theirs/ca.pem"), DBSSLCert: file("caddy/cert.pem"), DBSSLKey: file("caddy/key.pem")},
				"the server's certificate was not issued by a CA in " + file("theirs/ca.pem") + "; set db_ssl_ca to the server's CA",
			},
		} {
			t.Run(test.name, func(t *testing.T) {
				test.b.Site = s.dir
				if got := verdict(provisioned(t, test.b), pair(s.creds.pairs["alice@example.com"])); !strings.Contains(got, test.want) {
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
			if got := verdict(provisioned(t, &Backend{Site: s.dir}), pair(s.creds.pairs["alice@example.com"])); !strings.Contains(got, "set db_host to a name that is in the server's certificate") {
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
			if got := verdict(provisioned(t, &Backend{Site: s.dir}), pair(s.creds.pairs["alice@example.com"])); !strings.Contains(got, "enable TLS on the server, or remove db_ssl_ca") {
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
		{"a key of another", ca, ca, key, "db_ssl_cert and db_ssl_key: " + ca + " and " + key + " are not PEM files with a certificate and its key"},
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
