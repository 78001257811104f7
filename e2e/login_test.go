package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// loginSecret is the secret of both hosts. Written as text, it would be in Caddy's debug log.
const loginSecret, newLoginSecret = "{env.FRAPPE_AUTH_LOGIN}", "{env.FRAPPE_AUTH_NEW_LOGIN}"

// relayed is Caddy in front of an ERP and of other hosts, whose users log in at the ERP. Hosts answer with the user,
// the path and the cookies that they get.
type relayed struct {
	t     *testing.T
	erp   *testutil.ERP
	caddy *testutil.Caddy
	port  string
}

// cached lets results live longer than any test.
const cached = "\ncache {\nttl 24h\nsession_ttl 24h\nnegative_ttl 0\n}"

// runRelay runs Caddy. Results are cached for a day, and the ERP's host trusts what this machine says about the scheme.
func runRelay(t *testing.T, options string) *relayed {
	t.Helper()
	if !strings.Contains(options, "cache {") {
		options += cached
	}
	t.Setenv("FRAPPE_AUTH_LOGIN", testutil.RandomID())
	t.Setenv("FRAPPE_AUTH_NEW_LOGIN", testutil.RandomID())
	c := &relayed{t: t, erp: testutil.NewERP(t, events), port: testutil.PortOf(testutil.FreeAddress(t))}
	c.caddy = testutil.RunCaddy(t, c.caddyfile(loginSecret, loginSecret, options))
	return c
}

func (c *relayed) caddyfile(erpSecret, appSecret, options string) string {
	return fmt.Sprintf(`{
	servers {
		trusted_proxies static 127.0.0.1/32
	}
}
http://erp.example.com:%[1]s {
	log
	frappe_auth /.frappe-auth/login {
		backend site %[2]s
		schemes session
		login /login
		login_for grafana.example.com *.apps.example.com files.example.net:8443
		login_secret %[3]s
		failures off
		cache {
			negative_ttl 0
		}
	}
	reverse_proxy %[2]s
}
http://grafana.example.com:%[1]s, http://*.apps.example.com:%[1]s, http://files.example.net:%[1]s,
http://evil.example.net:%[1]s {
	log
	frappe_auth {
		backend site %[2]s {
			roles
		}
		schemes session token
		login https://erp.example.com
		login_secret %[4]s
		failures off
		%[5]s
	}
	reverse_proxy /events %[2]s {
		flush_interval -1
	}
	respond "{http.auth.user.id}|{http.request.orig_uri}|{header.Cookie}"
	handle_errors {
		respond "{err.status_code} {http.auth.frappe.error}"
	}
}`, c.port, c.erp.URL, erpSecret, appSecret, options)
}

// events adds an event stream.
func events(_ *testutil.ERP, mux *http.ServeMux) {
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: x\n\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
}

// visitor is a browser with cookies of its own. It reaches Caddy by a proxy that ends TLS.
type visitor struct {
	*relayed
	client *http.Client
	way    []string // the URLs of the last visit
}

func (c *relayed) visitor() *visitor {
	jar, err := cookiejar.New(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return &visitor{relayed: c, client: &http.Client{Transport: c, Jar: jar, CheckRedirect: testutil.Client.CheckRedirect}}
}

// RoundTrip sends a request to Caddy, whatever its host, and says whether it was https. Its path is that in Opaque.
func (c *relayed) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var raw strings.Builder
	fmt.Fprintf(&raw, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-Proto: %s\r\nConnection: close\r\nContent-Length: %d\r\n",
		r.Method, r.URL.Opaque, r.URL.Host, r.URL.Scheme, len(body))
	if err := r.Header.WriteSubset(&raw, map[string]bool{"Connection": true}); err != nil {
		return nil, err
	}
	raw.WriteString("\r\n" + string(body))
	var resp *http.Response
	for range 5 { // at a reload, connections that wait are reset
		conn, err := new(net.Dialer).DialContext(r.Context(), "tcp", "127.0.0.1:"+c.port)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if _, err = io.WriteString(conn, raw.String()); err == nil {
			resp, err = http.ReadResponse(bufio.NewReader(conn), r)
		}
		if err != nil {
			continue
		}
		whole, err := io.ReadAll(resp.Body)
		resp.Body = io.NopCloser(bytes.NewReader(whole))
		return resp, err
	}
	return nil, errors.New("no answer")
}

// request sends one request, with the cookies of the browser.
func (v *visitor) request(method, target, body string, headers ...string) testutil.Response {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	_, r.URL.Opaque, _ = strings.Cut(strings.TrimPrefix(target, r.URL.Scheme+"://"), "/") // byte for byte
	r.URL.Opaque = "/" + r.URL.Opaque
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	resp, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return testutil.Response{Status: resp.StatusCode, Header: resp.Header, Body: string(raw)}
}

const navigate = "Sec-Fetch-Mode: navigate"

// visit opens a page and follows redirects.
func (v *visitor) visit(target string) testutil.Response {
	v.t.Helper()
	v.way = nil
	for range 12 {
		v.way = append(v.way, target)
		got := v.request(http.MethodGet, target, "", navigate)
		location := got.Header.Get("Location")
		if location == "" {
			return got
		}
		if strings.HasPrefix(location, "/") {
			at, _ := url.Parse(target)
			location = at.Scheme + "://" + at.Host + location
		}
		target = location
	}
	v.t.Fatalf("redirected in circles: %q", v.way)
	return testutil.Response{}
}

