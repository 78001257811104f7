package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/fernet/fernet-go"
)

// databaseToken is a credential of the database's users, by its number.
const databaseToken = "token key%d:0123456789abcde" //nolint:gosec // of users that the harness makes

// users are added to the recorded rows, each with an API key, a secret encrypted as Frappe does, and a role. The indexes
// are those that Frappe makes; the recorded tables come without them.
const users = `
INSERT INTO "tabUser" ("name", "modified", "api_key", "docstatus", "idx")
	SELECT 'user' || i, '2026-01-01', 'key' || i, 0, 0 FROM generate_series(0, %[1]d - 1) i;
INSERT INTO "__Auth" ("doctype", "name", "fieldname", "password", "encrypted")
	SELECT 'User', 'user' || i, 'api_secret', '%[2]s', 1 FROM generate_series(0, %[1]d - 1) i;
INSERT INTO "tabHas Role" ("name", "docstatus", "idx", "role", "parent", "parenttype")
	SELECT 'role' || i, 0, 0, 'Employee', 'user' || i, 'User' FROM generate_series(0, %[1]d - 1) i;
CREATE INDEX ON "tabHas Role" ("parent");
CREATE INDEX ON "tabUser" ("modified");
CREATE INDEX ON "tabOAuth Bearer Token" ("modified");
ANALYZE;
`

func initdbProgram() (string, error) {
	return program("postgresql", "/usr/lib/postgresql/*/bin/initdb", "initdb")
}

func psqlProgram() (string, error) {
	return program("postgresql-client", "/usr/lib/postgresql/*/bin/psql", "psql")
}

// Database is the directory of a Frappe site whose users are in a PostgreSQL of the stage.
func (s *stage) Database() (string, error) {
	if s.database != "" {
		return s.database, nil
	}
	recorded := filepath.Join(s.h.module, "database", "testdata", "postgres-site")
	raw, err := os.ReadFile(filepath.Join(recorded, "site_config.json")) //nolint:gosec // of this checkout
	if err != nil {
		return "", err
	}
	var conf map[string]any
	if err := json.Unmarshal(raw, &conf); err != nil {
		return "", err
	}
	encrypted, err := encryptedSecret(conf)
	if err != nil {
		return "", err
	}
	port, err := s.startPostgreSQL()
	if err != nil {
		return "", err
	}
	name := conf["db_name"].(string)
	for _, step := range [][]string{
		{"-d", "postgres", "-c", fmt.Sprintf("CREATE USER %s PASSWORD '%s'", name, conf["db_password"]), "-c", fmt.Sprintf("CREATE DATABASE %s OWNER %[1]s", name)},
		{"-d", name, "-f", filepath.Join(recorded, "database.sql")},
		{"-d", name, "-c", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO " + name},
		{"-d", name, "-c", fmt.Sprintf(users, s.h.sizes.users, encrypted)},
	} {
		if err := s.psql(port, step...); err != nil {
			return "", err
		}
	}
	conf["db_host"], conf["db_port"] = "127.0.0.1", port
	if raw, err = json.Marshal(conf); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(s.dir, "site-*")
	if err != nil {
		return "", err
	}
	s.database = dir
	return dir, os.WriteFile(filepath.Join(dir, "site_config.json"), raw, 0o600)
}

// encryptedSecret is the secret of databaseToken as the site keeps it.
func encryptedSecret(conf map[string]any) (string, error) {
	text, _ := conf["encryption_key"].(string)
	key, err := fernet.DecodeKey(text)
	if err != nil {
		return "", err
	}
	encrypted, err := fernet.EncryptAndSign([]byte("0123456789abcde"), key)
	return string(encrypted), err
}

// startPostgreSQL starts a server with nothing in it, and returns its port.
func (s *stage) startPostgreSQL() (int, error) {
	initdb, err := initdbProgram()
	if err != nil {
		return 0, err
	}
	who, err := unprivileged("postgres")
	if err != nil {
		return 0, err
	}
	dir, err := who.directory(s.dir, "postgres-*")
	if err != nil {
		return 0, err
	}
	data := filepath.Join(dir, "data")
	create := exec.CommandContext(s.ctx, initdb, "-D", data, "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--no-sync") //nolint:gosec // an installed program
	create.Dir, create.SysProcAttr = dir, attributes(who, syscall.SIGKILL)
	if _, err := run(create); err != nil {
		return 0, err
	}
	port, err := s.h.ports.free(s.ctx)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(filepath.Join(filepath.Dir(initdb), "postgres"), "-D", data, "-p", strconv.Itoa(port), //nolint:gosec,noctx // an installed program; stop ends it
		"-k", dir, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off")
	cmd.Dir = dir
	p, err := start("PostgreSQL", cmd, s.dir, who, syscall.SIGINT) // fast shutdown
	if err != nil {
		return 0, err
	}
	s.processes = append(s.processes, p)
	if err := p.await(s.ctx, "127.0.0.1:"+strconv.Itoa(port)); err != nil {
		return 0, err
	}
	return port, s.awaitPostgreSQL(p, port)
}

// awaitPostgreSQL waits until the server not only takes connections but lets them in.
func (s *stage) awaitPostgreSQL(p *process, port int) error {
	for {
		err := s.psql(port, "-d", "postgres", "-c", "SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("PostgreSQL did not start:\n%s", p.output())
		case <-s.ctx.Done():
			return err
		default:
		}
	}
}

func (s *stage) psql(port int, args ...string) error {
	path, err := psqlProgram()
	if err != nil {
		return err
	}
	args = append([]string{"-q", "-X", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-U", "postgres"}, args...)
	_, err = run(exec.CommandContext(s.ctx, path, args...)) //nolint:gosec // an installed program
	return err
}
