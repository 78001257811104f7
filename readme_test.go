package frappeauth_test

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	_ "github.com/caddy-frappe/frappe-auth/database" // registers the backend
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	_ "github.com/caddy-frappe/frappe-auth/redis" // registers store and feed
)

// TestReadmeLength: the README stays short enough to be read.
func TestReadmeLength(t *testing.T) {
	if n := strings.Count(testutil.Page(t, "README.md"), "\n"); n > 220 {
		t.Errorf("%d lines", n)
	}
}

// TestDocsJSONBlocks: what the pages show as JSON is JSON.
func TestDocsJSONBlocks(t *testing.T) {
	for _, file := range []string{"docs/recipes.md", "docs/freshness.md", "docs/json.md"} {
		for _, block := range testutil.Blocks(t, testutil.Page(t, file), "json") {
			if !json.Valid([]byte(block)) {
				t.Errorf("%s: no JSON:\n%s", file, block)
			}
		}
	}
}

// TestReadmeQuickStart: the curl lines of the README do what it says, on the example as it stands but for its ports.
func TestReadmeQuickStart(t *testing.T) {
	raw, err := os.ReadFile("Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	example, commands := string(raw), strings.Join(testutil.Blocks(t, testutil.Page(t, "README.md"), "sh"), "\n")
	for _, port := range []string{"8080", "8081", "8082"} {
		free := portOf(freeAddress(t))
		example = strings.ReplaceAll(example, "localhost:"+port, "localhost:"+free)
		commands = strings.ReplaceAll(commands, "localhost:"+port, "localhost:"+free)
	}
	runCaddy(t, example)
	lines := regexp.MustCompile(`(?m)^curl .*/whoami$`).FindAllString(commands, -1)
	if len(lines) != 3 {
		t.Fatalf("%d curl lines", len(lines))
	}
	for i, scheme := range []string{"token", "basic", "bearer"} {
		fields := strings.Fields(strings.ReplaceAll(lines[i], `"`, ""))
		url := fields[len(fields)-1]
		header := regexp.MustCompile(`Authorization: [^"]+`).FindString(lines[i])
		if header == "" {
			header = "Authorization: " + aliceBasic
		}
		if got := get(t, url, header); got.Body != "You are alice@example.com, by "+scheme+".\n" {
			t.Errorf("%s: %d %q", lines[i], got.Status, got.Body)
		}
	}
}

// TestReadmeOptions: the tables of the README and of docs/database.md have a row for each option.
func TestReadmeOptions(t *testing.T) {
	for _, test := range []struct{ module, page string }{
		{"http.handlers.frappe_auth", "README.md"},
		{"http.handlers.frappe_auth_webhook", "README.md"},
		{"http.frappe_auth.backends.site", "README.md"},
		{"http.frappe_auth.backends.database", "docs/database.md"},
	} {
		info, err := caddy.GetModule(test.module)
		if err != nil {
			t.Fatal(err)
		}
		names := optionNames(reflect.TypeOf(info.New()).Elem())
		if len(names) < 2 {
			t.Errorf("%s has only the options %q", test.module, names)
		}
		for _, name := range names {
			switch name {
			case "backends": // of which each is a line
				name = "backend"
			case "feeds":
				name = "feed"
			case "urls", "secret", "site", "match":
				continue // arguments
			case "handler_name": // since in JSON handler names the module
				name = "handler"
			}
			if !regexp.MustCompile("(?m)^\\| `" + name + "\\b").MatchString(testutil.Page(t, test.page)) {
				t.Errorf("%s has no row for %s of %s", test.page, name, test.module)
			}
		}
	}
}

// optionNames are the JSON names of the fields of a module, with those of `cache`, which is a block of options.
func optionNames(structure reflect.Type) (names []string) {
	for field := range structure.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous:
			names = append(names, optionNames(field.Type)...)
		case name == "cache":
			names = append(names, optionNames(field.Type.Elem())...)
		case field.IsExported() && name != "" && name != "-":
			names = append(names, name)
		}
	}
	return names
}

// TestDocsGrants: the statements of docs/database.md are those that the tests of the database backend run.
func TestDocsGrants(t *testing.T) {
	for i, kind := range []string{"mariadb", "postgres", "sessions-mariadb", "sessions-postgres"} {
		tested, err := os.ReadFile("database/testdata/grants-" + kind + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		if shown := testutil.Blocks(t, testutil.Page(t, "docs/database.md"), "sql")[i]; shown != string(tested) {
			t.Errorf("docs/database.md has for %s\n%s", kind, shown)
		}
	}
}

// TestDocsOutage: the table of docs/freshness.md is what the drill of an outage recorded.
func TestDocsOutage(t *testing.T) {
	drill, err := os.ReadFile("testdata/outage.txt")
	if err != nil {
		t.Fatal(err)
	}
	means := map[string][]string{
		"200": {"hit", "miss"}, "200, from the cache": {"hit"}, "200, stale": {"stale"}, "401": {"401"}, "503": {"503"},
	}
	rows := regexp.MustCompile(`(?m)^\| (\d+)(?: to (\d+)| on) \|(.*)\|$`).FindAllStringSubmatch(testutil.Page(t, "docs/freshness.md"), -1)
	if len(rows) != 5 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, line := range slices.Collect(strings.Lines(string(drill)))[1:] {
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
