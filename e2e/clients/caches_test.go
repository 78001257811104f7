package clients

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// sharedCache runs a shared cache in front of an address. It returns a client that uses the cache, and the URL at which
// the client reaches the address.
type sharedCache func(t *testing.T, address string) (client *http.Client, base string)

// squid is a proxy for the clients of a network.
func squid(t *testing.T, address string) (*http.Client, string) {
	t.Helper()
	program := testutil.RequireProgram(t, "squid", "squid", "/usr/sbin/squid")
	proxy := testutil.FreeAddress(t)
	config := fmt.Sprintf("http_port %s\nhttp_access allow all\nrefresh_pattern . 0 20%% 4320\n"+ // the last is Debian's
		"pid_filename none\naccess_log none\ncache_log /dev/null\nnetdb_filename none\ncoredump_dir /\n", proxy)
	runProgram(t, proxy, config, program, "-N", "-f")
	to := http.ProxyURL(&url.URL{Scheme: "http", Host: proxy})
	transport := &http.Transport{Proxy: func(r *http.Request) (*url.URL, error) { return to(r) }}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: testutil.Client.CheckRedirect}, "http://" + address
}

// cdn is a proxy in front of a server that keeps what it is not told not to keep, whatever the cookies.
func cdn(t *testing.T, address string) (*http.Client, string) {
	t.Helper()
	const keeps = "proxy_cache c;\nproxy_cache_valid any 1m;\nproxy_ignore_headers Set-Cookie;\n"
	return testutil.Client, "http://" + nginx(t, address, keeps)
}

// nginx runs a proxy in front of a server, as most pages describe it: without the port of the client's Host. It returns
// the address of the proxy.
func nginx(t *testing.T, address, options string) (proxy string) {
	t.Helper()
	return nginxServer(t, fmt.Sprintf("location / {\nproxy_pass http://%s;\nproxy_set_header Host $host;\n%s\n}", address, options))
}

// nginxServer runs nginx with one server, and returns its address.
func nginxServer(t *testing.T, directives string) (address string) {
	t.Helper()
	program := testutil.RequireProgram(t, "nginx-light", "nginx", "/usr/sbin/nginx")
	dir, address := t.TempDir(), testutil.FreeAddress(t)
	var paths strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&paths, "%s_temp_path %s/%s;\n", name, dir, name)
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;\n"
	}
	runProgram(t, address, fmt.Sprintf(`%sdaemon off;
pid %[2]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	%[3]s
	proxy_cache_path %[2]s/cache keys_zone=c:1m;
	server {
		listen %[4]s;
		%[5]s
	}
}`, user, dir, paths.String(), address, directives), program, "-c")
	return address
}

// runProgram runs a server with a configuration file until the test ends, and waits until it answers.
func runProgram(t *testing.T, address, config, program string, args ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	command := exec.CommandContext(t.Context(), program, append(args, file)...)
	command.Stderr = &stderr
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	command.WaitDelay = 5 * time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		command.Cancel()
		<-ended
	})
	testutil.Eventually(t, program+" answers", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s ended: %s", program, stderr.String())
		default:
		}
		conn, err := dialOnly(testutil.PortOf(address))(t.Context(), "tcp", "")
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// TestSharedCaches: what a session opened is not given to others, and a refusal not to somebody who may pass.
func TestSharedCaches(t *testing.T) {
	for name, start := range map[string]sharedCache{"Squid": squid, "nginx": cdn} {
		t.Run(name, func(t *testing.T) {
			root, erp, address := t.TempDir(), newERP(t), testutil.FreeAddress(t)
			for _, file := range []string{"refused", "redirected", "opened"} {
				path := filepath.Join(root, file)
				if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
					t.Fatal(err)
				}
				if err := os.Chtimes(path, time.Time{}, time.Now().Add(-1000*time.Hour)); err != nil { // caches trust in old files
					t.Fatal(err)
				}
			}
			sid := random()
			erp.LogIn(sid)
			testutil.RunCaddy(t, fmt.Sprintf("http://:%s {\nbind 127.0.0.1\nfrappe_auth {\nbackend site %s\nschemes session\n"+
				"login /login\n}\nroot %q\nfile_server\n}", testutil.PortOf(address), erp.URL, root))
			client, base := start(t, address)
			const script, page = "Sec-Fetch-Mode: cors", "Sec-Fetch-Mode: navigate"
			session := "Cookie: sid=" + sid
			for _, step := range []struct {
				path, header string
				status       int
			}{
				{"/refused", script, 401},
				{"/refused", session, 200},
				{"/redirected", page, 302},
				{"/redirected", session, 200},
				{"/opened", session, 200},
				{"/opened", session, 200},
				{"/opened", script, 401},
				{"/opened", page, 302},
			} {
				if got := testutil.RequestOver(t, client, http.MethodGet, base+step.path, step.header); got.Status != step.status {
					t.Errorf("%s with %s: %d, want %d", step.path, step.header, got.Status, step.status)
				}
			}
		})
	}
}

// TestBackAfterLogout: Chromium does not show a page again after the logout, if the application says no-store.
func TestBackAfterLogout(t *testing.T) {
	w := start(t, everyScheme+"\ncache {\nsession_ttl 0\n}")
	b := newTab(t)
	b.open(w.bi("secret"))
	w.logIn(b)
	b.open(w.url("erp.example.com", "/"))
	b.does(`ask("/api/method/logout")`)
	run(b, chromedp.NavigateBack())
	if at := run(b, chromedp.Location()); at != w.url("erp.example.com", "/login?redirect-to=%2Fbi%2Fsecret") {
		t.Errorf("after the logout Back leads to %s", at)
	}
}

// TestOtherOrigins: a script of another origin reads the status of a refusal, also if it asks with credentials.
func TestOtherOrigins(t *testing.T) {
	erp := newERP(t)
	recipe := strings.NewReplacer("https://erp.example.com", erp.URL,
		"https://app.example.com", "https://app.example.com:PORT",
		"reverse_proxy localhost:9000", "respond passed").Replace(recipes(t, "Browsers of other origins"))
	page := "app.example.com {\nheader Content-Type text/html\nrespond <title>Elsewhere</title>\n}\n"
	_, port, _ := runCaddy(t, page+recipe, "app.example.com", "api.example.com")
	b := newTab(t)
	b.open("https://app.example.com:" + port + "/")
	for _, credentials := range []string{"same-origin", "include"} {
		said := b.does(fmt.Sprintf(`ask("https://api.example.com:%s/x", {credentials: %q})`, port, credentials))
		if said != "401 401 Unauthorized" {
			t.Errorf("%s: %s", credentials, said)
		}
	}
	if boxes := b.opened(); len(boxes) > 0 {
		t.Errorf("a login box opened for %v", boxes)
	}
}
