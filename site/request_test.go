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

	_ "github.com/caddy-frappe/frappe-auth" // the handler that the backend is for
	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// gunicornDouble grants one pair, and refuses long header lines like gunicorn 27, which counts the name, the colon, the
// space and the line end.
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
		// WSGI and Frappe decode base64 as UTF-8, and anything else as Latin-1.
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

// TestLongPairs: a pair that is too long for gunicorn as Basic is sent as token. One that is too long for both, or that
// token cannot carry, is denied without a request.
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
		{"one byte more", letters(basicMax - len("k:") + 1), "token"},
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
			if _, err := site.Verify(t.Context(),
				frappe.Credential{Scheme: frappe.SchemeToken, Key: "K", Secret: test.secret}); !errors.Is(err, frappe.ErrDenied) {
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

// TestLongPairThroughCaddy: a client can send a pair that is too long for gunicorn as Basic, but fits as token.
func TestLongPairThroughCaddy(t *testing.T) {
	secret := strings.Repeat("s", 8100)
	double, schemes := gunicornDouble(t, "k", secret)
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond {http.auth.user.id}\n}", address, double.URL))
	if got := testutil.Get(t, "http://"+address, "Authorization: token k:"+secret); got.Status != 200 ||
		got.Body != "alice@example.com" {
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

// TestUnsendableCredentials: a credential that no header can carry is denied without a request.
func TestUnsendableCredentials(t *testing.T) {
	var asked atomic.Int64
	double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1) }))
	defer double.Close()
	site := mustLoadSite(t, map[string]any{"urls": []string{double.URL}})
	for name, test := range map[string]struct {
		cred frappe.Credential
		want error
	}{
		"NUL in a token": {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a\x00b"}, frappe.ErrDenied},
		"line break in a token": {
			frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a\r\nCookie: sid=x"}, frappe.ErrDenied,
		},
		"DEL in a token":            {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a\x7f"}, frappe.ErrDenied},
		"tab at the end of a token": {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a\t"}, frappe.ErrDenied},
		"space in a token":          {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a b"}, frappe.ErrDenied},
		"beyond Latin-1 in a token": {frappe.Credential{Scheme: frappe.SchemeBearer, Token: "\u0161"}, frappe.ErrDenied},
		"token longer than a line": {
			frappe.Credential{Scheme: frappe.SchemeBearer, Token: strings.Repeat("x", 8190)}, frappe.ErrDenied,
		},
		"no session id": {frappe.Credential{Scheme: frappe.SchemeSession}, frappe.ErrDenied},
		"Guest's session": {
			frappe.Credential{Scheme: frappe.SchemeSession, Session: frappe.Guest}, frappe.ErrDenied,
		},
		"capitals in a session": {frappe.Credential{Scheme: frappe.SchemeSession, Session: "ABC"}, frappe.ErrDenied},
		"percent in a session":  {frappe.Credential{Scheme: frappe.SchemeSession, Session: "%61bc"}, frappe.ErrDenied},
		"semicolon in a session": {
			frappe.Credential{Scheme: frappe.SchemeSession, Session: "a; sid=b"}, frappe.ErrDenied,
		},
		"quotes around a session": {frappe.Credential{Scheme: frappe.SchemeSession, Session: `"a"`}, frappe.ErrDenied},
		"line break in a session": {frappe.Credential{
			Scheme: frappe.SchemeSession, Session: "a\r\nX-Frappe-Site-Name: b",
		}, frappe.ErrDenied},
		"beyond ASCII in a session": {frappe.Credential{Scheme: frappe.SchemeSession, Session: "\u0161"}, frappe.ErrDenied},
		"session longer than its row": {
			frappe.Credential{Scheme: frappe.SchemeSession, Session: strings.Repeat("a", 256)}, frappe.ErrDenied,
		},
		"line break in a site's name": {
			frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a", Site: "a\r\nb"}, frappe.ErrUnknownSite,
		},
		"path as a site's name": {
			frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a", Site: "../a"}, frappe.ErrUnknownSite,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := site.Verify(t.Context(), test.cred); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
	tenants := mustLoadSite(t, map[string]any{"urls": []string{double.URL}, "site_name": "{http.request.host}"})
	if _, err := tenants.Verify(t.Context(), frappe.Credential{Scheme: frappe.SchemeBearer, Token: "a"}); !errors.Is(err,
		frappe.ErrUnknownSite) {
		t.Errorf("no tenant: %v", err)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestSiteNameIsSentAsHost: the name is sent as Host and X-Frappe-Site-Name, while TLS uses the host in the address.
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
	trust := map[string]any{
		"protocol": "http",
		"tls":      map[string]any{"ca": map[string]any{"provider": "file", "pem_files": []string{dir + "/ca.pem"}}},
	}
	local := strings.Replace(secure.URL, "127.0.0.1", "localhost", 1)

	for _, test := range []struct {
		name            string
		config          map[string]any
		tenant          string
		host, sni, fail string
	}{
		{"fixed", map[string]any{"urls": []string{plain.URL}, "site_name": "ERP.localhost"}, "", "ERP.localhost", "", ""},
		{
			"of the request",
			map[string]any{"urls": []string{plain.URL}, "site_name": "{http.request.host}"},
			"a.example", "a.example", "", "",
		},
		{"none", map[string]any{"urls": []string{plain.URL}}, "", strings.TrimPrefix(plain.URL, "http://"), "", ""},
		{
			"TLS",
			map[string]any{"urls": []string{secure.URL}, "site_name": "erp.localhost", "transport": trust},
			"", "erp.localhost", "", "",
		},
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
			if (test.fail == "" && err != nil) ||
				(test.fail != "" && (err == nil || !strings.Contains(err.Error(), test.fail))) {
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

// TestSessionRequests: the requests to the site contain the session and nothing else from the client. Cookies that the
// site sets reach neither the client nor later requests.
func TestSessionRequests(t *testing.T) {
	var (
		mu   sync.Mutex
		seen strings.Builder
	)
	double := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		header := r.Header.Clone()
		header.Set("Host", r.Host) // which the server removes from the header
		fmt.Fprintf(&seen, "%s %s %s\n", r.Method, r.RequestURI, r.Proto)
		header.Write(&seen) //nolint:errcheck // in memory
		for _, cookie := range []string{"sid=fromsite; Path=/", "user_id=Administrator; Path=/"} {
			w.Header().Add("Set-Cookie", cookie)
		}
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case testutil.LoggedUser:
			io.WriteString(w, testutil.ParsedAnswer(t, "session-granted.http").Body)
		case testutil.GetRoles:
			io.WriteString(w, testutil.ParsedAnswer(t, "roles.http").Body)
		default:
			io.WriteString(w, `{"data":{"name":"Administrator","enabled":1,"full_name":"Admin"}}`)
		}
	}))
	t.Cleanup(double.Close)
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth {
		backend site %s {
			site_name erp.example.com
			roles
			refuse_disabled
		}
		schemes session token
		cache {
			ttl 0
		}
	}
	respond "{http.auth.user.id}|{http.auth.user.scheme}"
}`, address, double.URL))
	for range 2 {
		got := testutil.Get(t, "http://"+address+"/bi?sid=x&a=b",
			"Cookie: a=1; sid="+testutil.RecordedSession+"; sid=other; system_user=yes; full_name=Mallory", "Authorization: ",
			"Frappe-Authorization-Source: ToDo", "X-Frappe-Site-Name: two.example.com", "X-Forwarded-For: 10.0.0.1",
			"X-Frappe-CSRF-Token: t",
			"User-Agent: browser", "Accept-Language: de", "Referer: https://erp.example.com/", "Origin: https://erp.example.com",
			"Tracestate: a=b")
		if got.Status != 200 || got.Body != "Administrator|session" || got.Header["Set-Cookie"] != nil {
			t.Errorf("%d %q %v", got.Status, got.Body, got.Header)
		}
	}
	testutil.Golden(t, "site/testdata/session-requests.txt", strings.ReplaceAll(seen.String(), "\r\n", "\n"))
}

// TestTrailingWhiteSpaceIsKept: over HTTP/2, trailing white space is part of an access token. HTTP/1.1 cannot carry it
// to the site, and the site must not be asked about the token without it.
func TestTrailingWhiteSpaceIsKept(t *testing.T) {
	site, asked := testutil.CountingSite(t)
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`
{
	servers {
		protocols h1 h2c
	}
}
http://%s {
	frappe_auth {
		backend site %s
		failures off
	}
	respond {http.auth.user.id}
}`, address, site))
	for _, test := range []struct {
		name, authorization string
		status              int
	}{
		{"tab after an access token", testutil.AliceBearer + "\t", 401},
		{"tabs after an access token", testutil.AliceBearer + "\t\t", 401},
		{"space after an access token", testutil.AliceBearer + " ", 401},
		{"tab after a secret, which is sent as base64", testutil.AlicePair + "\t", 200},
		{"none", testutil.AliceBearer, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := asked.Load()
			got := testutil.RequestOver(t, testutil.H2CClient(), http.MethodGet, "http://"+address,
				"Authorization: "+test.authorization)
			if got.Status != test.status || (asked.Load() > before) != (test.status == 200) {
				t.Errorf("status %d, want %d; asked %d times", got.Status, test.status, asked.Load()-before)
			}
		})
	}
}
