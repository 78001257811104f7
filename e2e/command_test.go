package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// command runs `caddy frappe-auth` and returns its output and its exit code.
func command(t *testing.T, input string, args ...string) (screen string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), binary, append([]string{"frappe-auth"}, args...)...)
	c.Dir = ".."
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(string(out), secret) {
			t.Errorf("the screen shows %s:\n%s", secret, out)
		}
	}
	return string(out), c.ProcessState.ExitCode()
}

// onScreens replaces what differs from run to run.
var onScreens = []string{
	`\b(in|after) \d+(\.\d+)?(µs|ms|s)\b`, "$1 1ms",
	`127\.0\.0\.1:\d{5}`, "127.0.0.1:65000",
	`"ts":[\d.]+,`, "",
	`frappe-auth \S+, Caddy \S+, go\S+ \w+/\w+`, "frappe-auth v0.1.0, Caddy v2.11.9, go1.26.0 linux/amd64",
	`(/[^ :"]*)?/Caddyfile`, "Caddyfile",
}

func configFile(t *testing.T, config string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestCheckCommand: what `check` prints about good credentials and about the usual mistakes.
func TestCheckCommand(t *testing.T) {
	site, recorded := siteDouble(t), testutil.NewRecordedSite(t, testutil.OnMariaDB)
	config := configFile(t, fmt.Sprintf(`
files.example.com {
	frappe_auth {
		backend site http://127.0.0.1:%s {
			roles
		}
		%s
		require role "System Manager"
		require user alice@example.com bob@example.com
	}
}
*.erp.example.com {
	frappe_auth /api/* {
		backend site %s {
			site_name {http.request.host}
		}
		schemes bearer
	}
}`, testutil.FreePort(t), alice, site))
	alicePair := testutil.AlicePair
	for _, test := range []struct {
		name, input string
		code        int
		args        []string
	}{
		{"granted", alicePair, 0, []string{"--config", "Caddyfile.example"}},
		{"wrong secret", "token " + testutil.AliceKey + ":wrong-secret", 2, []string{"--config", "Caddyfile.example"}},
		{"without a scheme", testutil.AliceKey + ":" + testutil.AliceSecret, 2, []string{"--config", "Caddyfile.example"}},
		{"incomplete key", "token 2c6245becaa096:61066224add85e6 ", 2, []string{"--config", "Caddyfile.example"}},
		{"incomplete key and wrong secret", "token 2c6245becaa096:wrong-secret", 2, []string{"--config", "Caddyfile.example"}},
		{
			"base64 as Python prints it", "Basic b'MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg=='", 2,
			[]string{"--config", "Caddyfile.example"},
		},
		{"several backends", alicePair, 2, []string{"--config", config}},
		{"unavailable", "Bearer bad-token", 3, []string{"--config", config, "--url", "https://a.erp.example.com/api/x"}},
		{
			"a site in place of the backends", "Authorization: Bearer good-token\r\n", 0,
			[]string{"--config", configFile(t, "files.example.com {\nfrappe_auth https://erp.example.com\n}"), "--site", site},
		},
		{"tenants", "Bearer good-token", 3, []string{"--config", config, "--url", "https://a.erp.example.com/api/x"}},
		{"a JWT", "Bearer eyJ.eyJ.sig", 2, []string{"--config", "Caddyfile.example"}},
		{
			"e-mail address and password", "Basic " + base64.StdEncoding.EncodeToString([]byte("alice@example.com:hunter2")), 2,
			[]string{"--config", "Caddyfile.example"},
		},
		{"a site without a configuration", "Bearer good-token", 0, []string{"--site", site}},
		{"a site without a configuration refuses", alicePair, 2, []string{"--site", site}},
		{"a site of a bench", alicePair, 2, []string{
			"--site", namedSite(t, "two.localhost"), "--site-name",
			"two.localhost",
		}},
		{"a site name without a site", alicePair, 1, []string{"--site-name", "two.localhost"}},
		{"a session", "Cookie: user_id=Administrator; sid=" + testutil.RecordedSession, 0, []string{"--site", recorded.URL}},
		{"a session that has ended", "cookie: sid=00000000dead", 2, []string{"--site", recorded.URL}},
		{
			"a session that is not accepted", "Cookie: sid=" + testutil.RecordedSession, 2,
			[]string{"--config", "Caddyfile.example"},
		},
		{
			"a session that is ignored", "Cookie: sid=" + testutil.RecordedSession, 0,
			[]string{"--config", configFile(t, ":80 {\nfrappe_auth {\nbackend site "+recorded.URL+"\nanonymous\n}\n}")},
		},
		{"names that are misspelled", alicePair, 0, []string{"--config", configFile(t, ":80 {\nfrappe_auth {\n"+alice+
			"require user Alice@Example.com\nrequire role System Manager \"Report Manager\"\n}\n}")}},
		{"no session", "Cookie: sid=Guest", 2, []string{"--site", recorded.URL}},
		{"a site that is no URL", alicePair, 1, []string{"--site", "erp.example.com"}},
		{"no credential", "", 1, []string{"--config", "Caddyfile.example"}},
		{"no such file", alicePair, 1, []string{"--config", "/nonexistent/Caddyfile"}},
		{"no frappe_auth", alicePair, 1, []string{"--config", configFile(t, ":80 {\nrespond ok\n}")}},
		{"bad configuration", alicePair, 1, []string{"--config", configFile(t, ":80 {\nfrappe_auth {\nrealm\n}\n}")}},
		{"bad URL", alicePair, 1, []string{"--config", config, "--url", "nonsense"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			screen, code := command(t, test.input, append([]string{"check"}, test.args...)...)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			golden(t, "check "+test.name+".txt", screen, onScreens...)
		})
	}
}

// TestPromptHidesCredential: a terminal does not show the credential that is typed in.
func TestPromptHidesCredential(t *testing.T) {
	testutil.RequireCommand(t, "python3", pythonPath(), "--version")
	c := exec.CommandContext(t.Context(), pythonPath(), "terminal.py", testutil.AlicePair, binary,
		"frappe-auth", "check", "--config", "../Caddyfile.example")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"Enter the credential as in an Authorization header",
		"It lets the request pass, as alice@example.com.",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), testutil.AliceKey) || strings.Contains(string(out), testutil.AliceSecret) {
		t.Errorf("the terminal shows\n%s", out)
	}
}

