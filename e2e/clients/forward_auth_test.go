package clients

import (
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/caddy-frappe/frappe-auth/internal/headers"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const forwardAuthPage = "docs/forward-auth.md"

// asked is a Caddy that other proxies ask, as docs/forward-auth.md has it, and the application behind these.
type asked struct {
	caddy   *testutil.Caddy
	address string
	app     *httptest.Server

	mu   sync.Mutex
	seen []http.Header // of the requests that reached the application
}

// startAsked runs Caddy for proxies on this machine, with another text in place of `login /login`. Alice has the role, and
// Bob has not.
func startAsked(t *testing.T, login string) *asked {
	t.Helper()
	users := map[string]string{testutil.AliceSecret: alice, testutil.BobSecret: "bob@example.com"}
	user := func(r *http.Request) string {
		if cookie, err := r.Cookie("sid"); err == nil && cookie.Value == testutil.RecordedSession {
			return alice
		}
		_, secret, _ := r.BasicAuth()
		return users[secret]
	}
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: func(r *http.Request) (int, string) {
			if key, _, _ := r.BasicAuth(); key == "unavailable" {
				return http.StatusBadGateway, "{}"
			}
			if user(r) == "" {
				return http.StatusUnauthorized, `{"exc_type":"AuthenticationError"}`
			}
			return http.StatusOK, fmt.Sprintf(`{"message":%q}`, user(r))
		},
		testutil.GetRoles: func(r *http.Request) (int, string) {
			if user(r) == alice {
				return http.StatusOK, `{"message":["Employee"]}`
			}
			return http.StatusOK, `{"message":["All"]}`
		},
	})
	a := &asked{address: testutil.FreeAddress(t)}
	a.app = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.seen = append(a.seen, r.Header.Clone())
		a.mu.Unlock()
		var users []string
		for name, values := range r.Header {
			if headers.Same(name, "X-Frappe-User") { // the same variable in Python and PHP
				users = append(users, values...)
			}
		}
		fmt.Fprintf(w, "%s by %q", r.URL.RequestURI(), users)
	}))
	t.Cleanup(a.app.Close)
	text := testutil.Blocks(t, testutil.Page(t, forwardAuthPage), "caddyfile")[0]
	a.caddy = testutil.RunCaddy(t, strings.NewReplacer("https://erp.example.com", site.URL, "192.0.2.10", "127.0.0.1",
		"login /login", login, "http://:8180", "http://:"+testutil.PortOf(a.address)).Replace(text))
	return a
}

// reached returns the headers of the requests that reached the application.
func (a *asked) reached() []http.Header {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.seen)
}

// through replaces the addresses of a configuration of the page.
func (a *asked) through(text string) string {
	return strings.NewReplacer("http://127.0.0.1:8180", "http://"+a.address, "http://127.0.0.1:9000", a.app.URL,
		"http://caddy.frappe-auth.svc.cluster.local:8180", "http://"+a.address).Replace(text)
}

// proxies start a proxy that asks Caddy, and return its address.
var proxies = map[string]func(t *testing.T, a *asked) (address string){
	"nginx": func(t *testing.T, a *asked) string {
		return nginxServer(t, a.through(testutil.Blocks(t, testutil.Page(t, forwardAuthPage), "nginx")[0]))
	},
	"ingress-nginx":       func(t *testing.T, a *asked) string { return nginxServer(t, ingress(t, a)) },
	"a double of Traefik": traefikDouble,
}

