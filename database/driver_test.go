package database

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// fakeServer runs answer for each connection, and returns its port.
func fakeServer(t testing.TB, answer func(net.Conn)) (port string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				answer(conn)
			}()
		}
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port
}

// proxied runs a proxy in front of a site's server, and returns its port. For each connection, connected returns what is
// called before the server gets what the client sends, and before the client gets an answer.
func proxied(t testing.TB, s *site, connected func() (sent func(), answered func([]byte))) (port string) {
	t.Helper()
	return fakeServer(t, func(client net.Conn) {
		server, err := net.Dial("tcp", "127.0.0.1:"+s.server.port)
		if err != nil {
			t.Error(err)
			return
		}
		defer server.Close()
		sent, answered := connected()
		go func() {
			defer server.Close()
			for buffer := make([]byte, 1<<16); ; {
				n, err := client.Read(buffer)
				if err != nil {
					return
				}
				sent()
				server.Write(buffer[:n]) //nolint:errcheck // the test fails otherwise
			}
		}()
		for buffer := make([]byte, 1<<16); ; {
			n, err := server.Read(buffer)
			if err != nil {
				return
			}
			answered(buffer[:n])
			client.Write(buffer[:n]) //nolint:errcheck // the test fails otherwise
		}
	})
}

// recorded returns what a real server sends while a site is polled and credentials are verified: at first, and after
// each time that the client has sent something.
func recorded(t testing.TB, kind string) (sent [][]byte) {
	t.Helper()
	s := newSite(t, kind)
	var mu sync.Mutex
	port := proxied(t, s, func() (func(), func([]byte)) {
		sent = [][]byte{nil}
		return func() {
				mu.Lock()
				defer mu.Unlock()
				sent = append(sent, nil)
			}, func(answer []byte) {
				mu.Lock()
				defer mu.Unlock()
				sent[len(sent)-1] = append(sent[len(sent)-1], answer...)
			}
	})
	c := connected(t, s, port)
	c.db.SetMaxOpenConns(1) // so that all is one answer
	if got := verdict(backendOf(c), bearer(s.creds.bearer["alice"])); got != "alice@example.com" {
		t.Fatal(got)
	}
	sch, err := c.currentSchema(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.snapshot(t.Context(), sch, nil); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return slices.Clone(sent)
}

// backendOf is a backend with a connection, which does not poll.
func backendOf(c *connection) *Backend {
	b := &Backend{source: &source{}, now: time.Now, Timeout: defaultTimeout}
	b.source.current.Store(c)
	return b
}

// connected is a connection to a site's database by another port.
func connected(t testing.TB, s *site, port string) *connection {
	t.Helper()
	conf, err := (&Backend{Site: s.dir, DBHost: "127.0.0.1", DBPort: port}).readSettings()
	if err != nil {
		t.Fatal(err)
	}
	c, err := connect(conf, 2*time.Second, 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close() }) //nolint:errcheck // of no use here
	return c
}

// TestHostileDatabase: whatever a server answers, the process lives, and a poll and a verification end. The answers are
// random bytes, and what a real server sends with some bytes changed, inserted, left out or cut off.
func TestHostileDatabase(t *testing.T) {
	const workers, answers = 8, 300
	forEachServer(t, func(t *testing.T, kind string) {
		real, s := recorded(t, kind), newSite(t, kind)
		var wg sync.WaitGroup
		var asReal, panics, failures atomic.Int64
		for worker := range workers {
			var next atomic.Pointer[[][]byte]
			c := connected(t, s, fakeServer(t, func(conn net.Conn) { replay(conn, *next.Load()) }))
			random := rand.New(rand.NewPCG(1, uint64(worker))) //nolint:gosec // the same each time
			wg.Go(func() {
				for i := range answers {
					answer := mutated(random, real, i)
					next.Store(&answer)
					switch err := hostile(t.Context(), c, s.creds.bearer["alice"]); {
					case err == nil:
						asReal.Add(1)
					case errors.Is(err, errMalformed):
						panics.Add(1)
					default:
						failures.Add(1)
					}
				}
			})
		}
		wg.Wait()
		t.Logf(
			"%d answers were read, %d made the driver panic, %d were errors",
			asReal.Load(),
			panics.Load(),
			failures.Load(),
		)
		if asReal.Load() == 0 || failures.Load() == 0 || kind == "mariadb" && panics.Load() == 0 {
			t.Error("the answers are too alike")
		}
	})
}

