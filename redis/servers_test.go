package redis

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

func TestMain(m *testing.M) { os.Exit(testutil.Main(m)) }

// server is a Redis or Valkey of a test.
type server struct{ *testutil.RedisServer }

// programs are the servers that the tests run on.
var programs = []string{"redis-server", "valkey-server"}

// onEach runs a test on each of the servers.
func onEach(t *testing.T, test func(t *testing.T, program string)) {
	t.Helper()
	for _, program := range programs {
		t.Run(program, func(t *testing.T) { test(t, requireServer(t, program)) })
	}
}

func requireServer(t testing.TB, program string) string {
	t.Helper()
	if program == "valkey-server" { // Debian 12 has no such package, so that it may be missing in CI, too
		path, err := exec.LookPath(program)
		if err != nil {
			t.Skip("valkey-server is missing; not every Debian has it: apt-get install valkey-server")
		}
		return path
	}
	return testutil.RequireProgram(t, program, program)
}

// startRedis starts a redis-server until the test ends.
func startRedis(t testing.TB, args ...string) *server {
	t.Helper()
	return start(t, requireServer(t, "redis-server"), args...)
}

func start(t testing.TB, program string, args ...string) *server {
	t.Helper()
	s := &server{testutil.NewRedisServer(t, program)}
	s.Args = args
	s.Start()
	return s
}

func (s *server) url() string { return "redis://" + s.Address }

// secret is the secret of the tests' stores.
const secret = "0123456789abcdef0123456789abcdef"

// open provisions a store until the test ends.
func open(t testing.TB, s *Store) *Store {
	t.Helper()
	if s.SharedSecret == "" {
		s.SharedSecret = secret
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := s.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// fresh provisions a store with a connection that no other store uses.
func fresh(t testing.TB, s *server) *Store {
	t.Helper()
	return open(t, &Store{URL: s.url() + "?client_name=" + strings.ReplaceAll(time.Now().Format("150405.000000000"), ".", "")})
}

// soon is a context for one call.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}
