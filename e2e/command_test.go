package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// command runs `caddy frappe-auth` and returns what it wrote, with its exit code.
func command(t *testing.T, input string, args ...string) (screen string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), caddy, append([]string{"frappe-auth"}, args...)...)
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

// What differs from run to run on the screens.
var onScreens = []string{
	`\b(in|after) \d+(\.\d+)?(µs|ms|s)\b`, "$1 1ms",
	`127\.0\.0\.1:\d{5}`, "127.0.0.1:65000",
	`"ts":[\d.]+,`, "",
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

// TestCheckCommand: the tool one reaches for at 2 a.m. The example's credentials, and what goes wrong mostly.
func TestCheckCommand(t *testing.T) {
	site := siteDouble(t)
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
}`, freePort(t), alice, site))
	alicePair := "token " + aliceKey + ":" + aliceSecret
	for _, test := range []struct {
		name, input string
		code        int
		args        []string
	}{
		{"granted", alicePair, 0, []string{"--config", "Caddyfile.example"}},
		{"wrong secret", "token " + aliceKey + ":wrong-secret", 2, []string{"--config", "Caddyfile.example"}},
		{"copied badly", "token 2c6245becaa096:61066224add85e6 ", 2, []string{"--config", "Caddyfile.example"}},
		{"copied badly too", "token 2c6245becaa096:wrong-secret", 2, []string{"--config", "Caddyfile.example"}},
		{"as Python prints it", "Basic b'MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg=='", 2, []string{"--config", "Caddyfile.example"}},
		{"several backends", alicePair, 2, []string{"--config", config}},
		{"unavailable", "Bearer bad-token", 3, []string{"--config", config, "--url", "https://a.erp.example.com/api/x"}},
		{"a site in place of the backends", "Authorization: Bearer good-token\r\n", 0, []string{"--config", configFile(t, "files.example.com {\nfrappe_auth https://erp.example.com\n}"), "--site", site}},
		{"tenants", "Bearer good-token", 3, []string{"--config", config, "--url", "https://a.erp.example.com/api/x"}},
		{"a JWT", "Bearer eyJ.eyJ.sig", 2, []string{"--config", "Caddyfile.example"}},
		{"e-mail address and password", "Basic " + base64.StdEncoding.EncodeToString([]byte("alice@example.com:hunter2")), 2, []string{"--config", "Caddyfile.example"}},
		{"a site without a configuration", "Bearer good-token", 0, []string{"--site", site}},
		{"a site without a configuration refuses", alicePair, 2, []string{"--site", site}},
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

// TestCredentialIsNotShown: typed in on a terminal, the credential is not shown.
func TestCredentialIsNotShown(t *testing.T) {
	requireProgram(t, "python3", pythonPath(), "--version")
	c := exec.CommandContext(t.Context(), pythonPath(), "terminal.py", "token "+aliceKey+":"+aliceSecret, caddy,
		"frappe-auth", "check", "--config", "../Caddyfile.example")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"Enter the credential as in an Authorization header", "It lets the request pass, as alice@example.com."} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(string(out), aliceKey) || strings.Contains(string(out), aliceSecret) {
		t.Errorf("the terminal shows\n%s", out)
	}
}

// TestDoctorWithDatabase: all is well with a site's database, but for what Frappe has set up and this one has not.
func TestDoctorWithDatabase(t *testing.T) {
	screen, code := command(t, "", "doctor", "--config", configFile(t, "files.example.com {\nfrappe_auth {\nbackend database "+sqliteSite(t)+"\n}\n}"))
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	golden(t, "doctor database.txt", screen, append(onScreens, `BACKEND +`, "BACKEND  ", `database sqlite \S+`, "database sqlite _site.db", `SQLite [\d.]+`, "SQLite x.y")...)
}

// TestHashCommand: the line it writes lets in whose credential it was made from.
func TestHashCommand(t *testing.T) {
	for _, test := range []struct {
		name, input string
		header      string
	}{
		{"token", "token " + aliceKey + ":" + aliceSecret, tokenHeader},
		{"Basic", "Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg==", tokenHeader},
		{"Bearer", "Bearer " + aliceToken, bearerHeader},
	} {
		t.Run(test.name, func(t *testing.T) {
			line, code := command(t, test.input, "hash", "--user", "alice@example.com", "--role", `The "Report" Manager`)
			if code != 0 {
				t.Fatal(line)
			}
			address := testutil.FreeAddress(t)
			start(t, "", "http://"+address+" {\nfrappe_auth {\nbackend static {\n"+line+"}\n}\nrespond `{http.auth.user.id} {http.auth.user.roles}`\n}")
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
		"secret as args": {"", []string{"--user", "a", aliceKey}},
	} {
		if screen, code := command(t, test.input, append([]string{"hash"}, test.args...)...); code != 1 {
			t.Errorf("%s: exit code %d, %s", name, code, screen)
		}
	}
}

// TestHashCommandQuotes: whatever white space and quotes a role has, the line lets in whose credential it was made from.
func TestHashCommandQuotes(t *testing.T) {
	var lines strings.Builder
	roles := []string{"System Manager", "no\u00a0break", "ideo\u3000graphic", "#1", "<<END", `back\slash\`, "`ticks`", `"quotes"`, "Größe"}
	for i, role := range roles {
		line, code := command(t, fmt.Sprintf("token key%d:secret", i), "hash", "--user", "alice@example.com", "--role", role)
		if code != 0 {
			t.Fatalf("%q: %s", role, line)
		}
		lines.WriteString(line)
	}
	address := testutil.FreeAddress(t)
	start(t, "", "http://"+address+" {\nfrappe_auth {\nbackend static {\n"+lines.String()+"}\n}\nrespond {http.auth.user.roles}\n}")
	for i, role := range roles {
		if _, got := ask(t, "GET", "http://"+address, "", fmt.Sprintf("Authorization: token key%d:secret", i)); got != role {
			t.Errorf("%q becomes %q", role, got)
		}
	}
}

// TestWrongUsage: what is wrong with the command line is said, with the usage, and is no success. Arguments are not shown.
func TestWrongUsage(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"bogus"}, "Error: unknown command bogus\n"},
		{"misspelled command", []string{"chekc"}, "Error: unknown command chekc; did you mean check?\n"},
		{"a credential for a command", []string{"token " + aliceKey + ":" + aliceSecret}, "Error: unknown command\n"},
		{"argument of check", []string{"check", aliceKey + ":" + aliceSecret}, "Error: unexpected argument"},
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

// TestDoctorConfiguration: what is wrong with a configuration around its handlers, which all adapt.
func TestDoctorConfiguration(t *testing.T) {
	const static = "backend static {\ntoken k sha256:abababababababababababababababababababababababababababababababab alice@example.com Employee\n}\n"
	site := func(inner string) string { return "files.example.com {\n" + inner + "\n}\n" }
	auth := "frappe_auth {\n" + static + "}\n"
	for _, test := range []struct {
		name, config string
		code         int
	}{
		{"well", site(auth), 0},
		{"placeholders in order", site("route {\n" + auth + "root * /srv/{http.auth.user.id}\nheader X-User {http.auth.user.id}\nfile_server\n}"), 0},
		{"placeholders where they are lazy", site("log\nlog_append user {http.auth.user.id}\nheader >X-User {http.auth.user.id}\nmap {http.auth.user.id} {user_dir} {\ndefault x\n}\n" +
			"handle_errors {\nrespond {http.auth.frappe.error}\n}\n" + auth + "respond {user_dir}"), 0},
		{"root", site("root * /srv/{http.auth.user.id}\n" + auth + "file_server"), 2},
		{"rewrite", site("rewrite * /{http.auth.user.id}{uri}\n" + auth + "file_server"), 2},
		{"header", site("header X-User {http.auth.user.id}\n" + auth), 2},
		{"vars", site("vars user {http.auth.user.id}\n" + auth), 2},
		{"map in a root", site("map {http.auth.user.id} {user_dir} {\ndefault x\n}\nroot * /srv/{user_dir}\n" + auth + "file_server"), 2},
		{"matcher", site("@mine path /{http.auth.user.id}/*\nfrappe_auth @mine {\n" + static + "}"), 2},
		{"expression", site("@mine expression `{http.auth.user.id} == \"alice\"`\nredir @mine /alice\n" + auth), 2},
		{"try_files", site(auth + "try_files {http.auth.user.id}/{path}\nfile_server"), 2},
		{"imported, in handle", "(files) {\nroot * /srv/{http.auth.user.id}\n" + auth + "file_server\n}\n" + site("handle /a/* {\nimport files\n}\nhandle {\nrespond ok\n}"), 2},
		{"in another handle, with another authentication", site("handle /a/* {\nbasic_auth {\nbob $2a$04$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\nroot * /srv/{http.auth.user.id}\n}\nhandle {\n" + auth + "}"), 0},
		{"in another site", site(auth) + "others.example.com {\nrespond {http.auth.user.id}\n}", 0},
		{"in another handle, without any", site("handle /a/* {\nrespond {http.auth.user.id}\n}\nhandle {\n" + auth + "}"), 0},
		{"named route", "&(files) {\nroot * /srv/{http.auth.user.id}\n}\n" + site("route {\ninvoke files\n"+auth+"file_server\n}"), 2},
		{"webhook without a handler", site("frappe_auth_webhook /hook s3cret {\nhandler erp\n}\n" + auth), 2},
		{"webhook with a handler", site("frappe_auth_webhook /hook s3cret {\nhandler erp\n}\nfrappe_auth {\n" + static + "name erp\n}"), 0},
		{"roles", site("frappe_auth {\n" + static + "require role Employee\n}"), 0},
		{"roles, some unknown", site("frappe_auth {\n" + static + "require role Employee Manager\n}"), 0},
		{"roles, only a site may know", site("frappe_auth {\n" + static + "backend site http://127.0.0.1:" + freePort(t) + " {\nroles\n}\nrequire role Manager\n}"), 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			screen, code := command(t, "", "doctor", "--config", configFile(t, test.config))
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			golden(t, "doctor configuration "+strings.ReplaceAll(test.name, ",", "")+".txt", screen, onScreens...)
		})
	}
}

