package site_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// scripted is a transport that answers with a function of the test, which may take any time on the clock of its bubble.
type scripted struct {
	Script string `json:"script"`
}

var scripts sync.Map // from name to func(*http.Request) (*http.Response, error)

func init() { caddy.RegisterModule(scripted{}) }

func (scripted) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.frappe_auth_scripted",
		New: func() caddy.Module { return new(scripted) },
	}
}

func (s scripted) RoundTrip(r *http.Request) (*http.Response, error) {
	script, _ := scripts.Load(s.Script)
	return script.(func(*http.Request) (*http.Response, error))(r)
}

func answerWith(status int, contentType, body string) *http.Response {
	return &http.Response{
		StatusCode: status,
		Header:     http.Header{"Content-Type": {contentType}},
		Body:       io.NopCloser(strings.NewReader(body)),
	}
}

// TestSiteFailover: every address gets its share of the time, a verdict is final, and the address that answered is used
// until it is time to try the first one again.
func TestSiteFailover(t *testing.T) {
	const (
		hangs    = "hangs"
		refused  = "refuses connections"
		grants   = "grants"
		denies   = "denies"
		slow     = "grants after 4s"
		gateway  = "502 with a page"
		gateway4 = "504 with a page"
		balancer = "503 with JSON of a load balancer"
		stopped  = "503 of Frappe in maintenance"
		notFound = "404 with a page"
		broken   = "500 with a page"
	)
	type step struct {
		wait  time.Duration     // before the verification
		does  map[string]string // how addresses behave from now on
		asked []string          // the addresses, in order
		took  time.Duration
		err   string // "": granted
	}
	for _, test := range []struct {
		name      string
		addresses []string
		does      map[string]string
		steps     []step
	}{
		{
			"one that never answers leaves time for the next, which is kept",
			[]string{"a", "b"},
			map[string]string{"a": hangs, "b": grants},
			[]step{{asked: []string{"a", "b"}, took: 2500 * time.Millisecond}, {asked: []string{"b"}}},
		},
		{
			"three share the time",
			[]string{"a", "b", "c"},
			map[string]string{"a": hangs, "b": hangs, "c": grants},
			[]step{{asked: []string{"a", "b", "c"}, took: 3333333333}, {asked: []string{"c"}}},
		},
		{
			"the others share the time that one does not use",
			[]string{"a", "b", "c"},
			map[string]string{"a": refused, "b": hangs, "c": grants},
			[]step{{asked: []string{"a", "b", "c"}, took: 2500 * time.Millisecond}},
		},
		{
			"the last one has all the time left",
			[]string{"a", "b"},
			map[string]string{"a": refused, "b": slow},
			[]step{{asked: []string{"a", "b"}, took: 4 * time.Second}},
		},
		{
			"the only one has all the time",
			[]string{"a"},
			map[string]string{"a": slow},
			[]step{{asked: []string{"a"}, took: 4 * time.Second}},
		},
		{
			"none answers",
			[]string{"a", "b"},
			map[string]string{"a": hangs, "b": hangs},
			[]step{{asked: []string{"a", "b"}, took: 5 * time.Second, err: "site http://b: no answer in time"}},
		},
		{
			"the first is tried again after 30s, by one verification",
			[]string{"a", "b", "c"},
			map[string]string{"a": hangs, "b": refused, "c": grants},
			[]step{
				{asked: []string{"a", "b", "c"}, took: 3333333333 / 2},
				{wait: 29 * time.Second, asked: []string{"c"}},
				{wait: time.Second, asked: []string{"a", "c"}, took: 3333333333 / 2},
				{asked: []string{"c"}},
				{wait: 30 * time.Second, does: map[string]string{"a": grants}, asked: []string{"a"}},
				{asked: []string{"a"}},
			},
		},
		{
			"the one that answered fails later",
			[]string{"a", "b", "c"},
			map[string]string{"a": refused, "b": grants, "c": grants},
			[]step{
				{asked: []string{"a", "b"}},
				{does: map[string]string{"b": refused}, asked: []string{"b", "a", "c"}},
				{asked: []string{"c"}},
			},
		},
		{
			"a proxy that does not reach Frappe",
			[]string{"a", "b"},
			map[string]string{"a": gateway, "b": grants},
			[]step{{asked: []string{"a", "b"}}},
		},
		{
			"a proxy that times out",
			[]string{"a", "b"},
			map[string]string{"a": gateway4, "b": grants},
			[]step{{asked: []string{"a", "b"}}},
		},
		{
			"a load balancer that speaks JSON",
			[]string{"a", "b"},
			map[string]string{"a": balancer, "b": grants},
			[]step{{asked: []string{"a", "b"}}},
		},
		{
			"maintenance is an answer",
			[]string{"a", "b"},
			map[string]string{"a": stopped, "b": grants},
			[]step{{asked: []string{"a"}, err: "status 503"}},
		},
		{
			"a denial is an answer",
			[]string{"a", "b"},
			map[string]string{"a": denies, "b": grants},
			[]step{{asked: []string{"a"}, err: "denied"}},
		},
		{
			"a denial after a failure is final",
			[]string{"a", "b", "c"},
			map[string]string{"a": gateway, "b": denies, "c": grants},
			[]step{{asked: []string{"a", "b"}, err: "denied"}},
		},
		{
			"a wrong site is an answer",
			[]string{"a", "b"},
			map[string]string{"a": notFound, "b": grants},
			[]step{{asked: []string{"a", "a"}, err: "status 404"}},
		},
		{
			"a failure of Frappe is an answer",
			[]string{"a", "b"},
			map[string]string{"a": broken, "b": grants},
			[]step{{asked: []string{"a"}, err: "status 500"}},
		},
		{
			"both failures are reported",
			[]string{"a", "b"},
			map[string]string{"a": refused, "b": gateway},
			[]step{{
				asked: []string{"a", "b"},
				err: "site http://b: status 502: the proxy in front of Frappe gets no answer; is Frappe running? Start it with `bench start`, or look at `supervisorctl status`; before that, " +
					"site http://a: the connection broke",
			}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				var asked []string
				scripts.Store(t.Name(), func(r *http.Request) (*http.Response, error) {
					asked = append(asked, r.URL.Host)
					switch test.does[r.URL.Host] {
					case hangs:
						<-r.Context().Done()
						return nil, r.Context().Err()
					case slow:
						time.Sleep(4 * time.Second) // on the clock of synctest
					case refused:
						return nil, errors.New("connection refused")
					case denies:
						return answerWith(401, "application/json", "{}"), nil
					case gateway:
						return answerWith(502, "text/html", "<h1>Bad Gateway</h1>"), nil
					case gateway4:
						return answerWith(504, "text/html", "<h1>Gateway Time-out</h1>"), nil
					case balancer:
						return answerWith(503, "application/json", `{"message":"no available server"}`), nil
					case stopped:
						return answerWith(503, "application/json", testutil.ParsedAnswer(t, "maintenance.http").Body), nil
					case notFound:
						return answerWith(404, "text/html", "<h1>Not Found</h1>"), nil
					case broken:
						return answerWith(500, "text/html", "<h1>Internal Server Error</h1>"), nil
					}
					return answerWith(200, "application/json", `{"message":"alice@example.com"}`), nil
				})
				var urls []string
				for _, address := range test.addresses {
					urls = append(urls, "http://"+address)
				}
				site := mustLoadSite(t, map[string]any{
					"urls": urls, "transport": map[string]any{"protocol": "frappe_auth_scripted", "script": t.Name()},
				})
				for i, step := range test.steps {
					time.Sleep(step.wait) // on the clock of synctest
					maps.Copy(test.does, step.does)
					asked = nil
					began := time.Now()
					id, err := site.Verify(t.Context(), frappe.Credential{Scheme: frappe.SchemeBearer, Token: "x"})
					took := time.Since(began)
					if !slices.Equal(asked, step.asked) {
						t.Errorf("step %d asked %v, want %v", i, asked, step.asked)
					}
					if (took - step.took).Abs() > time.Millisecond {
						t.Errorf("step %d took %s, want %s", i, took, step.took)
					}
					switch {
					case step.err == "" && (err != nil || id.User != "alice@example.com"):
						t.Errorf("step %d: %v", i, err)
					case step.err != "" && (err == nil || !strings.Contains(err.Error(), step.err)):
						t.Errorf("step %d: error %v, want %q", i, err, step.err)
					}
					if denied := step.err == "denied"; denied != errors.Is(err, frappe.ErrDenied) {
						t.Errorf("step %d: error %v", i, err)
					}
				}
			})
		})
	}
}

