package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// server is a Caddy. Several contenders may share one.
type server struct {
	site       *site  // that it asks; nil: none
	directives string // in which REDIS stands for an address

	address string // empty: not started
	pid     int
}

// start starts servers as one process, each with an address of its own. They run until stopServers.
func (h *harness) start(ctx context.Context, servers ...*server) error {
	free, err := freeAddresses(ctx, len(servers)+1)
	if err != nil {
		return err
	}
	h.admin = free[len(servers)]
	config := fmt.Appendf(nil, "{\nadmin %s\npersist_config off\nlog {\nlevel ERROR\n}\n}\n", h.admin)
	for i, s := range servers {
		config = fmt.Appendf(config, "http://%s {\nbind 127.0.0.1\n%s\n}\n", free[i],
			strings.ReplaceAll(s.directives, "REDIS", h.redis))
	}
	file := filepath.Join(h.dir, strings.ReplaceAll(h.admin, ":", "-"))
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	pid, stop, err := h.process(ctx, free[0], h.caddy, "run", "--config", file, "--adapter", "caddyfile")
	if err != nil {
		return err
	}
	h.running = append(h.running, stop)
	for i, s := range servers {
		s.address, s.pid = free[i], pid
	}
	return nil
}

func (h *harness) stopServers() {
	for _, stop := range h.running {
		stop()
	}
	h.running = nil
}

// process starts a program and waits until it takes connections. stop ends it.
func (h *harness) process(
	ctx context.Context, address, program string, args ...string,
) (pid int, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // all of it is made here
	var log bytes.Buffer
	cmd.Dir, cmd.Stderr = h.dir, &log
	cmd.Env = append(os.Environ(), "HOME="+h.dir, "XDG_CONFIG_HOME="+h.dir, "XDG_DATA_HOME="+h.dir)
	stop = func() {
		cancel()
		_ = cmd.Wait() // what it says is in the log
	}
	err = cmd.Start()
	deadline := time.Now().Add(time.Minute)
	for ; err == nil && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, dialErr := new(net.Dialer).DialContext(ctx, "tcp", address); dialErr == nil {
			return cmd.Process.Pid, stop, conn.Close()
		}
		err = ctx.Err()
	}
	stop()
	return 0, nil, errors.Join(err, fmt.Errorf("%s takes no connections:\n%s", program, log.Bytes()))
}

// freeAddresses are addresses of the loopback interface at which nothing listens.
func freeAddresses(ctx context.Context, count int) (free []string, err error) {
	for range count {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer listener.Close() // after the last, so that all are different
		free = append(free, listener.Addr().String())
	}
	return free, nil
}

// cpuTime is the CPU time that a process used so far. Without /proc it is 0.
func cpuTime(pid int) (used time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, name := range threads {
		raw, _ := os.ReadFile(name) //nolint:gosec // found in /proc; empty if the thread has ended
		nanoseconds, _, _ := strings.Cut(string(raw), " ")
		n, _ := strconv.ParseInt(nanoseconds, 10, 64)
		used += time.Duration(n)
	}
	return used
}

// site stands in for a Frappe site. It counts its requests, which shows whether a credential came from a cache.
type site struct {
	url   string
	delay time.Duration // before each answer; Frappe takes about 8 ms
	asked atomic.Int64  // requests so far
}

// newSite starts a site, which runs until the process ends.
func newSite(delay time.Duration) *site {
	s := &site{delay: delay}
	s.url = httptest.NewServer(s).URL
	return s
}

// ServeHTTP answers as Frappe does. It grants all credentials but those that begin with "bad", also in base64.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	time.Sleep(s.delay)
	w.Header().Set("Content-Type", "application/json")
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if cookie, err := r.Cookie("sid"); err == nil {
		credential = cookie.Value
	}
	if credential == "" || strings.HasPrefix(credential, "bad") || strings.HasPrefix(credential, "YmFk") {
		w.WriteHeader(http.StatusUnauthorized)
	}
	fmt.Fprint(w, `{"message":"alice@example.com"}`)
}
