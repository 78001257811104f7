package testutil

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// moduleRoot is the directory of go.mod, in or above the one that a test runs in.
var moduleRoot = sync.OnceValues(func() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("there is no go.mod above the test")
		}
		dir = parent
	}
})

// Path returns the path of a file that is named from the root of the module.
func Path(t testing.TB, name string) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, filepath.FromSlash(name))
}

// ReadFile reads a file that is named from the root of the module.
func ReadFile(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Golden compares a text with a file that is named from the root of the module. With -update it writes the file.
func Golden(t testing.TB, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(Path(t, name), []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if want := string(ReadFile(t, name)); got != want {
		t.Errorf("%s: got\n%s\nwant\n%s\nIf that is right: go test -update", name, got, want)
	}
}
