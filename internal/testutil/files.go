package testutil

import (
	"bytes"
	"errors"
	"flag"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"
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

// goldenSeparator is the line between the input and the output in a file of GoldenFiles.
const goldenSeparator = "----------\n"

// GoldenFiles tests each file that a pattern matches, which is relative to the root of the repository. A file has an
// input, a line of dashes, and the output for the input. With -update it writes the files.
func GoldenFiles(t *testing.T, pattern string, output func(t *testing.T, input string) string) {
	t.Helper()
	for name, input := range GoldenInputs(t, pattern) {
		t.Run(strings.TrimSuffix(path.Base(name), path.Ext(name)), func(t *testing.T) {
			Golden(t, name, input+goldenSeparator+output(t, input))
		})
	}
}

// GoldenInputs returns the names of the files that a pattern matches, and their inputs. See GoldenFiles.
func GoldenInputs(t testing.TB, pattern string) iter.Seq2[string, string] {
	t.Helper()
	files, err := filepath.Glob(Path(t, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	return func(yield func(name, input string) bool) {
		for _, file := range files {
			name := path.Join(path.Dir(pattern), filepath.Base(file))
			input, _, _ := strings.Cut(string(ReadFile(t, name)), goldenSeparator)
			if !yield(name, input) {
				return
			}
		}
	}
}
