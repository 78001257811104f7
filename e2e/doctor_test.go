package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestDoctorWithDatabase: what doctor prints about the database of a site.
func TestDoctorWithDatabase(t *testing.T) {
	screen, code := command(t, "", "doctor", "--config",
		configFile(t, "files.example.com {\nfrappe_auth {\nbackend database "+sqliteSite(t)+"\n}\n}"))
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	golden(t, "doctor database.txt", screen, append(onScreens, `BACKEND +`, "BACKEND  ", `database sqlite \S+`,
		"database sqlite _site.db", `SQLite [\d.]+`, "SQLite x.y")...)
}

// TestDoctorExample: doctor finds nothing to mend in Caddyfile.example.
func TestDoctorExample(t *testing.T) {
	screen, code := command(t, "", "doctor", "--config", "Caddyfile.example", "--json")
	var got struct{ Level string }
	if err := json.Unmarshal([]byte(screen), &got); err != nil || code != 0 || got.Level != "ok" {
		t.Errorf("exit code %d, %v:\n%s", code, err, screen)
	}
}

// TestDoctorConfiguration: doctor finds mistakes around the handlers that `caddy adapt` accepts.
func TestDoctorConfiguration(t *testing.T) {
	const static = "backend static {\ntoken k sha256:abababababababababababababababababababababababababababababababab alice@example.com Employee\n}\n"
	site := func(inner string) string { return "files.example.com {\n" + inner + "\n}\n" }
	auth := "frappe_auth {\n" + static + "}\n"
	for _, test := range []struct {
		name, config string
		code         int
	}{
		{"well", site(auth), 0},
		{"placeholders in order", site("route {\n" + auth +
			"root * /srv/{http.auth.user.id}\nheader X-User {http.auth.user.id}\nfile_server\n}"), 0},
		{"placeholders that are evaluated late", site("log\nlog_append user {http.auth.user.id}\n" +
			"header >X-User {http.auth.user.id}\nmap {http.auth.user.id} {user_dir} {\ndefault x\n}\n" +
			"handle_errors {\nrespond {http.auth.frappe.error}\n}\n" + auth + "respond {user_dir}"), 0},
		{"root", site("root * /srv/{http.auth.user.id}\n" + auth + "file_server"), 2},
		{"rewrite", site("rewrite * /{http.auth.user.id}{uri}\n" + auth + "file_server"), 2},
		{"header", site("header X-User {http.auth.user.id}\n" + auth), 2},
		{"vars", site("vars user {http.auth.user.id}\n" + auth), 2},
		{"map in a root", site("map {http.auth.user.id} {user_dir} {\ndefault x\n}\nroot * /srv/{user_dir}\n" + auth +
			"file_server"), 2},
		{"matcher", site("@mine path /{http.auth.user.id}/*\nfrappe_auth @mine {\n" + static + "}"), 2},
		{"expression", site("@mine expression `{http.auth.user.id} == \"alice\"`\nredir @mine /alice\n" + auth), 2},
		{"try_files", site(auth + "try_files {http.auth.user.id}/{path}\nfile_server"), 2},
		{"imported, in handle", "(files) {\nroot * /srv/{http.auth.user.id}\n" + auth + "file_server\n}\n" +
			site("handle /a/* {\nimport files\n}\nhandle {\nrespond ok\n}"), 2},
		{
			"in another handle, with another authentication",
			site("handle /a/* {\nbasic_auth {\nbob $2a$04$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG\n}\n" +
				"root * /srv/{http.auth.user.id}\n}\nhandle {\n" + auth + "}"), 0,
		},
		{"in another site", site(auth) + "others.example.com {\nrespond {http.auth.user.id}\n}", 0},
		{"in another handle, without any", site("handle /a/* {\nrespond {http.auth.user.id}\n}\nhandle {\n" + auth + "}"), 0},
		{"named route", "&(files) {\nroot * /srv/{http.auth.user.id}\n}\n" +
			site("route {\ninvoke files\n"+auth+"file_server\n}"), 2},
		{"map", site("handle /public/* {\nroot /srv/files\nfile_server\n}\nhandle /api/* {\nfrappe_auth {\n" + static +
			"require user alice@example.com\n}\nreverse_proxy app:8000\n}\nhandle {\n" + auth + "root /srv/files\nfile_server\n}"), 0},
		{"metadata in handle", site("handle_path /a/* {\nfrappe_auth {\n" + static +
			"protected_resource {\nauthorization_server https://erp.example.com\nresource https://files.example.com/a/mcp\n}\n}\n" +
			"reverse_proxy app:8000\n}"), 0},
		{"wrong order", site("route {\nroot /srv/files\nfile_server\n" + auth + "}"), 2},
		{"role without quotes", site("frappe_auth {\n" + static + "require role Employee System Manager\n}"), 0},
		{"webhook without a handler", site("frappe_auth_webhook /hook s3cret {\nhandler erp\n}\n" + auth), 2},
		{"webhook with a handler", site("frappe_auth_webhook /hook s3cret {\nhandler erp\n}\nfrappe_auth {\n" + static +
			"name erp\n}"), 0},
		{"user in capitals", site("frappe_auth {\n" + static + "require user Alice@Example.com alice@example.com\n}"), 0},
		{"trusted networks", "{\nservers {\ntrusted_proxies static private_ranges\n}\n}\n" + site(auth), 0},
		{"trusted proxy", "{\nservers {\ntrusted_proxies static 10.0.0.10 2001:db8::/64\n}\n}\n" + site(auth), 0},
		{"roles", site("frappe_auth {\n" + static + "require role Employee\n}"), 0},
		{"roles, some unknown", site("frappe_auth {\n" + static + "require role Employee Manager\n}"), 0},
		{"roles, only a site may know", site("frappe_auth {\n" + static + "backend site http://127.0.0.1:" +
			testutil.FreePort(t) +
			" {\nroles\n}\nrequire role Manager\n}"), 2},
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

// TestDoctorCommand: what doctor prints about a site, and about its usual faults.
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
		tls          bool // whether the site speaks it
		code         int
	}{
		{name: "well", ping: pong, logged: guest},
		{name: "clock", ping: pong, logged: guest, clock: time.Hour},
		{
			name: "unknown site", ping: answer("unknown-site.http"), logged: answer("unknown-site.http"),
			options: "site_name erp.example.com", code: 2,
		},
		{name: "no site_name", ping: answer("unknown-site.http"), logged: answer("unknown-site.http"), code: 2},
		{name: "maintenance", ping: answer("maintenance.http"), logged: answer("maintenance.http"), code: 2},
		{name: "database down", ping: answer("database-down.http"), logged: answer("database-down.http"), code: 2},
		{name: "not Frappe", ping: message("hello"), logged: page(http.StatusForbidden), code: 2},
		{name: "login page in front of Frappe", ping: pong, logged: page(http.StatusForbidden), code: 2},
		{name: "accepts everybody", ping: pong, logged: message("alice@example.com"), code: 2},
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
			config := configFile(t, "files.example.com {\nfrappe_auth {\n"+backend+alice+
				"}\n}\nothers.example.com {\nfrappe_auth {\n"+backend+"}\n}")
			screen, code := command(t, "", "doctor", "--config", config)
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			golden(t, "doctor "+test.name+".txt", screen,
				append(onScreens, `(differs from this machine's by )\S+`, "${1}1h;")...)
		})
	}
	t.Run("plain port", func(t *testing.T) {
		site := httptest.NewServer(http.HandlerFunc(pong))
		defer site.Close()
		screen, code := command(t, "", "doctor", "--config",
			configFile(t, "files.example.com {\nfrappe_auth https://"+site.Listener.Addr().String()+"\n}"))
		if code != 2 {
			t.Errorf("exit code %d", code)
		}
		golden(t, "doctor plain port.txt", screen, onScreens...)
	})
	t.Run("unreachable", func(t *testing.T) {
		screen, code := command(t, "", "doctor", "--config",
			configFile(t, "files.example.com {\nfrappe_auth http://127.0.0.1:"+testutil.FreePort(t)+"\n}"))
		if code != 2 {
			t.Errorf("exit code %d", code)
		}
		golden(t, "doctor unreachable.txt", screen, onScreens...)
	})
}

