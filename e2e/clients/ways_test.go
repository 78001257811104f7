package clients

import (
	"strings"
	"testing"
)

// ways are how a page makes the browser send a request, apart from showing another page. Each has what comes of it with a
// session, and without.
var ways = []struct {
	name, expression, path string
	in, out                string
}{
	{"fetch", `ask("URL")`, "data", `200 {"user":"alice@example.com"}`, "401 no credential"},
	{"fetch, POST", `ask("URL", {method: "POST", body: "x"})`, "data", `200 {"user":"alice@example.com"}`, "401 no credential"},
	{"XMLHttpRequest", `xhr("URL")`, "data", `200 {"user":"alice@example.com"}`, "401 no credential"},
	{"image", `image("URL")`, "image.png", "loaded 1", "failed"},
	{"script", `script("URL")`, "script.js", "loaded", "failed"},
	{"WebSocket", `socket("URL")`, "socket", "said alice@example.com", "failed"},
	{"EventSource", `events("URL")`, "events", "said alice@example.com", "failed"},
}

// tryWays tries all of ways on the dashboard, and checks that what comes of each is what is wanted, and that no login box
// opens. Each request has a query, by which the log tells them apart.
func (w *world) tryWays(t *testing.T, b *tab, when string, loggedIn bool) {
	t.Helper()
	for _, way := range ways {
		t.Run(way.name+", "+when, func(t *testing.T) {
			uri := way.path + "?" + strings.NewReplacer(" ", "-", ",", "").Replace(way.name+"-"+when)
			want, wantStatus := way.out, 401
			if loggedIn {
				want, wantStatus = way.in, 200
			}
			if loggedIn && way.path == "socket" {
				wantStatus = 101
			}
			if got := b.does(strings.Replace(way.expression, "URL", "/bi/"+uri, 1)); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			status, challenges := w.answered(uri)
			if status != wantStatus || strings.Contains(challenges, "Basic") {
				t.Errorf("Caddy answered %d %s", status, challenges)
			}
			if boxes := b.opened(); len(boxes) > 0 {
				t.Errorf("a login box opened for %v", boxes)
			}
		})
	}
}
