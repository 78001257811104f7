// Package e2e drives running Caddys with clients: the Caddy of cmd/caddy as a process, and Caddys in the process of the
// test.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// binary is the path of the Caddy of cmd/caddy.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "frappe-auth-e2e")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "caddy")
	build := exec.CommandContext(context.Background(), "go", "build", "-o", binary, "./cmd/caddy")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("%v\n%s", err, out))
	}
	code := testutil.Main(m)
	os.RemoveAll(dir)
	os.Exit(code)
}

// process is a running Caddy.
type process struct {
	t       *testing.T
	command *exec.Cmd
	admin   string // address
	config  string // file
	log     string // file that standard output and error go to
	ended   bool
}

// start runs Caddy with global options and sites until the test ends, in the root of the repository, and waits until it
// answers.
func start(t *testing.T, globals, sites string, env ...string) *process {
	t.Helper()
	p := launch(t, globals, sites, env...)
	p.running()
	return p
}

// launch is start without waiting.
func launch(t *testing.T, globals, sites string, env ...string) *process {
	t.Helper()
	dir := t.TempDir()
	p := &process{
		t: t, admin: testutil.FreeAddress(t), config: filepath.Join(dir, "Caddyfile"),
		log: filepath.Join(dir, "log"),
	}
	p.configure(globals, sites)
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.command = exec.CommandContext(t.Context(), binary, "run", "--config", p.config)
	p.command.Dir = ".."
	p.command.Env = append(os.Environ(), env...)
	p.command.Stdout, p.command.Stderr = log, log
	p.command.Cancel = func() error { return p.command.Process.Signal(os.Interrupt) }
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	return p
}

// running waits until Caddy has loaded its configuration.
func (p *process) running() {
	p.t.Helper()
	testutil.Eventually(p.t, "Caddy answers", func() bool {
		resp, err := http.Get("http://" + p.admin + "/config/apps")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return len(body) > 5
	})
}

// configure writes the configuration, with everything logged.
func (p *process) configure(globals, sites string) {
	p.t.Helper()
	config := fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tlog {\n\t\tlevel DEBUG\n\t\tformat json\n\t}\n%s\n}\n%s",
		p.admin, globals, sites)
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// reload replaces the configuration.
func (p *process) reload(globals, sites string) {
	p.t.Helper()
	p.configure(globals, sites)
	reload := exec.CommandContext(p.t.Context(), binary, "reload", "--config", p.config, "--address", p.admin)
	reload.Dir = ".."
	if out, err := reload.CombinedOutput(); err != nil {
		p.t.Fatalf("%v\n%s", err, out)
	}
}

// stop ends Caddy as an operator does, and fails the test if a secret was logged.
func (p *process) stop() {
	if p.ended {
		return
	}
	p.ended = true
	p.command.Process.Signal(os.Interrupt)
	p.command.Wait() //nolint:errcheck // an interrupt is an error
	logged := p.logged()
	testutil.Logged.Write([]byte(logged))
	for _, secret := range secrets {
		if strings.Contains(logged, secret) {
			p.t.Errorf("the log holds the secret %s", secret)
		}
	}
	if p.t.Failed() {
		lines := strings.Split(logged, "\n")
		p.t.Log(strings.Join(lines[max(0, len(lines)-40):], "\n"))
	}
}

// secrets are what no log and no answer may contain, in the forms in which clients send them.
var secrets = []string{
	testutil.AliceSecret, testutil.AliceToken, testutil.BobSecret, "NjEwNjYyMjRhZGQ4NWU2", "wrong-secret", "bad-token",
	"good-token",
	testutil.RecordedSession,
}

func (p *process) logged() string {
	p.t.Helper()
	raw, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(raw)
}

// logLine waits for a line of the log with that message, and returns the last one.
func (p *process) logLine(message string) map[string]any {
	p.t.Helper()
	var found map[string]any
	testutil.Eventually(p.t, "the log says "+message, func() bool {
		for line := range strings.Lines(p.logged()) {
			var entry map[string]any
			if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == message {
				found = entry
			}
		}
		return found != nil
	})
	return found
}

// ask sends a request, and returns the status and the body of the answer.
func ask(t *testing.T, method, url, body string, headers ...string) (int, string) {
	t.Helper()
	got := testutil.Send(t, method, url, body, headers...)
	return got.Status, got.Body
}

// golden compares a text with a file of testdata, after the replacements.
func golden(t *testing.T, name, got string, replacements ...string) {
	t.Helper()
	testutil.Golden(t, "e2e/testdata/"+strings.ReplaceAll(name, " ", "-"), replaced(got, replacements...))
}

// replaced makes replacements in a text, pairs of a regular expression and a text.
func replaced(text string, replacements ...string) string {
	for i := 0; i < len(replacements); i += 2 {
		text = regexp.MustCompile(replacements[i]).ReplaceAllString(text, replacements[i+1])
	}
	return text
}

// alice is a backend static with alice's credentials.
var alice = `backend static {
	token ` + testutil.AliceKey + ` ` + testutil.Hash(testutil.AliceSecret) + ` alice@example.com "Report Manager"
	bearer ` + testutil.Hash(testutil.AliceToken) + ` alice@example.com "Report Manager"
}
`

const (
	tokenHeader  = "Authorization: " + testutil.AlicePair
	bearerHeader = "Authorization: " + testutil.AliceBearer
	wrongHeader  = "Authorization: token " + testutil.AliceKey + ":wrong-secret"
)