// TestDoctorWithRedis: what doctor prints about a store and a feed on a Redis that works, that refuses the password,
// that is a replica, that may evict the log, and that is unreachable.
func TestDoctorWithRedis(t *testing.T) {
	const static = "backend static {\ntoken k sha256:abababababababababababababababababababababababababababababababab alice@example.com Employee\n}\n"
	away := testutil.StartRedis(t)
	away.Kill()
	replicated := testutil.StartRedis(t)
	for _, test := range []struct {
		name   string
		server *testutil.RedisServer
		code   int
	}{
		{"well", testutil.StartRedis(t), 0},
		{"password", testutil.StartRedis(t, "--requirepass", "s3cret-of-redis"), 2},
		{"replica", testutil.StartRedis(t, "--replicaof", "127.0.0.1", testutil.PortOf(replicated.Address)), 2},
		{"evicts", testutil.StartRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"), 0},
		{"unreachable", away, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			screen, code := command(t, "", "doctor", "--config",
				configFile(t, "files.example.com {\nfrappe_auth {\n"+static+sharing(test.server)+"}\n}"))
			if code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if strings.Contains(screen, fleetSecret) {
				t.Errorf("the secret is shown:\n%s", screen)
			}
			golden(t, "doctor redis "+test.name+".txt", screen, append(onScreens, `127\.0\.0\.1:\d+`, "127.0.0.1:65000",
				`(Redis|Valkey) \d+\.\d+\.\d+`, "Redis 7.0.15", `HELLO <proto> AUTH`, "HELLO AUTH")...)
		})
	}
}