// replay sends an answer, a part whenever the client has sent something.
func replay(conn net.Conn, answer [][]byte) {
	buffer := make([]byte, 1<<16)
	for _, part := range answer {
		if _, err := conn.Write(part); err != nil {
			return
		}
		conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) //nolint:errcheck // the client may be waiting for more
		if _, err := conn.Read(buffer); err != nil {
			return
		}
	}
}

// hostile does what the recording did on one connection.
func hostile(ctx context.Context, c *connection, token string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c.db.SetMaxIdleConns(1)
	defer c.db.SetMaxIdleConns(0) // the next connection gets the next answer
	c.forgetSchema()
	if _, err := c.verifyToken(ctx, token, time.Now()); err != nil {
		return err
	}
	sch, err := c.currentSchema(ctx)
	if err == nil {
		_, err = c.snapshot(ctx, sch, nil)
	}
	return err
}

// mutated returns the next answer of a hostile server.
func mutated(random *rand.Rand, real [][]byte, i int) [][]byte {
	answer := make([][]byte, len(real))
	for i := range real {
		answer[i] = slices.Clone(real[i])
	}
	for range 1 + random.IntN(3) {
		part := &answer[random.IntN(len(answer))]
		if random.IntN(2) == 0 {
			part = &answer[random.IntN(3)] // the handshake
		}
		if i%8 == 0 {
			*part = nil
			for range random.IntN(400) {
				*part = append(*part, byte(random.Uint32()))
			}
		}
		if len(*part) == 0 {
			continue
		}
		at := random.IntN(len(*part))
		switch random.IntN(5) {
		case 0:
			*part = slices.Delete(*part, at, min(at+1+random.IntN(8), len(*part)))
		case 1:
			*part = slices.Insert(*part, at, byte(random.Uint32()))
		case 2:
			*part = (*part)[:at]
		default:
			(*part)[at] = []byte{0, 1, 0x7f, 0x80, 0xfe, 0xff, byte(random.Uint32())}[random.IntN(7)]
		}
	}
	return answer
}

// TestHostileDatabaseThroughCaddy: answers that made a driver panic, announce more than there is, or never end.
func TestHostileDatabaseThroughCaddy(t *testing.T) {
	packet := func(payload string) []byte {
		raw, err := hex.DecodeString(strings.ReplaceAll(payload, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	endless := func(head []byte) func(net.Conn) {
		return func(conn net.Conn) {
			for {
				if _, err := conn.Write(head); err != nil {
					return
				}
			}
		}
	}
	once := func(answer []byte) func(net.Conn) {
		return func(conn net.Conn) {
			conn.Write(answer)        //nolint:errcheck // the client may be gone
			io.Copy(io.Discard, conn) //nolint:errcheck // until the client is gone
		}
	}
	large := make([]byte, 1<<16)
	for name, test := range map[string]struct {
		kind   string
		answer func(net.Conn)
	}{
		"nine bytes of MariaDB":                {"mariadb", once(packet("05 00 00 00 0a 38 2e 30 00"))},
		"packets of MariaDB that continue":     {"mariadb", endless(append(packet("ff ff ff 00"), large...))},
		"nothing, from MariaDB":                {"mariadb", once(nil)},
		"a web server in place of MariaDB":     {"mariadb", once([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))},
		"a message of 2 GB from PostgreSQL":    {"postgres", once(append([]byte("NR"), binary.BigEndian.AppendUint32(nil, 1<<31-1)...))},
		"endless notices of PostgreSQL":        {"postgres", endless(append(append([]byte("NN"), 0, 0, 0, 5), 0))},
		"a negative length from PostgreSQL":    {"postgres", once(append([]byte("NR"), 0xff, 0xff, 0xff, 0xff))},
		"a password of PostgreSQL never ready": {"postgres", once(append([]byte("NR"), 0, 0, 0, 8, 0, 0, 0, 0))},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, test.kind)
			url, logs := serve(t, fmt.Sprintf(`frappe_auth {
	backend database %s {
	db_host 127.0.0.1
	db_port %s
	poll_interval 100ms
	timeout 300ms
	}
}`, s.dir, fakeServer(t, test.answer)))
			for range 3 {
				if got := ask(t, url, "Bearer "+s.creds.bearer["alice"]); got != "503" {
					t.Errorf("%s, want 503", got)
				}
			}
			testutil.Eventually(t, "the poll says that it fails", func() bool {
				return strings.Contains(logs(), "cannot look for changes")
			})
		})
	}
}