// at returns where the last visit ended.
func (v *visitor) at() string { return v.way[len(v.way)-1] }

// logIn fills in the login page that the last visit ended at, and follows it back.
func (v *visitor) logIn() testutil.Response {
	v.t.Helper()
	page, err := url.Parse(v.at())
	if err != nil || page.Path != "/login" {
		v.t.Fatalf("the browser is at %s, not at the login page", v.at())
	}
	v.logInAtERP(page.Scheme)
	return v.visit(page.Scheme + "://" + page.Host + page.Query().Get("redirect-to"))
}

func (v *visitor) logInAtERP(scheme string) {
	v.t.Helper()
	form := url.Values{"usr": {testutil.ERPUser}, "pwd": {testutil.ERPPassword}}.Encode()
	got := v.request(http.MethodPost, scheme+"://erp.example.com/api/method/login", form,
		"Content-Type: application/x-www-form-urlencoded")
	if got.Status != http.StatusOK {
		v.t.Fatalf("the login: %d %s", got.Status, got.Body)
	}
}

// cookies returns the Cookie header for a URL.
func (v *visitor) cookies(target string) string {
	u, err := url.Parse(target)
	if err != nil {
		v.t.Fatal(err)
	}
	var pairs []string
	for _, c := range v.client.Jar.Cookies(u) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; ")
}

const (
	app  = "https://grafana.example.com"
	erp  = "https://erp.example.com"
	self = testutil.ERPUser
)

// TestLogInOnAnotherHost: from a page that needs a session over the ERP's login page and back, byte for byte, over
// https and http, and then silently on a third host.
func TestLogInOnAnotherHost(t *testing.T) {
	c := runRelay(t, "")
	for _, scheme := range []string{"https", "http"} {
		t.Run(scheme, func(t *testing.T) {
			if scheme == "http" {
				c.caddy.Load(strings.Replace(c.caddyfile(loginSecret, loginSecret, cached), "login https://", "login http://", 1))
			}
			v := c.visitor()
			const back = "/d/x%2Fy;z/a+b?from=now-1h&to=%20now&q=a;b+c&u=https://x.example/%C3%A4"
			page := scheme + "://grafana.example.com" + back
			got := v.visit(page)
			if got.Status != 200 || !strings.HasPrefix(v.at(), scheme+"://erp.example.com/login?redirect-to=") {
				t.Fatalf("%d at %s", got.Status, v.at())
			}
			for _, told := range []string{"grafana", "now-1h", "x%2Fy"} {
				if strings.Contains(v.at(), told) {
					t.Errorf("the URL tells %q: %s", told, v.at())
				}
			}
			if got := v.logIn(); got.Status != 200 || got.Body != self+"|"+back+"|" || v.at() != page {
				t.Fatalf("after the login: %d %q at %s", got.Status, got.Body, v.at())
			}
			name := map[string]string{"https": "__Host-frappe_auth", "http": "frappe_auth"}[scheme]
			if got := v.cookies(page); !strings.HasPrefix(got, name+"=") || strings.Contains(got, ";") {
				t.Errorf("the cookies are %s", got)
			}
			asked := c.erp.Asked()
			if got := v.request("GET", page, "", "Cookie: other=1"); got.Status != 200 || got.Body != self+"|"+back+"|other=1" {
				t.Errorf("the next request: %d %q", got.Status, got.Body)
			}
			if c.erp.Asked() != asked {
				t.Error("the next request is not answered from the cache")
			}
			docs := scheme + "://docs.apps.example.com/"
			if got := v.visit(docs); got.Status != 200 || v.at() != docs || len(v.way) != 4 {
				t.Errorf("another host: %d over %q", got.Status, v.way)
			}
		})
	}
}

// TestLoginCookies: the attributes of the cookies, and no-store on every answer of the login.
func TestLoginCookies(t *testing.T) {
	c := runRelay(t, "")
	v := c.visitor()
	v.logInAtERP("https")
	begun := v.request("GET", app+"/", "", navigate)
	relay := v.request("GET", begun.Header.Get("Location"), "", navigate)
	callback := v.request("GET", relay.Header.Get("Location"), "", navigate)
	logout := v.request("GET", app+"/.frappe-auth/logout", "")
	for name, got := range map[string]testutil.Response{
		"begun": begun, "relay": relay, "callback": callback, "logout": logout,
	} {
		if got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Referrer-Policy") != "strict-origin" {
			t.Errorf("%s: %v", name, got.Header)
		}
	}
	var attributes []string
	for _, line := range append(begun.Header["Set-Cookie"], callback.Header["Set-Cookie"]...) {
		pair, rest, _ := strings.Cut(line, ";")
		name, _, _ := strings.Cut(pair, "=")
		attributes = append(attributes, name+rest)
	}
	want := []string{
		"__Host-frappe_auth_login Path=/; Max-Age=3600; HttpOnly; Secure; SameSite=Lax",
		"__Host-frappe_auth Path=/; HttpOnly; Secure; SameSite=Lax",
		"__Host-frappe_auth_login Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax",
	}
	if !slices.Equal(attributes, want) {
		t.Errorf("%q", attributes)
	}
	if strings.Contains(fmt.Sprint(begun, relay, callback), strings.TrimPrefix(v.cookies(erp+"/login"), "sid=")) {
		t.Error("an answer has the session in the clear")
	}
}

