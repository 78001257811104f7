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
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// server is a Caddy, an nginx or a Redis. Several contenders may share one.
type server struct {
	site    *site    // that it asks; nil: none
	config  string   // in which ADDRESS, ADMIN and REDIS stand for addresses
	command []string // in which CONFIG stands for the file with config, and PORT for the port; default: Caddy

	address string
	admin   string // address of Caddy's admin API
	pid     int
	stop    func() // nil: not started
}

// caddyServer is a Caddy with these directives and global options.
func caddyServer(s *site, directives string, globals ...string) *server {
	return &server{site: s, config: "{\nadmin ADMIN\npersist_config off\nlog {\nlevel ERROR\n}\n" + strings.Join(globals, "\n") +
		"\n}\nhttp://ADDRESS {\nbind 127.0.0.1\n" + directives + "\n}\n"}
}

// nginxServer is an nginx with Debian's settings, except that it keeps a connection for any number of requests, as Caddy does.
func nginxServer(s *site, httpBlock, serverBlock string) *server {
	return &server{site: s, command: []string{"nginx", "-p", ".", "-c", "CONFIG"}, config: `daemon off; worker_processes auto; pid nginx.pid; error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off; sendfile on; tcp_nopush on; default_type text/plain; keepalive_requests 1000000000;
	client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; scgi_temp_path scgi; uwsgi_temp_path uwsgi;
	` + httpBlock + `
	server { listen ADDRESS; root .; ` + serverBlock + ` }
}`}
}

func redisServer() *server {
	return &server{command: []string{"redis-server", "--bind", "127.0.0.1", "--port", "PORT", "--save", ""}}
}

// start starts the server and waits until it takes connections. Its working directory has a file to serve.
func (h *harness) start(ctx context.Context, s *server) (err error) {
	dir, dirErr := os.MkdirTemp(h.dir, "server-*")
	var addressErr, adminErr error
	s.address, addressErr = freeAddress(ctx)
	s.admin, adminErr = freeAddress(ctx)
	config := filepath.Join(dir, "config")
	err = errors.Join(
		dirErr, addressErr, adminErr, os.Chmod(h.dir, 0o755), os.Chmod(dir, 0o755), //nolint:gosec // nginx's workers run as another user
		os.WriteFile(filepath.Join(dir, "index.html"), []byte("ok"), 0o644), //nolint:gosec // as above
		os.WriteFile(config, []byte(h.expand(s, s.config)), 0o600),
	)
	if err != nil {
		return err
	}
	command := s.command
	if command == nil {
		command = []string{h.caddy, "run", "--config", "CONFIG", "--adapter", "caddyfile"}
	}
	_, port, _ := net.SplitHostPort(s.address)
	args := strings.Split(strings.NewReplacer("CONFIG", config, "PORT", port).Replace(strings.Join(command, "\n")), "\n")
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // made above
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

// expand replaces the addresses in a configuration.
func (h *harness) expand(s *server, config string) string {
	return strings.NewReplacer("ADDRESS", s.address, "ADMIN", s.admin, "REDIS", h.redis.address).Replace(config)
}

// freeAddress is an address of the loopback interface at which nothing listens.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// send sends one request over a connection of its own. It returns the body, and an error unless the status is as wanted.
func send(ctx context.Context, method, url string, header http.Header, content string, status int) (string, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+url, strings.NewReader(content))
	if err != nil {
		return "", err
	}
	r.Header, r.Close = header.Clone(), true
	client := http.Client{Timeout: 20 * time.Second}
	resp, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != status {
		return "", fmt.Errorf("%s is answered with %d %q, want %d", url, resp.StatusCode, body, status)
	}
	return string(body), err
}

// usage is the number of a Caddy's goroutines, and the bytes of its heap after a collection.
func (s *server) usage(ctx context.Context) (goroutines, heap float64, err error) {
	profile := func(query, label string, value *float64) error {
		text, err := send(ctx, http.MethodGet, s.admin+"/debug/pprof/"+query, nil, "", http.StatusOK)
		_, rest, _ := strings.Cut(text, label)
		_, scanErr := fmt.Sscan(rest, value)
		return errors.Join(err, scanErr)
	}
	err = errors.Join(profile("goroutine?debug=1", "goroutine profile: total ", &goroutines), profile("heap?debug=1&gc=1", "# HeapAlloc = ", &heap))
	return goroutines, heap, err
}

// cpuTime is the CPU time that a process and its children, such as nginx's workers, used so far. Without /proc it is 0.
func cpuTime(pid int) (used time.Duration) {
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	for _, process := range append(strings.Fields(string(children)), strconv.Itoa(pid)) {
		threads, _ := filepath.Glob("/proc/" + process + "/task/*/schedstat")
		for _, name := range threads {
			raw, _ := os.ReadFile(name) //nolint:gosec // found in /proc; empty if the thread has ended
			nanoseconds, _, _ := strings.Cut(string(raw), " ")
			n, _ := strconv.ParseInt(nanoseconds, 10, 64)
			used += time.Duration(n)
		}
	}
	return used
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
