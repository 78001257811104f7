package database

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver

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
			run(t, exec.Command(testutil.RequireProgram(t, "mariadb-server", "mariadb-install-db"), "--no-defaults", "--datadir="+data,
				"--auth-root-authentication-method=normal", "--skip-test-db"))
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
		db, err = sql.Open("pgx", fmt.Sprintf("host=127.0.0.1 port=%s user=postgres dbname=%s sslmode=disable default_query_exec_mode=simple_protocol", s.port, database))
	}
	if err != nil {
		t.Fatal(err)
	}
	return db
}
