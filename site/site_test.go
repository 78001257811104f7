package site_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestSiteFaults: whatever is wrong with the site, nobody is let in, nobody is told that the credential is bad, and
// nothing is cached. The log says which site, what it answered and why that may be.
func TestSiteFaults(t *testing.T) {
	const header = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
	hang := make(chan struct{})
	defer close(hang)
	endless := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"message":"`)
		for range 10_000 {
			if _, err := io.WriteString(w, strings.Repeat("a", 1024)); err != nil {
				return
			}
		}
	}
	var bomb bytes.Buffer
	zipped := gzip.NewWriter(&bomb)
	io.WriteString(zipped, `{"message":"`+strings.Repeat("a", 10<<20)+`"}`)
	zipped.Close()
	raw := func(answer string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) { testutil.Reply(t, w, []byte(answer)) }
	}
	recorded := func(name string) func(http.ResponseWriter) { return raw(string(testutil.Answer(t, name))) }

	for _, test := range []struct {
		name   string
		answer func(http.ResponseWriter) // nil: nothing listens
		cause  string
		retry  string
	}{
		{name: "refused connection", cause: "cannot connect"},
		{"no answer", func(http.ResponseWriter) { <-hang }, "no answer in time", ""},
		{"closed without an answer", raw(""), "the connection broke", ""},
		{"not HTTP", raw("SSH-2.0-OpenSSH_9.2\r\n"), "the answer was not HTTP", ""},
		{"reset within the body", raw(header + "Content-Length: 31\r\n\r\n{\"message\":\"ali"), "the connection broke", ""},
		{"endless body", endless, "longer than 64 KiB", ""},
		{"zipped bomb", raw(header + "Content-Encoding: gzip\r\n\r\n" + bomb.String()), "longer than 64 KiB", ""},
		{"endless header", raw("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n{}"), "the connection broke", ""},
		{"200 with HTML", raw("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>alice</p>"), "status 200: the answer is not JSON", ""},
		{"200 with JSON of another type", raw("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n{\"message\":\"alice@example.com\"}"), "is not JSON", ""},
		{"200 with broken JSON", raw(header + "\r\n{\"message\":\"alice@example.com\""), "is not a JSON object", ""},
		{"200 with two JSON objects", raw(header + "\r\n{\"message\":\"alice@example.com\"}{}"), "is not a JSON object", ""},
		{"200 with a list", raw(header + "\r\n[]"), "is not a JSON object", ""},
		{"200 with null", raw(header + "\r\nnull"), "is not a JSON object", ""},
		{"message is a number", raw(header + "\r\n{\"message\":1}"), "the answer's message is missing", ""},
		{"message is null", raw(header + "\r\n{\"message\":null}"), "the answer's message is missing", ""},
		{"message is a list", raw(header + "\r\n{\"message\":[\"alice@example.com\"]}"), "the answer's message is missing", ""},
		{"message is an object", raw(header + "\r\n{\"message\":{\"user\":\"alice@example.com\"}}"), "the answer's message is missing", ""},
		{"message is empty", raw(header + "\r\n{\"message\":\"\"}"), "names no valid Frappe user", ""},
		{"message has a line break", raw(header + "\r\n{\"message\":\"alice\\r\\nX-Role: admin\"}"), "names no valid Frappe user", ""},
		{"message in another case", raw(header + "\r\n{\"Message\":\"alice@example.com\"}"), "the answer's message is missing", ""},
		{"302", raw("HTTP/1.1 302 Found\r\nLocation: /login\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), "status 302: redirects are not followed", ""},
		{"400", recorded("bad-base64-15.http"), "status 400", ""},
		{"404 with HTML", recorded("unknown-site.http"), "status 404: the bench has no site with the name of the host in the address; add site_name", ""},
		{"401 with HTML", raw("HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>no</p>"), "status 401: the answer is not JSON", ""},
		{"403 with HTML", raw("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>no</p>"), "status 403: the answer is not JSON", ""},
		{"401 with broken JSON", raw("HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{"), "status 401", ""},
		{"429", recorded("rate-limited.http"), "status 429: Frappe's rate limit was reached", "2363"},
		{"500", recorded("database-down.http"), "status 500: Frappe failed; its database may be down", ""},
		{"503", recorded("maintenance.http"), "status 503: the site is in maintenance mode", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked atomic.Int64
			url := "http://" + testutil.FreeAddress(t)
			if test.answer != nil {
				site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					asked.Add(1)
					test.answer(w)
				}))
				defer site.CloseClientConnections()
				url = site.URL
			}
			address := testutil.FreeAddress(t)
			c := testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s {\ntimeout 1s\n}\n}\nrespond {http.auth.user.id}\n}", address, url))
			for range 2 {
				got := testutil.Get(t, "http://"+address, "Authorization: "+testutil.AlicePair)
				if got.Status != 503 || got.Header["Www-Authenticate"] != nil {
					t.Fatalf("status %d with challenges %q, want 503 without", got.Status, got.Header["Www-Authenticate"])
				}
				if retry := got.Header.Get("Retry-After"); retry == "" || (test.retry != "" && retry != test.retry) {
					t.Errorf("Retry-After is %q", retry)
				}
			}
			if n := asked.Load(); test.answer != nil && n < 2 {
				t.Errorf("the site was asked %d times for two requests: something was cached", n)
			}
			line := c.Logged("the credential could not be verified")
			if !strings.Contains(line, url) || !strings.Contains(line, test.cause) || !strings.Contains(line, `"level":"warn"`) {
				t.Errorf("log line lacks %q or %q: %s", url, test.cause, line)
			}
			if strings.Contains(c.Logs(), testutil.AliceSecret) || strings.Contains(c.Logs(), testutil.AliceBasic[6:]) {
				t.Error("a secret was logged")
			}
		})
	}
}

