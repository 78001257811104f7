package testutil

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// RedisServer is a Redis or Valkey server that runs until the test ends.
type RedisServer struct {
	Address string // host and port
	Socket  string // Unix socket, for connections without a login

	// Config is an optional configuration file. Args are further arguments.
	Config string
	Args   []string

	t       testing.TB
	program string
	dir     string
	process *exec.Cmd
}

// StartRedis starts a redis-server. It needs no login from this machine, unless the arguments say so.
func StartRedis(t testing.TB, args ...string) *RedisServer {
	t.Helper()
	s := NewRedisServer(t, RequireProgram(t, "redis-server", "redis-server"))
	s.Args = args
	s.Start()
	return s
}

// NewRedisServer returns a server that is not started yet.
func NewRedisServer(t testing.TB, program string) *RedisServer {
	t.Helper()
	s := &RedisServer{Address: FreeAddress(t), t: t, program: program, dir: t.TempDir()}
	s.Socket = filepath.Join(s.dir, "s")
	t.Cleanup(s.Kill)
	return s
}

// Start starts the server, with the data that it saved, if any.
func (s *RedisServer) Start() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	var args []string
	if s.Config != "" {
		args = append(args, s.Config)
	}
	args = append(args, "--port", PortOf(s.Address), "--bind", "127.0.0.1", "--dir", s.dir, "--save", "", "--unixsocket",
		s.Socket)
	s.process = exec.Command(s.program, append(args, s.Args...)...) //nolint:noctx // Kill ends it
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	output := func() string {
		raw, _ := os.ReadFile(log.Name())
		return string(raw)
	}
	if !Holds(maxWait, func() bool {
		conn, err := net.DialTimeout("unix", s.Socket, time.Second)
		if err != nil {
			return false
		}
		conn.Close()
		log := output()
		return strings.Contains(log, "eady to accept connections") || strings.Contains(log, "+monitor") // of a Sentinel
	}) {
		s.t.Fatalf("%s does not start\n%s", s.program, output())
	}
}

// Kill kills the server.
func (s *RedisServer) Kill() {
	if s.process == nil {
		return
	}
	s.process.Process.Kill() //nolint:errcheck // it may have ended
	s.process.Wait()         //nolint:errcheck // it was killed
	s.process = nil
	os.Remove(s.Socket)
}

// Run runs a command over the socket, with all permissions.
func (s *RedisServer) Run(args ...string) rueidis.RedisResult {
	s.t.Helper()
	option := rueidis.MustParseURL("unix://" + s.Socket)
	option.DisableCache, option.ForceSingleClient, option.DisableRetry = true, true, true
	var (
		client rueidis.Client
		err    error
	)
	// When a Sentinel changes the role of a server, the server closes all connections.
	if !Holds(maxWait, func() bool {
		client, err = rueidis.NewClient(option)
		return err == nil
	}) {
		s.t.Fatal(err)
	}
	defer client.Close()
	return client.Do(context.Background(), client.B().Arbitrary(args...).Build())
}

// Must runs a command that succeeds.
func (s *RedisServer) Must(args ...string) {
	s.t.Helper()
	if err := s.Run(args...).Error(); err != nil && !rueidis.IsRedisNil(err) {
		s.t.Fatalf("%v: %v", args, err)
	}
}
