package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// startExample runs Caddyfile.example on free ports, and returns the URLs that stand for ports 8080 and 8081.
func startExample(t *testing.T) (files, application string) {
	t.Helper()
	raw, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	example := string(raw)
	ports := make(map[string]string)
	for _, port := range []string{"8080", "8081", "8082"} {
		ports[port] = testutil.FreePort(t)
		example = strings.ReplaceAll(example, ":"+port, ":"+ports[port])
	}
	start(t, "", example)
	return "http://localhost:" + ports["8080"], "http://localhost:" + ports["8081"]
}

func TestCurl(t *testing.T) {
	testutil.RequireCommand(t, "curl", "curl", "--version")
	files, application := startExample(t)
	for _, test := range []struct {
		name string
		args []string
		want string // status and body
	}{
		{
			"token",
			[]string{"-H", "Authorization: token " + testutil.AliceKey + ":" + testutil.AliceSecret, files},
			"200 The files that credentials protect.\n",
		},
		{
			"Basic",
			[]string{"--basic", "-u", testutil.AliceKey + ":" + testutil.AliceSecret, files + "/whoami"},
			"200 You are alice@example.com, by basic.\n",
		},
		{
			"Bearer",
			[]string{"-H", "Authorization: Bearer " + testutil.AliceToken, files + "/whoami"},
			"200 You are alice@example.com, by bearer.\n",
		},
		{
			"Bearer by curl's own option",
			[]string{"--oauth2-bearer", testutil.AliceToken, files + "/whoami"},
			"200 You are alice@example.com, by bearer.\n",
		},
		{
			"any scheme, as curl picks one",
			[]string{
				"--anyauth", "-u", testutil.AliceKey + ":" + testutil.AliceSecret,
				files + "/whoami",
			},
			"200 You are alice@example.com, by basic.\n",
		},
		{"none", []string{files}, "401 "},
		{"none, by another name of this machine", []string{strings.Replace(files, "localhost", "127.0.0.1", 1)}, "401 "},
		{"wrong secret", []string{"-u", testutil.AliceKey + ":wrong", files}, "401 "},
		{
			"the role",
			[]string{"-u", testutil.AliceKey + ":" + testutil.AliceSecret, application},
			"200 The application sees alice@example.com.\n",
		},
		{"not the role", []string{"-u", strings.TrimPrefix(testutil.BobPair, "token "), application}, "403 "},
		{"a forged identity", []string{
			"-u", testutil.AliceKey + ":" + testutil.AliceSecret, "-H",
			"X-Frappe-User: Administrator", "-H",
			"Connection: X-Frappe-User", application,
		}, "200 The application sees alice@example.com.\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := filepath.Join(t.TempDir(), "body")
			status, err := exec.CommandContext(t.Context(), "curl",
				append([]string{"-s", "-o", body, "-w", "%{http_code} "}, test.args...)...).Output()
			if err != nil {
				t.Fatal(err)
			}
			text, _ := os.ReadFile(body)
			if got := string(status) + string(text); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPythonRequests(t *testing.T) {
	testutil.RequireCommand(t, "python3-requests", pythonPath(), "-c", "import requests")
	files, _ := startExample(t)
	output, err := exec.CommandContext(t.Context(), pythonPath(), "requests_client.py", files+"/whoami", testutil.AliceKey,
		testutil.AliceSecret, testutil.AliceToken).Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers map[string]struct {
		Status     int
		Body       string
		Challenges string
	}
	if err := json.Unmarshal(output, &answers); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"token":              "You are alice@example.com, by token.\n",
		"Bearer":             "You are alice@example.com, by bearer.\n",
		"Basic":              "You are alice@example.com, by basic.\n",
		"requests' own auth": "You are alice@example.com, by basic.\n",
	} {
		if got := answers[name]; got.Status != 200 || got.Body != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := answers["Basic of the page"]; got.Status != 401 ||
		!strings.Contains(got.Challenges, "call .decode() on the result of base64.b64encode") {
		t.Errorf("the faulty example of the page: %+v", got)
	}
}

// pythonPath returns the Python of Debian, which has Debian's packages, or else any.
func pythonPath() string {
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	return "python3"
}

// exampleCaddyfile returns the global options and the sites of a Caddyfile of examples/. Each test has its own admin
// endpoint and Redis.
func exampleCaddyfile(t *testing.T, name string) (globals, sites string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../examples", name, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	if formatted := string(caddyfile.Format(raw)); formatted != text {
		t.Errorf("%s is not formatted as caddy fmt does:\n%s", name, formatted)
	}
	if address := regexp.MustCompile(`redis://[a-z-]+:6379`); address.MatchString(text) {
		text = address.ReplaceAllString(text, "redis://"+testutil.StartRedis(t).Address)
	}
	globals, sites, ok := strings.Cut(text[strings.Index(text, "{\n")+2:], "\n}\n")
	if without := strings.Replace(globals, "\tadmin 127.0.0.1:2019\n", "", 1); !ok || without == globals {
		t.Fatalf("%s has no global options with an admin endpoint", name)
	} else {
		globals = without
	}
	return globals, sites
}

// startExamples runs a Caddyfile of examples/ with replacements for addresses and paths, and returns the address that
// stands for each port.
func startExamples(t *testing.T, name string, ports []string, replacements ...string) map[string]string {
	t.Helper()
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s by %q %q", r.URL.Path, r.Header.Get("X-Frappe-User"), r.Header.Get("Authorization"))
	}))
	t.Cleanup(application.Close)
	globals, sites := exampleCaddyfile(t, name)
	addresses := make(map[string]string)
	for _, port := range ports {
		addresses[port] = testutil.FreeAddress(t)
		replacements = append(replacements, "\n:"+port+" {", "\nhttp://"+addresses[port]+" {")
	}
	replacements = append(replacements, "app:80", strings.TrimPrefix(application.URL, "http://"))
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(sites, replacements[i]) {
			t.Errorf("%s does not have %q", name, replacements[i])
		}
	}
	start(t, globals, strings.NewReplacer(replacements...).Replace(sites),
		"FRAPPE_AUTH_SECRET="+strings.Repeat("0123456789abcdef", 4), "REDIS_PASSWORD=unused")
	return addresses
}

