package e2e

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// doctorJSON runs `doctor --json` and returns what it wrote to standard output, with its exit code.
func doctorJSON(t *testing.T, config string) (report string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), caddy, "frappe-auth", "doctor", "--json", "--config", config)
	out, _ := c.Output() // the exit code says it
	var one map[string]any
	if err := json.Unmarshal(out, &one); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return string(out), c.ProcessState.ExitCode()
}

// TestDoctorJSON: a monitor reads the level, and an operator what to do.
func TestDoctorJSON(t *testing.T) {
	for _, test := range []struct {
		name, config string
		code         int
	}{
		{"well", "files.example.com {\nfrappe_auth {\n" + alice + "}\n}", 0},
		{"warning", "files.example.com {\nfrappe_auth {\n" + alice + "require role \"Report Manager\" Nobody\n}\n}", 0},
		{"trouble", "files.example.com {\nroot * /srv/{http.auth.user.id}\nfrappe_auth {\n" + alice + "require role \"Report Manager\" Nobody\n}\n}", 2},
		{"bad configuration", "files.example.com {\nfrappe_auth {\nrealm\n}\n}", 1},
		{"no frappe_auth", "files.example.com {\nrespond ok\n}", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			report, code := doctorJSON(t, configFile(t, test.config))
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			golden(t, "doctor "+test.name+".json", report, onScreens...)
		})
	}
	if report, code := doctorJSON(t, "/nonexistent/Caddyfile"); code != 1 || !strings.Contains(report, `"level": "trouble"`) {
		t.Errorf("no such file: exit code %d\n%s", code, report)
	}
}
