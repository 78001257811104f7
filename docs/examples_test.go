package docs_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// example is a Caddyfile on a page.
type example struct {
	// title is the page and the heading above the example, in the README the words in bold. The second and later examples
	// below a heading also have a number.
	title string
	text  string
}

// examples are all Caddyfiles on README.md and the pages of docs/, in their order.
func examples(t testing.TB) []example {
	t.Helper()
	var found []example
	for _, file := range testutil.Pages(t) {
		text := testutil.Page(t, file)
		seen := make(map[string]int)
		heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
		if file == "README.md" {
			heading = regexp.MustCompile(`(?m)^(?:#+ (.*)|\*\*(.*?)\.\*\*.*)$`)
		}
		for _, at := range regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindAllStringSubmatchIndex(text, -1) {
			above := heading.FindAllStringSubmatch(text[:at[0]], -1)
			last := above[len(above)-1]
			name := strings.TrimSuffix(filepath.Base(file), ".md")
			title := name + ": " + strings.ReplaceAll(strings.Join(last[1:], ""), "`", "")
			if seen[title]++; seen[title] > 1 {
				title += fmt.Sprint(" ", seen[title])
			}
			found = append(found, example{title: title, text: text[at[2]:at[3]]})
		}
	}
	if len(found) < 20 {
		t.Fatalf("only %d Caddyfiles", len(found))
	}
	return found
}

// TestExamplesHaveRoots: no Caddyfile of ours serves the directory in which Caddy was started.
func TestExamplesHaveRoots(t *testing.T) {
	all := append(examples(t), example{"Caddyfile.example", testutil.Page(t, "Caddyfile.example")})
	if withoutRoot("files.example.com {\n\troot /srv\n\tfile_server\n}\nmore.example.com {\n\tfile_server\n}\n") != 1 {
		t.Error("a site without a root is not found")
	}
	for _, e := range all {
		if n := withoutRoot(e.text); n > 0 {
			t.Errorf("%s: %d sites with files and without root:\n%s", e.title, n, e.text)
		}
	}
}

// withoutRoot counts the sites of a Caddyfile that serve files and have no root.
func withoutRoot(caddyfile string) (n int) {
	for site := range strings.SplitSeq(caddyfile, "\n}\n") {
		words := strings.Fields(site)
		serves := slices.Contains(words, "file_server") || slices.Contains(words, "php_fastcgi")
		if serves && !regexp.MustCompile(`(?m)^\s+root (\* )?(/\S+|testdata/www)$`).MatchString(site) {
			n++
		}
	}
	return n
}
