package database

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // the protocol has it
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const theirPassword = "the password of the site"

// heard collects what a hostile server learns.
type heard struct {
	mu   sync.Mutex
	data []byte
}

func (h *heard) add(data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.data = append(h.data, data...)
}

func (h *heard) knows(text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return bytes.Contains(h.data, []byte(text))
}

// mariaDBServer is the server's side of a connection with MariaDB's protocol.
type mariaDBServer struct {
	net.Conn
	heard    *heard
	sequence byte
	key      *rsa.PrivateKey
}

func (s *mariaDBServer) send(payload ...[]byte) {
	data := slices.Concat(payload...)
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(data))) //nolint:gosec // it is short
	head[3] = s.sequence
	s.sequence++
	s.Write(append(head, data...)) //nolint:errcheck // the client may be gone
}

// read returns what the client sends, or nil.
func (s *mariaDBServer) read() []byte {
	head := make([]byte, 4)
	if _, err := io.ReadFull(s, head); err != nil {
		return nil
	}
	s.sequence = head[3] + 1
	head[3] = 0
	data := make([]byte, binary.LittleEndian.Uint32(head))
	if _, err := io.ReadFull(s, data); err != nil {
		return nil
	}
	s.heard.add(data)
	return data
}

var salt = bytes.Repeat([]byte{'x'}, 20)

// greet begins a connection, and asks for the login of a plugin.
func (s *mariaDBServer) greet(plugin string) {
	s.send([]byte("\x0a8.0.0\x00\x01\x00\x00\x00"), salt[:8], []byte("\x00\xff\xf7\x2d\x02\x00\xff\xff\x15"),
		make([]byte, 10), salt[8:], []byte("\x00"+plugin+"\x00"))
	s.read()
}

func (s *mariaDBServer) change(plugin string) []byte {
	s.send([]byte("\xfe"+plugin+"\x00"), salt, []byte{0})
	return s.read()
}

// serve lets the client in, and answers its query.
func (s *mariaDBServer) serve(answer string) {
	ok := []byte{0, 0, 0, 2, 0, 0, 0}
	s.greet("mysql_native_password")
	s.send(ok)
	for sent := s.read(); sent != nil; sent = s.read() {
		if bytes.Contains(sent, []byte("SELECT 1")) {
			s.send([]byte(answer))
		} else {
			s.send(ok)
		}
	}
}

