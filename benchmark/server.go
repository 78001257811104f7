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
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// server is a Caddy or an nginx. Several contenders may share one.
type server struct {
	site   *site  // that it asks; nil: none
	config string // in which PORT stands for its port
	nginx  bool

	port, address string
	admin         string // address of the admin API, if the configuration has one
	pid           int
	stop          func() // nil: not started
}

// caddyServer is a Caddy with these directives and global options.
func caddyServer(s *site, directives string, globals ...string) *server {
	return &server{site: s, config: "{\nadmin off\npersist_config off\nlog {\nlevel ERROR\n}\n" + strings.Join(globals, "\n") + "\n}\n" +
		"http://:PORT {\nbind 127.0.0.1\n" + directives + "\n}\n"}
}

// nginxServer is an nginx with Debian's settings, except that it keeps a connection for any number of requests, as Caddy does.
func nginxServer(s *site, httpBlock, serverBlock string) *server {
	return &server{nginx: true, site: s, config: `daemon off; worker_processes auto; pid nginx.pid; error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off; sendfile on; tcp_nopush on; default_type text/plain; keepalive_requests 1000000000;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; scgi_temp_path scgi; uwsgi_temp_path uwsgi;
	` + httpBlock + `
	server { listen 127.0.0.1:PORT; root .; ` + serverBlock + ` }
}`}
}

// start starts the server and waits until it takes connections. Its working directory has a file to serve.
func (h *harness) start(ctx context.Context, s *server) error {
	dir, err := os.MkdirTemp(h.dir, "server-*")
	if err != nil {
		return err
	}
	if s.port, err = freePort(ctx); err != nil {
		return err
	}
	s.address = "127.0.0.1:" + s.port
	config := filepath.Join(dir, "config")
	err = errors.Join(
		os.Chmod(h.dir, 0o755), os.Chmod(dir, 0o755), //nolint:gosec // nginx's workers run as another user
		os.WriteFile(filepath.Join(dir, "index.html"), []byte("ok"), 0o644), //nolint:gosec // as above
		os.WriteFile(config, []byte(strings.ReplaceAll(s.config, "PORT", s.port)), 0o600),
	)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, h.caddy, "run", "--config", config, "--adapter", "caddyfile") //nolint:gosec // was just built
	if s.nginx {
		cmd = exec.CommandContext(ctx, "nginx", "-p", dir, "-c", config) //nolint:gosec // written above
	}
	var log bytes.Buffer
	cmd.Dir, cmd.Stderr, cmd.Env = dir, &log, append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that nginx ends its workers
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		return err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // what it says is in the log
		close(ended)
	}()
	s.pid, s.stop = cmd.Process.Pid, func() { cancel(); <-ended }
	for range 3000 { // one minute
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address); err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			return fmt.Errorf("%s ended early:\n%s", cmd.Path, log.Bytes())
		case <-time.After(20 * time.Millisecond):
		}
	}
	s.stop()
	return fmt.Errorf("%s takes no connections:\n%s", cmd.Path, log.Bytes())
}

// freePort is a port of the loopback interface at which nothing listens.
func freePort(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), listener.Close()
}

// cpuTime is the CPU time that a process and its children, such as nginx's workers, used so far. Without /proc it is 0.
func cpuTime(pid int) time.Duration {
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	ticks := 0
	for _, name := range files {
		raw, _ := os.ReadFile(name) //nolint:gosec // found in /proc; empty if the process has ended
		// Behind the program's name in parentheses, 1 is the parent, 11 and 12 are user and system time: see proc(5).
		fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
		if len(fields) > 12 && (name == fmt.Sprintf("/proc/%d/stat", pid) || fields[1] == strconv.Itoa(pid)) {
			user, _ := strconv.Atoi(fields[11])
			system, _ := strconv.Atoi(fields[12])
			ticks += user + system
		}
	}
	return time.Duration(ticks) * time.Second / 100 // a tick is 10 ms on every architecture that Go supports
}

// pathLoggedUser is the method of Frappe that the site backend calls.
const pathLoggedUser = "/api/method/frappe.auth.get_logged_user"

// site stands in for a Frappe site. It counts its requests, which shows whether a credential came from a cache.
type site struct {
	url     string
	delay   time.Duration // before each answer; Frappe takes about 8 ms
	workers chan struct{} // bounds how many requests are answered at once
	revoked sync.Map      // credentials that it no longer grants, without their scheme

	asked, current, most atomic.Int64 // requests so far, at the moment, and at once at most
}

const anyNumber = 1024 // of workers: more than there are connections

// newSite starts a site, which runs until the process ends.
func newSite(delay time.Duration, workers int) *site {
	s := &site{delay: delay, workers: make(chan struct{}, workers)}
	s.url = httptest.NewServer(s).URL
	return s
}

// ServeHTTP answers as Frappe does. It grants all credentials but those that begin with "bad", also in base64.
func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	now := s.current.Add(1)
	defer s.current.Add(-1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	s.workers <- struct{}{}
	defer func() { <-s.workers }()
	time.Sleep(s.delay)
	w.Header().Set("Content-Type", "application/json")
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	_, revoked := s.revoked.Load(credential)
	if credential == "" || revoked || strings.HasPrefix(credential, "bad") || strings.HasPrefix(credential, "YmFk") {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{}`)
		return
	}
	fmt.Fprintf(w, `{"message":"%s@example.com"}`, credential) //nolint:gosec // JSON, for Caddy alone
}
