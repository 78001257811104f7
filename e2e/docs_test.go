package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// shellLines returns the lines with a text in the shell blocks of docs/operations.md.
func shellLines(t *testing.T, text string) []string {
	t.Helper()
	var lines []string
	for _, block := range testutil.Blocks(t, testutil.Page(t, "docs/operations.md"), "sh") {
		for line := range strings.Lines(block) {
			if strings.Contains(line, text) {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

// TestDocsAdmin: the curl lines of docs/operations.md do what the page says.
func TestDocsAdmin(t *testing.T) {
	testutil.RequireCommand(t, "curl", "curl", "--version")
	address := "127.0.0.1:" + testutil.FreePort(t)
	p := start(t, "", "http://"+address+" {\nfrappe_auth {\n"+alice+"\n}\nrespond {http.auth.frappe.cache}\n}")
	lines := shellLines(t, "localhost:2019")
	if len(lines) != 4 {
		t.Fatalf("%d lines: %v", len(lines), lines)
	}
	run := func(line string) string {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", strings.ReplaceAll(line, "localhost:2019", p.admin)).Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return string(out)
	}
	cached := func() string {
		_, text := ask(t, "GET", "http://"+address, "", tokenHeader)
		return text
	}
	cached()
	if out := run(lines[0]); !strings.Contains(out, `"granted":1`) {
		t.Errorf("%s: %s", lines[0], out)
	}
	for _, line := range lines[1:3] {
		if got := cached(); got != "hit" {
			t.Errorf("before %s: %s", line, got)
		}
		if out := run(line); out != "" {
			t.Errorf("%s: %s", line, out)
		}
		if got := cached(); got != "miss" {
			t.Errorf("after %s: %s", line, got)
		}
	}
	var answer struct {
		Verdicts []struct{ User, Cache string }
	}
	if out := run(lines[3]); json.Unmarshal([]byte(out), &answer) != nil || len(answer.Verdicts) != 1 ||
		answer.Verdicts[0].User != "alice@example.com" || answer.Verdicts[0].Cache != "hit" {
		t.Errorf("%s: %s", lines[3], out)
	}
}

// TestDocsCommands: the commands of docs/operations.md do what the page says, and the README shows what `check` prints.
func TestDocsCommands(t *testing.T) {
	credential := testutil.AlicePair
	runs := []struct{ input, file, want string }{
		{namedSite(t, "") + "\n", filepath.Join(t.TempDir(), "Caddyfile"), "Wrote "},
		{credential, "Caddyfile.example", "It lets the request pass, as alice@example.com."},
		{credential, "Caddyfile.example", "nothing to check"},
		{credential, "", `token 2c6245becaa0961 sha256:708a11bd2c1ecdd5f774a80d15d45d3796beb5f0f7434439522136fe3a8937ca alice@example.com "Report Manager"`},
	}
	lines := shellLines(t, "caddy frappe-auth ")
	if len(lines) != len(runs) {
		t.Fatalf("%d lines: %v", len(lines), lines)
	}
	for i, line := range lines {
		words := regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(line, -1)
		for j := range words {
			words[j] = strings.Trim(words[j], `"`)
			if words[j] == "Caddyfile" {
				words[j] = runs[i].file
			}
		}
		screen, code := command(t, runs[i].input, words[2:]...)
		if code != 0 || !strings.Contains(screen, runs[i].want) {
			t.Errorf("%s: exit code %d\n%s", line, code, screen)
		}
	}
	shown := testutil.Blocks(t, testutil.Page(t, "README.md"), "text")[0]
	if printed := testutil.Page(t, "e2e/testdata/check-granted.txt"); !strings.HasPrefix(printed, shown) {
		t.Errorf("the README shows\n%s\nbut it prints\n%s", shown, printed)
	}
}

// TestDocsDatabase: the Caddyfile of docs/database.md grants the credentials in the database of a site, and no others.
func TestDocsDatabase(t *testing.T) {
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "report.txt"), []byte("report"), 0o600); err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + testutil.FreePort(t)
	example := testutil.Blocks(t, testutil.Page(t, "docs/database.md"), "caddyfile")[0]
	start(t, "", strings.NewReplacer("files.example.com {", "http://"+address+" {",
		"/home/frappe/frappe-bench/sites/erp.example.com", sqliteSite(t), "/srv/files", files).Replace(example))
	for header, want := range map[string]int{tokenHeader: 200, wrongHeader: 401} {
		if status, text := ask(t, "GET", "http://"+address+"/report.txt", "", header); status != want ||
			(text == "report") != (want == 200) {
			t.Errorf("%d %q, want %d", status, text, want)
		}
	}
}

// TestMetricsDocumented: docs/operations.md has a row for each metric, with its labels and, if there is a fixed list,
// their values.
func TestMetricsDocumented(t *testing.T) {
	sites, _ := watchedSites(t)
	address := "127.0.0.1:" + testutil.FreePort(t)
	shared, _ := sharingSite(t)
	p := start(t, "metrics", sites+shared+"\nhttp://"+address+" {\nfrappe_auth {\nbackend database "+sqliteSite(t)+
		"\n}\n}")
	p.sharing()
	ask(t, "GET", "http://"+address, "", tokenHeader)  // the first verdict
	documented := make(map[string]map[string][]string) // metric, label, values
	code := regexp.MustCompile("`(\\w+)`")
	for _, row := range regexp.MustCompile("(?m)^\\| `(caddy_frappe_auth_\\w+)` \\| (.*?) \\| ").FindAllStringSubmatch(testutil.Page(t, "docs/operations.md"), -1) {
		labels := make(map[string][]string)
		for part := range strings.SplitSeq(row[2], ";") {
			var words []string
			for _, word := range code.FindAllStringSubmatch(part, -1) {
				words = append(words, word[1])
			}
			if len(words) > 0 {
				labels[words[0]] = slices.Sorted(slices.Values(words[1:]))
			}
		}
		documented[row[1]] = labels
	}
	there := make(map[string]map[string][]string)
	for sample := range p.scrape() {
		name, labels, _ := strings.Cut(strings.TrimSuffix(sample, "}"), "{")
		name = regexp.MustCompile("(_seconds)_(bucket|sum|count)$").ReplaceAllString(name, "$1")
		if there[name] == nil {
			there[name] = make(map[string][]string)
		}
		for _, label := range regexp.MustCompile(`(\w+)="([^"]*)"`).FindAllStringSubmatch(labels, -1) {
			values := there[name][label[1]]
			switch label[1] {
			case "le": // all histograms have it
				continue
			case "backend", "handler", "version", "caddy_version": // not a fixed list
			default:
				if !slices.Contains(values, label[2]) {
					values = append(values, label[2])
				}
			}
			slices.Sort(values)
			there[name][label[1]] = values
		}
	}
	for name := range there {
		if documented[name] == nil {
			t.Errorf("%s is not documented", name)
		}
	}
	for name, labels := range documented {
		if !maps.EqualFunc(labels, there[name], slices.Equal) {
			t.Errorf("%s is documented with %v, but has %v", name, labels, there[name])
		}
	}
}