// decrypt gives the client a key, if it asks for one or none was given, and decrypts the password that it answers with.
func (s *mariaDBServer) decrypt(answer []byte) {
	if len(answer) <= 1 {
		der, _ := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
		s.send([]byte{1}, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		answer = s.read()
	}
	plain, err := rsa.DecryptOAEP(sha1.New(), nil, s.key, answer, nil) //nolint:gosec // as above
	if err != nil {
		return
	}
	for i := range plain {
		plain[i] ^= 'x'
	}
	s.heard.add(plain)
}

// TestPasswordIsNotGivenAway: a server that is not known by its certificate does not learn the password, and no server
// gets a file.
func TestPasswordIsNotGivenAway(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("what is in a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	ofPostgreSQL := func(conn net.Conn, s *mariaDBServer) {
		buffer := make([]byte, 4096)
		if n, _ := conn.Read(buffer); n <= 8 { // it asks for TLS
			conn.Write([]byte("N")) //nolint:errcheck // the client may be gone
			return
		}
		conn.Write([]byte("R\x00\x00\x00\x08\x00\x00\x00\x03")) //nolint:errcheck // as above
		n, _ := conn.Read(buffer)
		s.heard.add(buffer[:n])
	}
	for name, test := range map[string]struct {
		kind   string
		answer func(conn net.Conn, s *mariaDBServer)
		advice string
	}{
		"PostgreSQL asks for it": {"postgres", ofPostgreSQL, "db_ssl_ca"},
		"MariaDB asks for it": {"mariadb", func(_ net.Conn, s *mariaDBServer) {
			s.greet("mysql_native_password")
			s.change("mysql_clear_password")
		}, "db_ssl_ca"},
		"MariaDB asks for it at once": {"mariadb", func(_ net.Conn, s *mariaDBServer) { s.greet("mysql_clear_password") }, ""},
		"MariaDB asks for one of before 4.1": {"mariadb", func(_ net.Conn, s *mariaDBServer) {
			s.greet("mysql_native_password")
			s.change("mysql_old_password")
		}, ""},
		"MySQL gives a key": {"mariadb", func(_ net.Conn, s *mariaDBServer) {
			s.greet("mysql_native_password")
			s.decrypt(s.change("sha256_password"))
		}, "db_ssl_ca"},
		"MySQL gives a key at once": {"mariadb", func(_ net.Conn, s *mariaDBServer) { s.greet("sha256_password"); s.decrypt(nil) }, ""},
		"MySQL gives a key later": {"mariadb", func(_ net.Conn, s *mariaDBServer) {
			s.greet("mysql_native_password")
			s.change("caching_sha2_password")
			s.send([]byte{1, 4})
			s.decrypt(s.read())
		}, "db_ssl_ca"},
		"MariaDB asks for a file": {"mariadb", func(_ net.Conn, s *mariaDBServer) {
			s.serve("\xfb" + file)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := new(heard)
			var done sync.WaitGroup
			port, _ := strconv.Atoi(fakeServer(t, func(conn net.Conn) {
				done.Add(1)
				defer done.Done()
				test.answer(conn, &mariaDBServer{Conn: conn, heard: h, key: key})
			}))
			conf := &settings{dbType: test.kind, host: "127.0.0.1", port: port, name: "site", user: "site", password: theirPassword}
			c, err := connect(conf, 2*time.Second, 1)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.one(t.Context(), "SELECT 1")
			if err == nil || !strings.Contains(err.Error(), test.advice) {
				t.Errorf("%v; want %s in it", err, test.advice)
			}
			c.close() //nolint:errcheck // of no use here
			done.Wait()
			if h.knows(theirPassword) || h.knows("what is in a file") {
				t.Errorf("the server knows it: %q", h.data)
			}
			t.Log(err)
		})
	}
}

// TestLongErrors: what a server says of an error does not fill the log.
func TestLongErrors(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	for name, test := range map[string]struct {
		kind   string
		answer func(conn net.Conn)
		code   string
	}{
		"MariaDB": {"mariadb", func(conn net.Conn) {
			(&mariaDBServer{Conn: conn, heard: new(heard)}).serve("\xff\x7a\x04#42S02" + long)
		}, "1146"},
		"a file of MariaDB": {"mariadb", func(conn net.Conn) {
			(&mariaDBServer{Conn: conn, heard: new(heard)}).serve("\xfb" + long)
		}, ""},
		"PostgreSQL": {"postgres", func(conn net.Conn) {
			buffer := make([]byte, 4096)
			if n, _ := conn.Read(buffer); n <= 8 { // it asks for TLS
				conn.Write([]byte("N")) //nolint:errcheck // the client may be gone
				return
			}
			fields := "SERROR\x00C42P01\x00M" + long[:1<<15] + "\x00\x00"
			length := binary.BigEndian.AppendUint32(nil, uint32(4+len(fields))) //nolint:gosec // it is short
			conn.Write(slices.Concat([]byte("E"), length, []byte(fields)))      //nolint:errcheck // as above
		}, "42P01"},
	} {
		t.Run(name, func(t *testing.T) {
			port, _ := strconv.Atoi(fakeServer(t, test.answer))
			conf := &settings{dbType: test.kind, host: "127.0.0.1", port: port, name: "site", user: "site", password: theirPassword}
			c, err := connect(conf, 2*time.Second, 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.close() }) //nolint:errcheck // of no use here
			_, err = c.one(t.Context(), "SELECT 1")
			if err == nil || len(err.Error()) > 2<<10 || code(err) != test.code {
				t.Errorf("%d bytes, code %s: %.300s", len(fmt.Sprint(err)), code(err), fmt.Sprint(err))
			}
		})
	}
}

// TestExpensiveLogin: a server cannot make a login compute for long, whether or not its answer comes in one piece.
func TestExpensiveLogin(t *testing.T) {
	const timeout = 300 * time.Millisecond
	for _, test := range []struct {
		name, iterations string
		piece            int
	}{
		{"in one piece", "9999999", 1 << 10},
		{"in many pieces", "9999999", 1},
		{"behind zeros", strings.Repeat("0", 100) + "9999999", 1 << 10},
		{"behind zeros, in many pieces", strings.Repeat("0", 100) + "9999999", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			message := func(kind uint32, text string) []byte {
				m := binary.BigEndian.AppendUint32([]byte("R"), uint32(8+len(text))) //nolint:gosec // it is short
				return append(binary.BigEndian.AppendUint32(m, kind), text...)
			}
			port, _ := strconv.Atoi(fakeServer(t, func(conn net.Conn) {
				buffer := make([]byte, 4096)
				if n, _ := conn.Read(buffer); n <= 8 { // it asks for TLS
					conn.Write([]byte("N")) //nolint:errcheck // the client may be gone
					return
				}
				conn.Write(message(10, "SCRAM-SHA-256\x00\x00")) //nolint:errcheck // as above
				n, _ := conn.Read(buffer)
				_, nonce, _ := strings.Cut(string(buffer[:n]), "r=")
				for part := range slices.Chunk(message(11, "r="+nonce+"x,s=c2FsdA==,i="+test.iterations), test.piece) {
					conn.Write(part) //nolint:errcheck // as above
				}
				io.Copy(io.Discard, conn) //nolint:errcheck // until the client is gone
			}))
			conf := &settings{
				dbType: "postgres", host: "127.0.0.1", port: port, name: "site", user: "site", password: theirPassword,
			}
			c, err := connect(conf, timeout, 1)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.close() }) //nolint:errcheck // of no use here
			if _, err = c.one(t.Context(), "SELECT 1"); err == nil || !strings.Contains(err.Error(), "scram_iterations") {
				t.Error(err)
			}
		})
	}
}