// TestTooLong: a server can send no more than the limit, and is told to have sent too much.
func TestTooLong(t *testing.T) {
	for name, head := range map[string]string{"mariadb": "\xff\xff\xff\x00", "postgres": "NN\x00\x00\xff\xff"} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, name)
			var mu sync.Mutex
			most := 0
			port := fakeServer(t, func(conn net.Conn) {
				sent, err := conn.Write([]byte(head))
				for zeros := make([]byte, 1<<12); err == nil; {
					var n int
					n, err = conn.Write(zeros)
					sent += n
				}
				mu.Lock()
				most = max(most, sent)
				mu.Unlock()
			})
			_, err := connected(t, s, port).one(t.Context(), "SELECT 1")
			if err == nil {
				t.Fatal("no error")
			}
			testutil.Eventually(t, "the connection is closed", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return most > 0
			})
			mu.Lock()
			defer mu.Unlock()
			if most > maxAnswer {
				t.Errorf("%d bytes were sent", most)
			}
			t.Logf("%d bytes were sent: %v", most, err)
		})
	}
}

// TestNoSessionState: each query is sent with its own read-only transaction and without settings of the session, which
// a proxy between Caddy and MariaDB may lose. Only the character set is set, which is part of the protocol.
func TestNoSessionState(t *testing.T) {
	s := newSite(t, "mariadb")
	mustExec(t, s.admin, "SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = 1")
	t.Cleanup(func() { mustExec(t, s.admin, "SET GLOBAL general_log = 0; TRUNCATE mysql.general_log") })
	b := provisioned(t, &Backend{Site: s.dir, PollInterval: caddy.Duration(time.Minute)})
	if got := verdict(b, pair(s.creds.pairs["alice@example.com"])); got != "alice@example.com" {
		t.Fatal(got)
	}
	statements := column(
		t,
		s,
		"SELECT CONVERT(argument USING utf8mb4) FROM mysql.general_log WHERE command_type = 'Query' "+
			"AND user_host LIKE '%"+s.name+"%'",
	)
	open := false
	for _, statement := range statements {
		switch {
		case statement == "SET NAMES utf8mb4":
		case strings.HasPrefix(statement, "START TRANSACTION READ ONLY; SELECT ") && strings.HasSuffix(statement, "; COMMIT") && !open:
			// It is logged as a whole, and then each statement.
		case statement == "START TRANSACTION READ ONLY" && !open:
			open = true
		case strings.HasPrefix(statement, "SELECT ") && open:
		case statement == "COMMIT" && open:
			open = false
		default:
			t.Errorf("in a transaction: %t; %s", open, statement)
		}
	}
	if len(statements) < 4 {
		t.Errorf("only %q", statements)
	}
}

