package e2e

import (
	"bytes"
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

// runInit runs `caddy frappe-auth init`, and returns the Caddyfile that it wrote to standard output, what it wrote to
// standard error, and the exit code. It starts in an empty directory with an empty home.
func runInit(t *testing.T, input string, args ...string) (file, screen string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), binary, append([]string{"frappe-auth", "init"}, args...)...)
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), "HOME="+c.Dir)
	c.Stdin = strings.NewReader(input)
	var out, err bytes.Buffer
	c.Stdout, c.Stderr = &out, &err
	_ = c.Run() // the exit code is returned
	for _, secret := range []string{"s3cret", "38jWnH1vU3H1INnP", "MUx-kgDuoW3K9ELDxqTkj66Ki", "AAAAAAAAAAAAAAAA"} {
		if strings.Contains(out.String()+err.String(), secret) {
			t.Errorf("%s is shown:\n%s%s", secret, err.String(), out.String())
		}
	}
	return out.String(), err.String(), c.ProcessState.ExitCode()
}

// TestInit: doctor accepts the Caddyfile that init writes, and Caddy runs it.
func TestInit(t *testing.T) {
	named := namedSite(t, "erp.example.com")
	namedPort := named[strings.LastIndexByte(named, ':')+1:]
	noDatabase := `{"db_host": "127.0.0.1", "db_port": ` + testutil.FreePort(t) + `, "webserver_port": ` + namedPort + `}`

	fileBench, sites := makeBench(t, `{}`)
	sqliteSiteIn(t, sites)
	queueBench, sites := makeBench(t, `{"redis_queue": "redis://:s3cret@127.0.0.1:11000"}`)
	sqliteSiteIn(t, sites)
	serverBench, sites := makeBench(t, noDatabase)
	recordedSiteIn(t, sites, "erp.example.com")
	severalBench, sites := makeBench(t, `{"default_site": "other.example.com"}`)
	sqliteSiteIn(t, sites)
	recordedSiteIn(t, sites, "other.example.com")

	for _, test := range []struct {
		name, input string
		args        []string
		golden      string // some cases share one
	}{
		{"site", "", []string{"--site", namedSite(t, "")}, "site"},
		{"site by name", "", []string{"--site", named, "--site-name", "erp.example.com"}, "site by name"},
		{"address", "", []string{"--site", namedSite(t, ""), "--address", "files.example.com"}, "address"},
		{
			"login", "",
			[]string{"--site", named, "--site-name", "erp.example.com", "--address", "files.example.com", "--login", "erp.localhost"},
			"login",
		},
		{
			"login, with a bench", "",
			[]string{"--bench", serverBench, "--address", "files.example.com", "--login", "erp.localhost"},
			"login",
		},
		{"database", "", []string{"--bench", fileBench}, "database"},
		{"directory of sites", "", []string{"--bench", filepath.Join(fileBench, "sites")}, "database"},
		{"a queue with a password", "", []string{"--bench", queueBench}, "feed"},
		{"one of several sites", "", []string{"--bench", severalBench, "--site-name", "erp.example.com"}, "database"},
		{"web server where the database does not run", "", []string{"--bench", serverBench}, "site by name"},
		{"asked for a site", namedSite(t, "") + "\nfiles.example.com\n", nil, "address"},
		{"asked, with what is proposed", namedSite(t, ""), nil, "site"},
		{"asked for the name", named + "\n\nerp.example.com\n", nil, "site by name"},
		{
			"asked again", "http://127.0.0.1:" + testutil.FreePort(t) + "\n\n" + named + "\nerp.example.com\n", nil,
			"site by name",
		},
		{"asked for a bench", severalBench + "\nerp.example.com\n\n", nil, "database"},
		{"asked for another site of the bench", severalBench + "\n\n\nerp.example.com\n", nil, "database"},
		{"asked for another bench", severalBench + "\n\n\n" + fileBench + "\n", nil, "database"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, screen, code := runInit(t, test.input, test.args...)
			if code != 0 {
				t.Fatalf("exit code %d:\n%s", code, screen)
			}
			golden(t, "init "+test.golden+".txt", file,
				append(onScreens, `database \S+/`, "database /home/frappe/frappe-bench/sites/")...)
			t.Setenv("FRAPPE_LOGIN_SECRET", testutil.RandomID())
			doctor, code := command(t, "", "doctor", "--config", configFile(t, file))
			if code != 0 {
				t.Errorf("doctor does not pass it:\n%s", doctor)
			}
			formatted, err := exec.CommandContext(t.Context(), binary, "fmt", configFile(t, file)).Output()
			if err != nil || string(formatted) != file {
				t.Errorf("%v, caddy fmt makes of it:\n%s", err, formatted)
			}
		})
	}
}

