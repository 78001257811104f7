package e2e

import (
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // registers the driver

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// siteDouble returns the URL of a double of a bench with several sites, which accepts good-token.
func siteDouble(t *testing.T) string {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Header.Get("Authorization") != "Bearer good-token" {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "{}")
			return
		}
		user := "bob@example.com"
		if name := r.Header.Get("X-Frappe-Site-Name"); name != "" {
			user = "bob@" + name
		}
		fmt.Fprintf(w, `{"message": %q}`, user)
	}))
	t.Cleanup(site.Close)
	return site.URL
}

// namedSite returns the URL of a double of a bench's web server with one site, which it finds by its name.
func namedSite(t *testing.T, name string) (url string) {
	t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case name != "" && r.Header.Get("X-Frappe-Site-Name") != name:
			testutil.Reply(t, w, testutil.Answer(t, "unknown-site.http"))
		case strings.HasSuffix(r.URL.Path, "/ping"):
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"message": "pong"}`)
		default:
			testutil.Reply(t, w, testutil.Answer(t, "guest-15.http"))
		}
	}))
	t.Cleanup(site.Close)
	return site.URL
}

// makeBench makes a bench with a configuration of all sites, and returns its directory and that of its sites.
func makeBench(t *testing.T, common string) (dir, sites string) {
	t.Helper()
	dir = t.TempDir()
	sites = filepath.Join(dir, "sites")
	if err := os.Mkdir(sites, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sites, "common_site_config.json"), []byte(common), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, sites
}

// recordedSiteIn puts the recorded site on MariaDB into a directory of sites. Its database does not run.
func recordedSiteIn(t *testing.T, sites, name string) {
	t.Helper()
	conf, err := os.ReadFile("../database/testdata/mariadb-site/site_config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(sites, name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(sites, name, "site_config.json"), conf, 0o600); err != nil {
		t.Fatal(err)
	}
}

// sqliteSite makes a site of Frappe 16 on SQLite that has one user, alice, and returns its directory.
func sqliteSite(t *testing.T) string {
	t.Helper()
	return sqliteSiteIn(t, t.TempDir())
}

// sqliteSiteIn is sqliteSite in the directory of sites of a bench.
func sqliteSiteIn(t *testing.T, sites string) string {
	t.Helper()
	dir := filepath.Join(sites, "erp.example.com")
	if err := os.MkdirAll(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	const (
		key    = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
		secret = "gHwrHd3l_3Pe_t76meO9gxB2PoM5ledBZ87eyLAEfpnucbrV2ERy811zycNNUcONQM61lVUT87d5LKaS1YY0TX2XUGrzUj26Aw==" // testutil.AliceSecret, encrypted with the key
	)
	conf := fmt.Sprintf(`{"db_type": "sqlite", "db_name": "_site", "encryption_key": %q}`, key)
	if err := os.WriteFile(filepath.Join(dir, "site_config.json"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "db", "_site.db")+"?_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{
		`CREATE TABLE "tabUser" ("name", "api_key", "enabled" int, "full_name", "user_type", "modified")`,
		`CREATE TABLE "__Auth" ("doctype", "name", "fieldname", "password", "encrypted" int)`,
		`CREATE TABLE "tabHas Role" ("role", "parent", "parenttype")`,
		`CREATE TABLE "tabRole" ("name", "modified", "disabled" int)`,
		`CREATE TABLE "tabOAuth Bearer Token" ("name", "access_token", "user", "client", "scopes", "status", "expiration_time", "modified")`,
		`CREATE TABLE "tabOAuth Client" ("name", "scopes", "modified")`,
		`CREATE TABLE "tabDeleted Document" ("deleted_doctype", "deleted_name", "modified")`,
		`CREATE TABLE "tabSingles" ("doctype", "field", "value")`,
		`INSERT INTO "tabUser" VALUES ('alice@example.com', '` + testutil.AliceKey +
			`', 1, 'Alice', 'System User', '2026-01-01 00:00:00.000000')`,
		`INSERT INTO "__Auth" VALUES ('User', 'alice@example.com', 'api_secret', '` + secret + `', 1)`,
		`INSERT INTO "tabSingles" VALUES ('System Settings', 'time_zone', 'Europe/Berlin')`,
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return dir
}