// ingress returns what ingress-nginx writes for the annotations of the page, by its template nginx.tmpl of July 2024.
func ingress(t *testing.T, a *asked) string {
	t.Helper()
	var resource struct {
		Metadata struct {
			Annotations map[string]string
		}
	}
	var headers struct {
		Metadata struct{ Name, Namespace string }
		Data     map[string]string
	}
	decoder := yaml.NewDecoder(strings.NewReader(testutil.Blocks(t, testutil.Page(t, forwardAuthPage), "yaml")[2]))
	for _, document := range []any{&resource, &headers} {
		if err := decoder.Decode(document); err != nil {
			t.Fatal(err)
		}
	}
	annotation := func(name string) string {
		value := resource.Metadata.Annotations["nginx.ingress.kubernetes.io/"+name]
		if value == "" {
			t.Errorf("there is no annotation %s", name)
		}
		return a.through(value)
	}
	if name := annotation("auth-proxy-set-headers"); name != headers.Metadata.Namespace+"/"+headers.Metadata.Name {
		t.Errorf("there is no ConfigMap %s", name)
	}
	var set strings.Builder
	for _, name := range slices.Sorted(maps.Keys(headers.Data)) {
		fmt.Fprintf(&set, "proxy_set_header '%s' '%s';\n", name, headers.Data[name])
	}
	host, err := url.Parse(annotation("auth-url"))
	if err != nil {
		t.Fatal(err)
	}
	header := annotation("auth-response-headers")
	return fmt.Sprintf(`
%[1]s
location = /_external-auth-L2JpLw-Prefix {
	internal;
	access_log off;
	proxy_pass_request_body off;
	proxy_set_header Content-Length "";
	proxy_set_header X-Forwarded-Proto "";
	proxy_set_header X-Request-ID $request_id;
	proxy_set_header Host %[2]s;
	proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
	proxy_set_header X-Original-Method $request_method;
	proxy_set_header X-Sent-From "nginx-ingress-controller";
	proxy_set_header X-Real-IP $remote_addr;
	proxy_set_header X-Forwarded-For $remote_addr;
	proxy_set_header X-Auth-Request-Redirect $request_uri;
	proxy_buffering off;
	proxy_request_buffering on;
	proxy_ssl_server_name on;
	proxy_pass_request_headers on;
	%[3]s
	proxy_http_version 1.1;
	set $target %[4]s;
	proxy_pass $target;
}
location /bi/ {
	auth_request /_external-auth-L2JpLw-Prefix;
	auth_request_set $auth_cookie $upstream_http_set_cookie;
	add_header Set-Cookie $auth_cookie;
	auth_request_set $authHeader0 $upstream_http_%[5]s;
	proxy_set_header '%[6]s' $authHeader0;
	proxy_set_header Host $http_host;
	proxy_set_header Upgrade $http_upgrade;
	proxy_set_header X-Forwarded-For $remote_addr;
	proxy_http_version 1.1;
	%[7]s
	proxy_pass %[8]s;
}`, annotation("server-snippet"), host.Hostname(), set.String(), annotation("auth-url"),
		strings.ToLower(strings.ReplaceAll(header, "-", "_")), header, annotation("configuration-snippet"), a.app.URL)
}

// traefikConfig is what a double of Traefik knows of a static and a dynamic configuration.
type traefikConfig struct {
	EntryPoints map[string]struct {
		Address string
		HTTP    struct {
			AliasHeadersStrategy string `yaml:"aliasHeadersStrategy"`
		}
	} `yaml:"entryPoints"`
	HTTP struct {
		Routers map[string]struct {
			Rule, Service string
			Middlewares   []string
		}
		Middlewares map[string]struct {
			ForwardAuth *forwardAuth `yaml:"forwardAuth"`
			Headers     *struct {
				CustomRequestHeaders map[string]string `yaml:"customRequestHeaders"`
			}
		}
		Services map[string]struct {
			LoadBalancer struct {
				Servers []struct{ URL string }
			} `yaml:"loadBalancer"`
		}
	}
}

type forwardAuth struct {
	Address                string
	TrustForwardHeader     *bool    `yaml:"trustForwardHeader"`
	PreserveLocationHeader bool     `yaml:"preserveLocationHeader"`
	MaxResponseBodySize    int64    `yaml:"maxResponseBodySize"`
	AuthResponseHeaders    []string `yaml:"authResponseHeaders"`
}

