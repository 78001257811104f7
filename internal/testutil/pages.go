package testutil

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Page returns the text of README.md or of a page such as docs/security.md.
func Page(t testing.TB, name string) string {
	t.Helper()
	return string(ReadFile(t, name))
}

// Pages returns the names of README.md and of the pages of docs/.
func Pages(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(Path(t, "docs/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d pages in docs/", len(files))
	}
	names := []string{"README.md"}
	for _, file := range files {
		names = append(names, "docs/"+filepath.Base(file))
	}
	return names
}

// Section returns the text of a page below a second-level heading.
func Section(t testing.TB, page, title string) string {
	t.Helper()
	_, section, ok := strings.Cut(Page(t, page), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("%s has no section %s", page, title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// Blocks returns the fenced blocks of a language in a text. It fails the test if there are none.
func Blocks(t testing.TB, text, language string) []string {
	t.Helper()
	var found []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	if len(found) == 0 {
		t.Fatalf("no block of %q in:\n%s", language, text)
	}
	return found
}
