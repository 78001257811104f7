package testutil

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// LoginSite is a site with one user who may log in: a double, or a real Frappe.
type LoginSite struct {
	// URL is that of its web server, which finds the site by Name.
	URL, Name string

	// Version is such as `15.44.2`.
	Version string

	// Role is the role that SetRole gives and takes.
	User, Password, Role string

	// Sessions returns how many sessions the user has.
	Sessions func() int

	// SetEnabled does what a script does, and not the form in Desk, which also ends the sessions.
	SetRole, SetEnabled func(bool)

	// RequireCode makes the login ask for a second factor from now on. Code returns the one that is good now.
	RequireCode func()
	Code        func() string
}

// IsRealFrappe reports whether the environment names a real site.
func IsRealFrappe() bool { return os.Getenv("FRAPPE_BENCH") != "" }

// NewLoginSite returns a double, or the real site that the environment names: FRAPPE_BENCH is the directory of its
// bench on this machine, FRAPPE_URL that of its web server, and FRAPPE_SITE its name. A real site gets a user and a
// role, which are removed at the end of the test.
func NewLoginSite(t testing.TB) *LoginSite {
	t.Helper()
	if !IsRealFrappe() {
		return NewERP(t, nil).LoginSite()
	}
	s := &LoginSite{
		URL: os.Getenv("FRAPPE_URL"), Name: os.Getenv("FRAPPE_SITE"),
		User: "login-" + RandomID()[:8] + "@example.com", Password: RandomID(), Role: "Login " + RandomID()[:8],
	}
	if s.URL == "" || s.Name == "" {
		t.Fatal("with FRAPPE_BENCH, also set FRAPPE_URL and FRAPPE_SITE")
	}
	b := startBench(t, os.Getenv("FRAPPE_BENCH"), s)
	b.call(&s.Version, "version")
	s.Sessions = func() (n int) {
		b.call(&n, "sessions")
		return n
	}
	s.SetRole = func(has bool) { b.call(nil, "set_role", has) }
	s.SetEnabled = func(enabled bool) { b.call(nil, "set_enabled", enabled) }
	s.RequireCode = func() { b.call(nil, "require_code") }
	s.Code = func() (code string) {
		b.call(&code, "code")
		return code
	}
	return s
}

// bench is loginsite.py, running.
type bench struct {
	t       testing.TB
	mu      sync.Mutex
	input   *json.Encoder
	answers *bufio.Scanner
}

func startBench(t testing.TB, dir string, s *LoginSite) *bench {
	t.Helper()
	//nolint:gosec // the program is the Python of a bench that the tester names
	command := exec.Command(filepath.Join(dir, "env/bin/python"), Path(t, "internal/testutil/loginsite.py"),
		s.Name, s.User, s.Password, s.Role)
	command.Dir = filepath.Join(dir, "sites")
	var log strings.Builder
	command.Stderr = &log
	input, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		input.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("loginsite.py: %v\n%s", err, &log)
		}
	})
	return &bench{t: t, input: json.NewEncoder(input), answers: bufio.NewScanner(output)}
}

// call runs a command of loginsite.py.
func (b *bench) call(answer any, command string, args ...any) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.input.Encode(append([]any{command}, args...)); err != nil {
		b.t.Fatalf("%s: %v", command, err)
	}
	if !b.answers.Scan() {
		b.t.Fatalf("%s: loginsite.py has ended", command)
	}
	if answer == nil {
		return
	}
	if err := json.Unmarshal(b.answers.Bytes(), answer); err != nil {
		b.t.Fatalf("%s: %v", command, err)
	}
}

// LoginAnswer returns the recorded answer of a version of Frappe to a request of a login.
func LoginAnswer(t testing.TB, version, name string) string {
	t.Helper()
	_, found, ok := strings.Cut(string(ReadFile(t, "testdata/login/"+version+".http")), "### "+name+"\n")
	if !ok {
		t.Fatalf("no answer of %s is recorded as %q", version, name)
	}
	answer, _, _ := strings.Cut(found, "\n\n### ")
	return strings.TrimSuffix(answer, "\n\n")
}
