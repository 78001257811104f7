// Package e2e runs the Caddy of cmd/caddy as a process, with Caddyfile.example, and drives it with real clients.
package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const (
	aliceKey    = testutil.AliceKey
	aliceSecret = testutil.AliceSecret
	aliceToken  = testutil.AliceToken
	bobPair     = "5f200e7119f1d3c:" + testutil.BobSecret
)

// startExample runs the example with its ports replaced by free ones, and returns those that stand for 8080 and 8081.
func startExample(t *testing.T) (files, application string) {
	t.Helper()
	raw, err := os.ReadFile("../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	example := string(raw)
	ports := make(map[string]string)
	for _, port := range []string{"8080", "8081", "8082"} {
		ports[port] = freePort(t)
		example = strings.ReplaceAll(example, "localhost:"+port, "localhost:"+ports[port])
	}
	start(t, "", example)
	return "http://localhost:" + ports["8080"], "http://localhost:" + ports["8081"]
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
