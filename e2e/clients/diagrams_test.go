package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestDiagrams: Mermaid renders each diagram of README.md and docs/ in Chromium, as GitHub does.
func TestDiagrams(t *testing.T) {
	dir, _ := javaScript(t)
	library := filepath.Join(dir, "node_modules", "@mermaid-js", "tiny", "dist", "mermaid.tiny.js")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mermaid.js" {
			http.ServeFile(w, r, library)
			return
		}
		fmt.Fprint(w, "<!DOCTYPE html><title>Diagrams</title><body><script src=/mermaid.js></script>")
	}))
	t.Cleanup(server.Close)
	b := newTab(t)
	b.open(server.URL)
	b.does(`Promise.resolve(mermaid.initialize({startOnLoad: false})).then(() => "")`)
	// draws returns the width and the height of a diagram, or the error.
	draws := func(diagram string) string {
		text, err := json.Marshal(diagram)
		if err != nil {
			t.Fatal(err)
		}
		return b.does(`mermaid.render("diagram", ` + string(text) + `).then(({svg}) => {
			document.body.innerHTML = svg;
			const {width, height} = document.querySelector("svg").viewBox.baseVal;
			return document.querySelectorAll("svg text, svg foreignObject").length + " texts, " + (width > 99 && height > 99);
		}, e => "error: " + e.message)`)
	}
	if said := draws("flowchart LR\n\ta --> {"); !strings.HasPrefix(said, "error: ") {
		t.Errorf("a broken diagram: %s", said)
	}
	drawn := 0
	for _, page := range testutil.Pages(t) {
		text := testutil.Page(t, page)
		if !strings.Contains(text, "```mermaid\n") {
			continue
		}
		for i, diagram := range testutil.Blocks(t, text, "mermaid") {
			var texts int
			said := draws(diagram)
			if _, err := fmt.Sscanf(said, "%d texts, true", &texts); err != nil || texts < 5 {
				t.Errorf("%s, diagram %d: %s", page, i+1, said)
			}
			drawn++
		}
	}
	if drawn < 5 {
		t.Errorf("only %d diagrams", drawn)
	}
}
