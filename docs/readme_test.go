package docs_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestReadmeLength: the README stays short enough to be read. One diagram, which is looked at, does not count.
func TestReadmeLength(t *testing.T) {
	page := testutil.Page(t, "README.md")
	n := len(strings.Fields(page))
	for i, diagram := range testutil.Blocks(t, page, "mermaid") {
		if i == 0 && strings.Count(diagram, "\n") <= 20 {
			n -= len(strings.Fields(diagram))
		}
	}
	if n > 1200 {
		t.Errorf("%d words", n)
	}
}

// TestReadmeOptions: the README's table of options shows the defaults of docs/options.md.
func TestReadmeOptions(t *testing.T) {
	defaults := make(map[string][]string)
	for _, rows := range documented(t) {
		for _, row := range rows {
			name := optionName.FindStringSubmatch(row.names)[1]
			byDefault, _, _ := strings.Cut(row.byDefault, ":")
			defaults[name] = append(defaults[name], byDefault)
		}
	}
	option := regexp.MustCompile("(?m)^\\| `([a-z_]+) ?[^|]*\\| [^|]* \\| ([^|]+) \\|$")
	rows := option.FindAllStringSubmatch(testutil.Section(t, "README.md", "Syntax"), -1)
	if len(rows) < 10 {
		t.Errorf("only %d options", len(rows))
	}
	for _, row := range rows {
		if !slices.Contains(defaults[row[1]], row[2]) {
			t.Errorf("the README shows %q as the default of %s; docs/options.md has %q", row[2], row[1], defaults[row[1]])
		}
	}
}

// TestReadmeQuickStart: the curl lines of the README do what it says, on the example as it stands but for its ports.
func TestReadmeQuickStart(t *testing.T) {
	example := testutil.Page(t, "Caddyfile.example")
	commands := strings.Join(testutil.Blocks(t, testutil.Page(t, "README.md"), "sh"), "\n")
	for _, port := range []string{"8080", "8081", "8082"} {
		free := testutil.PortOf(testutil.FreeAddress(t))
		example = strings.ReplaceAll(example, ":"+port, ":"+free)
		commands = strings.ReplaceAll(commands, "localhost:"+port, "localhost:"+free)
	}
	testutil.RunCaddy(t, example)
	lines := regexp.MustCompile(`(?m)^curl .*/whoami$`).FindAllString(commands, -1)
	if len(lines) != 3 {
		t.Fatalf("%d curl lines", len(lines))
	}
	for i, scheme := range []string{"token", "basic", "bearer"} {
		fields := strings.Fields(strings.ReplaceAll(lines[i], `"`, ""))
		url := fields[len(fields)-1]
		header := regexp.MustCompile(`Authorization: [^"]+`).FindString(lines[i])
		if header == "" {
			header = "Authorization: " + testutil.AliceBasic
		}
		if got := testutil.Get(t, url, header); got.Body != "You are alice@example.com, by "+scheme+".\n" {
			t.Errorf("%s: %d %q", lines[i], got.Status, got.Body)
		}
	}
}
