package database

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSiteConfig: what is wrong with a site's configuration is said, without its secrets.
func TestSiteConfig(t *testing.T) {
	good := map[string]any{"db_name": "n", "db_password": "s3cret", "encryption_key": "MUx-kgDuoW3K9ELDxqTkj66Ki_XXwUytLVR5IbGA5nE="}
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

// TestFingerprint: settings of one database are not taken for another's, and show no secret.
func TestFingerprint(t *testing.T) {
	s := newSite(t, "sqlite")
	a, b := provisioned(t, &Backend{Site: s.dir}), provisioned(t, &Backend{Site: s.dir})
	if a.Fingerprint() != b.Fingerprint() || a.source != b.source {
		t.Error("the same database is opened twice")
	}
	c := provisioned(t, &Backend{Site: s.dir, EncryptionKey: "MUx-kgDuoW3K9ELDxqTkj66Ki_XXwUytLVR5IbGA5nE="})
	if c.Fingerprint() == a.Fingerprint() || strings.Contains(c.Fingerprint(), "MUx") {
		t.Error("another encryption key is not told apart, or shown")
	}
	marshaled, _ := json.Marshal(a)
	if strings.Contains(string(marshaled), "hRND") {
		t.Error("the configuration shows the site's password")
	}
}

// TestSockets: both servers by their Unix sockets.
func TestSockets(t *testing.T) {
	for kind, socket := range map[string]string{"mariadb": "s", "postgres": ""} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, kind)
			if kind == "mariadb" { // whose users are of a host
				mustExec(t, s.admin, fmt.Sprintf("CREATE USER %[1]s@localhost IDENTIFIED BY '38jWnH1vU3H1INnP'; GRANT ALL ON %[1]s.* TO %[1]s@localhost", s.name))
			}
			b := provisioned(t, &Backend{Site: s.dir, DBHost: "192.0.2.1", DBSocket: filepath.Join(s.server.dir, socket)})
			if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
				t.Error(got)
			}
		})
	}
}
