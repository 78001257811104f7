package site_test

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// gunicornDouble knows one pair, and refuses header lines as gunicorn does: measured on gunicorn 27, which counts the
// name, the colon, the space and the end of the line.
func gunicornDouble(t *testing.T, key, secret string) (site *httptest.Server, schemes func() []string) {
	t.Helper()
	var (
		mu   sync.Mutex
		seen []string
	)
	site = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value := r.Header.Get("Authorization")
		scheme, rest, _ := strings.Cut(value, " ")
		mu.Lock()
		seen = append(seen, scheme)
		mu.Unlock()
		if len("Authorization: ")+len(value)+len("\r\n") > 8190 {
			t.Errorf("a header line of %d bytes was sent", len("Authorization: ")+len(value)+len("\r\n"))
			w.WriteHeader(http.StatusRequestHeaderFieldsTooLarge)
			return
		}
		// As WSGI and Frappe read it: base64 as UTF-8, anything else as Latin-1.
		pair, _ := base64.StdEncoding.DecodeString(rest)
		if scheme == "token" {
			pair = nil
			for i := range len(rest) {
				pair = append(pair, string(rune(rest[i]))...)
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if string(pair) != key+":"+secret || strings.Count(value, " ") != 1 {
			w.WriteHeader(http.StatusUnauthorized)
			io.WriteString(w, "{}")
			return
		}
		io.WriteString(w, `{"message":"alice@example.com"}`)
	}))
	t.Cleanup(site.Close)
	return site, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return seen
	}
}

// TestLongPairs: a pair that is too long for gunicorn as Basic travels as token, and one that is too long for both, or
// that token cannot carry, is denied without a request.
func TestLongPairs(t *testing.T) {
	const limit = 8190 - len("Authorization: \r\n")
	letters := func(n int) string { return strings.Repeat("s", n) }
	const basicMax = (limit - len("Basic ")) / 4 * 3
	const tokenMax = limit - len("token ")
	for _, test := range []struct {
		name, secret string
		sent         string // the scheme; empty: nothing is sent
	}{
		{"short", "61066224add85e6", "Basic"},
		{"the longest that fits as Basic", letters(basicMax - len("k:")), "Basic"},
		{"one more", letters(basicMax - len("k:") + 1), "token"},
		{"the longest that fits as token", letters(tokenMax - len("k:")), "token"},
		{"one more than fits at all", letters(tokenMax - len("k:") + 1), ""},
		{"a space, short", "a b", "Basic"},
		{"a space, long", "a b" + letters(basicMax), ""},
		{"a tab at the end, long", letters(basicMax) + "\t", ""},
		{"a tab within, long", "a\tb" + letters(basicMax), "token"},
		{"a control character, short", "a\x01b", "Basic"},
		{"a control character, long", "a\x01b" + letters(basicMax), ""},
		{"a line break, long", "a\r\nCookie: sid=x" + letters(basicMax), ""},
		{"Latin-1, short", "é\u00a0ÿ", "Basic"},
		{"Latin-1, long", "é\u00a0ÿ" + letters(basicMax), "token"},
		{"beyond Latin-1, short", "ş", "Basic"},
		{"beyond Latin-1, long", "ş" + letters(basicMax), ""},
		{"beyond Latin-1 with the same low byte as a letter", strings.Repeat("\u0161", basicMax/2+1), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			double, schemes := gunicornDouble(t, "k", test.secret)
			site := mustLoadSite(t, map[string]any{"urls": []string{double.URL}})
			for _, scheme := range []frappe.Scheme{frappe.SchemeToken, frappe.SchemeBasic} {
				id, err := site.Verify(t.Context(), frappe.Credential{Scheme: scheme, Key: "k", Secret: test.secret})
				switch {
				case test.sent == "" && !errors.Is(err, frappe.ErrDenied):
					t.Errorf("%s %v, want a denial", id.User, err)
				case test.sent != "" && (err != nil || id.User != "alice@example.com"):
					t.Errorf("%s %v, want a grant", id.User, err)
				}
			}
			if _, err := site.Verify(t.Context(), frappe.Credential{Scheme: frappe.SchemeToken, Key: "K", Secret: test.secret}); !errors.Is(err, frappe.ErrDenied) {
				t.Errorf("another key: %v, want a denial", err)
			}
			for _, scheme := range schemes() {
				if scheme != test.sent {
					t.Errorf("sent as %s, want %q", scheme, test.sent)
				}
			}
			if sent := len(schemes()); (sent == 0) != (test.sent == "") {
				t.Errorf("%d requests", sent)
			}
		})
	}
}

