package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
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
	site   *site  // that it asks; nil: none
	config string // in which ADDRESS, ADMIN and REDIS stand for addresses

	address, admin string
	pid            int
	stop           func() // nil: not started
}

// caddyServer is a Caddy with these directives.
func caddyServer(s *site, directives string) *server {
	return &server{site: s, config: "{\nadmin ADMIN\npersist_config off\nlog {\nlevel ERROR\n}\n}\nhttp://ADDRESS {\nbind 127.0.0.1\n" + directives + "\n}\n"}
}

func (h *harness) start(ctx context.Context, s *server) (err error) {
	var adminErr error
	s.address, err = freeAddress(ctx)
	s.admin, adminErr = freeAddress(ctx)
	config := strings.NewReplacer("ADDRESS", s.address, "ADMIN", s.admin, "REDIS", h.redis).Replace(s.config)
	file := filepath.Join(h.dir, strings.ReplaceAll(s.address, ":", "-"))
	if err := errors.Join(err, adminErr, os.WriteFile(file, []byte(config), 0o600)); err != nil {
		return err
	}
	s.pid, s.stop, err = h.process(ctx, s.address, h.caddy, "run", "--config", file, "--adapter", "caddyfile")
	return err
}

// process starts a program and waits until it takes connections. stop ends it.
func (h *harness) process(ctx context.Context, address, program string, args ...string) (pid int, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // all of it is made here
	var log bytes.Buffer
	cmd.Dir, cmd.Stderr, cmd.Env = h.dir, &log, append(os.Environ(), "HOME="+h.dir, "XDG_CONFIG_HOME="+h.dir, "XDG_DATA_HOME="+h.dir)
	if err := cmd.Start(); err != nil {
		cancel()
		return 0, nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // what it says is in the log
		close(ended)
	}()
	stop = func() { cancel(); <-ended }
	for range 3000 { // one minute
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", address); err == nil {
			return cmd.Process.Pid, stop, conn.Close()
		}
		select {
		case <-ended:
			return 0, nil, fmt.Errorf("%s ended early:\n%s", program, log.Bytes())
		case <-time.After(20 * time.Millisecond):
		}
	}
	stop()
	return 0, nil, fmt.Errorf("%s takes no connections:\n%s", program, log.Bytes())
}

// freeAddress is an address of the loopback interface at which nothing listens.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// get sends one request. It returns the body, and an error unless the status is as wanted.
func get(ctx context.Context, url string, header http.Header, status int) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+url, nil)
	if err != nil {
		return "", err
	}
	r.Header = header.Clone()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != status {
		return "", fmt.Errorf("%s is answered with %d, want %d", url, resp.StatusCode, status)
	}
	return string(body), err
}

// heap is the bytes of a Caddy's heap after a collection.
func (s *server) heap(ctx context.Context) (bytes float64, err error) {
	profile, err := get(ctx, s.admin+"/debug/pprof/heap?debug=1&gc=1", nil, http.StatusOK)
	_, rest, _ := strings.Cut(profile, "# HeapAlloc = ")
	_, scanErr := fmt.Sscan(rest, &bytes)
	return bytes, errors.Join(err, scanErr)
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

// pathLoggedUser is the method of Frappe that the site backend calls.
const pathLoggedUser = "/api/method/frappe.auth.get_logged_user"

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
	if _, credential, _ := strings.Cut(r.Header.Get("Authorization"), " "); credential == "" || strings.HasPrefix(credential, "bad") || strings.HasPrefix(credential, "YmFk") {
		w.WriteHeader(http.StatusUnauthorized)
	}
	fmt.Fprint(w, `{"message":"alice@example.com"}`)
}