// TestInitServes: the Caddyfile for a bench grants the credentials in the database of its site.
func TestInitServes(t *testing.T) {
	dir, sites := makeBench(t, `{}`)
	sqliteSiteIn(t, sites)
	address := testutil.FreeAddress(t)
	file, screen, code := runInit(t, "", "--bench", dir, "--address", "http://"+address)
	if code != 0 {
		t.Fatal(screen)
	}
	start(t, "", file)
	if status, got := ask(t, "GET", "http://"+address, "", tokenHeader); got != "You are alice@example.com." {
		t.Errorf("%d %s", status, got)
	}
	if status, _ := ask(t, "GET", "http://"+address, "", wrongHeader); status != http.StatusUnauthorized {
		t.Errorf("a wrong secret gets %d", status)
	}
}

// TestInitDefaultAddress: without an address, the Caddyfile protects requests for every name of this machine, and lets
// no other machine in.
func TestInitDefaultAddress(t *testing.T) {
	file, screen, code := runInit(t, "", "--site", namedSite(t, ""))
	port := testutil.FreePort(t)
	own := strings.Replace(file, "\n:8080 {\n", "\n:"+port+" {\n", 1)
	if code != 0 || own == file {
		t.Fatalf("exit code %d:\n%s%s", code, screen, file)
	}
	start(t, "", own)
	for _, host := range []string{"127.0.0.1", "localhost"} {
		if status, body := ask(t, "GET", "http://"+host+":"+port, ""); status != http.StatusUnauthorized {
			t.Errorf("%s: %d %q without a credential", host, status, body)
		}
	}
	for _, address := range addressesOfOthers(t) {
		if conn, err := net.Dial("tcp", net.JoinHostPort(address, port)); err == nil {
			conn.Close()
			t.Errorf("%s is open", address)
		}
	}
}

// addressesOfOthers are the addresses at which other machines reach this one.
func addressesOfOthers(t *testing.T) (all []string) {
	t.Helper()
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range own {
		if network, ok := address.(*net.IPNet); ok && !network.IP.IsLoopback() && !network.IP.IsLinkLocalUnicast() {
			all = append(all, network.IP.String())
		}
	}
	return all
}