// TestSiteVerdicts: what the site says of a credential and its owner.
func TestSiteVerdicts(t *testing.T) {
	alice, roles, user := testutil.ParsedAnswer(t, "granted.http").Body, testutil.ParsedAnswer(t, "roles.http").Body, testutil.ParsedAnswer(t, "user.http").Body
	const odd = "o'brien+api@example.com"
	for _, test := range []struct {
		name    string
		options string
		answers testutil.Answers
		status  int
		body    string
	}{
		{
			"granted", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, alice)},
			200, "alice@example.com||",
		},
		{
			"Guest is a refusal", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, `{"message":"Guest"}`)},
			401, "",
		},
		{
			"denied by 14", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(401, testutil.ParsedAnswer(t, "denied-14.http").Body)},
			401, "",
		},
		{
			"denied by 15", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(401, testutil.ParsedAnswer(t, "denied-15.http").Body)},
			401, "",
		},
		{
			"served as Guest by 15", "",
			testutil.Answers{testutil.LoggedUser: testutil.Always(403, testutil.ParsedAnswer(t, "guest-15.http").Body)},
			401, "",
		},
		{
			"roles", "roles",
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, alice), testutil.GetRoles: testutil.Always(200, roles)},
			200, "alice@example.com|System Manager,Report Manager,All,Guest,Desk User|",
		},
		{
			"roles of a user with quote and plus", "roles",
			testutil.Answers{
				testutil.LoggedUser: testutil.Always(200, fmt.Sprintf(`{"message":%q}`, odd)),
				testutil.GetRoles: func(r *http.Request) (int, string) {
					if r.URL.Query().Get("uid") != odd || strings.Contains(r.URL.RawQuery, "+") {
						t.Errorf("asked for the roles of %q by %s", r.URL.Query().Get("uid"), r.URL.RawQuery)
					}
					return 200, `{"message":[]}`
				},
			},
			200, odd + "||",
		},
		{
			"credential ends between two questions", "roles",
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, alice), testutil.GetRoles: testutil.Always(401, `{}`)},
			401, "",
		},
		{
			"user may not ask for roles", "roles",
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, alice), testutil.GetRoles: testutil.Always(403, `{}`)},
			503, "",
		},
		{
			"enabled", "refuse_disabled",
			testutil.Answers{testutil.LoggedUser: testutil.Always(200, alice), "/api/resource/User/alice@example.com": testutil.Always(200, user)},
			200, "alice@example.com||Alice",
		},
		{
			"disabled", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser:                    testutil.Always(200, alice),
				"/api/resource/User/alice@example.com": testutil.Always(200, strings.Replace(user, `"enabled":1`, `"enabled":0`, 1)),
			},
			401, "",
		},
		{
			"does not say whether enabled", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser:                    testutil.Always(200, alice),
				"/api/resource/User/alice@example.com": testutil.Always(200, strings.Replace(user, `"enabled":1,`, "", 1)),
			},
			503, "",
		},
		{
			"somebody else's document", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser:                    testutil.Always(200, alice),
				"/api/resource/User/alice@example.com": testutil.Always(200, strings.Replace(user, `"name":"alice@`, `"name":"bob@`, 1)),
			},
			503, "",
		},
		{
			"document of a user with slash and percent", "refuse_disabled",
			testutil.Answers{
				testutil.LoggedUser: testutil.Always(200, `{"message":"a/b%2F?c"}`),
				"/api/resource/User/a/b%2F?c": func(r *http.Request) (int, string) {
					if r.URL.EscapedPath() != "/api/resource/User/a%2Fb%252F%3Fc" {
						t.Errorf("asked for %s", r.URL.EscapedPath())
					}
					return 200, `{"data":{"name":"a/b%2F?c","enabled":1}}`
				},
			},
			200, "a/b%2F?c||",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := testutil.JSONSite(t, test.answers)
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s/ {\n%s\n}\n}\nrespond {http.auth.user.id}|{http.auth.user.roles}|{http.auth.user.full_name}\n}",
				address, site.URL, test.options))
			got := testutil.Get(t, "http://"+address, "Authorization: "+testutil.AlicePair)
			if got.Status != test.status || (test.body != "" && got.Body != test.body) {
				t.Errorf("%d %q, want %d %q", got.Status, got.Body, test.status, test.body)
			}
		})
	}
}

