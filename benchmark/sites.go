package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// site is what a server is started with. Texts are templates over a stage. Contenders may share one.
type site struct {
	auth  string // directives that check credentials with frappe_auth; also of a second site, which tells what the cache did
	rest  string // directives that answer
	nginx string // in place of both, servers of an nginx
	env   []string
	warm  int // so many credentials are in the cache before anything is measured
}

// installed reports which program is missing that the site needs, if one is.
func (s *site) installed() error {
	var err error
	if s.nginx != "" {
		_, err = nginxProgram()
	}
	if strings.Contains(s.auth, "{{.Database}}") {
		_, initdbErr := initdbProgram()
		_, psqlErr := psqlProgram()
		err = errors.Join(initdbErr, psqlErr)
	}
	return err
}

func nginxProgram() (string, error) { return program("nginx-light", "nginx", "/usr/sbin/nginx") }

// fileContent is what the file servers serve.
var fileContent = strings.Repeat("What the file servers serve. ", 35) + "\n"

const fileServer = `root {{.Files}}
	file_server`

const caddyfile = `{
	admin off
	persist_config off
	log {
		level ERROR
	}
}
http://:{{.Port}} {
	bind 127.0.0.1
	%[1]s
	%[2]s
}`

// probe shares the cache of the site that is measured, which so needs no means to tell what it did.
const probe = `
http://:{{.ProbePort}} {
	bind 127.0.0.1
	%[1]s
	respond "{http.auth.frappe.cache}"
}`

// nginxConf has the settings of Debian, but for connections that are kept as long as Caddy keeps them.
const nginxConf = `daemon off;
worker_processes auto;
pid nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
	access_log off;
	sendfile on;
	tcp_nopush on;
	default_type text/plain;
	keepalive_requests 1000000000;
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	scgi_temp_path scgi;
	uwsgi_temp_path uwsgi;
	%s
}`

const (
	nginxBare = `server {
		listen 127.0.0.1:{{.Port}};
		root {{.Files}};
	}`

	nginxUpstream = `upstream site {
		server {{.DoubleAddress "0s" 0}};
		keepalive 64;
		keepalive_requests 1000000000;
	}`

	nginxAuth = `proxy_pass http://site` + pathLoggedUser + `;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_pass_request_body off;
			proxy_set_header Content-Length "";`

	nginxAsked = nginxUpstream + `
	server {
		listen 127.0.0.1:{{.Port}};
		root {{.Files}};
		location / {
			auth_request /auth;
		}
		location = /auth {
			internal;
			` + nginxAuth + `
		}
	}`

	nginxCached = nginxUpstream + `
	proxy_cache_path verdicts keys_zone=verdicts:10m;
	server {
		listen 127.0.0.1:{{.Port}};
		root {{.Files}};
		location / {
			auth_request /auth;
		}
		location = /auth {
			internal;
			` + nginxAuth + `
			proxy_cache verdicts;
			proxy_cache_key $http_authorization;
			proxy_cache_valid 200 24h;
		}
	}`
)

// server is a site that runs.
type server struct {
	*process
	address string
	probe   string // of the site that tells what the cache did; empty: there is none
}

// stage is what runs for a group. Its exported methods are for the templates of sites; what they need is started when it
// is first asked for.
type stage struct {
	ctx       context.Context
	h         *harness
	dir       string
	processes []*process
	servers   map[*site]*server
	doubles   map[string]string // by its arguments, the address
	warmed    map[*site]bool
	database  string // directory of the Frappe site

	Port, ProbePort int // of the site that is being written
}

func newStage(ctx context.Context, h *harness) (*stage, error) {
	dir, err := os.MkdirTemp(h.dir, "group-*")
	if err != nil {
		return nil, err
	}
	s := &stage{ctx: ctx, h: h, dir: dir, warmed: make(map[*site]bool), servers: make(map[*site]*server), doubles: make(map[string]string)}
	return s, os.Chmod(dir, 0o755) //nolint:gosec // others run nginx and PostgreSQL
}

// close ends all processes, the last first.
func (s *stage) close() {
	for _, p := range slices.Backward(s.processes) {
		p.stop()
	}
	_ = os.RemoveAll(s.dir) // the harness removes what is left
}