// sharedSessions relays connections to MariaDB, and returns the port. Before each query, somebody else runs one of the
// statements in the same session, as behind a proxy that lends sessions to many.
func sharedSessions(t *testing.T, s *site, statements ...string) (port string) {
	t.Helper()
	packet := func(from io.Reader) ([]byte, error) {
		head := make([]byte, 4)
		if _, err := io.ReadFull(from, head); err != nil {
			return nil, err
		}
		body := make([]byte, int(head[0])|int(head[1])<<8|int(head[2])<<16)
		_, err := io.ReadFull(from, body)
		return append(head, body...), err
	}
	var queries atomic.Int64
	return fakeServer(t, func(client net.Conn) {
		server, err := net.Dial("tcp", "127.0.0.1:"+s.server.port)
		if err != nil {
			return // the test has ended
		}
		defer server.Close()
		var forOthers atomic.Bool // who the next packet of the server is for
		others := make(chan byte)
		go func() {
			defer client.Close()
			for {
				answer, err := packet(server)
				switch {
				case err != nil:
					close(others)
					return
				case forOthers.CompareAndSwap(true, false):
					others <- answer[4]
				default:
					client.Write(answer) //nolint:errcheck // it may have gone
				}
			}
		}()
		for {
			sent, err := packet(client)
			if err != nil {
				return
			}
			if sent[3] == 0 && sent[4] == 3 { // a command, COM_QUERY
				statement := statements[queries.Add(1)%int64(len(statements))]
				forOthers.Store(true)
				server.Write(append([]byte{byte(len(statement) + 1), 0, 0, 0, 3}, statement...)) //nolint:errcheck // others tells
				kind, ok := <-others
				if !ok {
					return // the test has ended
				}
				if kind != 0 {
					t.Errorf("%s was not accepted: %d", statement, kind)
				}
			}
			server.Write(sent) //nolint:errcheck // the next packet of the server never comes
		}
	})
}

