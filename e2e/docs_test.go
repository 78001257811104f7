package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
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
		{"", "", "frappe-auth "},
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
	charted := testutil.Blocks(t, testutil.Page(t, "docs/operations.md"), "text")[0]
	if printed := testutil.Page(t, "e2e/testdata/doctor-configuration-map.txt"); !strings.HasSuffix(printed, charted) {
		t.Errorf("docs/operations.md shows\n%s\nbut it prints\n%s", charted, printed)
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

// TestDocsTroubleshooting: for each symptom of docs/troubleshooting.md, the command of the page tells the cause in the
// words that the page has.
func TestDocsTroubleshooting(t *testing.T) {
	testutil.RequireCommand(t, "curl", "curl", "--version")
	recorded := testutil.NewRecordedSite(t, testutil.OnMariaDB)
	site := "frappe_auth {\nbackend site " + recorded.URL + "\n%s\n}\nrespond ok"
	of := func(options string) string { return strings.Replace(site, "%s", options, 1) }
	var denies atomic.Bool
	changing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if denies.Load() {
			w.WriteHeader(http.StatusUnauthorized)
		}
		fmt.Fprint(w, `{"message": "alice@example.com"}`)
	}))
	t.Cleanup(changing.Close)
	wrong := "token " + testutil.AliceKey + ":wrong-secret"
	anySession := "Cookie: sid=" + strings.Repeat("0d", 28)
	bench := namedSite(t, "a.erp.example.com")
	for _, test := range []struct {
		symptom, site string // %s of the site are its options
		before        func(t *testing.T, url string)
		input, want   string // the page has want, but for backticks
	}{
		{symptom: "200, but empty", site: of(""), want: "401", before: func(t *testing.T, url string) {
			if status, body := ask(t, "GET", url, "", "Host: other.example.com"); status != http.StatusOK || body != "" {
				t.Errorf("for another host: %d %q", status, body)
			}
		}},
		{symptom: "401", site: of(""), input: wrong, want: "denied"},
		{symptom: "401", site: of(""), input: testutil.AliceKey, want: "malformed"},
		{symptom: "401", site: of(""), input: testutil.AlicePair, want: "lets the request pass"},
		{symptom: "403", site: of("require user bob@example.com"), input: testutil.AlicePair, want: "not met"},
		{
			symptom: "404", input: testutil.AlicePair, want: "no such site",
			site: "frappe_auth {\nbackend site " + bench + " {\nsite_name {http.request.host}\n}\n}\nrespond ok",
		},
		{symptom: "429", site: of("failures 2 1m"), want: "failing_clients", before: func(t *testing.T, url string) {
			var status int
			for i := range 3 {
				status, _ = ask(t, "GET", url, "", "Host: files.example.com", fmt.Sprintf("Authorization: token unknown%d:wrong-secret", i))
			}
			if status != http.StatusTooManyRequests {
				t.Errorf("the third request gets %d", status)
			}
		}},
		{
			symptom: "503", site: "frappe_auth http://127.0.0.1:" + testutil.FreePort(t) + "\nrespond ok", want: "TROUBLE",
		},
		{
			symptom: "The login goes in circles, or ends in 401", site: of("schemes session\nlogin /login"), input: anySession,
			want: "denied",
		},
		{
			symptom: "The login goes in circles, or ends in 401", site: of("anonymous"), input: anySession,
			want: "It does not accept sessions",
		},
		{
			symptom: "The login goes in circles, or ends in 401", site: of("schemes session"),
			input: "Cookie: sid=" + testutil.RecordedSession, want: "lets the request pass",
		},
		{symptom: "Half a page", site: of(""), want: "200"},
		{
			symptom: "Revoked, but still in", site: "frappe_auth " + changing.URL + "\nrespond ok", input: testutil.AlicePair,
			want: "It answers 401", before: func(t *testing.T, url string) {
				denies.Store(false)
				for range 2 { // the second time, the result is cached, and Frappe refuses the credential already
					if status, _ := ask(t, "GET", url, "", "Host: files.example.com", tokenHeader); status != http.StatusOK {
						t.Errorf("status %d", status)
					}
					denies.Store(true)
				}
			},
		},
	} {
		t.Run(test.symptom+" "+test.want, func(t *testing.T) {
			section := testutil.Section(t, "docs/troubleshooting.md", test.symptom)
			line := strings.TrimSpace(testutil.Blocks(t, section, "sh")[0])
			if text := strings.ReplaceAll(section, "`", ""); !strings.Contains(text, test.want) {
				t.Errorf("the page does not have %q", test.want)
			}
			address := testutil.FreeAddress(t)
			own := "http://files.example.com:" + testutil.PortOf(address) + " {\nbind 127.0.0.1\n" + test.site + "\n}"
			if strings.Contains(test.site, "{http.request.host}") {
				own = strings.Replace(own, "files.example.com", "*.erp.example.com", 1)
			}
			p := start(t, "", own)
			if test.before != nil {
				test.before(t, "http://"+address)
			}
			c := exec.CommandContext(t.Context(), "sh", "-c", strings.NewReplacer("caddy frappe-auth", binary+" frappe-auth",
				"--config Caddyfile", "--config "+p.config, "localhost:2019", p.admin, "http://127.0.0.1:8080", "http://"+address,
				"https://files.example.com/", "--resolve files.example.com:"+testutil.PortOf(address)+":127.0.0.1 "+
					"http://files.example.com:"+testutil.PortOf(address)+"/").Replace(line))
			c.Stdin = strings.NewReader(test.input)
			out, _ := c.CombinedOutput() // the exit code of check says what becomes of the credential
			if !strings.Contains(string(out), test.want) {
				t.Errorf("%s\nprints\n%s\nwithout %q", line, out, test.want)
			}
		})
	}
	if symptoms := regexp.MustCompile(`(?m)^## `).FindAllString(testutil.Page(t, "docs/troubleshooting.md"), -1); len(symptoms) != 9 {
		t.Errorf("%d symptoms; add the new one here", len(symptoms))
	}
}
