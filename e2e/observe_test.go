package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// span is a span in the form of OpenTelemetry's console exporter.
type span struct {
	Name        string
	SpanContext struct{ TraceID, SpanID string }
	Parent      struct{ SpanID string }
	Attributes  []struct {
		Key   string
		Value struct{ Value any }
	}
	Status struct{ Code string }
}

func (s span) attributes() map[string]any {
	all := make(map[string]any)
	for _, a := range s.Attributes {
		all[a.Key] = a.Value.Value
	}
	return all
}

// spans returns the spans that Caddy has exported.
func (p *process) spans() []span {
	var all []span
	for line := range strings.Lines(p.logged()) {
		var s span
		if strings.HasPrefix(line, `{"Name"`) && json.Unmarshal([]byte(line), &s) == nil {
			all = append(all, s)
		}
	}
	return all
}

// TestTracing: a traced request has a span around its verification, and one around each call of a backend. The site
// gets the latter as traceparent, and nothing else of the client's trace.
func TestTracing(t *testing.T) {
	var (
		mu   sync.Mutex
		seen []http.Header
	)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Header.Clone())
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		switch r.Header.Get("Authorization") {
		case "Bearer good-token":
			io.WriteString(w, `{"message": "alice@example.com"}`)
		case "Bearer bad-token":
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "{}")
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer site.Close()
	traced, plain := testutil.FreeAddress(t), testutil.FreeAddress(t)
	p := start(t, "", fmt.Sprintf("http://%s {\ntracing\nfrappe_auth %s\nrespond ok\n}\nhttp://%s {\nfrappe_auth %s {\n"+
		"cache {\nttl 0\n}\n}\nrespond ok\n}", traced, site.URL, plain, site.URL),
		"OTEL_TRACES_EXPORTER=console", "OTEL_BSP_SCHEDULE_DELAY=50")

	const trace = "0af7651916cd43dd8448eb211c80319c"
	for _, credential := range []string{"good-token", "good-token", "bad-token", "other"} {
		ask(t, "GET", "http://"+traced, "", "Authorization: Bearer "+credential,
			"traceparent: 00-"+trace+"-b7ad6b7169203331-01",
			"tracestate: secret=from-the-client", "baggage: also=from-the-client")
	}
	mu.Lock()
	for _, header := range seen {
		if !strings.HasPrefix(header.Get("Traceparent"), "00-"+trace+"-") || header["Tracestate"] != nil ||
			header["Baggage"] != nil {
			t.Errorf("the site got %v", header)
		}
	}
	asked := len(seen)
	mu.Unlock()
	if asked != 3 {
		t.Errorf("the site was asked %d times", asked)
	}
	ask(t, "GET", "http://"+plain, "", "Authorization: Bearer good-token", "traceparent: 00-"+trace+"-b7ad6b7169203331-01")
	mu.Lock()
	if got := seen[len(seen)-1].Get("Traceparent"); got != "" {
		t.Errorf("without tracing the site got the client's traceparent %s", got)
	}
	mu.Unlock()
	testutil.Eventually(t, "all spans are exported", func() bool { return len(p.spans()) >= 4+4+3 })

	var found []string
	calls := make(map[string]span)
	for _, s := range p.spans() {
		if s.SpanContext.TraceID != trace {
			t.Errorf("span %s is of trace %s", s.Name, s.SpanContext.TraceID)
		}
		if s.Name == "frappe_auth site" {
			calls[s.Parent.SpanID] = s
		}
	}
	for _, s := range p.spans() {
		if s.Name != "frappe_auth" {
			continue
		}
		a := s.attributes()
		line := fmt.Sprint(a["enduser.id"], " ", a["frappe_auth.scheme"], " ", a["frappe_auth.backend"], " ",
			a["frappe_auth.cache"], " ", a["frappe_auth.outcome"], " ", s.Status.Code)
		if call, ok := calls[s.SpanContext.SpanID]; ok {
			line += fmt.Sprint(", asked: ", call.attributes()["frappe_auth.backend"], " ",
				call.attributes()["frappe_auth.outcome"], " ", call.Status.Code)
		}
		found = append(found, line)
	}
	want := []string{
		"alice@example.com bearer site miss granted Unset, asked: site granted Unset",
		"alice@example.com bearer site hit granted Unset",
		"<nil> bearer <nil> miss denied Unset, asked: site denied Unset",
		"<nil> bearer <nil> miss unavailable Error, asked: site unavailable Error",
	}
	if strings.Join(found, "\n") != strings.Join(want, "\n") {
		t.Errorf("spans:\n%s\nwant:\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
	}
	for _, s := range p.spans() {
		if text, _ := json.Marshal(s); strings.Contains(string(text), "-token") {
			t.Errorf("a span holds a token: %s", text)
		}
	}
}

