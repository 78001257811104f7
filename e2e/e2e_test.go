// Package e2e runs the Caddy of cmd/caddy as a process, with Caddyfile.example, and drives it with real clients.
package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	aliceKey    = "2c6245becaa0961"
	aliceSecret = "61066224add85e6"
	aliceToken  = "641cc7393fbf7e529b94837c181e81"
	bobPair     = "5f200e7119f1d3c:091f121aa6a0031"
)

// startExample runs the example with its ports replaced by free ones, and returns those that stand for 8080 and 8081.
func startExample(t *testing.T) (files, application string) {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "caddy")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/caddy")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	raw, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	example := "{\n\tadmin off\n}\n" + string(raw)
	ports := make(map[string]string)
	for _, port := range []string{"8080", "8081", "8082"} {
		ports[port] = freePort(t)
		example = strings.ReplaceAll(example, "localhost:"+port, "localhost:"+ports[port])
	}
	config := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(config, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	process := exec.CommandContext(t.Context(), binary, "run", "--config", config, "--adapter", "caddyfile")
	process.Dir = ".."
	process.Stderr = &log
	process.Cancel = func() error { return process.Process.Signal(os.Interrupt) }
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Wait() //nolint:errcheck // it was interrupted
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; {
		conn, err := net.Dial("tcp", "localhost:"+ports["8081"])
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("Caddy does not listen")
		}
	}
	return "http://localhost:" + ports["8080"], "http://localhost:" + ports["8081"]
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return fmt.Sprint(listener.Addr().(*net.TCPAddr).Port)
}

// requireProgram skips the test if the program is missing, and fails it where everything has to be there.
func requireProgram(t *testing.T, debianPackage, program string, args ...string) {
	t.Helper()
	if err := exec.CommandContext(t.Context(), program, args...).Run(); err != nil {
		missing := fmt.Sprintf("%s %s: %v: apt-get install %s", program, strings.Join(args, " "), err, debianPackage)
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
}

func TestCurl(t *testing.T) {
	requireProgram(t, "curl", "curl", "--version")
	files, application := startExample(t)
	for _, test := range []struct {
		name string
		args []string
		want string // status and body
	}{
		{"token", []string{"-H", "Authorization: token " + aliceKey + ":" + aliceSecret, files}, "200 The files that credentials protect.\n"},
		{"Basic", []string{"--basic", "-u", aliceKey + ":" + aliceSecret, files + "/whoami"}, "200 You are alice@example.com, by basic.\n"},
		{"Bearer", []string{"-H", "Authorization: Bearer " + aliceToken, files + "/whoami"}, "200 You are alice@example.com, by bearer.\n"},
		{"Bearer by curl's own option", []string{"--oauth2-bearer", aliceToken, files + "/whoami"}, "200 You are alice@example.com, by bearer.\n"},
		{"any scheme, as curl picks one", []string{"--anyauth", "-u", aliceKey + ":" + aliceSecret, files + "/whoami"}, "200 You are alice@example.com, by basic.\n"},
		{"none", []string{files}, "401 "},
		{"wrong secret", []string{"-u", aliceKey + ":wrong", files}, "401 "},
		{"the role", []string{"-u", aliceKey + ":" + aliceSecret, application}, "200 The application sees alice@example.com.\n"},
		{"not the role", []string{"-u", bobPair, application}, "403 "},
		{"a forged identity", []string{"-u", aliceKey + ":" + aliceSecret, "-H", "X-Frappe-User: Administrator", "-H", "Connection: X-Frappe-User", application}, "200 The application sees alice@example.com.\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := filepath.Join(t.TempDir(), "body")
			status, err := exec.CommandContext(t.Context(), "curl", append([]string{"-s", "-o", body, "-w", "%{http_code} "}, test.args...)...).Output()
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
	requireProgram(t, "python3-requests", pythonPath(), "-c", "import requests")
	files, _ := startExample(t)
	output, err := exec.CommandContext(t.Context(), pythonPath(), "requests_client.py", files+"/whoami", aliceKey, aliceSecret, aliceToken).Output()
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
	if got := answers["Basic of the page"]; got.Status != 401 || !strings.Contains(got.Challenges, "call .decode() on the result of base64.b64encode") {
		t.Errorf("the faulty example of the page: %+v", got)
	}
}

// pythonPath is Debian's Python, for which its packages are, if there is one.
func pythonPath() string {
	if _, err := os.Stat("/usr/bin/python3"); err == nil {
		return "/usr/bin/python3"
	}
	return "python3"
}