// TestDoctorCommand: what is wrong with a site, and that all is well with the recorded ones.
func TestDoctorCommand(t *testing.T) {
	answer := func(recorded string) func(w http.ResponseWriter, r *http.Request) {
		parsed := testutil.ParsedAnswer(t, recorded)
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = parsed.Header["Content-Type"]
			w.WriteHeader(parsed.Status)
			io.WriteString(w, parsed.Body)
		}
	}
	message := func(text string) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"message": %q}`, text)
		}
	}
	page := func(status int) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
		}
	}
	socketIO := func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		w.WriteHeader(http.StatusNotFound)
	}
	pong, guest := message("pong"), answer("guest-15.http")
	for _, test := range []struct {
		name         string
		ping, logged func(w http.ResponseWriter, r *http.Request)
		options      string // of the backend
		clock        time.Duration
		tls          bool // the site speaks it
		code         int
	}{
		{name: "well", ping: pong, logged: guest},
		{name: "clock", ping: pong, logged: guest, clock: time.Hour},
		{name: "unknown site", ping: answer("unknown-site.http"), logged: answer("unknown-site.http"), options: "site_name erp.example.com", code: 2},
		{name: "no site_name", ping: answer("unknown-site.http"), logged: answer("unknown-site.http"), code: 2},
		{name: "maintenance", ping: answer("maintenance.http"), logged: answer("maintenance.http"), code: 2},
		{name: "database down", ping: answer("database-down.http"), logged: answer("database-down.http"), code: 2},
		{name: "not Frappe", ping: message("hello"), logged: page(http.StatusForbidden), code: 2},
		{name: "login page before Frappe", ping: pong, logged: page(http.StatusForbidden), code: 2},
		{name: "lets everybody in", ping: pong, logged: message("alice@example.com"), code: 2},
		{name: "socketio port", ping: socketIO, logged: socketIO, code: 2},
		{name: "TLS port", ping: pong, logged: guest, tls: true, code: 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					t.Error("the doctor sent a credential")
				}
				w.Header().Set("Date", time.Now().Add(test.clock).UTC().Format(http.TimeFormat))
				if strings.HasSuffix(r.URL.Path, "/ping") {
					test.ping(w, r)
					return
				}
				test.logged(w, r)
			}))
			if test.tls {
				site.StartTLS()
			} else {
				site.Start()
			}
			defer site.Close()
			url := "http://" + site.Listener.Addr().String()
			backend := "backend site " + url + " {\n" + test.options + "\n}\n"
			config := configFile(t, "files.example.com {\nfrappe_auth {\n"+backend+alice+"}\n}\nothers.example.com {\nfrappe_auth {\n"+backend+"}\n}")
			screen, code := command(t, "", "doctor", "--config", config)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			golden(t, "doctor "+test.name+".txt", screen, append(onScreens, `(differs from this machine's by )\S+`, "${1}1h;")...)
		})
	}
	t.Run("plain port", func(t *testing.T) {
		site := httptest.NewServer(http.HandlerFunc(pong))
		defer site.Close()
		screen, code := command(t, "", "doctor", "--config", configFile(t, "files.example.com {\nfrappe_auth https://"+site.Listener.Addr().String()+"\n}"))
		if code != 2 {
			t.Errorf("exit code %d", code)
		}
		golden(t, "doctor plain port.txt", screen, onScreens...)
	})
	t.Run("away", func(t *testing.T) {
		screen, code := command(t, "", "doctor", "--config", configFile(t, "files.example.com {\nfrappe_auth http://127.0.0.1:"+freePort(t)+"\n}"))
		if code != 2 {
			t.Errorf("exit code %d", code)
		}
		golden(t, "doctor away.txt", screen, onScreens...)
	})
}