// TestLongPairThroughCaddy: the same from a client's header on, at the length that Caddy's side takes.
func TestLongPairThroughCaddy(t *testing.T) {
	secret := strings.Repeat("s", 8100)
	double, schemes := gunicornDouble(t, "k", secret)
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond {http.auth.user.id}\n}", address, double.URL))
	if got := testutil.Get(t, "http://"+address, "Authorization: token k:"+secret); got.Status != 200 || got.Body != "alice@example.com" {
		t.Errorf("good pair: %d %q", got.Status, got.Body)
	}
	if got := testutil.Get(t, "http://"+address, "Authorization: token k:x"+secret[1:]); got.Status != 401 {
		t.Errorf("wrong secret: status %d", got.Status)
	}
	asked := len(schemes())
	if got := testutil.Get(t, "http://"+address, "Authorization: token k:"+strings.Repeat("s", 8180)); got.Status != 401 {
		t.Errorf("longer than gunicorn reads: status %d", got.Status)
	}
	if n := len(schemes()); n != asked {
		t.Errorf("a pair that gunicorn does not read was sent %d times", n-asked)
	}
}

// TestCredentialsThatNoHeaderHolds: they are denied without a request, however they got here.
func TestCredentialsThatNoHeaderHolds(t *testing.T) {
	var asked atomic.Int64
	double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1) }))
	defer double.Close()
	site := mustLoadSite(t, map[string]any{"urls": []string{double.URL}})
	for name, test := range map[string]struct {
		cred frappe.Credential
		want error
	}{
		"NUL in a token":              {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a\x00b"}, frappe.ErrDenied},
		"line break in a token":       {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a\r\nCookie: sid=x"}, frappe.ErrDenied},
		"DEL in a token":              {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a\x7f"}, frappe.ErrDenied},
		"tab at the end of a token":   {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a\t"}, frappe.ErrDenied},
		"space in a token":            {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a b"}, frappe.ErrDenied},
		"beyond Latin-1 in a token":   {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "\u0161"}, frappe.ErrDenied},
		"token longer than a line":    {frappe.Credential{Scheme: frappe.SchemeBearer, Token: strings.Repeat("x", 8190)}, frappe.ErrDenied},
		"no session id":               {frappe.Credential{Scheme: frappe.SchemeSession}, frappe.ErrDenied},
		"Guest's session":             {frappe.Credential{Scheme: frappe.SchemeSession, Session: frappe.Guest}, frappe.ErrDenied},
		"capitals in a session":       {frappe.Credential{Scheme: frappe.SchemeSession, Session: "ABC"}, frappe.ErrDenied},
		"percent in a session":        {frappe.Credential{Scheme: frappe.SchemeSession, Session: "%61bc"}, frappe.ErrDenied},
		"semicolon in a session":      {frappe.Credential{Scheme: frappe.SchemeSession, Session: "a; sid=b"}, frappe.ErrDenied},
		"quotes around a session":     {frappe.Credential{Scheme: frappe.SchemeSession, Session: `"a"`}, frappe.ErrDenied},
		"line break in a session":     {frappe.Credential{Scheme: frappe.SchemeSession, Session: "a\r\nX-Frappe-Site-Name: b"}, frappe.ErrDenied},
		"beyond ASCII in a session":   {frappe.Credential{Scheme: frappe.SchemeSession, Session: "\u0161"}, frappe.ErrDenied},
		"session longer than its row": {frappe.Credential{Scheme: frappe.SchemeSession, Session: strings.Repeat("a", 256)}, frappe.ErrDenied},
		"line break in a site's name": {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a", Site: "a\r\nb"}, frappe.ErrUnknownSite},
		"path as a site's name":       {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a", Site: "../a"}, frappe.ErrUnknownSite},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := site.Verify(t.Context(), test.cred); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
	tenants := mustLoadSite(t, map[string]any{"urls": []string{double.URL}, "site_name": "{http.request.host}"})
	if _, err := tenants.Verify(t.Context(), frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a"}); !errors.Is(err, frappe.ErrUnknownSite) {
		t.Errorf("no tenant: %v", err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestSiteNames: all spellings of a host are one tenant, and what is no name of a site is refused.
func TestSiteNames(t *testing.T) {
	for _, test := range []struct{ template, host, want string }{
		{"{http.request.host}", "erp.example.com", "erp.example.com"},
		{"{http.request.host}", "ERP.Example.COM", "erp.example.com"},
		{"{http.request.host}", "erp.example.com.", "erp.example.com"},
		{"{http.request.host}", "ERP.example.com.:8080", "erp.example.com"},
		{"{http.request.host}:8080", "erp.example.com", "erp.example.com"},
		{"{http.request.host}", "erp.example.com..", ""},
		{"{http.request.host}", ".", ""},
		{"{http.request.host}", "", ""},
		{"{http.request.host}", "erp:", "erp"},
		{"{http.request.host}", "[::1]:80", ""},
		{"{http.request.host}", "a/../b", ""},
		{"{http.request.host}", "\u212aey.example", ""}, // strings.ToLower makes a k of the Kelvin sign
		{"{http.request.host}", "{env.HOME}", ""},
		{"tenant-{http.request.host}", "", ""},
		{"tenant-{http.request.host}", "A", "tenant-a"},
		{"{http.request.host}{no.such.placeholder}", "a", ""},
	} {
		t.Run(test.template+" "+test.host, func(t *testing.T) {
			site := mustLoadSite(t, map[string]any{"urls": []string{"http://127.0.0.1:8000"}, "site_name": test.template})
			if !site.ResolvesSites() {
				t.Error("does not resolve sites")
			}
			repl := caddy.NewReplacer()
			repl.Set("http.request.host", test.host)
			got, err := site.Site(repl)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("%q %v, want %q", got, err, test.want)
			}
		})
	}
}

// TestSiteNameIsSentAsHost: beside X-Frappe-Site-Name, while TLS goes by the host in the address.
func TestSiteNameIsSentAsHost(t *testing.T) {
	var host, header, sni string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, header = r.Host, r.Header.Get("X-Frappe-Site-Name")
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"message":"alice@example.com"}`)
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewUnstartedServer(handler)
	secure.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		sni = hello.ServerName
		return nil, nil
	}}
	secure.StartTLS()
	defer secure.Close()
	dir := t.TempDir()
	writePEM(t, dir+"/ca.pem", "CERTIFICATE", secure.Certificate().Raw)
	trust := map[string]any{"protocol": "http", "tls": map[string]any{"ca": map[string]any{"provider": "file", "pem_files": []string{dir + "/ca.pem"}}}}
	local := strings.Replace(secure.URL, "127.0.0.1", "localhost", 1)

	for _, test := range []struct {
		name            string
		config          map[string]any
		tenant          string
		host, sni, fail string
	}{
		{"fixed", map[string]any{"urls": []string{plain.URL}, "site_name": "ERP.localhost"}, "", "ERP.localhost", "", ""},
		{"of the request", map[string]any{"urls": []string{plain.URL}, "site_name": "{http.request.host}"}, "a.example", "a.example", "", ""},
		{"none", map[string]any{"urls": []string{plain.URL}}, "", strings.TrimPrefix(plain.URL, "http://"), "", ""},
		{"TLS", map[string]any{"urls": []string{secure.URL}, "site_name": "erp.localhost", "transport": trust}, "", "erp.localhost", "", ""},
		{
			"TLS to a host that the certificate does not name",
			map[string]any{"urls": []string{local}, "site_name": "example.com", "transport": trust},
			"", "", "localhost", "the certificate is not trusted: it is not valid for the host in the address",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			host, header, sni = "", "", ""
			site := mustLoadSite(t, test.config)
			_, err := site.Verify(t.Context(), frappe.Credential{Scheme: frappe.SchemeBearer, Token: "x", Site: test.tenant})
			if (test.fail == "" && err != nil) || (test.fail != "" && (err == nil || !strings.Contains(err.Error(), test.fail))) {
				t.Fatalf("error %v, want %q", err, test.fail)
			}
			want := test.host
			if test.config["site_name"] == nil {
				want = ""
			}
			if host != test.host || header != want || sni != test.sni {
				t.Errorf("Host %q, X-Frappe-Site-Name %q, server name of TLS %q", host, header, sni)
			}
		})
	}
}

// TestTenants: one address, many sites; a credential of one is none of another's.
func TestTenants(t *testing.T) {
	var mu sync.Mutex
	asked := make(map[string]int)
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: func(r *http.Request) (int, string) {
			mu.Lock()
			defer mu.Unlock()
			tenant := r.Header.Get("X-Frappe-Site-Name")
			if r.Host != tenant {
				t.Errorf("asked with Host %q about %q", r.Host, tenant)
			}
			asked[tenant]++
			if tenant == "one.example" {
				return 200, `{"message":"alice@example.com"}`
			}
			return 401, `{}`
		},
	})
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf("http://:%s {\nbind 127.0.0.1\nfrappe_auth {\nbackend site %s {\nsite_name {http.request.host}\n}\n}\nrespond {http.auth.user.id}\n}",
		testutil.PortOf(address), site.URL))
	for _, test := range []struct {
		host   string
		status int
	}{
		{"one.example", 200},
		{"two.example", 401},
		{"one.example", 200},
		{"two.example", 401},
		{"ONE.example", 200},
		{"one.Example.", 200},
		{"Two.Example.", 401},
		{"one.example..", 400},
		{"..", 400},
		{"-x", 400},
		{".hidden", 400},
		{"a..b", 400},
		{"[::1]", 400},
		{strings.Repeat("a", 256), 400},
	} {
		if got := testutil.Get(t, "http://"+address, "Host: "+test.host, "Authorization: "+testutil.AlicePair, "X-Frappe-Site-Name: one.example"); got.Status != test.status {
			t.Errorf("%s: status %d, want %d", test.host, got.Status, test.status)
		}
	}
	if len(asked) != 2 || asked["one.example"] != 1 || asked["two.example"] != 1 {
		t.Errorf("asked %v, want each of the two sites once", asked)
	}
}