// TestWhiteSpaceAtTheEndIsNotLost: over HTTP/2 it is part of an access token, which HTTP/1.1 to the site cannot carry; the
// site must not be asked about the token without it.
func TestWhiteSpaceAtTheEndIsNotLost(t *testing.T) {
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
		{"tab after a secret, which travels as base64", testutil.AlicePair + "\t", 200},
		{"none", testutil.AliceBearer, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := asked.Load()
			got := testutil.RequestOver(t, testutil.H2CClient(), http.MethodGet, "http://"+address, "Authorization: "+test.authorization)
			if got.Status != test.status || (asked.Load() > before) != (test.status == 200) {
				t.Errorf("status %d, want %d; asked %d times", got.Status, test.status, asked.Load()-before)
			}
		})
	}
}

// TestOneQuestionForAThousand: a thousand simultaneous requests with one new credential ask the site once.
func TestOneQuestionForAThousand(t *testing.T) {
	const clients = 1000
	var asked, sent atomic.Int64
	everybodySent := make(chan struct{})
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: func(*http.Request) (int, string) {
			asked.Add(1)
			<-everybodySent
			return 200, `{"message":"alice@example.com"}`
		},
	})
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond {http.auth.user.id}\n}", address, site.URL))
	transport := &http.Transport{DisableKeepAlives: true}
	client := &http.Client{Transport: &countingTransport{transport, func() {
		if sent.Add(1) == clients {
			close(everybodySent)
		}
	}}}
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if got := testutil.RequestOver(t, client, http.MethodGet, "http://"+address, "Authorization: "+testutil.AlicePair); got.Body != "alice@example.com" {
				t.Errorf("%d %q", got.Status, got.Body)
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("the site was asked %d times", n)
	}
}

// countingTransport says when a request has been written.
type countingTransport struct {
	*http.Transport
	written func()
}

func (c *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	return c.Transport.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { c.written() },
	})))
}
