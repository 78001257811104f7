package deploy

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	classifier "github.com/google/licenseclassifier/v2"
	"github.com/google/licenseclassifier/v2/assets"
)

var update = flag.Bool("update", false, "write docs/dependencies.md")

// allowed are licences that let somebody build Caddy with all these modules and hand it on, whatever their own licence is.
// MPL-2.0 asks for changes of its own files only, and OFL-1.1 is that of a font.
var allowed = []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "CC0-1.0", "ISC", "MIT", "MPL-2.0", "OFL-1.1", "Unlicense"}

type module struct {
	Path, Version, Dir string
	Main               bool
	Replace            *module
}

// goList decodes what `go list -json` prints in the root of the project, for Linux.
func goList[T any](t *testing.T, args ...string) (all []T) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", append([]string{"list"}, args...)...)
	command.Dir = root
	command.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "GOFLAGS=-buildvcs=false")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var one T
		if err := decoder.Decode(&one); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
}

// licence names the licences of the files in which a module states them.
func licence(t *testing.T, known *classifier.Classifier, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, entry := range entries {
		if entry.IsDir() || !regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense)`).MatchString(entry.Name()) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range known.Match(text).Matches {
			if match.MatchType == "License" && !slices.Contains(found, match.Name) {
				found = append(found, match.Name)
			}
		}
	}
	slices.Sort(found)
	return strings.Join(found, ", ")
}

// TestLicences: docs/dependencies.md lists every module that is in cmd/caddy with its licence, and each licence is allowed.
func TestLicences(t *testing.T) {
	modules := make(map[string]module)
	for _, p := range goList[struct{ Module *module }](t, "-deps", "-json=Module", "./cmd/caddy") {
		if p.Module != nil && !p.Module.Main {
			modules[p.Module.Path] = *p.Module
		}
	}
	if len(modules) < 100 {
		t.Fatalf("only %d modules", len(modules))
	}
	known, err := assets.DefaultClassifier()
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for path := range modules {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	var table strings.Builder
	table.WriteString("| module | licence |\n|---|---|\n")
	for _, path := range paths {
		name := licence(t, known, modules[path].Dir)
		if name == "" {
			t.Errorf("%s has no licence that is known", path)
		}
		for one := range strings.SplitSeq(name, ", ") {
			if !slices.Contains(allowed, one) {
				t.Errorf("%s has the licence %s", path, one)
			}
		}
		fmt.Fprintf(&table, "| `%s` | %s |\n", path, name)
	}

	const begin, end = "<!-- generated: go test -run Licences . -update, in e2e/deploy -->\n", "<!-- end of the licences -->\n"
	page := string(read(t, "docs/dependencies.md"))
	before, rest, ok1 := strings.Cut(page, begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatal("docs/dependencies.md has no markers")
	}
	part := "\n" + table.String() + "\n"
	if *update {
		if err := os.WriteFile(filepath.Join(root, "docs/dependencies.md"), []byte(before+begin+part+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
	} else if was != part {
		t.Error("docs/dependencies.md is not current: in e2e/deploy, go test -run Licences . -update")
	}
}

// TestReasons: docs/dependencies.md has a reason for each direct dependency, and for no other.
func TestReasons(t *testing.T) {
	table, _, _ := strings.Cut(string(read(t, "docs/dependencies.md")), "\n## ")
	var reasons []string
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*`) \\| \\S.*\\|$").FindAllStringSubmatch(table, -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			reasons = append(reasons, strings.Trim(name, "`"))
		}
	}
	var direct []string
	for _, m := range goList[struct {
		Path           string
		Main, Indirect bool
	}](t, "-m", "-json", "all") {
		if !m.Main && !m.Indirect {
			direct = append(direct, m.Path)
		}
	}
	slices.Sort(reasons)
	slices.Sort(direct)
	if !slices.Equal(reasons, direct) {
		t.Errorf("reasons for %q, direct dependencies %q", reasons, direct)
	}
}
