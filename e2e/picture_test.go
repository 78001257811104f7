package e2e

import (
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestPicture: the picture of a terminal in the README shows what the commands print, on a double of a site. With -update it
// is drawn anew.
func TestPicture(t *testing.T) {
	guest := testutil.ParsedAnswer(t, "guest-15.http")
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, secret, _ := r.BasicAuth()
		switch {
		case strings.HasSuffix(r.URL.Path, "/ping"):
			io.WriteString(w, `{"message":"pong"}`)
		case secret != aliceSecret:
			w.WriteHeader(guest.Status)
			io.WriteString(w, guest.Body)
		case r.URL.Path == testutil.GetRoles:
			io.WriteString(w, `{"message":["Report Manager","All"]}`)
		default:
			io.WriteString(w, `{"message":"alice@example.com"}`)
		}
	}))
	t.Cleanup(site.Close)
	config := configFile(t, "files.example.com {\nfrappe_auth {\nbackend site "+site.URL+" {\nroles\n}\nrequire role \"Report Manager\"\n}\n}")
	var screen strings.Builder
	for _, run := range []struct{ input, line string }{
		{"", "doctor"},
		{"token " + aliceKey + ":" + aliceSecret, "check"},
	} {
		out, code := command(t, run.input, run.line, "--config", config)
		if code != 0 {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		fmt.Fprintf(&screen, "$ caddy frappe-auth %s --config Caddyfile\n%s\n", run.line, out)
	}
	// The first column is as much wider as the address is longer.
	wider := strings.Repeat(" ", len("https://erp.example.com")-len(site.URL))
	text := strings.NewReplacer(site.URL, "https://erp.example.com", "BACKEND", "BACKEND"+wider).Replace(screen.String())
	golden(t, "../../docs/images/terminal.svg", svg(strings.TrimSpace(text)), `\b(in|after) \d+(\.\d+)?(µs|ms|s)\b`, "$1 1ms")
}

// svg draws a terminal, as text that can be selected and read out, in the reader's light or dark colours.
func svg(text string) string {
	const line, margin, column = 20, 20, 8.43
	lines := strings.Split(text, "\n")
	width := 0
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(l))
	}
	var b strings.Builder
	w, h := int(float64(width)*column)+2*margin, len(lines)*line+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="title">
<title id="title">caddy frappe-auth doctor and check, in a terminal</title>
<style>
	rect { fill: #f6f8fa; stroke: #d0d7de }
	text { fill: #1f2328; font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; white-space: pre }
	.typed { font-weight: bold } .good { fill: #1a7f37 }
	@media (prefers-color-scheme: dark) {
		rect { fill: #161b22; stroke: #30363d }
		text { fill: #e6edf3 }
		.good { fill: #3fb950 }
	}
</style>
<rect x="0.5" y="0.5" width="%d" height="%d" rx="8"/>
`, w, h, w, h, w-1, h-1)
	for i, l := range lines {
		class := ""
		if strings.HasPrefix(l, "$ ") {
			class = ` class="typed"`
		}
		escaped := html.EscapeString(l)
		for _, good := range []string{"  ok  ", "granted", "met", "It lets the request pass"} {
			escaped = strings.Replace(escaped, good, `<tspan class="good">`+good+`</tspan>`, 1)
		}
		fmt.Fprintf(&b, "<text x=\"%d\" y=\"%d\" xml:space=\"preserve\"%s>%s</text>\n", margin, margin+14+i*line, class, escaped)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
