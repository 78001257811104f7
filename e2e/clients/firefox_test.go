package clients

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// firefox is a tab of a Firefox of its own, driven by WebDriver BiDi (https://www.w3.org/TR/webdriver-bidi/). The hosts
// of these tests are this machine for it.
type firefox struct {
	t    *testing.T
	conn *websocket.Conn
	tab  string

	mu             sync.Mutex
	last           int                       // command
	answers        map[int]chan bidiMessage  // by command
	boxes          []string                  // the URLs for which a login box opened
	documents      map[string]documentAnswer // by navigation
	loaded         chan string               // the navigations whose page is there
	visited        []string                  // the navigations that open and follow have returned
	user, password string                    // what is typed into login boxes; empty: they are closed
}

type documentAnswer struct {
	url    string
	status int64
}

// bidiMessage is an answer to a command, or an event.
type bidiMessage struct {
	ID      int             `json:"id"`
	Type    string          `json:"type"`
	Method  string          `json:"method"`
	Result  json.RawMessage `json:"result"`
	Params  json.RawMessage `json:"params"`
	Message string          `json:"message"`
}

// preferences make every host of these tests this machine, and keep Firefox from talking to others.
const preferences = `user_pref("network.dns.localDomains", "erp.example.com,erp.lan,app.example.com,files.example.net");
user_pref("dom.security.https_first", false);
user_pref("dom.security.https_first_schemeless", false);
user_pref("app.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("services.settings.server", "data:,#remote-settings-dummy/v1");
user_pref("toolkit.telemetry.enabled", false);
`

func newFirefox(t *testing.T) *firefox {
	t.Helper()
	program := testutil.RequireProgram(t, "firefox-esr", "firefox-esr", "firefox")
	profile := t.TempDir()
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(preferences), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	command := exec.CommandContext(ctx, program, "--headless", "--no-remote", "--profile", profile,
		"--remote-debugging-port", "0", "--remote-allow-origins", "http://localhost", "about:blank")
	command.Env = append(slices.Clone(os.Environ()), "HOME="+t.TempDir(), "MOZ_CRASHREPORTER_DISABLE=1")
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		stop()
		<-ended
	})
	address := make(chan string, 1)
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			if _, found, ok := strings.Cut(lines.Text(), "WebDriver BiDi listening on "); ok {
				address <- found
			}
		}
		command.Wait()
	}()
	f := &firefox{t: t, answers: make(map[int]chan bidiMessage), documents: make(map[string]documentAnswer), loaded: make(chan string, 1000)}
	select {
	case at := <-address:
		if f.conn, err = websocket.Dial(at+"/session", "", "http://localhost"); err != nil {
			t.Fatal(err)
		}
	case <-ended:
		t.Fatal("Firefox ended before it could be driven")
	}
	t.Cleanup(func() { f.conn.Close() })
	go f.listen()
	wanted := map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true}}
	f.command("session.new", map[string]any{"capabilities": wanted}, nil)
	events := []string{"network.authRequired", "network.responseCompleted", "browsingContext.load"}
	f.command("session.subscribe", map[string]any{"events": events}, nil)
	f.command("network.addIntercept", map[string]any{"phases": []string{"authRequired"}}, nil)
	var tabs struct{ Contexts []struct{ Context string } }
	f.command("browsingContext.getTree", map[string]any{}, &tabs)
	f.tab = tabs.Contexts[0].Context
	return f
}

// command sends a command, and decodes its result.
func (f *firefox) command(method string, params, result any) {
	f.t.Helper()
	answer, err := f.send(method, params)
	if err != nil {
		f.t.Fatalf("%s: %v", method, err)
	}
	message := <-answer
	if message.Type != "success" {
		f.t.Fatalf("%s: %s %s", method, message.Type, message.Message)
	}
	if result != nil {
		if err := json.Unmarshal(message.Result, result); err != nil {
			f.t.Fatal(err)
		}
	}
}

