package clients

import (
	"archive/zip"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/distribution/registry/client/auth"
	"github.com/docker/distribution/registry/client/auth/challenge"
	"github.com/docker/distribution/registry/client/transport"
	"golang.org/x/net/webdav"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// served is what the file of the downloads says.
const served = "what only users may read"

// startDownloads runs Caddy with default options in front of a server of files, repositories and WebDAV. It returns the
// address, and the directory of the files.
func startDownloads(t *testing.T) (address, files string) {
	t.Helper()
	files, address = t.TempDir(), testutil.FreeAddress(t)
	if err := os.WriteFile(filepath.Join(files, "file.txt"), []byte(served), 0o600); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(files)))
	mux.Handle("/dav/", &webdav.Handler{Prefix: "/dav", FileSystem: webdav.Dir(files), LockSystem: webdav.NewMemLS()})
	mux.HandleFunc("/v2/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	})
	upstream := httptest.NewServer(mux)
	t.Cleanup(upstream.Close)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth {
		backend static {
			token %s %s %s
		}
	}
	reverse_proxy %s
}`, address, apiKey, testutil.Hash(apiSecret), alice, upstream.URL))
	return address, files
}

// TestPasswords: programs that know user name and password get what is protected, with API key and API secret, at their
// default options. With a wrong password they do not.
func TestPasswords(t *testing.T) {
	address, files := startDownloads(t)
	base := "http://" + address
	for _, test := range []struct {
		name, program, debianPackage string

		// run downloads something, and returns what the program says, or the file that it got.
		run  func(t *testing.T, dir, password string) (said string, err error)
		want string // in what it says
	}{
		{"curl", "curl", "curl", func(t *testing.T, dir, password string) (string, error) {
			return output(t, dir, "", "curl", "-sSf", "-u", apiKey+":"+password, base+"/file.txt")
		}, served},
		{"curl that asks first", "curl", "curl", func(t *testing.T, dir, password string) (string, error) {
			return output(t, dir, "", "curl", "-sSf", "--anyauth", "-u", apiKey+":"+password, base+"/file.txt")
		}, served},
		{"wget", "wget", "wget", func(t *testing.T, dir, password string) (string, error) {
			return output(t, dir, "", "wget", "-qO-", "--user", apiKey, "--password", password, base+"/file.txt")
		}, served},
		{"aria2", "aria2c", "aria2", func(t *testing.T, dir, password string) (string, error) {
			said, err := output(t, dir, "", "aria2c", "-q", "--http-user", apiKey, "--http-passwd", password, base+"/file.txt")
			if err != nil {
				return said, err
			}
			raw, err := os.ReadFile(filepath.Join(dir, "file.txt"))
			return string(raw), err
		}, served},
		{"lftp", "lftp", "lftp", func(t *testing.T, dir, password string) (string, error) {
			return output(t, dir, "", "lftp", "-u", apiKey+","+password, "-e", "cat file.txt; bye", base)
		}, served},
		{"cadaver", "cadaver", "cadaver", func(t *testing.T, dir, password string) (string, error) {
			netrc := fmt.Sprintf("machine 127.0.0.1\nlogin %s\npassword %s\n", apiKey, password)
			if err := os.WriteFile(filepath.Join(dir, ".netrc"), []byte(netrc), 0o600); err != nil {
				return "", err
			}
			return output(t, dir, "cat file.txt\nquit\n", "cadaver", base+"/dav/")
		}, served},
		{"git", "git", "git", func(t *testing.T, dir, password string) (string, error) {
			repository := filepath.Join(files, "repository.git")
			if _, err := output(t, dir, "", "git", "init", "-q", "--bare", repository); err != nil {
				t.Fatal(err)
			}
			if _, err := output(t, dir, "", "git", "-C", repository, "update-server-info"); err != nil {
				t.Fatal(err)
			}
			at := fmt.Sprintf("http://%s:%s@%s/repository.git", apiKey, password, address)
			return output(t, dir, "", "git", "clone", at, filepath.Join(dir, "clone"))
		}, "Cloning into"},
		{"pip", python, "python3-pip", func(t *testing.T, dir, password string) (string, error) {
			testutil.RequireCommand(t, "python3-pip", python, "-m", "pip", "--version")
			wheel(t, filepath.Join(files, "simple/stock"))
			index := fmt.Sprintf("http://%s:%s@%s/simple/", apiKey, password, address)
			return output(t, dir, "", python, "-m", "pip", "download", "--no-cache-dir", "--disable-pip-version-check",
				"--no-deps", "--no-input", "--retries", "0", "--index-url", index, "stock")
		}, "Successfully downloaded stock"},
		{"apt", "apt-get", "apt", func(t *testing.T, dir, password string) (string, error) {
			return aptUpdate(t, dir, files, address, password)
		}, "Reading package lists"},
		{"Java", "javac", "default-jdk-headless", func(t *testing.T, dir, password string) (string, error) {
			return output(t, dir, "", "java", absolute(t, "Download.java"), base+"/file.txt", apiKey, password)
		}, "HttpURLConnection: " + served + "\nHttpClient: " + served},
		{"skopeo", "skopeo", "skopeo", func(t *testing.T, dir, password string) (string, error) {
			return output(t, dir, "", "skopeo", "login", "--tls-verify=false", "--authfile", filepath.Join(dir, "auth.json"),
				"-u", apiKey, "-p", password, address)
		}, "Login Succeeded"},
		{"Docker's client", "", "", func(_ *testing.T, _, password string) (string, error) {
			return dockerLogin(base, password)
		}, "200 OK"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.program != "" {
				testutil.RequireProgram(t, test.debianPackage, test.program)
			}
			if said, err := test.run(t, t.TempDir(), apiSecret); err != nil || !strings.Contains(said, test.want) {
				t.Errorf("%v: %s", err, said)
			}
			if said, err := test.run(t, t.TempDir(), "wrong"); err == nil && strings.Contains(said, test.want) {
				t.Errorf("with a wrong password: %s", said)
			}
		})
	}
}

// output runs a program in a directory that is also its home, and returns what it prints.
func output(t *testing.T, dir, input, program string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"TERM=dumb")
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	return string(out), err
}

func absolute(t *testing.T, file string) string {
	t.Helper()
	path, err := filepath.Abs(file)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// wheel makes a directory of a package index, with the smallest package there is.
func wheel(t *testing.T, dir string) {
	t.Helper()
	const name = "stock-1.0-py3-none-any.whl"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	index := `<!DOCTYPE html><a href="` + name + `">` + name + `</a>`
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte(index), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	for path, text := range map[string]string{
		"stock-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: stock\nVersion: 1.0\n",
		"stock-1.0.dist-info/WHEEL":    "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"stock-1.0.dist-info/RECORD":   "",
	} {
		part, err := archive.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
}

// aptUpdate has apt read an empty repository, as configured in dir alone.
func aptUpdate(t *testing.T, dir, files, address, password string) (string, error) {
	t.Helper()
	for path, text := range map[string]string{
		filepath.Join(files, "apt/Packages"): "",
		filepath.Join(dir, "sources.list"):   "deb [trusted=yes] http://" + address + "/apt ./\n",
		filepath.Join(dir, "status"):         "",
		filepath.Join(dir, "auth.conf"): fmt.Sprintf("machine http://%s login %s password %s\n", address, apiKey,
			password),
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"state/lists/partial", "cache/archives/partial", "parts"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"update", "--error-on=any"}
	for option, value := range map[string]string{
		"Dir::State": dir + "/state", "Dir::Cache": dir + "/cache", "Dir::State::status": dir + "/status",
		"Dir::Etc::sourcelist": dir + "/sources.list", "Dir::Etc::sourceparts": dir + "/parts",
		"Dir::Etc::parts": dir + "/parts",
		"Dir::Etc::netrc": dir + "/auth.conf", "APT::Sandbox::User": "root", "Acquire::http::Proxy": "DIRECT",
		"Acquire::Retries": "0", "APT::Update::Post-Invoke-Success": "", "APT::Update::Post-Invoke": "",
	} {
		args = append(args, "-o", option+"="+value)
	}
	return output(t, dir, "", "apt-get", args...)
}

// dockerLogin logs in with the library of Docker's engine.
func dockerLogin(base, password string) (string, error) {
	base += "/v2/"
	resp, err := http.Get(base) //nolint:noctx // as Docker does
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	challenges := challenge.NewSimpleManager()
	if err := challenges.AddResponse(resp); err != nil {
		return "", err
	}
	store := dockerStore(password)
	tokens := auth.NewTokenHandlerWithOptions(auth.TokenHandlerOptions{
		Transport: http.DefaultTransport, Credentials: store, OfflineAccess: true, ClientID: "docker",
	})
	authorizer := auth.NewAuthorizer(challenges, tokens, auth.NewBasicHandler(store))
	client := &http.Client{Transport: transport.NewTransport(http.DefaultTransport, authorizer)}
	resp, err = client.Get(base) //nolint:noctx // as Docker does
	if err != nil {
		return "", err
	}
	resp.Body.Close()
	return resp.Status, nil
}

// dockerStore is the password that Docker's user has typed.
type dockerStore string

func (s dockerStore) Basic(*url.URL) (user, password string) { return apiKey, string(s) }
func (dockerStore) RefreshToken(*url.URL, string) string     { return "" }
func (dockerStore) SetRefreshToken(*url.URL, string, string) {}
