package database

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	logobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// server is a database server of this test run, started from the installed programs.
type server struct {
	kind string
	dir  string
	port string
	tls  string // directory with ca.pem, cert.pem and key.pem; empty: no TLS

	mu      sync.Mutex
	process *exec.Cmd
	next    int // number of the next database
}

var (
	mariaDB    = &server{kind: "mariadb"}
	postgreSQL = &server{kind: "postgres"}
)

func TestMain(m *testing.M) {
	code := testutil.Main(m)
	for _, s := range []*server{mariaDB, postgreSQL} {
		s.kill()
		if s.dir != "" {
			os.RemoveAll(s.dir)
		}
	}
	os.Exit(code)
}

// unprivileged makes a command run as somebody who may run PostgreSQL, which root may not.
func unprivileged(t testing.TB, command *exec.Cmd) (uid, gid int) {
	t.Helper()
	if os.Getuid() != 0 {
		return os.Getuid(), os.Getgid()
	}
	who, err := user.Lookup("postgres")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ = strconv.Atoi(who.Uid)
	gid, _ = strconv.Atoi(who.Gid)
	if command != nil {
		runAs(command, uid, gid)
	}
	return uid, gid
}

func run(t testing.TB, command *exec.Cmd) {
	t.Helper()
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
}

// start starts the server, if it does not run.
func (s *server) start(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process != nil {
		return
	}
	fresh := s.dir == ""
	if fresh {
		var err error
		if s.dir, err = os.MkdirTemp("", "frappe-auth-"+s.kind); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(s.dir, 0o755); err != nil { //nolint:gosec // another user runs PostgreSQL
			t.Fatal(err)
		}
		s.port = testutil.FreePort(t)
	}
	data := filepath.Join(s.dir, "data")
	switch s.kind {
	case "mariadb":
		daemon := testutil.RequireProgram(t, "mariadb-server", "mariadbd")
		if fresh {
			run(
				t,
				exec.Command(testutil.RequireProgram(t, "mariadb-server", "mariadb-install-db"), "--no-defaults", "--datadir="+data,
					"--auth-root-authentication-method=normal", "--skip-test-db"),
			)
		}
		s.process = exec.Command(daemon, "--no-defaults", "--datadir="+data, "--socket="+filepath.Join(s.dir, "s"),
			"--port="+s.port, "--bind-address=127.0.0.1", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M")
		if os.Getuid() == 0 {
			s.process.Args = append(s.process.Args, "--user=root")
		}
		if s.tls == "" {
			s.process.Args = append(s.process.Args, "--skip-ssl") // newer ones make a certificate
		} else {
			s.process.Args = append(s.process.Args, "--ssl-ca="+filepath.Join(s.tls, "ca.pem"),
				"--ssl-cert="+filepath.Join(s.tls, "cert.pem"), "--ssl-key="+filepath.Join(s.tls, "key.pem"))
		}
	case "postgres":
		initdb := testutil.RequireProgram(t, "postgresql", "/usr/lib/postgresql/*/bin/initdb", "initdb")
		if fresh {
			uid, gid := unprivileged(t, nil)
			if err := os.Chown(s.dir, uid, gid); err != nil {
				t.Fatal(err)
			}
			command := exec.Command(initdb, "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
			unprivileged(t, command)
			command.Dir = s.dir
			run(t, command)
		}
		s.process = exec.Command(filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-p", s.port,
			"-k", s.dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")
		if s.tls != "" {
			s.process.Args = append(s.process.Args, "-c", "ssl=on", "-c", "ssl_ca_file="+filepath.Join(s.tls, "ca.pem"),
				"-c", "ssl_cert_file="+filepath.Join(s.tls, "cert.pem"), "-c", "ssl_key_file="+filepath.Join(s.tls, "key.pem"))
		}
		unprivileged(t, s.process)
		s.process.Dir = s.dir
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		t.Fatal(err)
	}
	admin := s.admin(t, "")
	defer admin.Close()
	var failure error
	if !testutil.Holds(time.Minute, func() bool {
		failure = admin.PingContext(t.Context())
		return failure == nil
	}) {
		output, _ := os.ReadFile(log.Name())
		t.Fatalf("%s does not start: %v\n%s", s.kind, failure, output)
	}
}

// kill ends the server at once.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return
	}
	signal := os.Interrupt // of PostgreSQL: fast shutdown
	if s.kind == "mariadb" {
		signal = os.Kill
	}
	s.process.Process.Signal(signal) //nolint:errcheck // it may have ended
	s.process.Wait()                 //nolint:errcheck // it was ended
	s.process = nil
}

// admin is a connection that may do anything.
func (s *server) admin(t testing.TB, database string) *sql.DB {
	t.Helper()
	var db *sql.DB
	var err error
	switch s.kind {
	case "mariadb":
		conf := mysql.NewConfig()
		conf.Net, conf.Addr, conf.User, conf.DBName = "tcp", "127.0.0.1:"+s.port, "root", database
		conf.MultiStatements, conf.InterpolateParams, conf.Logger = true, true, silent{}
		db, err = sql.Open("mysql", conf.FormatDSN())
	case "postgres":
		if database == "" {
			database = "postgres"
		}
		db, err = sql.Open(
			"pgx",
			fmt.Sprintf(
				"host=127.0.0.1 port=%s user=postgres dbname=%s sslmode=disable default_query_exec_mode=simple_protocol",
				s.port,
				database,
			),
		)
	}
	if err != nil {
		t.Fatal(err)
	}
	return db
}

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
			mustExec(
				t,
				admin,
				fmt.Sprintf(
					"CREATE USER %s@'127.0.0.1' IDENTIFIED BY '%s'; GRANT ALL ON %s.* TO %s@'127.0.0.1'",
					s.name,
					password,
					s.name,
					s.name,
				),
			)
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
		run(
			t,
			exec.Command(
				testutil.RequireProgram(t, "postgresql-client", "/usr/lib/postgresql/*/bin/psql", "psql"),
				"-q",
				"-X",
				"-v",
				"ON_ERROR_STOP=1",
				"-h",
				"127.0.0.1",
				"-p",
				s.server.port,
				"-U",
				"postgres",
				"-d",
				s.name,
				"-f",
				s.dump,
			),
		)
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
	s.change(
		t,
		`CREATE TABLE "tabRole" ("name" varchar(140) PRIMARY KEY, "modified" `+kind+`, "disabled" int NOT NULL DEFAULT 0)`,
	)
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

// provisioned is a backend of the site.
func provisioned(t testing.TB, b *Backend) *Backend {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	if err := b.Provision(ctx); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := b.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// verdict is what a backend says, in a word.
func verdict(b *Backend, c frappe.Credential) string {
	id, err := b.Verify(context.Background(), c)
	switch {
	case err == nil:
		return id.User
	case errors.Is(err, frappe.ErrDenied):
		return "denied"
	}
	return "unavailable: " + err.Error()
}

// forEachKind runs a test on each kind of database, and forEachServer on those that are servers.
func forEachKind(t *testing.T, test func(t *testing.T, kind string)) {
	t.Helper()
	forEachOf(t, kinds, test)
}

// serve runs a Caddy with the directive until the test ends, and returns its address.
func serve(t testing.TB, directive string) (url string, logs func() string) {
	t.Helper()
	address := testutil.FreeAddress(t)
	c := testutil.NewCaddy(t)
	t.Cleanup(func() {
		c.Stop()
		if secret := secretIn(t, c.Logs()); secret != "" {
			t.Errorf("the log holds the secret %s", secret)
		}
	})
	c.Load(fmt.Sprintf("http://%s {\n%s\nrespond \"{http.auth.user.id}|{http.auth.user.roles}\"\n}", address, directive))
	return "http://" + address, c.Logs
}

// secretIn is a secret of the recorded sites that a text holds, or empty: of users, of the database, and of the site.
func secretIn(t testing.TB, text string) string {
	t.Helper()
	for _, recorded := range []string{"mariadb-site", "postgres-site"} {
		creds := readCredentials(t, recorded)
		conf, err := readSiteConfig(filepath.Join("testdata", recorded))
		if err != nil {
			t.Fatal(err)
		}
		secrets := []string{conf.DBPassword, conf.EncryptionKey}
		for _, pair := range creds.pairs {
			secrets = append(secrets, pair[1], base64.StdEncoding.EncodeToString([]byte(pair[0]+":"+pair[1])))
		}
		for _, token := range creds.bearer {
			secrets = append(secrets, token)
		}
		for _, secret := range secrets {
			if secret != "" && strings.Contains(text, secret) {
				return secret
			}
		}
	}
	return ""
}

// ask is what Caddy answers to a credential: the status, and the user and roles if it is good.
func ask(t testing.TB, url, authorization string) string {
	t.Helper()
	got := testutil.Get(t, url, "Authorization: "+authorization)
	return strings.TrimSuffix(fmt.Sprintf("%d %s", got.Status, got.Body), " ")
}

// conf is the site's site_config.json.
func (s *site) conf(t testing.TB) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.dir, "site_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	var conf map[string]any
	if err := json.Unmarshal(raw, &conf); err != nil {
		t.Fatal(err)
	}
	return conf
}

// observed makes the source of a backend log to where a test sees it.
func observed(b *Backend) *logobserver.ObservedLogs {
	core, logs := logobserver.New(zapcore.InfoLevel)
	b.source.use(zap.New(core))
	return logs
}

// demandPassword makes PostgreSQL ask a user for the password.
func (s *server) demandPassword(t testing.TB, user string) {
	t.Helper()
	name := filepath.Join(s.dir, "data", "pg_hba.conf")
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	write := func(rules []byte) {
		if err := os.WriteFile(name, rules, 0o600); err != nil {
			t.Fatal(err)
		}
		admin := s.admin(t, "")
		defer admin.Close()
		mustExec(t, admin, "SELECT pg_reload_conf()")
	}
	write(append([]byte("host all "+user+" 127.0.0.1/32 scram-sha-256\n"), before...))
	t.Cleanup(func() { write(before) })
}

// column returns the first column of a query.
func column(t testing.TB, s *site, query string) (values []string) {
	t.Helper()
	rows, err := s.admin.QueryContext(t.Context(), dialects[s.kind].query(query))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var value string
		if err := rows.Scan(&value); err != nil {
			t.Fatal(err)
		}
		values = append(values, value)
	}
	if err := rows.Err(); err != nil || len(values) == 0 {
		t.Fatalf("%q: nothing found, %v", query, err)
	}
	return values
}

func bearer(token string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeBearer, Token: token}
}

func forEachServer(t *testing.T, test func(t *testing.T, kind string)) {
	t.Helper()
	forEachOf(t, servers, test)
}

func forEachOf(t *testing.T, kinds []string, test func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

func pair(p [2]string) frappe.Credential {
	return frappe.Credential{Scheme: frappe.SchemeToken, Key: p[0], Secret: p[1]}
}
