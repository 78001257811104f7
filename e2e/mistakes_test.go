package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestMistakes: each file of testdata/mistakes has a command as an operator types it, with a Caddyfile or JSON, and
// what it says. A name in braces is an address or a path of this test, see surroundings.
func TestMistakes(t *testing.T) {
	if files, err := filepath.Glob("testdata/mistakes/*.txt"); err != nil || len(files) < 40 {
		t.Fatal(len(files), err)
	}
	around := surroundings(t)
	line := regexp.MustCompile(`^\$ (?:printf '([^']*)' \| )?(?:([A-Z_]+=\S+) )?caddy (.*)$`)
	testutil.GoldenFiles(t, "e2e/testdata/mistakes/*.txt", func(t *testing.T, input string) string {
		first, config, _ := strings.Cut(around.enter.Replace(input), "\n")
		words := line.FindStringSubmatch(first)
		if words == nil {
			t.Fatalf("no command: %s", first)
		}
		args := strings.Fields(words[3])
		if config != "" {
			name := "Caddyfile"
			if json.Valid([]byte(config)) {
				name = "caddy.json"
			}
			name = filepath.Join(t.TempDir(), name)
			if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			args = append(args, "--config", name)
		}
		c := exec.CommandContext(t.Context(), binary, args...)
		c.Env = append(os.Environ(), "HOME="+t.TempDir(), "TERM=dumb")
		if words[2] != "" {
			c.Env = append(c.Env, words[2])
		}
		c.Stdin = strings.NewReader(words[1])
		out, _ := c.CombinedOutput() // the exit codes are tested where the commands are
		return replaced(around.leave.Replace(said(string(out))), append(onScreens, `(\S)  +`, "$1  ",
			`SQLite [\d.]+`, "SQLite x.y")...)
	})
	for _, request := range around.overheard() {
		t.Errorf("the proxy got %s", request)
	}
}

// said returns what an operator reads: the warnings and errors of a log, and other output up to the usage of a command.
func said(output string) string {
	var text strings.Builder
	output, _, _ = strings.Cut(output, "\n\nUsage:")
	for line := range strings.Lines(output) {
		var entry struct{ Level, Msg, Logger, Advice, Error string }
		switch {
		case json.Unmarshal([]byte(line), &entry) != nil || entry.Level == "":
			text.WriteString(strings.TrimSuffix(line, "\n") + "\n")
		case entry.Level == "info", entry.Logger == "http.auto_https", strings.Contains(entry.Msg, "input is not formatted"):
		default:
			text.WriteString(strings.Join(present(entry.Level+": "+entry.Msg, entry.Error, entry.Advice), "; ") + "\n")
		}
	}
	return text.String()
}

func present(texts ...string) (all []string) {
	for _, text := range texts {
		if text != "" {
			all = append(all, text)
		}
	}
	return all
}

// scene is what the commands of TestMistakes meet.
type scene struct {
	enter, leave *strings.Replacer // names in braces for addresses and paths, and back
	overheard    func() []string   // what the proxy got
}

// surroundings starts the doubles of the servers that mistakes lead to, and makes a bench.
func surroundings(t *testing.T) scene {
	t.Helper()
	bench, sites := makeBench(t, `{}`)
	sqliteSiteIn(t, sites)
	withoutKey := sqliteSiteIn(t, t.TempDir())
	conf := `{"db_type": "sqlite", "db_name": "_site"}`
	if err := os.WriteFile(filepath.Join(withoutKey, "site_config.json"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	withoutTables := t.TempDir()
	if err := os.MkdirAll(filepath.Join(withoutTables, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"site_config.json": conf, "db/_site.db": ""} {
		if err := os.WriteFile(filepath.Join(withoutTables, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pages := http.NewServeMux()
	pages.Handle("/home/", http.RedirectHandler("/login", http.StatusFound))
	web := httptest.NewServer(pages)
	t.Cleanup(web.Close)
	// As a real 15.44.2 answers everybody while its tables are there, but not its users.
	installing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusExpectationFailed)
		fmt.Fprint(w, `{"exc_type":"ValidationError","_server_messages":"[\"{\\\"message\\\": \\\"User Guest is disabled. Please `+
			`contact your System Manager.\\\", \\\"title\\\": \\\"Message\\\", \\\"indicator\\\": \\\"red\\\"}\"]"}`)
	}))
	t.Cleanup(installing.Close)
	proxy, overheard := listeningProxy(t)
	names := []string{
		"{site}", testutil.NewRecordedSite(t, testutil.OnMariaDB).URL, "{bench}", bench, "{without key}", withoutKey,
		"{without tables}", withoutTables, "{nothing}", testutil.FreeAddress(t),
		"{web server}", strings.TrimPrefix(web.URL, "http://"), "{installing}", installing.URL, "{proxy}", proxy,
		"{port of a MariaDB}", testutil.PortOf(greeting(t)),
	}
	back := make([]string, 0, len(names))
	for i := 0; i < len(names); i += 2 {
		back = append(back, names[i+1], names[i])
	}
	return scene{enter: strings.NewReplacer(names...), leave: strings.NewReplacer(back...), overheard: overheard}
}

// greeting returns the address of a server that begins as MariaDB does, and ends.
func greeting(t *testing.T) string {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "\x4a\x00\x00\x00\x0a5.5.5-10.11.6-MariaDB\x00") //nolint:errcheck // whoever connects may have gone
			conn.(*net.TCPConn).CloseWrite()                                      //nolint:errcheck // as above
			io.Copy(io.Discard, conn)                                             //nolint:errcheck // as above
			conn.Close()
		}
	}()
	return server.Addr().String()
}

// listeningProxy returns the address of a proxy that refuses everything, and what it got that has a credential.
func listeningProxy(t *testing.T) (address string, overheard func() []string) {
	t.Helper()
	got := make(chan string, 100)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect || r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			got <- fmt.Sprint(r.Method, " ", r.URL, " ", r.Header)
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(proxy.Close)
	return strings.TrimPrefix(proxy.URL, "http://"), func() (all []string) {
		for len(got) > 0 {
			all = append(all, <-got)
		}
		return all
	}
}

// TestProxyOfTheEnvironment: a site on a Unix socket is asked directly, whatever proxy the environment names.
func TestProxyOfTheEnvironment(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "frappe.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	recorded := testutil.NewRecordedSite(t, testutil.OnMariaDB)
	target := strings.TrimPrefix(recorded.URL, "http://")
	requests := make(chan string, 10)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { //nolint:gosec // a double
		requests <- r.RequestURI + r.Header.Get("Proxy-Authorization")
		r.URL.Scheme, r.URL.Host, r.RequestURI = "http", target, ""
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		resp.Write(w) //nolint:errcheck // replaced below
	})}
	go server.Serve(listener) //nolint:errcheck // ends with Close
	t.Cleanup(func() { server.Close() })
	proxy, overheard := listeningProxy(t)
	c := exec.CommandContext(t.Context(), binary, "frappe-auth", "check", "--site", "unix/"+socket)
	c.Env = append(os.Environ(), "HTTP_PROXY=http://someone:s3cret@"+proxy)
	c.Stdin = strings.NewReader(testutil.AlicePair)
	out, _ := c.CombinedOutput()
	if len(requests) == 0 {
		t.Fatalf("the site is not asked:\n%s", out)
	}
	if got := <-requests; !strings.HasPrefix(got, "/api/") || strings.Contains(got, "Basic") {
		t.Errorf("the site got %s", got)
	}
	for _, request := range overheard() {
		t.Errorf("the proxy got %s", request)
	}
}
