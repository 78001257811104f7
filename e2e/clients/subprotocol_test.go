package clients

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/websocket"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestSubprotocol: Chromium opens a WebSocket with an access token as a subprotocol. The application sees only its own
// subprotocol, and no log has the token.
func TestSubprotocol(t *testing.T) {
	token := strings.TrimPrefix(testutil.AliceBearer, "Bearer ")
	offered := make(chan []string, 1)
	app := httptest.NewServer(websocket.Server{
		Handler: func(conn *websocket.Conn) { websocket.Message.Send(conn, "hello") }, //nolint:errcheck // the page says if it came
		Handshake: func(config *websocket.Config, _ *http.Request) error {
			offered <- slices.Clone(config.Protocol)
			return nil
		},
	})
	t.Cleanup(app.Close)
	site, _ := testutil.CountingSite(t)
	recipe := strings.NewReplacer("https://erp.example.com", site, "localhost:9000", strings.TrimPrefix(app.URL, "http://")).
		Replace(recipes(t, "A token as a WebSocket subprotocol"))
	const host = "app.example.com {\n"
	c, port, _ := runCaddy(t, strings.Replace(recipe, host, host+"respond / <title>Page</title>\n", 1), "app.example.com")
	b := newTab(t)
	b.open("https://app.example.com:" + port + "/")
	opens := func(protocols string) string {
		return b.does(`new Promise(done => {
			const s = new WebSocket("wss://app.example.com:` + port + `/live/1", ` + protocols + `);
			s.onmessage = event => done("said " + event.data + " in " + s.protocol);
			s.onclose = () => done("failed");
		})`)
	}
	if said := opens(`["app", "bearer.` + token + `"]`); said != "said hello in app" {
		t.Errorf("with a token: %s", said)
	} else if got := <-offered; !slices.Equal(got, []string{"app"}) {
		t.Errorf("the application was offered %q", got)
	}
	if said := opens(`["app"]`); said != "failed" {
		t.Errorf("without a token: %s", said)
	}
	c.Logged(`"uri":"/live/1"`)
	if strings.Contains(c.Logs(), token) {
		t.Error("the token is in the log")
	}
}