// TestVersion: the versions are on one line. That of frappe-auth is unknown where Go does not record it
// (-buildvcs=false).
func TestVersion(t *testing.T) {
	screen, code := command(t, "", "version")
	line := regexp.MustCompile(`^frappe-auth (v\d+\.\d+\.\d+\S*|unknown), Caddy v2\.\d+\.\d+\S*, go1\.\d+\S* \w+/\w+\n$`)
	if code != 0 || !line.MatchString(screen) {
		t.Errorf("exit code %d: %q", code, screen)
	}
	p := start(t, "metrics", "http://"+testutil.FreeAddress(t)+" {\nfrappe_auth {\n"+alice+"}\n}")
	version, _, _ := strings.Cut(strings.TrimPrefix(screen, "frappe-auth "), ",")
	for name := range p.scrape() {
		if strings.HasPrefix(name, "caddy_frappe_auth_build_info{") && strings.Contains(name, `,version="`+version+`"`) {
			return
		}
	}
	t.Error("no build_info with this version")
}

// TestUsageErrors: a wrong command line prints the error and the usage, and exits with 1. Arguments may be secrets and
// are not printed.
func TestUsageErrors(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"bogus"}, "Error: unknown command bogus\n"},
		{"misspelled command", []string{"chekc"}, "Error: unknown command chekc; did you mean check?\n"},
		{"a credential for a command", []string{testutil.AlicePair}, "Error: unknown command\n"},
		{
			"argument of check",
			[]string{"check", testutil.AliceKey + ":" + testutil.AliceSecret},
			"Error: unexpected argument",
		},
		{"argument of doctor", []string{"doctor", "Caddyfile"}, "Error: unexpected argument"},
		{"argument of hash", []string{"hash", "--user", "a", "x"}, "Error: unexpected argument"},
		{"unknown flag", []string{"--bogus"}, "Error: unknown flag: --bogus"},
		{"unknown flag of check", []string{"check", "--bogus"}, "Error: unknown flag: --bogus"},
		{"unknown flag of doctor", []string{"doctor", "--url", "x"}, "Error: unknown flag: --url"},
		{"unknown flag of hash", []string{"hash", "-x"}, "Error: unknown shorthand flag"},
		{"flag without a value", []string{"check", "--config"}, "Error: flag needs an argument: --config"},
	} {
		t.Run(test.name, func(t *testing.T) {
			screen, code := command(t, "Bearer x", test.args...)
			if code != 1 || !strings.HasPrefix(screen, test.want) || !strings.Contains(screen, "Usage:\n  caddy frappe-auth") {
				t.Errorf("exit code %d:\n%s", code, screen)
			}
		})
	}
	for _, args := range [][]string{nil, {"--help"}, {"doctor", "--help"}} {
		if screen, code := command(t, "", args...); code != 0 || !strings.Contains(screen, "Usage:\n  caddy frappe-auth") {
			t.Errorf("%q: exit code %d:\n%s", args, code, screen)
		}
	}
}