// doctorJSON runs `doctor --json` and returns its standard output and its exit code.
func doctorJSON(t *testing.T, config string) (report string, code int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), binary, "frappe-auth", "doctor", "--json", "--config", config)
	out, _ := c.Output() // the exit code is returned
	var one map[string]any
	if err := json.Unmarshal(out, &one); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return string(out), c.ProcessState.ExitCode()
}

// TestDoctorJSON: the report has a level for monitors, and says what to do.
func TestDoctorJSON(t *testing.T) {
	for _, test := range []struct {
		name, config string
		code         int
	}{
		{"well", "files.example.com {\nfrappe_auth {\n" + alice + "}\n}", 0},
		{"warning", "files.example.com {\nfrappe_auth {\n" + alice + "require role \"Report Manager\" Nobody\n}\n}", 0},
		{"trouble", "files.example.com {\nroot * /srv/{http.auth.user.id}\nfrappe_auth {\n" + alice +
			"require role \"Report Manager\" Nobody\n}\n}", 2},
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
	if report, code := doctorJSON(t, "/nonexistent/Caddyfile"); code != 1 ||
		!strings.Contains(report, `"level": "trouble"`) {
		t.Errorf("no such file: exit code %d\n%s", code, report)
	}
}

// TestDoctorLogin: what doctor prints about the ERP's host, where users of another host log in.
func TestDoctorLogin(t *testing.T) {
	t.Setenv("FRAPPE_AUTH_LOGIN", testutil.RandomID())
	t.Setenv("FRAPPE_AUTH_NEW_LOGIN", testutil.RandomID())
	erp, address, elsewhere := testutil.NewERP(t, nil), testutil.FreeAddress(t), testutil.FreeAddress(t)
	testutil.RunCaddy(t, "http://"+address+" {\nfrappe_auth /.frappe-auth/login {\nbackend site "+erp.URL+
		"\nschemes session\nlogin /login\nlogin_for files.example.com\nlogin_secret {env.FRAPPE_AUTH_LOGIN}\n}\nrespond open\n}")
	for _, test := range []struct {
		name, host, erp, secret string
		code                    int
	}{
		{"well", "files.example.com", address, "{env.FRAPPE_AUTH_LOGIN}", 0},
		{"not in login_for", "http://docs.example.com", address, "{env.FRAPPE_AUTH_LOGIN}", 0},
		{"another secret", "files.example.com", address, "{env.FRAPPE_AUTH_NEW_LOGIN}", 2},
		{"an ERP without the relay", "files.example.com", strings.TrimPrefix(erp.URL, "http://"), "{env.FRAPPE_AUTH_LOGIN}", 2},
		{"down", "files.example.com", elsewhere, "{env.FRAPPE_AUTH_LOGIN}", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			screen, code := command(t, "", "doctor", "--config", configFile(t, test.host+" {\nfrappe_auth {\nbackend site "+erp.URL+
				"\nschemes session\nlogin http://"+test.erp+"\nlogin_secret "+test.secret+"\n}\nfile_server\nroot /srv\n}"))
			if code != test.code {
				t.Errorf("exit code %d:\n%s", code, screen)
			}
			_, handlers, _ := strings.Cut(screen, "HANDLER")
			golden(t, "doctor login "+test.name+".txt", "HANDLER"+handlers, append(onScreens,
				`127\.0\.0\.1:\d+`, "127.0.0.1:PORT")...)
		})
	}
}
