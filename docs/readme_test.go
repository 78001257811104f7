package docs_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestReadmeLength: the README stays short enough to be read.
func TestReadmeLength(t *testing.T) {
	if n := strings.Count(testutil.Page(t, "README.md"), "\n"); n > 220 {
		t.Errorf("%d lines", n)
	}
}

// TestReadmeQuickStart: the curl lines of the README do what it says, on the example as it stands but for its ports.
func TestReadmeQuickStart(t *testing.T) {
	example, commands := testutil.Page(t, "Caddyfile.example"), strings.Join(testutil.Blocks(t, testutil.Page(t, "README.md"), "sh"), "\n")
	for _, port := range []string{"8080", "8081", "8082"} {
		free := testutil.PortOf(testutil.FreeAddress(t))
		example = strings.ReplaceAll(example, "localhost:"+port, "localhost:"+free)
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