// TestComposeExample: the example grants credentials that the database of the site knows, and no others.
func TestComposeExample(t *testing.T) {
	site := siteDouble(t)
	address := startExamples(t, "compose", []string{"8081"},
		"/home/frappe/frappe-bench/sites/{$SITE:frontend}", sqliteSite(t), "site_name {$SITE:frontend}",
		"site_name a.erp.example.com", "http://backend:8000", site)["8081"]
	for _, test := range []struct {
		name   string
		header string
		status int
		body   string
	}{
		{"a key of the database", tokenHeader, 200, `/x by "alice@example.com" ""`},
		{"a wrong secret", wrongHeader, 401, ""},
		{"an unknown token", "Authorization: Bearer other", 401, ""},
		{"none", "X-Frappe-User: Administrator", 401, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := ask(t, "GET", "http://"+address+"/x", "", test.header)
			if status != test.status || status == 200 && body != test.body {
				t.Errorf("%d %q", status, body)
			}
		})
	}
}

// TestKubernetesExample: the port for probes and metrics needs no credential, and the other port does.
func TestKubernetesExample(t *testing.T) {
	const base = "kubernetes/base"
	share, err := os.ReadFile("../examples/kubernetes/components/redis/redis.caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if formatted := string(caddyfile.Format(share)); formatted != string(share) {
		t.Errorf("redis.caddyfile is not formatted as caddy fmt does:\n%s", formatted)
	}
	redis := strings.Replace(string(share), "redis:6379", testutil.StartRedis(t).Address, 1)
	addresses := startExamples(t, base, []string{"9180", "8080"}, "https://erp.example.com", siteDouble(t),
		"import *.caddyfile", redis)
	testutil.Eventually(t, "the store is used", func() bool {
		_, body := ask(t, "GET", "http://"+addresses["9180"]+"/metrics", "")
		return strings.Contains(body, "\ncaddy_frappe_auth_store_up 1\n")
	})
	for path, want := range map[string]string{"/healthz": "", "/metrics": "caddy_frappe_auth_requests_total"} {
		if status, body := ask(t, "GET", "http://"+addresses["9180"]+path, ""); status != 200 ||
			!strings.Contains(body, want) {
			t.Errorf("%s: %d %.300q", path, status, body)
		}
	}
	for header, want := range map[string]int{
		"Authorization: Bearer good-token": 200, wrongHeader: 401,
		"X-Frappe-User: Administrator": 401,
	} {
		if status, body := ask(t, "GET", "http://"+addresses["8080"]+"/healthz", "", header); status != want {
			t.Errorf("%s: %d %q, want %d", header, status, body, want)
		}
	}
	addresses = startExamples(t, base, []string{"8080"}, "https://erp.example.com", siteDouble(t))
	if status, _ := ask(t, "GET", "http://"+addresses["8080"]+"/x", "", "Authorization: Bearer good-token"); status != 200 {
		t.Errorf("without Redis: %d", status)
	}
}

// TestSystemdExample: after the commands of examples/systemd/README.md, the user of Caddy can read what Caddy needs of
// a bench, and no other file of it.
func TestSystemdExample(t *testing.T) {
	testutil.RequireCommand(t, "acl", "setfacl", "--version")
	if os.Getuid() != 0 {
		t.Skip("only root can become somebody else")
	}
	raw, err := os.ReadFile("../examples/systemd/README.md")
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(t.TempDir(), "frappe")
	sites := filepath.Join(home, "frappe-bench", "sites")
	site := filepath.Join(sites, "erp.example.com")
	if err := os.MkdirAll(sites, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(sqliteSite(t), site); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(sites, "common_site_config.json"), filepath.Join(sites, "apps.json")} {
		if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := configFile(t, "files.example.com {\nfrappe_auth {\nbackend database "+site+"\n}\n}")
	for _, path := range []string{
		config, filepath.Dir(config), filepath.Dir(filepath.Dir(config)), filepath.Dir(home),
		filepath.Dir(binary),
	} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	asNobody := func(args ...string) (string, bool) {
		command := exec.CommandContext(t.Context(), "setpriv",
			append([]string{"--reuid=nobody", "--regid=nogroup", "--clear-groups"}, args...)...)
		command.Dir = "/"
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
		out, err := command.CombinedOutput()
		return string(out), err == nil
	}
	doctor := func() (string, bool) { return asNobody(binary, "frappe-auth", "doctor", "--config", config) }
	if out, well := doctor(); well || !strings.Contains(out, "setfacl") {
		t.Errorf("before:\n%s", out)
	}
	commands := regexp.MustCompile("(?s)```sh\n(bench=.*?)```").FindStringSubmatch(string(raw))[1] +
		regexp.MustCompile("`(setfacl -R .*?)`").FindStringSubmatch(string(raw))[1]
	script := exec.CommandContext(t.Context(), "bash", "-euc",
		strings.NewReplacer("/home/frappe", home, "u:caddy:", "u:nobody:").Replace(commands))
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, well := doctor(); !well {
		t.Errorf("after:\n%s", out)
	}
	if out, readable := asNobody("cat", filepath.Join(sites, "apps.json")); readable {
		t.Errorf("another file can be read: %s", out)
	}
}