// TestAccessLog: the access log has the decision on a request, and the debug log has the first four characters of a
// refused key.
func TestAccessLog(t *testing.T) {
	address := testutil.FreeAddress(t)
	p := start(t, "", "http://"+address+" {\nlog\nfrappe_auth {\n"+alice+"\n}\nrespond ok\n}")
	for _, test := range []struct{ header, user, want string }{
		{tokenHeader, "alice@example.com", "backend:static cache:miss outcome:granted scheme:token"},
		{tokenHeader, "alice@example.com", "backend:static cache:hit outcome:granted scheme:token"},
		{bearerHeader, "alice@example.com", "backend:static cache:miss outcome:granted scheme:bearer"},
		{wrongHeader, "", "backend: cache:miss outcome:denied scheme:token"},
		{
			"Authorization: token " + testutil.AliceKey + ":0000" + testutil.AliceSecret, "",
			"backend: cache:miss outcome:denied scheme:token",
		},
		{"Authorization: nonsense", "", "backend: cache: outcome:malformed scheme:"},
		{"X: y", "", "backend: cache: outcome:no_credential scheme:"},
	} {
		before := strings.Count(p.logged(), `"logger":"http.log.access`)
		ask(t, "GET", "http://"+address, "", test.header)
		testutil.Eventually(t, "the request is logged", func() bool {
			return strings.Count(p.logged(),
				`"logger":"http.log.access`) > before
		})
		entry := p.logLine("handled request")
		if got := fmt.Sprint(entry["frappe_auth"]); got != "map["+test.want+"]" || entry["user_id"] != test.user {
			t.Errorf("%s: %s, user_id %v; want %s", test.header, got, entry["user_id"], test.want)
		}
	}
	var refused []string
	for line := range strings.Lines(p.logged()) {
		var entry map[string]any
		if json.Unmarshal([]byte(line), &entry) == nil && entry["msg"] == "refused" {
			refused = append(refused, fmt.Sprint(entry["level"], " ", entry["status"], " ", entry["scheme"], " ",
				entry["api_key"]))
		}
	}
	if got, want := strings.Join(refused, "\n"), "debug 401 token 2c62…\ndebug 401 token 2c62…\ndebug 401  <nil>\n"+
		"debug 401  <nil>"; got != want {
		t.Errorf("refusals:\n%s\nwant:\n%s", got, want)
	}
}

// TestUnmatchedRequestsAreNotObserved: a request that the matcher leaves out has no decision in the log, and keeps its
// credential.
func TestUnmatchedRequestsAreNotObserved(t *testing.T) {
	address := testutil.FreeAddress(t)
	c := testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nlog\nfrappe_auth /api/* {\n%s\nhide_credentials\n}\n"+
		"respond {header.Authorization}\n}", address, testutil.StaticSite(t)))
	if got := testutil.Get(t, "http://"+address+"/left-out",
		tokenHeader); got.Body != testutil.AlicePair {
		t.Errorf("left out: %q", got.Body)
	}
	if got := testutil.Get(t, "http://"+address+"/api/judged", tokenHeader); got.Body != "" {
		t.Errorf("judged: %q", got.Body)
	}
	for path, judged := range map[string]bool{"/left-out": false, "/api/judged": true} {
		line := c.Logged(`"uri":"` + path + `"`)
		if strings.Contains(line, `"frappe_auth":{`) != judged {
			t.Errorf("%s: %s", path, line)
		}
	}
}

func init() {
	caddy.RegisterModule(eventRecorder{})
}

// eventRecorder is a handler of Caddy's events that records them.
type eventRecorder struct{}

var recorded struct {
	sync.Mutex
	events []string
}

func (eventRecorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.frappe_auth_test", New: func() caddy.Module { return new(eventRecorder) }}
}

func (eventRecorder) Handle(_ context.Context, e caddy.Event) error {
	recorded.Lock()
	defer recorded.Unlock()
	line := e.Name()
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		line += fmt.Sprintf(" %s=%v", key, e.Data[key])
	}
	recorded.events = append(recorded.events, line)
	return nil
}

var _ caddyevents.Handler = eventRecorder{}

// TestEvents: a denial, a throttled client, an outage and its end are events, without secrets.
func TestEvents(t *testing.T) {
	recorded.Lock()
	recorded.events = nil
	recorded.Unlock()
	var down atomic.Bool
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch {
		case down.Load():
			w.WriteHeader(http.StatusServiceUnavailable)
		case testutil.CredentialOf(r) == "Bearer good":
			w.Write([]byte(`{"message":"alice@example.com"}`))
		default:
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte(`{}`))
		}
	}))
	defer site.Close()
	address := testutil.FreeAddress(t)
	adapted, _, err := testutil.Adapt(fmt.Sprintf("{\nadmin off\n}\nhttp://%s {\nfrappe_auth %s {\nfailures 1 1h\n"+
		"cache {\nttl 0\n}\n}\nrespond ok\n}", address, site.URL))
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(adapted, &config); err != nil {
		t.Fatal(err)
	}
	config["apps"].(map[string]any)["events"] = map[string]any{"subscriptions": []any{map[string]any{
		"events": []string{
			"frappe_auth.denied", "frappe_auth.throttled", "frappe_auth.unavailable",
			"frappe_auth.recovered",
		},
		"handlers": []any{map[string]any{"handler": "frappe_auth_test"}},
	}}}
	raw, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(raw, true); err != nil {
		t.Fatal(err)
	}
	defer caddy.Stop()

	testutil.Get(t, "http://"+address, "Authorization: Bearer good")
	testutil.Get(t, "http://"+address, "Authorization: token key:s3cret")
	down.Store(true)
	testutil.Get(t, "http://"+address, "Authorization: Bearer good")
	testutil.Get(t, "http://"+address, "Authorization: Bearer good")
	down.Store(false)
	testutil.Get(t, "http://"+address, "Authorization: Bearer good")
	testutil.Get(t, "http://"+address, "Authorization: token key:another-s3cret")

	want := []string{
		"frappe_auth.denied client_ip=127.0.0.1 scheme=token",
		"frappe_auth.unavailable backend=site site=",
		"frappe_auth.recovered backend=site site=",
		"frappe_auth.throttled client_ip=127.0.0.1 scheme=token",
	}
	var got []string
	testutil.Holds(5*time.Second, func() bool {
		recorded.Lock()
		defer recorded.Unlock()
		got = slices.Clone(recorded.events)
		return slices.Equal(got, want)
	})
	if !slices.Equal(got, want) {
		t.Fatalf("events:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
