package frappeauth_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

var updateDocs = flag.Bool("update-docs", false, "write the generated parts of docs/")

// generated compares the part of a page between its markers with what the code says, or writes it.
func generated(t *testing.T, page, part string) {
	t.Helper()
	const begin, end = "<!-- generated: go test -run Docs . -update-docs -->\n", "<!-- end of what is generated -->\n"
	file := filepath.Join("docs", page)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(raw), begin)
	was, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no markers", file)
	}
	part = "\n" + strings.TrimSpace(part) + "\n\n"
	if *updateDocs {
		if err := os.WriteFile(file, []byte(before+begin+part+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if was != part {
		t.Errorf("%s is not current: go test -run Docs . -update-docs", file)
	}
}

// TestDocsCompatibility: the table of what Frappe and frappe_auth answer is what was recorded, and what a running Caddy
// answers in front of a recorded site.
func TestDocsCompatibility(t *testing.T) {
	versions := []string{testutil.Version14, onMariaDB, onPostgreSQL, testutil.Version16Dev, testutil.Version16}
	site := newRecordedSite(t, onMariaDB)
	address := freeAddress(t)
	runCaddy(t, corpusCaddyfile(address, "backend site "+site.URL))

	var table strings.Builder
	fmt.Fprintf(&table, "| request | %s | `frappe_auth`, asking %s |\n|---|%s---|\n", strings.Join(versions, " | "), onMariaDB, strings.Repeat("---|", len(versions)))
	for _, c := range corpus(t) {
		fmt.Fprintf(&table, "| %s ", strings.ReplaceAll(c.Name, "|", "\\|"))
		for _, version := range versions {
			answer := fmt.Sprint(c.Frappe[version].Status)
			if user := c.Frappe[version].User; user != nil {
				answer += " " + *user
			}
			fmt.Fprintf(&table, "| %s ", answer)
		}
		var headers []string
		for _, value := range c.Authorization {
			headers = append(headers, "Authorization: "+value)
		}
		for name, value := range c.Headers {
			headers = append(headers, name+": "+value)
		}
		client := clientWithoutMagic
		if slices.ContainsFunc(c.Authorization, func(value string) bool { return strings.TrimSpace(value) != value }) {
			client = h2cClient() // where white space at the end arrives
		}
		got := requestOver(t, client, http.MethodGet, "http://"+address, headers...)
		answer := fmt.Sprint(got.Status)
		if got.Status == http.StatusOK {
			answer += " " + got.Body
		}
		fmt.Fprintf(&table, "| %s |\n", answer)
	}
	generated(t, "compatibility.md", table.String())
}

// TestDocsSecurity: for every threat the table names where the defense is shown, and all that the page names is run.
func TestDocsSecurity(t *testing.T) {
	page := testutil.Page(t, "docs/security.md")
	var tests strings.Builder
	err := filepath.WalkDir(".", func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		tests.Write(raw)
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
		if !regexp.MustCompile(`(?m)^func ` + name[1] + `\(\w+ \*testing\.[TBFM]\) \{$`).MatchString(tests.String()) {
			t.Errorf("there is no %s", name[1])
		}
	}
}

// TestDocsLinks: no page links to a page, or to a part of one, that is not there.
func TestDocsLinks(t *testing.T) {
	anchors := func(page string) map[string]bool {
		all := map[string]bool{"": true}
		for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(testutil.Page(t, page), -1) {
			kept := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
			all[strings.ReplaceAll(kept, " ", "-")] = true
		}
		return all
	}
	links := 0
	for _, page := range testutil.Pages(t) {
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
			if info, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s: %v", page, link[1], err)
			} else if !info.IsDir() && strings.HasSuffix(target, ".md") && !anchors(target)[anchor] {
				t.Errorf("%s links to %s, where there is no such part", page, link[1])
			}
		}
	}
	if links < 5 {
		t.Errorf("only %d links", links)
	}
}