// start starts the sites of the contenders, and waits until all are up.
func (s *stage) start(contenders []contender) error {
	for _, c := range contenders {
		if s.servers[c.site] != nil {
			continue
		}
		started, err := s.startSite(c.site)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		s.servers[c.site] = started
		s.processes = append(s.processes, started.process)
	}
	for _, c := range contenders {
		started := s.servers[c.site]
		if err := started.await(s.ctx, started.address); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func (s *stage) startSite(site *site) (*server, error) {
	var err error
	if s.Port, err = s.h.ports.free(s.ctx); err != nil {
		return nil, err
	}
	if s.ProbePort, err = s.h.ports.free(s.ctx); err != nil {
		return nil, err
	}
	started := &server{address: "127.0.0.1:" + strconv.Itoa(s.Port)}
	if site.nginx != "" {
		started.process, err = s.startNginx(site)
		return started, err
	}
	text := fmt.Sprintf(caddyfile, site.auth, site.rest)
	if site.auth != "" {
		text += fmt.Sprintf(probe, site.auth)
		started.probe = "127.0.0.1:" + strconv.Itoa(s.ProbePort)
	}
	started.process, err = s.startCaddy(text, site.env)
	return started, err
}

func (s *stage) startCaddy(text string, env []string) (*process, error) {
	dir, err := os.MkdirTemp(s.dir, "caddy-*")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "Caddyfile")
	if err := s.write(config, text); err != nil {
		return nil, err
	}
	cmd := exec.Command(s.h.caddy, "run", "--config", config, "--adapter", "caddyfile") //nolint:gosec,noctx // was just built; stop ends it
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	cmd.Env = append(cmd.Env, env...)
	return start("Caddy", cmd, s.dir, nil, syscall.SIGTERM)
}

func (s *stage) startNginx(site *site) (*process, error) {
	path, err := nginxProgram()
	if err != nil {
		return nil, err
	}
	who, err := unprivileged("nobody")
	if err != nil {
		return nil, err
	}
	dir, err := who.directory(s.dir, "nginx-*")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := s.write(config, fmt.Sprintf(nginxConf, site.nginx)); err != nil {
		return nil, err
	}
	cmd := exec.Command(path, "-p", dir, "-c", config) //nolint:gosec,noctx // an installed program; stop ends it
	return start("nginx", cmd, s.dir, who, syscall.SIGTERM)
}

// write writes a file from a template over the stage.
func (s *stage) write(name, text string) error {
	parsed, err := template.New(filepath.Base(name)).Parse(text)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, s); err != nil {
		return err
	}
	return os.WriteFile(name, out.Bytes(), 0o644) //nolint:gosec // another user runs nginx
}

// DoubleAddress is host and port of a double of a site.
func (s *stage) DoubleAddress(delay string, workers int) (string, error) {
	args := []string{"double", "-delay", delay, "-workers", strconv.Itoa(workers)}
	key := strings.Join(args, " ")
	if address := s.doubles[key]; address != "" {
		return address, nil
	}
	cmd := exec.Command(s.h.self, args...) //nolint:gosec,noctx // this program; stop ends it
	read, write, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer read.Close()
	cmd.Stdout = write
	p, err := start(key, cmd, s.dir, nil, syscall.SIGTERM)
	_ = write.Close() // the process has it open by itself
	if err != nil {
		return "", err
	}
	s.processes = append(s.processes, p)
	var address string
	if _, err := fmt.Fscanln(read, &address); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", key, err, p.output())
	}
	s.doubles[key] = address
	return address, nil
}

// Double is the URL of a double.
func (s *stage) Double(delay string, workers int) (string, error) {
	address, err := s.DoubleAddress(delay, workers)
	return "http://" + address, err
}

// Files is a directory with a file to serve at its root.
func (s *stage) Files() (string, error) {
	dir := filepath.Join(s.dir, "files")
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // another user runs nginx
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "index.html"), []byte(fileContent), 0o644) //nolint:gosec // as above
}

// Hash is what `caddy hash-password` makes of a password.
func (s *stage) Hash(password string) (string, error) {
	out, err := run(exec.CommandContext(s.ctx, s.h.caddy, "hash-password", "--plaintext", password)) //nolint:gosec // was just built
	return strings.TrimSpace(string(out)), err
}

// staticToken is a credential of backend static, by its number.
const staticToken = "token key%08d:61066224add85e6" //nolint:gosec // an example

// StaticTokens are the lines of backend static that know them.
func (s *stage) StaticTokens() string {
	var lines strings.Builder
	hash := sha256.Sum256([]byte("61066224add85e6"))
	for n := range s.h.sizes.keys {
		fmt.Fprintf(&lines, "token key%08d sha256:%x user%d@example.com\n", n, hash, n)
	}
	return lines.String()
}

// asked is how many requests the doubles have got so far.
func (s *stage) asked() (int, error) {
	total := 0
	for _, address := range s.doubles {
		_, body, err := get(s.ctx, "http://"+address+"/asked", "")
		if err != nil {
			return 0, err
		}
		n, err := strconv.Atoi(body)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

// settled is asked, once the requests that a load generator left behind have arrived.
func (s *stage) settled() (int, error) {
	before, err := s.asked()
	for err == nil && len(s.doubles) > 0 {
		time.Sleep(50 * time.Millisecond)
		var now int
		if now, err = s.asked(); now == before {
			break
		}
		before = now
	}
	return before, err
}

// get asks once, over a connection of its own.
func get(ctx context.Context, url, authorization string) (status int, body string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	r.Close = true
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(raw), err
}

// verify reports whether a contender answers what it should, so that no figure is that of an error page.
func (s *stage) verify(c contender) error {
	at := s.servers[c.site]
	without := answer{status: c.without}
	if c.without == 0 {
		without = c.want
	}
	url := "http://" + at.address + c.load.at()
	for _, ask := range []struct {
		authorization string
		want          answer
	}{{c.load.credential(0), c.want}, {"", without}, {c.load.credential(0), c.want}} {
		status, body, err := get(s.ctx, url, ask.authorization)
		if err != nil {
			return err
		}
		if status != ask.want.status || body != ask.want.body && (status == 200 || c.want.status != 200) {
			return fmt.Errorf("answered %d %q instead of %d %q to %q", status, body, ask.want.status, ask.want.body, ask.authorization)
		}
	}
	if c.cache == "" {
		return nil
	}
	if at.probe == "" {
		return errors.New("no frappe_auth to have a cache")
	}
	_, body, err := get(s.ctx, "http://"+at.probe, c.load.credential(0))
	if err == nil && body != c.cache {
		err = fmt.Errorf("the cache had a %s instead of a %s", body, c.cache)
	}
	return err
}