func (f *firefox) send(method string, params any) (<-chan bidiMessage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	answer := make(chan bidiMessage, 1)
	f.answers[f.last] = answer
	return answer, websocket.JSON.Send(f.conn, map[string]any{"id": f.last, "method": method, "params": params})
}

// listen receives what Firefox says, and answers or closes every login box, until the connection ends.
func (f *firefox) listen() {
	for {
		var message bidiMessage
		if err := websocket.JSON.Receive(f.conn, &message); err != nil {
			f.mu.Lock()
			defer f.mu.Unlock()
			for _, answer := range f.answers {
				answer <- bidiMessage{Type: "error", Message: err.Error()}
			}
			return
		}
		if message.Type != "event" {
			f.mu.Lock()
			answer := f.answers[message.ID]
			delete(f.answers, message.ID)
			f.mu.Unlock()
			answer <- message
			continue
		}
		var event struct {
			Context    string
			Navigation string
			Request    struct{ Request, URL string }
			Response   struct {
				URL    string
				Status int64
			}
		}
		if json.Unmarshal(message.Params, &event) != nil {
			continue
		}
		switch message.Method {
		case "network.responseCompleted":
			f.mu.Lock()
			f.documents[event.Navigation] = documentAnswer{event.Response.URL, event.Response.Status}
			f.mu.Unlock()
		case "browsingContext.load":
			if event.Context == f.tab {
				f.loaded <- event.Navigation
			}
		case "network.authRequired":
			answer := map[string]any{"request": event.Request.Request, "action": "cancel"}
			f.mu.Lock()
			f.boxes = append(f.boxes, event.Request.URL)
			if f.user != "" {
				answer["action"] = "provideCredentials"
				answer["credentials"] = map[string]any{"type": "password", "username": f.user, "password": f.password}
			}
			f.mu.Unlock()
			f.send("network.continueWithAuth", answer) //nolint:errcheck // the page then does not load, and its test fails
		}
	}
}

func (f *firefox) open(url string) (at string, status int64) {
	f.t.Helper()
	var went struct{ Navigation string }
	f.command("browsingContext.navigate", map[string]any{"context": f.tab, "url": url, "wait": "complete"}, &went)
	return f.document(went.Navigation)
}

// document returns the URL and the status of the page of a navigation, which is then visited.
func (f *firefox) document(navigation string) (at string, status int64) {
	f.visited = append(f.visited, navigation)
	f.mu.Lock()
	defer f.mu.Unlock()
	answer := f.documents[navigation]
	return answer.url, answer.status
}

func (f *firefox) follow(expression string) (at string, status int64) {
	f.t.Helper()
	f.does(`(() => { ` + expression + ` return Promise.resolve("") })()`)
	for late := time.After(time.Minute); ; {
		select {
		case navigation := <-f.loaded:
			if !slices.Contains(f.visited, navigation) { // else its event was late
				return f.document(navigation)
			}
		case <-late:
			f.t.Fatalf("no page follows %s", expression)
		}
	}
}

func (f *firefox) does(expression string) string {
	f.t.Helper()
	var said struct {
		Type             string
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	f.command("script.evaluate", map[string]any{
		"expression":   "(() => {" + helpers + "return " + expression + "})()",
		"target":       map[string]any{"context": f.tab},
		"awaitPromise": true,
	}, &said)
	if said.Type != "success" {
		f.t.Fatalf("%s: %s", expression, said.ExceptionDetails.Text)
	}
	return said.Result.Value
}

func (f *firefox) opened() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	boxes := f.boxes
	f.boxes = nil
	return boxes
}

func (f *firefox) types(user, password string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.user, f.password = user, password
}

func (f *firefox) setCookie(url, name, value string) {
	f.t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, http.NoBody)
	if err != nil {
		f.t.Fatal(err)
	}
	f.command("storage.setCookie", map[string]any{"cookie": map[string]any{
		"name": name, "domain": r.URL.Hostname(), "path": "/", "value": map[string]any{"type": "string", "value": value},
	}}, nil)
}

var (
	_ userAgent = (*tab)(nil)
	_ userAgent = (*firefox)(nil)
)