// TestParallelLogins: tabs that are opened at once, before or after the user is logged in, all end at their own page.
// Whoever is logged in sees no error at the reload of a callback, or when going back to one.
func TestParallelLogins(t *testing.T) {
	c := runRelay(t, "")
	for _, loggedIn := range []bool{false, true} {
		v := c.visitor()
		if loggedIn {
			v.logInAtERP("https")
		}
		var tabs []string
		for i := range 5 { // all are answered before the first cookie is there
			got := c.visitor().request("GET", fmt.Sprintf("%s/tab/%d?x=1&y=2", app, i), "", navigate)
			set := (&http.Response{Header: got.Header}).Cookies()
			v.client.Jar.SetCookies(must(url.Parse(app)), set) // the last one stays
			tabs = append(tabs, got.Header.Get("Location"))
		}
		if !loggedIn {
			v.logInAtERP("https")
		}
		for i, tab := range tabs {
			want := fmt.Sprintf("/tab/%d?x=1&y=2", i)
			if got := v.visit(tab); got.Body != self+"|"+want+"|" {
				t.Errorf("logged in %t, tab %d: %d %s at %s", loggedIn, i, got.Status, got.Body, v.at())
			}
			for _, at := range v.way {
				if strings.Contains(at, "/callback?") {
					if got := v.visit(at); got.Body != self+"|"+want+"|" {
						t.Errorf("tab %d, the callback again: %d %q", i, got.Status, got.Body)
					}
				}
			}
		}
	}
}

// TestAbandonedLogins: a thousand of them leave one small cookie, and a login that is finished removes it.
func TestAbandonedLogins(t *testing.T) {
	c := runRelay(t, "")
	v := c.visitor()
	first := v.request("GET", app+"/first", "", navigate).Header.Get("Location")
	for i := range 1000 {
		v.request("GET", fmt.Sprintf("%s/page/%d?%s", app, i, strings.Repeat("x", 1000)), "", navigate)
	}
	if got := v.cookies(app); len(got) > 100 {
		t.Errorf("%d bytes of cookies: %.200s", len(got), got)
	}
	v.logInAtERP("https")
	if v.visit(first); v.at() != app+"/first" || len(v.way) != 3 {
		t.Errorf("the first of them ends at %s, over %d addresses", v.at(), len(v.way))
	}
	if got := v.cookies(app); len(got) > 400 || strings.Contains(got, "_login") {
		t.Errorf("after the login: %s", got)
	}
}

// TestOnlyNavigationsLogIn: whatever is no navigation gets 401 with neither Location nor Set-Cookie.
func TestOnlyNavigationsLogIn(t *testing.T) {
	c := runRelay(t, "")
	const html = "Accept: text/html,*/*;q=0.8"
	for _, test := range []struct {
		name, method string
		headers      []string
		status       int
	}{
		{"a page", "GET", []string{navigate, "Sec-Fetch-Dest: document"}, 302},
		{"a page of an old browser", "GET", []string{html}, 302},
		{"HEAD", "HEAD", []string{navigate}, 302},
		{"fetch", "GET", []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", "Accept: */*"}, 401},
		{"fetch of HTML", "GET", []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: empty", html}, 401},
		{"XMLHttpRequest of an old browser", "GET", []string{html, "X-Requested-With: XMLHttpRequest"}, 401},
		{"any program", "GET", []string{"Accept: */*"}, 401},
		{"an event stream", "GET", []string{"Accept: text/event-stream"}, 401},
		{"a WebSocket", "GET", []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-Fetch-Mode: websocket"}, 401},
		{"a worker", "GET", []string{"Sec-Fetch-Mode: same-origin", "Sec-Fetch-Dest: worker"}, 401},
		{"an icon", "GET", []string{"Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image", "Accept: image/*"}, 401},
		{"a manifest", "GET", []string{"Sec-Fetch-Mode: cors", "Sec-Fetch-Dest: manifest"}, 401},
		{"a form", "POST", []string{navigate, html}, 401},
		{"a preflight", "OPTIONS", []string{"Origin: https://x.example", "Access-Control-Request-Method: GET"}, 401},
		{"an API key", "GET", []string{navigate, wrongHeader}, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := c.visitor().request(test.method, app+"/api", "", test.headers...)
			began := got.Header["Location"] != nil || got.Header["Set-Cookie"] != nil
			if got.Status != test.status || began != (test.status == 302) || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%d %v", got.Status, got.Header)
			}
			if test.status == 401 && strings.Contains(fmt.Sprint(got.Header["Www-Authenticate"]), "Basic") {
				t.Error("a login box opens")
			}
		})
	}
	v := c.visitor() // at the ERP's host, too
	location := v.request("GET", app+"/", "", navigate).Header.Get("Location")
	if got := v.request("GET", location, "", "Accept: */*"); got.Status != 401 || got.Header["Location"] != nil {
		t.Errorf("a script at the ERP's host: %d %v", got.Status, got.Header)
	}
}

