package docs_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestMain fails the test run if a secret was logged anywhere in it.
func TestMain(m *testing.M) { os.Exit(testutil.Main(m)) }

// TestDocsLinks: no page links to a page, or to a part of one, that is not there.
func TestDocsLinks(t *testing.T) {
	links := 0
	pages := append(testutil.Pages(t), "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/systemd/README.md",
		"examples/kubernetes/README.md")
	for _, page := range pages {
		for _, link := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(testutil.Page(t, page), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			links++
			path, anchor, _ := strings.Cut(link[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if info, err := os.Stat(testutil.Path(t, target)); err != nil {
				t.Errorf("%s links to %s: %v", page, link[1], err)
			} else if !info.IsDir() && strings.HasSuffix(target, ".md") && !anchors(t, target)[anchor] {
				t.Errorf("%s links to %s, where there is no such part", page, link[1])
			}
		}
	}
	if links < 5 {
		t.Errorf("only %d links", links)
	}
}

// anchors returns the anchors of the headings of a page, and the empty one.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	all := map[string]bool{"": true}
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(testutil.Page(t, page), -1) {
		kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		all[strings.ReplaceAll(kept, " ", "-")] = true
	}
	return all
}

// TestDocsRunbooks: every alert links to the part of docs/operations.md that says what to do.
func TestDocsRunbooks(t *testing.T) {
	const page, repository = "docs/operations.md", "https://github.com/caddy-frappe/frappe-auth/blob/main/"
	known := anchors(t, page)
	alerts := strings.Split(testutil.Page(t, "monitoring/alerts.yml"), "- alert: ")[1:]
	for _, alert := range alerts {
		name, _, _ := strings.Cut(alert, "\n")
		anchor := strings.ToLower(name)
		if !strings.Contains(alert, "runbook_url: "+repository+page+"#"+anchor+"\n") || !known[anchor] {
			t.Errorf("%s does not link to its part of %s, or there is none", name, page)
		}
	}
	if len(alerts) < 11 {
		t.Errorf("only %d alerts", len(alerts))
	}
}

// TestDocsIndex: docs/README.md links to every page beside it.
func TestDocsIndex(t *testing.T) {
	index := testutil.Page(t, "docs/README.md")
	for _, page := range testutil.Pages(t) {
		if name := filepath.Base(page); name != "README.md" && !strings.Contains(index, "]("+name) {
			t.Errorf("docs/README.md does not link to %s", name)
		}
	}
}

// TestContributing: the files and functions that CONTRIBUTING.md follows a credential through are there.
func TestContributing(t *testing.T) {
	step := regexp.MustCompile("(?m)^\\| `([a-z/]+\\.go)` \\| `(\\w+)` \\|")
	steps := step.FindAllStringSubmatch(testutil.Page(t, "CONTRIBUTING.md"), -1)
	if len(steps) < 8 {
		t.Errorf("only %d steps", len(steps))
	}
	for _, step := range steps {
		declared := regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + step[2] + `\(`)
		if !declared.MatchString(testutil.Page(t, step[1])) {
			t.Errorf("%s has no function %s", step[1], step[2])
		}
	}
}

// TestDocsJSONBlocks: what the pages show as JSON is JSON.
func TestDocsJSONBlocks(t *testing.T) {
	for _, file := range []string{"docs/recipes.md", "docs/freshness.md"} {
		for _, block := range testutil.Blocks(t, testutil.Page(t, file), "json") {
			if !json.Valid([]byte(block)) {
				t.Errorf("%s: no JSON:\n%s", file, block)
			}
		}
	}
}

// TestDocsSecurity: for every threat the table names where the defense is shown, and all that the page names is run.
func TestDocsSecurity(t *testing.T) {
	page := testutil.Page(t, "docs/security.md")
	tests := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(\w+ \*testing\.[TBFM]\) \{$`)
	err := filepath.WalkDir(testutil.Path(t, "."), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, match := range declared.FindAllSubmatch(raw, -1) {
			tests[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	threats := testutil.Section(t, "docs/security.md", "Threats")
	named := regexp.MustCompile("`((?:Test|Benchmark|Fuzz)[A-Za-z0-9]+)`")
	rows := regexp.MustCompile(`(?m)^\| .*\| (.*) \|$`).FindAllStringSubmatch(threats, -1)
	if len(rows) < 20 {
		t.Errorf("only %d threats", len(rows))
	}
	for _, row := range rows[1:] { // after the heads of the columns
		if !named.MatchString(row[1]) {
			t.Errorf("nothing shows what is done: %s", row[0])
		}
	}
	for _, name := range named.FindAllStringSubmatch(page, -1) {
		if !tests[name[1]] {
			t.Errorf("there is no %s", name[1])
		}
	}
}

// TestDocsGrants: the statements of docs/database.md are those that the tests of the database backend run.
func TestDocsGrants(t *testing.T) {
	for i, kind := range []string{"mariadb", "postgres", "sessions-mariadb", "sessions-postgres"} {
		tested := testutil.Page(t, "database/testdata/grants-"+kind+".sql")
		if shown := testutil.Blocks(t, testutil.Page(t, "docs/database.md"), "sql")[i]; shown != tested {
			t.Errorf("docs/database.md has for %s\n%s", kind, shown)
		}
	}
}

// TestDocsOutage: the table of docs/freshness.md is what the drill of an outage recorded.
func TestDocsOutage(t *testing.T) {
	drill := testutil.Page(t, "testdata/outage.txt")
	means := map[string][]string{
		"200": {"hit", "miss"}, "200, from the cache": {"hit"}, "200, stale": {"stale"}, "401": {"401"}, "503": {"503"},
	}
	row := regexp.MustCompile(`(?m)^\| (\d+)(?: to (\d+)| on) \|(.*)\|$`)
	rows := row.FindAllStringSubmatch(testutil.Page(t, "docs/freshness.md"), -1)
	if len(rows) != 5 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, line := range slices.Collect(strings.Lines(drill))[1:] {
		fields := strings.Fields(line)
		at, _ := strconv.Atoi(fields[0])
		found := false
		for _, row := range rows {
			from, _ := strconv.Atoi(row[1])
			to, err := strconv.Atoi(row[2])
			if at < from || (err == nil && at > to) {
				continue
			}
			found = true
			for i, cell := range strings.Split(row[3], "|") {
				if got := fields[2+i]; !slices.Contains(means[strings.TrimSpace(cell)], got) {
					t.Errorf("second %d, client %d: %s, but the page says %s", at, i, got, cell)
				}
			}
		}
		if !found {
			t.Errorf("the page says nothing of second %d", at)
		}
	}
}