// TestInitFindsBench: without flags, init proposes the bench in the current directory or in the home directory.
func TestInitFindsBench(t *testing.T) {
	home := t.TempDir()
	sites := filepath.Join(home, "frappe-bench", "sites")
	if err := os.MkdirAll(sites, 0o700); err != nil {
		t.Fatal(err)
	}
	sqliteSiteIn(t, sites)
	for name, dir := range map[string]string{"here": filepath.Join(home, "frappe-bench"), "at home": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			c := exec.CommandContext(t.Context(), binary, "frappe-auth", "init")
			c.Dir, c.Env = dir, append(os.Environ(), "HOME="+home)
			out, err := c.Output() // with nothing on standard input
			if err != nil || !strings.Contains(string(out), "backend database "+filepath.Join(sites, "erp.example.com")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestInitFails: if nothing works, init writes no file and says why.
func TestInitFails(t *testing.T) {
	serverBench, sites := makeBench(t, `{"db_host": "127.0.0.1", "db_port": `+testutil.FreePort(t)+`, "webserver_port": `+
		testutil.FreePort(t)+`}`)
	recordedSiteIn(t, sites, "erp.example.com")
	recordedSiteIn(t, sites, "other.example.com")
	for _, test := range []struct {
		name, input string
		args        []string
		code        int
		want        string
	}{
		{"nothing listens", "", []string{"--site", "http://127.0.0.1:" + testutil.FreePort(t)}, 2, "connection refused"},
		{"no site of that name", "", []string{"--site", namedSite(t, "erp.example.com")}, 2, "TROUBLE"},
		{
			"nothing runs", "",
			[]string{"--bench", serverBench, "--site-name", "erp.example.com"},
			2,
			"Fix what is marked TROUBLE",
		},
		{
			"several sites", "",
			[]string{"--bench", serverBench},
			1,
			"choose one with --site-name: erp.example.com, other.example.com",
		},
		{"no such site", "", []string{"--bench", serverBench, "--site-name", "x"}, 1, "no site with that name"},
		{"no bench", "", []string{"--bench", t.TempDir()}, 1, "not a bench"},
		{"no directory", "", []string{"--bench", "/nonexistent"}, 1, "/nonexistent"},
		{"--site and --bench", "", []string{"--bench", serverBench, "--site", "https://erp.example.com"}, 1, "not both"},
		{"no URL", "", []string{"--site", "erp.example.com"}, 1, "write http:// or https://"},
		{"no scheme", "", []string{"--site", "127.0.0.1:8000"}, 1, "--site: write http:// or https://"},
		{"password in the URL", "", []string{"--site", "https://alice:s3cret@erp.example.com"}, 1, "remove it"},
		{"password in the answer", "https://alice:s3cret@erp.example.com\n\n\n", nil, 2, "remove it"},
		{"placeholder", "", []string{"--site", "https://{env.SITE}"}, 1, "cannot be written in a Caddyfile"},
		{
			"address", "",
			[]string{"--site", "https://erp.example.com", "--address", "ftp://x"},
			1,
			"--address: write an address",
		},
		{
			"login without a host", "",
			[]string{"--site", "https://erp.example.com", "--login", "erp.example.com"},
			1,
			"also give the host whose users log in there",
		},
		{
			"login at a URL", "",
			[]string{"--site", "http://127.0.0.1:8000", "--login", "https://erp.example.com", "--address", "app.example.com"},
			1,
			"--login: ",
		},
		{
			"login at the site itself", "",
			[]string{"--site", "https://erp.example.com", "--login", "erp.example.com", "--address", "app.example.com"},
			1,
			"give --site the URL of the web server behind it",
		},
		{
			"login in front of a folder", "",
			[]string{"--site", "https://frappe.example.com/erp", "--login", "erp.example.com", "--address", "app.example.com"},
			1,
			"without a path",
		},
		{"no answer", "", nil, 1, "use --site or --bench"},
		{"argument", "", []string{"https://erp.example.com"}, 1, "unexpected argument"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file, screen, code := runInit(t, test.input, test.args...)
			if code != test.code || file != "" || !strings.Contains(screen, test.want) {
				t.Errorf("exit code %d, the Caddyfile %q:\n%s", code, file, screen)
			}
		})
	}
}

// TestInitOutput: init does not overwrite a file without --force.
func TestInitOutput(t *testing.T) {
	name := filepath.Join(t.TempDir(), "Caddyfile")
	args := []string{"--site", namedSite(t, ""), "--output", name}
	written := func() string {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if out, screen, code := runInit(t, "", args...); code != 0 || out != "" || !strings.Contains(screen, "Wrote "+name) {
		t.Fatalf("exit code %d:\n%s%s", code, out, screen)
	}
	first := written()
	if doctor, code := command(t, "", "doctor", "--config", name); code != 0 {
		t.Errorf("doctor does not pass it:\n%s", doctor)
	}
	const mine = "# my own\n"
	if err := os.WriteFile(name, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, screen, code := runInit(t, "", args...); code != 1 || written() != mine || !strings.Contains(screen, "--force") {
		t.Errorf("exit code %d:\n%s", code, screen)
	}
	if _, screen, code := runInit(t, "", append(args, "--force")...); code != 0 || written() != first {
		t.Errorf("with --force: exit code %d:\n%s", code, screen)
	}
	failing := []string{"--site", "http://127.0.0.1:" + testutil.FreePort(t), "--output", name, "--force"}
	if _, screen, code := runInit(t, "", failing...); code != 2 || written() != first {
		t.Errorf("where nothing works: exit code %d:\n%s", code, screen)
	}
}

// TestInitHint: the commands that init prints, to start Caddy and to send a request, work, whatever the name of the
// file. The program is named as it was called.
func TestInitHint(t *testing.T) {
	for name, flags := range map[string]string{
		"Caddyfile": "", "Caddyfile.new": "", "erp.caddyfile": "",
		"erp.conf": " --adapter caddyfile",
	} {
		file := filepath.Join(t.TempDir(), name)
		_, screen, _ := runInit(t, "", "--site", namedSite(t, ""), "--output", file)
		if want := "Start Caddy with: " + binary + " run --config " + file + flags + "\n"; !strings.Contains(screen, want) {
			t.Errorf("no %q in\n%s", want, screen)
		}
		want := `curl -H "Authorization: token <api_key>:<api_secret>" http://127.0.0.1:8080/` + "\n"
		if !strings.HasSuffix(screen, want) {
			t.Errorf("no %q at the end of\n%s", want, screen)
		}
		args := append([]string{"adapt", "--config", file}, strings.Fields(flags)...)
		if out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// TestInitFeed: the feed that init suggests for a bench works once its line is uncommented.
func TestInitFeed(t *testing.T) {
	server := testutil.StartRedis(t)
	bench, sites := makeBench(t, `{"redis_queue": "redis://`+server.Address+`"}`)
	sqliteSiteIn(t, sites)
	file, screen, code := runInit(t, "", "--bench", bench)
	if code != 0 {
		t.Fatal(screen)
	}
	line := "\t\t# feed frappe_events redis://" + server.Address + "\n"
	if !strings.Contains(file, line) {
		t.Fatalf("no feed is suggested:\n%s", file)
	}
	doctor, code := command(t, "", "doctor", "--config",
		configFile(t, strings.Replace(file, line, strings.Replace(line, "# ", "", 1), 1)))
	if code != 0 || !strings.Contains(doctor, "events may be heard") {
		t.Errorf("exit code %d:\n%s", code, doctor)
	}
}

// TestFirstSteps: the README's commands for your own site, and then the commands that init prints, lead to a site that
// is protected, and that doctor has nothing to say about.
func TestFirstSteps(t *testing.T) {
	testutil.RequireCommand(t, "curl", "curl", "--version")
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/ping"):
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"message": "pong"}`)
		case testutil.CredentialOf(r) == "pair "+testutil.AliceKey+":"+testutil.AliceSecret:
			testutil.Reply(t, w, testutil.Answer(t, "granted.http"))
		default:
			testutil.Reply(t, w, testutil.Answer(t, "guest-15.http"))
		}
	}))
	t.Cleanup(site.Close)
	dir, port := t.TempDir(), testutil.FreePort(t)
	command := func(line, input string) *exec.Cmd {
		c := exec.CommandContext(t.Context(), "sh", "-c", "exec "+strings.Replace(line, "go run ./cmd/caddy", binary, 1))
		c.Dir, c.Stdin = dir, strings.NewReader(input)
		c.Env = append(os.Environ(), "HOME="+dir, "CADDY_ADMIN="+testutil.FreeAddress(t))
		return c
	}
	screens := make(map[string]string) // by command
	for _, step := range []struct{ name, input string }{
		{"init", site.URL + "\n:" + port + "\n"}, {"check", testutil.AlicePair}, {"doctor", ""},
	} {
		line := "go run ./cmd/caddy frappe-auth " + step.name + " --config Caddyfile"
		if step.name == "init" {
			line = strings.Replace(line, "--config", "--output", 1)
		}
		if step.name != "doctor" && !strings.Contains(testutil.Page(t, "README.md"), "\n"+line+"\n") {
			t.Errorf("the README does not have %s", line)
		}
		out, err := command(line, step.input).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		screens[step.name] = string(out)
	}
	if !strings.Contains(screens["check"], "It lets the request pass, as alice@example.com.") {
		t.Error(screens["check"])
	}
	if strings.Contains(screens["doctor"], "warning") || strings.Contains(screens["doctor"], "OPEN") {
		t.Error(screens["doctor"])
	}
	printed := regexp.MustCompile(`(?m)^Wrote Caddyfile\. Start Caddy with: (.*)\nThen send it a request: +(curl .*)$`).
		FindStringSubmatch(screens["init"])
	if printed == nil {
		t.Fatalf("init does not say how to go on:\n%s", screens["init"])
	}
	caddy := command(printed[1], "")
	caddy.Cancel = func() error { return caddy.Process.Signal(os.Interrupt) }
	if err := caddy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		caddy.Process.Signal(os.Interrupt)
		caddy.Wait() //nolint:errcheck // an interrupt is an error
	})
	try := strings.Replace(printed[2], "<api_key>:<api_secret>", testutil.AliceKey+":"+testutil.AliceSecret, 1)
	var got []byte
	testutil.Eventually(t, "Caddy answers", func() (answered bool) {
		got, _ = command(strings.Replace(try, "curl ", "curl -s ", 1), "").Output()
		return len(got) > 0
	})
	if string(got) != "You are alice@example.com." {
		t.Errorf("%s: %s", try, got)
	}
	if status, _ := ask(t, "GET", "http://localhost:"+port, ""); status != http.StatusUnauthorized {
		t.Errorf("without a credential: %d", status)
	}
}