// TestSharedSessions: behind a proxy that lends the sessions of MariaDB to many, every verdict is right under load,
// polls see changes and nothing can be written, whatever settings others leave.
func TestSharedSessions(t *testing.T) {
	s := newSite(t, "mariadb")
	port := sharedSessions(
		t, s,
		"SET SESSION TRANSACTION READ WRITE", "SET autocommit = 0", "SET autocommit = 1",
		"SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,PAD_CHAR_TO_FULL_LENGTH'", "SET sql_mode = ''",
		"SET time_zone = '-08:00'", "SET sql_select_limit = 1", "SET collation_connection = 'utf8mb4_bin'", "START TRANSACTION",
	)
	b := provisioned(t, &Backend{Site: s.dir, DBHost: "127.0.0.1", DBPort: port, PollInterval: maxPollInterval})
	p := &poller{source: b.source}
	if got := lookOnce(t, s, p); got != "" {
		t.Fatal(got)
	}
	alice := s.creds.pairs["alice@example.com"]
	var load sync.WaitGroup
	for worker := range 4 {
		load.Go(func() {
			for i := range 50 {
				var got, want string
				switch (worker + i) % 4 {
				case 0:
					got, want = verdict(b, pair(alice)), "alice@example.com"
				case 1:
					got, want = verdict(b, bearer(s.creds.bearer["bob"])), "bob@example.com"
				case 2:
					got, want = verdict(b, pair([2]string{alice[0], `x\' OR 1=1 -- `})), "denied"
				case 3:
					got, want = verdict(b, pair([2]string{`x\' OR 1=1 -- `, "x"})), "denied"
				}
				if got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		})
	}
	load.Wait()
	c := b.source.current.Load()
	for range 9 { // after each statement of others
		if _, err := c.one(t.Context(), `DELETE FROM "tabOAuth Client"`); code(err) != "1792" {
			t.Errorf("the transaction may write: %v", err)
		}
	}
	s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'web@example.com'`, frappeNow(0))
	if got := lookOnce(t, s, p); !strings.HasPrefix(got, "web@example.com ") {
		t.Errorf("a poll reports %q", got)
	}
}

// pgBouncer starts a PgBouncer before a site's PostgreSQL, and returns its port.
func pgBouncer(t *testing.T, s *site, mode string) (port string) {
	t.Helper()
	program := testutil.RequireProgram(t, "pgbouncer", "pgbouncer", "/usr/sbin/pgbouncer")
	dir, err := os.MkdirTemp("", "frappe-auth-pgbouncer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	uid, gid := unprivileged(t, nil)
	port = testutil.FreePort(t)
	for name, content := range map[string]string{
		"users": fmt.Sprintf("%q %q\n", s.name, ""),
		"ini": fmt.Sprintf("[databases]\n* = host=127.0.0.1 port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port "+
			"= %s\n"+
			"auth_type = trust\nauth_file = %s/users\npool_mode = %s\ndefault_pool_size = 3\nunix_socket_dir =\n",
			s.server.port, port, dir, mode),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, name), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, filepath.Join(dir, "ini"))
	command.Dir = dir
	unprivileged(t, command)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill() //nolint:errcheck // it may have ended
		command.Wait()         //nolint:errcheck // it was ended
	})
	testutil.Eventually(t, "PgBouncer listens", func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return port
}

// TestPgBouncer: behind PgBouncer, every verdict is right under load, polls see changes and nothing can be written,
// while others share the sessions, forget prepared statements and change settings.
func TestPgBouncer(t *testing.T) {
	for mode, disturbances := range map[string][]string{
		"session": {"SELECT 1"},
		"transaction": {
			"DEALLOCATE ALL", "SET standard_conforming_strings = off", "SET default_transaction_read_only = off",
			"SET DateStyle = 'SQL, DMY'", "SET TimeZone = 'America/New_York'", "DISCARD ALL",
		},
	} {
		t.Run(mode, func(t *testing.T) {
			s := newSite(t, "postgres")
			port := pgBouncer(t, s, mode)
			conns := map[string]int{"session": 2, "transaction": 8}[mode] // one is for the others
			b := provisioned(t, &Backend{
				Site: s.dir, DBHost: "127.0.0.1", DBPort: port, MaxOpenConns: conns, PollInterval: maxPollInterval,
			})
			p := &poller{source: b.source}
			if got := lookOnce(t, s, p); got != "" {
				t.Fatal(got)
			}
			other, err := sql.Open("pgx", fmt.Sprintf("host=127.0.0.1 port=%s user=%s dbname=%s sslmode=disable "+
				"default_query_exec_mode=simple_protocol", port, s.name, s.name))
			if err != nil {
				t.Fatal(err)
			}
			other.SetMaxOpenConns(1)
			t.Cleanup(func() { other.Close() })
			alice := s.creds.pairs["alice@example.com"]
			var load sync.WaitGroup
			for worker := range 8 {
				load.Go(func() {
					for i := range 200 {
						switch (worker + i) % 4 {
						case 0:
							if got := verdict(b, pair(alice)); got != "alice@example.com" {
								t.Errorf("key of alice: %s", got)
							}
						case 1:
							if got := verdict(b, bearer(s.creds.bearer["bob"])); got != "bob@example.com" {
								t.Errorf("token of bob: %s", got)
							}
						case 2:
							if got := verdict(b, pair([2]string{alice[0], `x\' OR 1=1 -- `})); got != "denied" {
								t.Errorf("wrong secret: %s", got)
							}
						case 3:
							if got := verdict(b, pair([2]string{`x\' OR 1=1 -- `, "x"})); got != "denied" {
								t.Errorf("unknown key: %s", got)
							}
						}
					}
				})
			}
			load.Go(func() {
				for i := range 100 {
					if _, err := other.ExecContext(t.Context(), disturbances[i%len(disturbances)]); err != nil {
						t.Error(err)
					}
				}
			})
			load.Wait()
			c := b.source.current.Load()
			if _, err := c.one(t.Context(), `DELETE FROM "tabOAuth Client"`); code(err) != "25006" {
				t.Errorf("the transaction may write: %v", err)
			}
			s.change(t, `UPDATE "tabUser" SET "modified" = ? WHERE "name" = 'web@example.com'`, frappeNow(0))
			if got := lookOnce(t, s, p); !strings.HasPrefix(got, "web@example.com ") {
				t.Errorf("a poll reports %q", got)
			}
		})
	}
}