// TestLoginWayBack: the way back is what was asked for, byte for byte, and never leads to another origin.
func TestLoginWayBack(t *testing.T) {
	c := runRelay(t, "")
	v := c.visitor()
	v.logInAtERP("https")
	long := strings.Repeat("x", 2500)
	for target, want := range map[string]string{
		"/":                       "/",
		"/?":                      "/?",
		"/a%2Fb;c=d/e+f?g=%2F&h=": "/a%2Fb;c=d/e+f?g=%2F&h=",
		"/?a=1&b=2&c=3;d=4+5%2B6": "/?a=1&b=2&c=3;d=4+5%2B6",
		"//evil.example.net/":     "//evil.example.net/",
		`/\evil.example.net`:      `/\evil.example.net`,
		"/%5c%5cevil.example.net": "/%5c%5cevil.example.net",
		"/..//evil.example.net":   "/..//evil.example.net",
		"/javascript/x":           "/javascript/x",
		"/?redirect-to=//evil":    "/?redirect-to=//evil",
		"/ü":                      "/ü",
		"/p?" + long:              "/p",
		"/" + long:                "/",
	} {
		v.client.Jar, _ = cookiejar.New(nil)
		v.logInAtERP("https")
		got := v.visit(app + target)
		if len(v.way) != 4 || v.at() != app+want {
			t.Errorf("%.40s: at %q", target, v.way[len(v.way)-1])
		}
		if got.Status != 200 && want == target && !strings.HasPrefix(target, `/\`) {
			t.Errorf("%.40s: %d", target, got.Status)
		}
	}
}

// TestRelayLeadsToItsHosts: no ticket goes to a host that is not in login_for, in whatever spelling it is asked, nor to
// one over http while the ERP has https.
func TestRelayLeadsToItsHosts(t *testing.T) {
	c := runRelay(t, "")
	for _, test := range []struct {
		scheme, host string
		status       int // of the relay; 0: no login begins there
	}{
		{"https", "grafana.example.com", 302},
		{"https", "GRAFANA.example.com", 302},
		{"https", "grafana.example.com:443", 302},
		{"https", "x.apps.example.com", 302},
		{"https", "files.example.net:8443", 302},
		{"http", "grafana.example.com", 403},
		{"https", "grafana.example.com:8443", 403},
		{"https", "files.example.net", 403},
		{"https", "apps.example.com", 0},
		{"https", "evil.example.net", 403},
		{"https", "evil.example.net:443", 403},
		{"https", "grafana.example.com.", 0},
		{"https", "grafana.example.com:443:80", 0},
		{"https", "grafana.example.com@evil.example.net", 0},
	} {
		raw := "GET / HTTP/1.1\r\nHost: " + test.host + "\r\nX-Forwarded-Proto: " + test.scheme +
			"\r\nConnection: close\r\n" + navigate + "\r\n\r\n"
		location := testutil.RawRequest(t, "127.0.0.1:"+c.port, raw).Header.Get("Location")
		if (location == "") != (test.status == 0) {
			t.Errorf("%s: sent to %q", test.host, location)
		}
		if location == "" {
			continue
		}
		v := c.visitor()
		v.logInAtERP("https")
		got := v.request("GET", location, "", navigate)
		host := strings.TrimSuffix(strings.ToLower(test.host), ":443")
		leads := strings.HasPrefix(got.Header.Get("Location"), test.scheme+"://"+host+"/.frappe-auth/callback?")
		if got.Status != test.status || leads != (test.status == 302) {
			t.Errorf("%s: %d to %q", test.host, got.Status, got.Header.Get("Location"))
		}
	}
	v := c.visitor()
	v.logInAtERP("https")
	begun := v.request("GET", app+"/", "", navigate)
	state := strings.TrimPrefix(begun.Header.Get("Location"), erp+"/.frappe-auth/login?state=")
	for name, query := range map[string]string{
		"none": "", "empty": "?state=", "changed": "?state=A" + state[1:], "longer": "?state=" + state + "AA",
		"a URL": "?state=https://grafana.example.com", "to": "?to=https://evil.example.net&state=x",
		"huge": "?state=" + strings.Repeat("A", 9000),
	} {
		got := v.request("GET", erp+"/.frappe-auth/login"+query, "", navigate)
		if got.Status != 400 || got.Header["Location"] != nil {
			t.Errorf("the state %s: %d %v", name, got.Status, got.Header)
		}
	}
}

// loginOf begins a login, with the user logged in to the ERP, and returns the URL of the callback.
func (v *visitor) loginOf(page string) (callback string) {
	v.t.Helper()
	v.logInAtERP("https")
	begun := v.request("GET", page, "", navigate)
	return v.request("GET", begun.Header.Get("Location"), "", navigate).Header.Get("Location")
}

// TestLoginAttacks: nobody is logged in by a link that another browser has got, with a ticket of another host or of
// another login, or with one that was changed. Cookies of other hosts and schemes are none.
func TestLoginAttacks(t *testing.T) {
	c := runRelay(t, "")
	attacker := c.visitor()
	callback := attacker.loginOf(app + "/")
	of := func(callback, parameter string) string {
		u, err := url.Parse(callback)
		if err != nil {
			t.Fatal(err)
		}
		return u.Query().Get(parameter)
	}
	for name, open := range map[string]func() (v *visitor, target string){
		"a link, in a browser without cookies": func() (*visitor, string) { return c.visitor(), callback },
		"a link, in a browser that has begun a login": func() (*visitor, string) {
			v := c.visitor()
			v.request("GET", app+"/", "", navigate)
			return v, callback
		},
		"a ticket of another login": func() (*visitor, string) {
			v := c.visitor()
			own := v.loginOf(app + "/")
			v.client.Jar.SetCookies(must(url.Parse(erp)), []*http.Cookie{{Name: "sid", Path: "/", MaxAge: -1}})
			return v, app + "/.frappe-auth/callback?state=" + of(own, "state") + "&ticket=" + of(callback, "ticket")
		},
		"a ticket of another host": func() (*visitor, string) {
			v := c.visitor()
			v.request("GET", app+"/", "", navigate)
			return v, app + strings.TrimPrefix(c.visitor().loginOf("https://x.apps.example.com/"), "https://x.apps.example.com")
		},
		"a ticket of another host, with its cookie": func() (*visitor, string) {
			v := c.visitor()
			own := v.loginOf("https://x.apps.example.com/")
			cookies := v.client.Jar.Cookies(must(url.Parse("https://x.apps.example.com/")))
			v.client.Jar.SetCookies(must(url.Parse(app)), []*http.Cookie{
				{Name: cookies[0].Name, Value: cookies[0].Value, Path: "/", Secure: true},
			})
			return v, app + strings.TrimPrefix(own, "https://x.apps.example.com")
		},
		"a state as ticket": func() (*visitor, string) {
			v := c.visitor()
			v.request("GET", app+"/", "", navigate)
			return v, app + "/.frappe-auth/callback?state=" + of(callback, "state") + "&ticket=" + of(callback, "state")
		},
		"a ticket that was changed": func() (*visitor, string) {
			v := c.visitor()
			own := v.loginOf(app + "/")
			v.client.Jar.SetCookies(must(url.Parse(erp)), []*http.Cookie{{Name: "sid", Path: "/", MaxAge: -1}})
			return v, own[:len(own)-4] + "AAAA"
		},
		"no ticket": func() (*visitor, string) {
			v := c.visitor()
			return v, strings.Replace(v.loginOf(app+"/"), "&ticket=", "&t=", 1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			v, target := open()
			got := v.request("GET", target, "", navigate)
			for _, line := range got.Header["Set-Cookie"] {
				if strings.HasPrefix(line, "__Host-frappe_auth=") {
					t.Errorf("%d, and the browser is logged in: %s", got.Status, line)
				}
			}
			if to := got.Header.Get("Location"); to != "" && !strings.HasPrefix(to, erp+"/.frappe-auth/login?") {
				t.Errorf("it is sent to %s", to)
			}
		})
	}

	if got := attacker.visit(callback); got.Status != 200 {
		t.Fatalf("the callback is not good: %d", got.Status)
	}
	cookie := attacker.cookies(app)
	name, value, _ := strings.Cut(cookie, "=")
	for what, sent := range map[string]struct{ page, cookie string }{
		"on another host":   {"https://x.apps.example.com/", cookie},
		"over http":         {"http://grafana.example.com/", "frappe_auth=" + value},
		"without __Host-":   {app + "/", "frappe_auth=" + value},
		"changed":           {app + "/", name + "=" + value[:len(value)-4] + "AAAA"},
		"a state":           {app + "/", name + "=" + of(callback, "state")},
		"a ticket":          {app + "/", name + "=" + of(callback, "ticket")},
		"empty":             {app + "/", name + "="},
		"huge":              {app + "/", name + "=" + strings.Repeat("A", 20000)},
		"in quotes, broken": {app + "/", name + `="` + value},
		"the session":       {app + "/", strings.ReplaceAll(attacker.cookies(erp+"/"), "; ", ";")},
	} {
		got := c.visitor().request("GET", sent.page, "", "Cookie: "+sent.cookie)
		if got.Status != 401 || strings.Contains(got.Body, self) {
			t.Errorf("a cookie %s: %d %s", what, got.Status, got.Body)
		}
	}
	bad := c.visitor().loginOf(app + "/")
	for what, header := range map[string]string{
		"a bad one before it": name + "=x; " + cookie, "a bad one after it": cookie + "; " + name + "=x",
		"a tossed one":                 "frappe_auth=" + of(bad, "ticket") + "; " + cookie,
		"a session of the application": "sid=abc; " + cookie,
		"many bad ones after it":       cookie + strings.Repeat("; "+name+"=x", 100),
	} {
		got := c.visitor().request("GET", app+"/", "", "Cookie: "+header)
		if got.Status != 200 || strings.Contains(got.Body, "frappe_auth") {
			t.Errorf("%s: %d %s", what, got.Status, got.Body)
		}
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// TestTossedLoginIsReplaced: of two good cookies, the one that was set last counts. So an old one, which another host
// of the domain or a longer path may have left, does not lock out.
func TestTossedLoginIsReplaced(t *testing.T) {
	c := runRelay(t, "cache {\nttl 0\nnegative_ttl 0\n}")
	old := c.visitor()
	old.visit(app + "/")
	old.logIn()
	c.erp.LogOutAll()
	dead := old.cookies(app)
	v := c.visitor()
	v.visit(app + "/")
	v.logIn()
	for _, header := range []string{dead + "; " + v.cookies(app), v.cookies(app) + "; " + dead} {
		if got := c.visitor().request("GET", app+"/", "", "Cookie: "+header); got.Status != 200 {
			t.Errorf("%d", got.Status)
		}
	}
}

// TestLoginWithoutCookies: a browser that keeps no cookies gets a page after one round.
func TestLoginWithoutCookies(t *testing.T) {
	c := runRelay(t, "")
	v := c.visitor()
	callback := v.loginOf(app + "/page?x=1&y=2")
	got := c.visitor().request("GET", callback, "", navigate)
	if got.Status != 400 || got.Header["Set-Cookie"] != nil ||
		!strings.Contains(got.Body, `href="https://grafana.example.com/page?x=1&amp;y=2"`) {
		t.Errorf("%d %v %s", got.Status, got.Header, got.Body)
	}
}

// TestLoginEnds: whoever is logged out, disabled or without the role in the ERP is out within session_ttl: pages go to
// the login or get 403, scripts get 401. An outage ends nothing, and a refusal removes the cookie.
func TestLoginEnds(t *testing.T) {
	c := runRelay(t, "require role Employee\ncache {\nttl 0\nnegative_ttl 0\n}")
	v := c.visitor()
	v.visit(app + "/")
	if got := v.logIn(); got.Status != 200 {
		t.Fatalf("%d %s", got.Status, got.Body)
	}
	steps := []struct {
		name         string
		change       func()
		page, script int
		removed      bool
	}{
		{"logged in", func() {}, 200, 200, false},
		{"the site is down", func() { c.erp.SetDown(true) }, 503, 503, false},
		{"the site is back", func() { c.erp.SetDown(false) }, 200, 200, false},
		{"the role is taken away", func() { c.erp.SetRoles("All") }, 403, 403, false},
		{"the role is given back", func() { c.erp.SetRoles("All", "Employee") }, 200, 200, false},
		{"the user is disabled", c.erp.LogOutAll, 302, 401, true},
	}
	for _, step := range steps {
		step.change()
		script := v.request("GET", app+"/", "", "Sec-Fetch-Mode: cors")
		page := v.request("GET", app+"/", "", navigate)
		removed := strings.Contains(strings.Join(page.Header["Set-Cookie"], "\n"), "__Host-frappe_auth=; Path=/; Max-Age=0")
		if page.Status != step.page || script.Status != step.script || removed != step.removed ||
			script.Header["Set-Cookie"] != nil {
			t.Errorf("%s: a page %d %v, a script %d %v", step.name, page.Status, page.Header, script.Status, script.Header)
		}
	}
	if got := v.visit(app + "/"); got.Status != 200 || !strings.Contains(v.at(), "/login?redirect-to=") {
		t.Errorf("%d at %s", got.Status, v.at())
	}
	c.erp.SetRoles("All")
	if got := v.logIn(); got.Status != 403 || v.at() != app+"/" {
		t.Errorf("without the role after a login: %d at %s", got.Status, v.at())
	}
}

// TestLoginWhileSiteIsDown: who is not logged in gets 503 in words, and no redirect to a page that does not work.
func TestLoginWhileSiteIsDown(t *testing.T) {
	c := runRelay(t, "")
	v := c.visitor()
	location := v.request("GET", app+"/", "", navigate).Header.Get("Location")
	callback := c.visitor().loginOf(app + "/")
	c.erp.SetDown(true)
	for _, page := range []string{app + "/", location} {
		got := v.request("GET", page, "", navigate)
		if got.Status != 503 || got.Header["Location"] != nil || got.Header.Get("Retry-After") == "" ||
			!strings.Contains(got.Body, "The ERP does not answer") {
			t.Errorf("%s: %d %v %s", page, got.Status, got.Header, got.Body)
		}
	}
	if got := v.request("GET", app+"/", "", "Sec-Fetch-Mode: cors"); got.Status != 401 {
		t.Errorf("a script: %d", got.Status)
	}
	got := v.request("GET", callback, "", navigate)
	if got.Status == 302 && !strings.HasPrefix(got.Header.Get("Location"), erp) {
		t.Errorf("the callback: %d %v", got.Status, got.Header)
	}
}

// TestLogout: a POST ends the session in Frappe, in every state that a session can have, also for a copy of the cookie
// and for open sockets. The page that follows begins no login. A GET, and another site, end nothing.
func TestLogout(t *testing.T) {
	for _, test := range []struct {
		name, version, host string
		desk                bool
	}{
		{"15, Desk was never opened", "15", app, false},
		{"15, Desk was opened", "15", app, true},
		{"17, Desk was never opened", "17", app, false},
		{"17, Desk was opened", "17", app, true},
		{"on the ERP's host", "17", erp, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := runRelay(t, "")
			c.erp.Version = test.version
			v := c.visitor()
			v.visit(app + "/")
			v.logIn()
			if test.desk {
				v.request("GET", erp+"/app", "")
			}
			copied := "Cookie: " + v.cookies(app)
			events, closeEvents := c.stream(copied)
			defer closeEvents()
			page := v.request("GET", test.host+"/.frappe-auth/logout", "", navigate)
			if page.Status != 200 || !strings.Contains(page.Body, `<form method="post"><button>`) || c.erp.Sessions() != 1 {
				t.Fatalf("%d %s", page.Status, page.Body)
			}
			for _, foreign := range [][]string{
				{"Sec-Fetch-Site: cross-site", "Origin: https://evil.example.net"},
				{"Sec-Fetch-Site: same-site", "Origin: https://x.example.com"},
				{"Origin: https://evil.example.net"},
				{"Origin: null"},
			} {
				got := v.request("POST", test.host+"/.frappe-auth/logout", "", foreign...)
				if got.Status != 403 || c.erp.Sessions() != 1 || got.Header["Set-Cookie"] != nil {
					t.Fatalf("%q: %d %v", foreign, got.Status, got.Header)
				}
			}
			got := v.request("POST", test.host+"/.frappe-auth/logout", "", navigate, "Sec-Fetch-Site: same-origin")
			if got.Status != 200 || got.Header["Location"] != nil ||
				!strings.Contains(got.Body, "You are logged out") || c.erp.Sessions() != 0 {
				t.Fatalf("%d %s, %d sessions", got.Status, got.Body, c.erp.Sessions())
			}
			if left := v.cookies(test.host); left != "" && test.host == app {
				t.Errorf("the cookies %s are left", left)
			}
			if strings.Contains(v.cookies(test.host), "sid=") {
				t.Error("the cookie sid is left")
			}
			if got := c.visitor().request("GET", app+"/", "", copied); got.Status != 401 {
				t.Errorf("with a copied cookie: %d", got.Status)
			}
			if _, err := io.ReadAll(events); err != nil {
				t.Errorf("the stream: %v", err)
			}
			if got := v.request("POST", app+"/.frappe-auth/logout", "", "Sec-Fetch-Site: same-origin"); got.Status != 200 {
				t.Errorf("a second logout: %d", got.Status)
			}
			if v.visit(app + "/"); !strings.Contains(v.at(), "/login?redirect-to=") {
				t.Errorf("the next visit is at %s", v.at())
			}
		})
	}
}

// stream opens an event stream of the application, which ends with the request's context.
func (c *relayed) stream(cookie string) (body io.Reader, end func()) {
	c.t.Helper()
	conn, err := new(net.Dialer).DialContext(c.t.Context(), "tcp", "127.0.0.1:"+c.port)
	if err != nil {
		c.t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /events HTTP/1.1\r\nHost: grafana.example.com\r\nX-Forwarded-Proto: https\r\n"+
		"Accept: text/event-stream\r\n%s\r\n\r\n", cookie)
	buffered := bufio.NewReader(conn)
	resp, err := http.ReadResponse(buffered, nil)
	if err != nil || resp.StatusCode != 200 {
		c.t.Fatalf("the stream: %v %v", resp, err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	return resp.Body, func() { conn.Close() }
}

// TestLogoutFailures: while the site is down, a logout says so, and the cookie stays for another attempt. With a
// backend that cannot end sessions, the page says that the ERP's goes on.
func TestLogoutFailures(t *testing.T) {
	c := runRelay(t, "")
	v := c.visitor()
	v.visit(app + "/")
	v.logIn()
	c.erp.SetDown(true)
	got := v.request("POST", app+"/.frappe-auth/logout", "", "Sec-Fetch-Site: same-origin")
	if got.Status != 503 || got.Header["Set-Cookie"] != nil || !strings.Contains(got.Body, "<button>") ||
		c.erp.Sessions() != 1 {
		t.Errorf("down: %d %v %s", got.Status, got.Header, got.Body)
	}
	c.erp.SetDown(false)
	testutil.Eventually(t, "the session ends", func() bool {
		v.request("POST", app+"/.frappe-auth/logout", "", "Sec-Fetch-Site: same-origin")
		return c.erp.Sessions() == 0
	})

	people := strings.NewReplacer(
		"backend site "+c.erp.URL+" {\n\t\t\troles\n\t\t}", "backend test_people",
		"backend site "+c.erp.URL, "backend test_people",
	)
	c.caddy.Load(people.Replace(c.caddyfile(loginSecret, loginSecret, cached)))
	v.client.Jar.SetCookies(must(url.Parse(erp)), []*http.Cookie{
		{Name: "sid", Value: testutil.RecordedSession, Path: "/"},
	})
	if got := v.visit(app + "/"); got.Status != 200 {
		t.Fatalf("%d at %s", got.Status, v.at())
	}
	got = v.request("POST", app+"/.frappe-auth/logout", "", "Sec-Fetch-Site: same-origin")
	if got.Status != 200 || !strings.Contains(got.Body, "still logged in to the ERP") || v.cookies(app) != "" {
		t.Errorf("a backend that cannot end sessions: %d %s, cookies %s", got.Status, got.Body, v.cookies(app))
	}
}

// TestLogoutInTheERP: a logout that passes by Caddy ends the session on all hosts at once, whatever its ttl. One that
// Frappe refuses, and one of a session that does not exist, drop nothing.
func TestLogoutInTheERP(t *testing.T) {
	for _, test := range []struct {
		name, method, target string
		version              string
		desk, ended          bool
	}{
		{"Desk", "POST", "/api/method/logout", "15", false, true},
		{"a link", "GET", "/api/method/logout?x=1", "15", false, true},
		{"without the CSRF token", "POST", "/api/method/logout", "15", true, false},
		{"a link that is refused", "GET", "/api/method/logout", "17", false, false},
		{"another method", "POST", "/api/method/frappe.auth.get_logged_user", "15", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := runRelay(t, "")
			c.erp.Version = test.version
			v := c.visitor()
			v.visit(app + "/")
			v.logIn()
			v.visit("https://x.apps.example.com/")
			if test.desk {
				v.request("GET", erp+"/app", "")
			}
			c.visitor().request(test.method, erp+test.target, "", "Cookie: sid="+deadSession)
			asked := c.erp.Asked()
			if got := v.request("GET", app+"/", ""); got.Status != 200 || c.erp.Asked() != asked {
				t.Fatalf("after a logout of nobody: %d, asked %d times", got.Status, c.erp.Asked()-asked)
			}
			v.request(test.method, erp+test.target, "")
			for _, host := range []string{app, "https://x.apps.example.com"} {
				if got := v.request("GET", host+"/", ""); (got.Status == 401) != test.ended {
					t.Errorf("%s: %d", host, got.Status)
				}
			}
		})
	}
}

// TestLoginSecretRotation: with the old secret beside the new one, nobody has to log in again, and the hosts may be
// changed one after the other. With another secret, the relay says so.
func TestLoginSecretRotation(t *testing.T) {
	const old, newer = loginSecret, newLoginSecret
	c := runRelay(t, "")
	v := c.visitor()
	v.visit(app + "/")
	v.logIn()
	for _, step := range []struct{ erp, app string }{
		{newer + " " + old, old},
		{newer + " " + old, newer + " " + old},
		{newer + " " + old, newer},
		{newer, newer},
		{old, newer},
	} {
		c.caddy.Load(c.caddyfile(step.erp, step.app, cached))
		got := v.request("GET", app+"/", "")
		if (got.Status == 200) != strings.Contains(step.app, old) {
			t.Errorf("ERP %s, host %s: %d", step.erp, step.app, got.Status)
		}
		other := c.visitor()
		other.logInAtERP("https")
		if got := other.visit(app + "/"); (got.Status == 200) != (step.erp != old) {
			t.Errorf("a new login, ERP %s, host %s: %d", step.erp, step.app, got.Status)
		} else if got.Status != 200 && !strings.Contains(got.Body, "another login_secret") {
			t.Error(got.Body)
		}
	}
	c.caddy.Load(c.caddyfile(newer, newer, cached))
	if got := v.visit(app + "/"); got.Status != 200 {
		t.Errorf("without the old secret: %d", got.Status)
	}
}

// TestLoginSeveralHandlers: a handler that does not match leaves the login to the next one, and no application sees the
// cookies of the login, neither where nothing is protected nor after a handler that hides credentials.
func TestLoginSeveralHandlers(t *testing.T) {
	c := runRelay(t, "")
	block := func(matcher, options string) string {
		return "frappe_auth " + matcher + " {\nbackend site " + c.erp.URL + "\nschemes session\n" +
			"login https://erp.example.com\nlogin_secret " + loginSecret + "\n" + options + "\n}\n"
	}
	c.caddy.Load(c.caddyfile(loginSecret, loginSecret, cached) +
		"\nhttp://two.apps.example.com:" + c.port + " {\nroute {\n" +
		block("/admin/*", "require user nobody@example.com") + block("/docs/*", "hide_credentials") + block("/docs/*", "") +
		"respond \"{http.auth.user.id}|{header.Cookie}\"\n}\n}")
	v := c.visitor()
	const two = "https://two.apps.example.com"
	v.visit(two + "/docs/")
	if got := v.logIn(); got.Status != 200 || got.Body != self+"|" {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	for path, want := range map[string]string{
		"/docs/x": "200 " + self + "|sid=own", "/": "200 |sid=own", "/admin/": "403 403 ",
	} {
		got := v.request("GET", two+path, "", "Cookie: sid=own")
		answer := fmt.Sprint(got.Status, " ", got.Body)
		if !strings.HasPrefix(answer, want) || path != "/admin/" && answer != want {
			t.Errorf("%s: %s, want %s", path, answer, want)
		}
	}
}

// TestLogoutReachesOtherCaddys: a logout at one Caddy, in the ERP or at the path of the login, ends the session at
// another one that shares with it, although that has the result in its cache.
func TestLogoutReachesOtherCaddys(t *testing.T) {
	site, server := testutil.NewERP(t, nil), testutil.StartRedis(t)
	block := func(matcher, options string) string {
		return fmt.Sprintf("frappe_auth %s {\nbackend site %s\nschemes session\nlogin /login\nlogin_for app.example.com\n"+
			"login_secret {env.FRAPPE_AUTH_LOGIN}\n%s\nshare redis redis://%s {\nsecret %s\n}\n}\n",
			matcher, site.URL, options, server.Address, fleetSecret)
	}
	t.Setenv("FRAPPE_AUTH_LOGIN", testutil.RandomID())
	nodes := []*node{{address: testutil.FreeAddress(t)}, {address: testutil.FreeAddress(t)}}
	nodes[0].sites = "http://" + nodes[0].address + " {\n" + block("/.frappe-auth/login", "") +
		"reverse_proxy " + site.URL + "\n}"
	nodes[1].sites = "http://" + nodes[1].address + " {\n" + block("", "cache {\nttl 1h\nsession_ttl 1h\n}") +
		"respond passed\n}"
	launchAll(t, nodes)
	published := func() string {
		_, overview := ask(t, "GET", "http://"+nodes[0].admin+"/frappe_auth/", "")
		return regexp.MustCompile(`"revocations_published":\d+`).FindString(overview)
	}
	before := published()
	for range 3 { // a stranger's logouts cost no revocation
		testutil.Send(t, "POST", "http://"+nodes[0].address+"/api/method/logout", "", "Cookie: sid="+testutil.RandomID())
	}
	for _, path := range []string{"/api/method/logout", "/.frappe-auth/logout"} {
		sid := testutil.RandomID()
		site.LogIn(sid)
		ends := func() bool { return testutil.Get(t, "http://"+nodes[1].address, "Cookie: sid="+sid).Status == 401 }
		if ends() {
			t.Fatal("the session is refused before the logout")
		}
		asked := site.Asked()
		if got := testutil.Send(t, "POST", "http://"+nodes[0].address+path, "", "Cookie: sid="+sid); got.Status != 200 {
			t.Errorf("%s: %d %s", path, got.Status, got.Body)
		}
		testutil.Eventually(t, "the other Caddy refuses the session after "+path, ends)
		after := published()
		if path == "/api/method/logout" && (before == "" || after != strings.Replace(before, ":0", ":1", 1)) {
			t.Errorf("%s before, and %s after one logout", before, after)
		}
		if path == "/api/method/logout" && site.Asked() > asked+2 {
			t.Errorf("the site was asked %d times", site.Asked()-asked)
		}
	}
}
