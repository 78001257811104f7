package frappeauth_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	frappeauth "github.com/caddy-frappe/frappe-auth"
)

// runningCaddy is the Caddy of this process, of which there can be one at a time.
type runningCaddy struct {
	t   testing.TB
	log string // file that everything is logged to
}

// runCaddy runs Caddy with a Caddyfile until the test ends.
func runCaddy(t testing.TB, caddyfile string) *runningCaddy {
	t.Helper()
	c := &runningCaddy{t: t, log: filepath.Join(t.TempDir(), "log")}
	c.load(caddyfile)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		logs, err := os.ReadFile(c.log)
		if err != nil {
			t.Error(err)
		}
		frappeauth.LoggedInTests.Write(logs)
	})
	return c
}

// load replaces the configuration.
func (c *runningCaddy) load(caddyfile string) {
	c.t.Helper()
	if err := c.tryLoad(caddyfile); err != nil {
		c.t.Fatal(err)
	}
}

func (c *runningCaddy) tryLoad(caddyfile string) error {
	options := fmt.Sprintf("{\n admin off\n persist_config off\n log {\n output file %s\n level DEBUG\n }\n%s", c.log,
		strings.TrimPrefix(strings.TrimSpace(caddyfile), "{"))
	if !strings.HasPrefix(strings.TrimSpace(caddyfile), "{") {
		options = fmt.Sprintf("{\n admin off\n persist_config off\n log {\n output file %s\n level DEBUG\n }\n}\n%s", c.log, caddyfile)
	}
	config, _, err := adapt(options)
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

func adapt(caddyfile string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), map[string]any{"filename": "Caddyfile"})
}

// logged waits until something was logged, and returns the whole line.
func (c *runningCaddy) logged(what string) string {
	c.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		for line := range strings.Lines(c.logs()) {
			if strings.Contains(line, what) {
				return line
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("never logged %q in:\n%s", what, c.logs())
		}
	}
}

func (c *runningCaddy) logs() string {
	c.t.Helper()
	logs, err := os.ReadFile(c.log)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(logs)
}

// handedOut are the addresses that freeAddress has returned: the system may offer one again while nothing listens on it yet.
var handedOut sync.Map

// freeAddress is an address of this machine on which nothing listens.
func freeAddress(t testing.TB) string {
	t.Helper()
	for {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr().String()
		listener.Close()
		if _, taken := handedOut.LoadOrStore(address, true); !taken {
			return address
		}
	}
}

// response is a response, read whole.
type response struct {
	status int
	header http.Header
	body   string
}

// clientWithoutMagic neither follows redirects nor keeps cookies.
var clientWithoutMagic = &http.Client{
	Timeout:       20 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// request sends a request with those headers, as `Name: value`, over the client.
func requestOver(t testing.TB, client *http.Client, method, url string, headers ...string) response {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if name == "Host" {
			r.Host = value
			continue
		}
		r.Header[name] = append(r.Header[name], value)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{status: resp.StatusCode, header: resp.Header, body: string(body)}
}

func get(t testing.TB, url string, headers ...string) response {
	t.Helper()
	return requestOver(t, clientWithoutMagic, http.MethodGet, url, headers...)
}

// rawRequest sends bytes as they are.
func rawRequest(t testing.TB, address, raw string) response {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return response{status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// hashed is how backend static wants a random secret.
func hashed(secret string) string {
	digest := sha256.Sum256([]byte(secret))
	return "sha256:" + hex.EncodeToString(digest[:])
}

// recording is one case of authorization-corpus.json: what real Frappe sites answered to a header.
type recording struct {
	Name          string            `json:"name"`
	Authorization []string          `json:"authorization"`
	Headers       map[string]string `json:"headers"`
	Frappe        map[string]struct {
		Status int     `json:"status"`
		User   *string `json:"user"`
	} `json:"frappe"`
}

// The sites of the recordings.
const (
	onMariaDB    = "15.44.2 on MariaDB"
	onPostgreSQL = "15.44.2 on PostgreSQL"
)

func corpus(t testing.TB) []recording {
	t.Helper()
	raw, err := os.ReadFile("testdata/authorization-corpus.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []recording
	if err := json.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) < 60 {
		t.Fatalf("the corpus has only %d cases", len(cases))
	}
	return cases
}

// answerOf is a recorded answer, byte for byte.
func answerOf(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata/answers", name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// parsedAnswer is a recorded answer as a client reads it.
func parsedAnswer(t testing.TB, name string) response {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answerOf(t, name))), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{status: resp.StatusCode, header: resp.Header, body: string(body)}
}

// The credentials of the recorded site, of the users that tests need by name.
const (
	aliceKey    = "2c6245becaa0961"
	aliceSecret = "61066224add85e6"
	aliceToken  = "token 2c6245becaa0961:61066224add85e6"
	aliceBasic  = "Basic MmM2MjQ1YmVjYWEwOTYxOjYxMDY2MjI0YWRkODVlNg=="
	aliceBearer = "Bearer 641cc7393fbf7e529b94837c181e81"
	bobToken    = "token 5f200e7119f1d3c:091f121aa6a0031"
	bobBearer   = "Bearer 2d6f2973a9c21c820d549cdb01d1b3"
)

// staticSite is backend static with what the recorded site lets in. Its keys and tokens are found in the corpus.
func staticSite(t testing.TB) string {
	t.Helper()
	var lines strings.Builder
	seen := make(map[string]bool)
	for _, c := range corpus(t) {
		user := c.Frappe[onPostgreSQL].User
		if user == nil || len(c.Authorization) != 1 {
			continue
		}
		scheme, value, _ := strings.Cut(c.Authorization[0], " ")
		key, secret, _ := strings.Cut(value, ":")
		switch {
		case seen[value]:
		case scheme == "token":
			fmt.Fprintf(&lines, "token %s %s %q Employee\n", key, hashed(secret), *user)
		case scheme == "Bearer":
			fmt.Fprintf(&lines, "bearer %s %q\n", hashed(value), *user)
		}
		seen[value] = true
	}
	return "backend static {\n" + lines.String() + "}\n"
}

// requireProgram skips a test that needs a program which is missing, and fails it where everything has to be there.
func requireProgram(t testing.TB, program, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing := fmt.Sprintf("%s is missing: apt-get install %s", program, debianPackage)
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	return path
}