// TestHashCommand: backend static grants a credential with the line that `hash` prints for it.
func TestHashCommand(t *testing.T) {
	for _, test := range []struct {
		name, input string
		header      string
	}{
		{"token", testutil.AlicePair, tokenHeader},
		{"Basic", "Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg==", tokenHeader},
		{"Bearer", testutil.AliceBearer, bearerHeader},
	} {
		t.Run(test.name, func(t *testing.T) {
			line, code := command(t, test.input, "hash", "--user", "alice@example.com", "--role", `The "Report" Manager`)
			if code != 0 {
				t.Fatal(line)
			}
			address := testutil.FreeAddress(t)
			start(t, "", "http://"+address+" {\nfrappe_auth {\nbackend static {\n"+line+
				"}\n}\nrespond `{http.auth.user.id} {http.auth.user.roles}`\n}")
			if _, got := ask(t, "GET", "http://"+address, "", test.header); got != `alice@example.com The "Report" Manager` {
				t.Errorf("%s lets in %s", line, got)
			}
		})
	}
	for name, test := range map[string]struct {
		input string
		args  []string
	}{
		"no user":        {"Bearer x", nil},
		"Guest":          {"Bearer x", []string{"--user", "Guest"}},
		"algorithm":      {"token a:b", []string{"--user", "a", "--algorithm", "argon2id"}},
		"malformed":      {"a:b", []string{"--user", "a"}},
		"nothing":        {"", []string{"--user", "a"}},
		"braces":         {"Bearer x", []string{"--user", "a", "--role", "{x}"}},
		"line break":     {"Bearer x", []string{"--user", "a", "--role", "a\nb"}},
		"secret as args": {"", []string{"--user", "a", testutil.AliceKey}},
	} {
		if screen, code := command(t, test.input, append([]string{"hash"}, test.args...)...); code != 1 {
			t.Errorf("%s: exit code %d, %s", name, code, screen)
		}
	}
}

// TestHashCommandQuotes: the lines that `hash` prints keep white space and quotes in the names of roles.
func TestHashCommandQuotes(t *testing.T) {
	var lines strings.Builder
	roles := []string{
		"System Manager", "no\u00a0break", "ideo\u3000graphic", "#1", "<<END", `back\slash\`, "`ticks`",
		`"quotes"`, "Größe",
	}
	for i, role := range roles {
		line, code := command(t, fmt.Sprintf("token key%d:secret", i), "hash", "--user", "alice@example.com", "--role", role)
		if code != 0 {
			t.Fatalf("%q: %s", role, line)
		}
		lines.WriteString(line)
	}
	address := testutil.FreeAddress(t)
	start(t, "", "http://"+address+" {\nfrappe_auth {\nbackend static {\n"+lines.String()+
		"}\n}\nrespond {http.auth.user.roles}\n}")
	for i, role := range roles {
		if _, got := ask(t, "GET", "http://"+address, "", fmt.Sprintf("Authorization: token key%d:secret", i)); got != role {
			t.Errorf("%q becomes %q", role, got)
		}
	}
}
