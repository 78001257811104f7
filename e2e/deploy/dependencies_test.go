package deploy

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// goList decodes the output of `go list -json` in the root of the repository, for Linux.
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

// TestDependenciesHaveReasons: docs/dependencies.md has a reason for each direct dependency, and for no other.
func TestDependenciesHaveReasons(t *testing.T) {
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