// TestSiteThatHangs: an address that accepts connections and never completes an answer leaves time for the next, and
// the log says so once.
func TestSiteThatHangs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() // only the kernel accepts connections
	ended := make(chan struct{})
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "31")
		io.WriteString(w, `{"message":`)
		w.(http.Flusher).Flush()
		<-ended
	}))
	defer half.Close()
	defer close(ended)
	good, asked := testutil.CountingSite(t)
	for name, hanging := range map[string]string{
		"never answers":              "http://" + listener.Addr().String(),
		"never shakes hands":         "https://" + listener.Addr().String(),
		"stops within its answer":    half.URL,
		"never answers on a subpath": "http://" + listener.Addr().String() + "/erp",
	} {
		t.Run(name, func(t *testing.T) {
			address := testutil.FreeAddress(t)
			c := testutil.RunCaddy(t,
				fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s %s {\ntimeout 600ms\n}\n}\nrespond {http.auth.user.id}\n}",
					address, hanging, good))
			for i := range 4 {
				before := asked.Load()
				got := testutil.Get(t, "http://"+address, fmt.Sprintf("Authorization: Bearer %d", i))
				if got.Status != 200 || asked.Load() != before+1 {
					t.Fatalf("request %d: status %d, the second address was asked %d times", i, got.Status, asked.Load()-before)
				}
			}
			line := c.Logged("an address of the site failed")
			if !strings.Contains(line, hanging) || !strings.Contains(line, good) ||
				strings.Count(c.Logs(), "an address of the site failed") != 1 {
				t.Errorf("logged %s", c.Logs())
			}
		})
	}
}