// traefikDouble runs a double of Traefik with the configuration of the page, for all paths. It does what Traefik 3.7.13
// does by its source.
func traefikDouble(t *testing.T, a *asked) string {
	t.Helper()
	var config traefikConfig
	for _, block := range testutil.Blocks(t, testutil.Page(t, forwardAuthPage), "yaml")[:2] {
		decoder := yaml.NewDecoder(strings.NewReader(a.through(block)))
		decoder.KnownFields(true)
		if err := decoder.Decode(&config); err != nil {
			t.Fatal(err)
		}
	}
	router := config.HTTP.Routers["bi"]
	app, err := url.Parse(config.HTTP.Services[router.Service].LoadBalancer.Servers[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	var handler http.Handler = httputil.NewSingleHostReverseProxy(app)
	for _, name := range slices.Backward(router.Middlewares) {
		next, middleware := handler, config.HTTP.Middlewares[name]
		if middleware.ForwardAuth != nil {
			handler = middleware.ForwardAuth.handler(t, next)
			continue
		}
		handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for name, value := range middleware.Headers.CustomRequestHeaders {
				r.Header.Set(name, value)
				if value == "" {
					r.Header.Del(name)
				}
			}
			next.ServeHTTP(w, r)
		})
	}
	deleteAliases := config.EntryPoints["web"].HTTP.AliasHeadersStrategy == "delete"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		enterTraefik(r.Header, deleteAliases)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// enterTraefik removes the headers that an entry point of Traefik removes: what it sets itself, what Connection names,
// and on demand those whose name applications could take for another.
func enterTraefik(header http.Header, deleteAliases bool) {
	options := strings.Split(header.Get("Connection"), ",")
	for name := range header {
		if strings.HasPrefix(name, "X-Forwarded-") || deleteAliases && strings.ContainsFunc(name, mayAlias) {
			header.Del(name)
			delete(header, name) // Del knows no name with a lower-case letter after an underscore
		}
	}
	header.Del("Connection")
	for _, option := range options {
		if option = strings.TrimSpace(option); strings.EqualFold(option, "Upgrade") {
			header.Set("Connection", option)
		} else {
			header.Del(option)
		}
	}
}

func mayAlias(r rune) bool {
	return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// hopByHop are the headers that Traefik removes from the request by which it asks.
var hopByHop = []string{"Connection", "Keep-Alive", "Te", "Trailers", "Transfer-Encoding", "Upgrade"}

// handler is Traefik's pkg/middlewares/auth/forward.go.
func (ask *forwardAuth) handler(t *testing.T, next http.Handler) http.Handler {
	if ask.TrustForwardHeader == nil || *ask.TrustForwardHeader {
		t.Error("headers of clients are trusted")
	}
	client := &http.Client{CheckRedirect: testutil.Client.CheckRedirect}
	t.Cleanup(client.CloseIdleConnections)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		question, err := http.NewRequestWithContext(r.Context(), http.MethodGet, ask.Address, http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		question.Header = r.Header.Clone()
		for _, name := range hopByHop {
			question.Header.Del(name)
		}
		question.Header.Set("X-Forwarded-For", hostOf(r.RemoteAddr))
		question.Header.Set("X-Forwarded-Method", r.Method)
		question.Header.Set("X-Forwarded-Proto", "http")
		question.Header.Set("X-Forwarded-Port", testutil.PortOf(r.Host))
		question.Header.Set("X-Forwarded-Host", r.Host)
		question.Header.Set("X-Forwarded-Uri", r.URL.RequestURI())
		answer, err := client.Do(question)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil || int64(len(body)) > ask.MaxResponseBodySize {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if answer.StatusCode < 200 || answer.StatusCode >= 300 {
			maps.Copy(w.Header(), answer.Header)
			if to, err := answer.Location(); err == nil && !ask.PreserveLocationHeader {
				w.Header().Set("Location", to.String())
			}
			w.WriteHeader(answer.StatusCode)
			w.Write(body)
			return
		}
		for _, name := range ask.AuthResponseHeaders {
			r.Header.Del(name)
			if values := answer.Header.Values(name); len(values) > 0 {
				r.Header[http.CanonicalHeaderKey(name)] = values
			}
		}
		next.ServeHTTP(w, r)
	})
}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

// TestForwardAuth: clients of a proxy that asks Caddy get Caddy's answers, and the application learns the user.
func TestForwardAuth(t *testing.T) {
	const (
		session = "Cookie: sid=" + testutil.RecordedSession
		page    = "Sec-Fetch-Mode: navigate"
		byAlice = "Authorization: " + testutil.AlicePair
		other   = "Origin: https://evil.example.net"
	)
	passed := `/bi/1?a=b by ["alice@example.com"]`
	for name, start := range proxies {
		t.Run(name, func(t *testing.T) {
			a := startAsked(t, "login /login")
			address := start(t, a)
			for _, test := range []struct {
				name, method string
				headers      []string
				status       int
				body         string // empty: any
			}{
				{"an API key", "GET", []string{byAlice}, 200, passed},
				{"a session", "GET", []string{session}, 200, passed},
				{"a change", "POST", []string{session, "Sec-Fetch-Site: same-origin"}, 200, passed},
				{"a change by an old browser", "POST", []string{session, "Origin: http://" + address}, 200, passed},
				{"a forged user", "GET", []string{byAlice, "X-Frappe-User: Administrator"}, 200, passed},
				{"a forged user in other spellings", "GET", []string{
					byAlice, "X_Frappe_User: Administrator", "X.Frappe.User: Administrator", "x-frappe_user: Administrator",
				}, 200, passed},
				{"a user that Connection names", "GET", []string{byAlice, "Connection: X-Frappe-User"}, 200, passed},
				{"nothing", "GET", []string{"X-Frappe-User: Administrator"}, 401, ""},
				{"a wrong secret", "GET", []string{"Authorization: token 2c6245becaa0961:wrong"}, 401, ""},
				{"a form without a session", "POST", []string{page}, 401, ""},
				{"without the role", "GET", []string{"Authorization: " + testutil.BobPair}, 403, ""},
				{"a change by another site", "POST", []string{session, other, "Sec-Fetch-Site: cross-site"}, 403, ""},
				{"a change by another site, with an old browser", "POST", []string{session, other}, 403, ""},
				{"another site that hides the method", "POST", []string{session, other, "X-Forwarded-Method: GET"}, 403, ""},
				{"a WebSocket of another site", "GET", []string{
					session, other, "Connection: Upgrade", "Upgrade: websocket",
					"Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
				}, 403, ""},
				{"a page without a session", "GET", []string{page}, 302, ""},
				{"unavailable", "GET", []string{"Authorization: token unavailable:x"}, 503, ""},
			} {
				before := len(a.reached())
				got := testutil.RequestOver(t, testutil.Client, test.method, "http://"+address+"/bi/1?a=b", test.headers...)
				if got.Status != test.status || test.body != "" && got.Body != test.body {
					t.Errorf("%s: %d %q", test.name, got.Status, got.Body)
				}
				if reached := len(a.reached()) > before; reached != (test.status == 200) {
					t.Errorf("%s: it reached the application: %t", test.name, reached)
				}
				location := got.Header.Get("Location")
				if want := "/login?redirect-to=%2Fbi%2F1%3Fa%3Db"; test.status == 302 && location != want {
					t.Errorf("%s: sent to %s", test.name, location)
				}
				if test.status == 401 && got.Header.Get("Www-Authenticate") == "" {
					t.Errorf("%s: no challenge", test.name)
				}
				if test.status == 503 && got.Header.Get("Retry-After") == "" {
					t.Errorf("%s: no Retry-After", test.name)
				}
			}
			if name != "ingress-nginx" { // what the others keep from the application
				for _, header := range a.reached() {
					if header.Get("Authorization") != "" || header.Get("Cookie") != "" {
						t.Errorf("the application saw %v", header)
					}
				}
			}
			var last testutil.Response
			for i := range 30 {
				last = testutil.Get(t, "http://"+address+"/bi/", fmt.Sprintf("Authorization: token guess%d:x", i))
			}
			if last.Status != 429 || last.Header.Get("Retry-After") == "" {
				t.Errorf("guesses: %d %v", last.Status, last.Header)
			}
			a.caddy.Stop()
			if got := testutil.Get(t, "http://"+address+"/bi/", byAlice); got.Status < 500 {
				t.Errorf("without Caddy: %d", got.Status)
			}
		})
	}
}

// TestForwardAuthLoginOnAnyHost: a page of frappe-auth itself is never taken for the answer that a request may pass.
func TestForwardAuthLoginOnAnyHost(t *testing.T) {
	a := startAsked(t, "login https://erp.example.com\nlogin_secret "+strings.Repeat("0123456789abcdef", 4))
	address := traefikDouble(t, a)
	for _, path := range []string{"/", "/.frappe-auth/logout", "/.frappe-auth/callback", "/.frappe-auth/login"} {
		for _, method := range []string{"GET", "HEAD", "POST"} {
			for _, header := range []string{"Sec-Fetch-Mode: navigate", "Accept: */*"} {
				if got := testutil.RequestOver(t, testutil.Client, method, "http://"+address+path, header); got.Status < 300 {
					t.Errorf("%s %s with %s: %d %s", method, path, header, got.Status, got.Body)
				}
			}
		}
	}
	if seen := a.reached(); len(seen) > 0 {
		t.Errorf("%d requests reached the application", len(seen))
	}
}
