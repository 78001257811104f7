package database

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// site is a Frappe site of a test of its own: the recorded rows in a database, and the directory that says where it is.
type site struct {
	kind   string
	server *server
	dir    string
	name   string // of the database
	dump   string // the file of the recorded rows
	admin  *sql.DB
	creds  credentials
}

// credentials are the plain ones of a recorded site.
type credentials struct {
	pairs  map[string][2]string
	bearer map[string]string
}

// kinds are the databases that tests run on, and servers those that are processes of their own.
var (
	kinds   = []string{"mariadb", "postgres", "sqlite"}
	servers = []string{"mariadb", "postgres"}
)

// newSite makes a site with the recorded rows.
func newSite(t testing.TB, kind string) *site {
	t.Helper()
	return newSiteOn(t, kind, map[string]*server{"mariadb": mariaDB, "postgres": postgreSQL}[kind])
}

// newSiteOn makes a site with the recorded rows on a server.
func newSiteOn(t testing.TB, kind string, on *server) *site {
	t.Helper()
	if kind == "sqlite" {
		return newSiteOf(t, kind, "postgres-site", on)
	}
	return newSiteOf(t, kind, kind+"-site", on)
}

// newSiteOf makes a site with the rows of a directory below testdata.
func newSiteOf(t testing.TB, kind, recorded string, on *server) *site {
	t.Helper()
	s := &site{kind: kind, dir: filepath.Join(t.TempDir(), "erp.example.com")}
	s.creds = readCredentials(t, recorded)
	raw, err := os.ReadFile(filepath.Join("testdata", recorded, "site_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var conf map[string]any
	if err := json.Unmarshal(raw, &conf); err != nil {
		t.Fatal(err)
	}
	s.dump = filepath.Join("testdata", recorded, "database.sql")

	switch kind {
	case "mariadb", "postgres":
		s.server = on
		s.server.start(t)
		s.server.mu.Lock()
		s.server.next++
		s.name = fmt.Sprintf("_site%d", s.server.next)
		s.server.mu.Unlock()
		conf["db_name"], conf["db_host"], conf["db_port"] = s.name, "127.0.0.1", s.server.port
		if conf["db_user"] != nil { // Frappe 16 writes it
			conf["db_user"] = s.name
		}
		admin := s.server.admin(t, "")
		defer admin.Close()
		password := conf["db_password"].(string)
		if kind == "mariadb" {
			mustExec(t, admin, "CREATE DATABASE "+s.name)
			mustExec(t, admin, fmt.Sprintf("CREATE USER %s@'127.0.0.1' IDENTIFIED BY '%s'; GRANT ALL ON %s.* TO %s@'127.0.0.1'", s.name, password, s.name, s.name))
			s.admin = s.server.admin(t, s.name)
		} else {
			mustExec(t, admin, fmt.Sprintf("CREATE USER %s PASSWORD '%s'", s.name, password))
			mustExec(t, admin, fmt.Sprintf("CREATE DATABASE %s OWNER %s", s.name, s.name))
			s.admin = s.server.admin(t, s.name)
		}
		s.load(t)
	case "sqlite":
		s.name = "_site"
		conf["db_type"], conf["db_name"] = "sqlite", s.name
		if err := os.MkdirAll(filepath.Join(s.dir, "db"), 0o700); err != nil {
			t.Fatal(err)
		}
		s.load(t)
	}
	t.Cleanup(func() { s.admin.Close() })
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.configure(t, conf)
	common, err := os.ReadFile("testdata/common_site_config.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "..", "common_site_config.json"), common, 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// load loads the recorded rows.
func (s *site) load(t testing.TB) {
	t.Helper()
	switch s.kind {
	case "mariadb":
		text, err := os.ReadFile(s.dump)
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, s.admin, string(text))
	case "postgres":
		run(t, exec.Command(testutil.RequireProgram(t, "postgresql-client", "/usr/lib/postgresql/*/bin/psql", "psql"), "-q", "-X", "-v", "ON_ERROR_STOP=1",
			"-h", "127.0.0.1", "-p", s.server.port, "-U", "postgres", "-d", s.name, "-f", s.dump))
		mustExec(t, s.admin, fmt.Sprintf("GRANT SELECT ON ALL TABLES IN SCHEMA public TO %s", s.name))
	case "sqlite":
		var err error
		if s.admin, err = sql.Open("sqlite", "file:"+s.file()+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(5000)"); err != nil {
			t.Fatal(err)
		}
		loadSQLite(t, s.admin, s.dump)
	}
}

// file is that of SQLite.
func (s *site) file() string { return filepath.Join(s.dir, "db", s.name+".db") }

// restore puts the recorded rows back, as bench restore does with a backup.
func (s *site) restore(t testing.TB) {
	t.Helper()
	if s.kind == "sqlite" {
		s.admin.Close()
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(s.file() + suffix); err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	} else {
		for _, table := range []string{"tabUser", "__Auth", "tabOAuth Bearer Token", "tabOAuth Client", "tabHas Role", "tabRole", "tabDeleted Document", "tabSingles"} {
			s.change(t, `DROP TABLE IF EXISTS "`+table+`"`)
		}
	}
	s.load(t)
}

func (s *site) configure(t testing.TB, conf map[string]any) {
	t.Helper()
	raw, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "site_config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// encrypted is a secret as Frappe stores it.
func (s *site) encrypted(t testing.TB, secret string) string {
	t.Helper()
	conf, err := readSiteConfig(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := parseFernetKey(conf.EncryptionKey)
	if err != nil {
		t.Fatal(err)
	}
	return encrypted(t, key, secret)
}

// createRoles adds the recorded table of roles.
func (s *site) createRoles(t testing.TB) {
	t.Helper()
	kind := map[string]string{"mariadb": "datetime(6)", "postgres": "timestamp(6)", "sqlite": "text"}[s.kind]
	s.change(t, `CREATE TABLE "tabRole" ("name" varchar(140) PRIMARY KEY, "modified" `+kind+`, "disabled" int NOT NULL DEFAULT 0)`)
	raw, err := os.ReadFile("testdata/roles.sql")
	if err != nil {
		t.Fatal(err)
	}
	s.change(t, string(raw))
	s.change(t, `CREATE INDEX modified_of_roles ON "tabRole" ("modified")`)
	if s.kind == "postgres" {
		s.change(t, `GRANT SELECT ON "tabRole" TO `+s.name)
	}
}

// grant makes the user caddy with the statements of docs/database.md, for the test.
func (s *site) grant(t testing.TB) {
	t.Helper()
	raw, err := os.ReadFile("testdata/grants-" + s.kind + ".sql")
	if err != nil {
		t.Fatal(err)
	}
	mustExec(t, s.admin, string(raw))
	t.Cleanup(func() {
		if s.kind == "mariadb" {
			mustExec(t, s.admin, `DROP USER 'caddy'@'127.0.0.1'`)
		} else {
			mustExec(t, s.admin, `DROP OWNED BY caddy; DROP USER caddy`)
		}
	})
}

func readCredentials(t testing.TB, recorded string) credentials {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", recorded, "credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	c := credentials{pairs: make(map[string][2]string)}
	for name, value := range all {
		var pair struct {
			Key    string `json:"api_key"`
			Secret string `json:"api_secret"`
		}
		switch {
		case name == "bearer":
			if err := json.Unmarshal(value, &c.bearer); err != nil {
				t.Fatal(err)
			}
		case json.Unmarshal(value, &pair) == nil && pair.Key != "":
			c.pairs[name] = [2]string{pair.Key, pair.Secret}
		}
	}
	return c
}

// mustExec runs a statement, in ANSI SQL or the server's.
func mustExec(t testing.TB, db *sql.DB, statement string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), statement, args...); err != nil {
		t.Fatalf("%v in %.200s", err, statement)
	}
}

// change runs a statement in ANSI SQL as Frappe would.
func (s *site) change(t testing.TB, statement string, args ...any) {
	t.Helper()
	mustExec(t, s.admin, dialects[s.kind].query(statement), args...)
}

// loadSQLite makes tables and rows of a dump of PostgreSQL.
func loadSQLite(t testing.TB, db *sql.DB, dump string) {
	t.Helper()
	file, err := os.Open(dump)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	insert, tx := "", (*sql.Tx)(nil)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "COPY public."):
			table, rest, _ := strings.Cut(strings.TrimPrefix(line, "COPY public."), " (")
			columns := strings.Split(strings.TrimSuffix(rest, ") FROM stdin;"), ", ")
			definitions := make([]string, len(columns))
			for i, column := range columns {
				definitions[i] = column + " TEXT"
				if column == "enabled" || column == "encrypted" || column == "idx" {
					definitions[i] = column + " INTEGER"
				}
			}
			mustExec(t, db, "CREATE TABLE "+table+" ("+strings.Join(definitions, ", ")+")")
			insert = "INSERT INTO " + table + " VALUES (?" + strings.Repeat(", ?", len(columns)-1) + ")"
			if tx, err = db.Begin(); err != nil {
				t.Fatal(err)
			}
		case line == `\.`:
			if err := tx.Commit(); err != nil {
				t.Fatal(err)
			}
			insert = ""
		case insert != "":
			values := make([]any, 0, 80)
			for value := range strings.SplitSeq(line, "\t") {
				if value == `\N` {
					values = append(values, nil)
					continue
				}
				values = append(values, strings.NewReplacer(`\\`, `\`, `\t`, "\t", `\n`, "\n").Replace(value))
			}
			if _, err := tx.Exec(insert, values...); err != nil {
				t.Fatal(err)
			}
		}
	}
}
