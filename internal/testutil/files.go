package testutil

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

// repositoryRoot returns the directory of this repository. Nested modules have another first line in their go.mod.
var repositoryRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if mod, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil &&
			bytes.HasPrefix(mod, []byte("module github.com/caddy-frappe/frappe-auth\n")) {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("the test does not run in a checkout")
		}
		dir = parent
	}
})

// Path returns the path of a file whose name is relative to the root of the repository.
func Path(t testing.TB, name string) string {
	t.Helper()
	dir, err := repositoryRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, filepath.FromSlash(name))
}

// ReadFile reads a file whose name is relative to the root of the repository.
func ReadFile(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Golden compares a text with a file whose name is relative to the root of the repository. With -update it writes the
// file.
func Golden(t testing.TB, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(Path(t, name), []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(ReadFile(t, name)); got != want {
		t.Errorf("%s: got\n%s\nwant\n%s\nIf this is intended, run go test -update", name, got, want)
	}
}
