package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestSystemdExample: after the commands of examples/systemd/README.md, a user who owns nothing can read what Caddy needs of a
// bench that nobody else may enter, and no other file of it.
func TestSystemdExample(t *testing.T) {
	requireProgram(t, "acl", "setfacl", "--version")
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
	for _, path := range []string{config, filepath.Dir(config), filepath.Dir(filepath.Dir(config)), filepath.Dir(home), filepath.Dir(caddy)} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	asNobody := func(args ...string) (string, bool) {
		command := exec.CommandContext(t.Context(), "setpriv", append([]string{"--reuid=nobody", "--regid=nogroup", "--clear-groups"}, args...)...)
		command.Dir = "/"
		command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent"}
		out, err := command.CombinedOutput()
		return string(out), err == nil
	}
	doctor := func() (string, bool) { return asNobody(caddy, "frappe-auth", "doctor", "--config", config) }
	if out, well := doctor(); well || !strings.Contains(out, "setfacl") {
		t.Errorf("before:\n%s", out)
	}
	commands := regexp.MustCompile("(?s)```sh\n(.*?)```").FindStringSubmatch(string(raw))[1] +
		regexp.MustCompile("`(setfacl -R .*?)`").FindStringSubmatch(string(raw))[1]
	script := exec.CommandContext(t.Context(), "bash", "-euc", strings.NewReplacer("/home/frappe", home, "u:caddy:", "u:nobody:").Replace(commands))
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
