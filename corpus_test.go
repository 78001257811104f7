package frappeauth_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// TestCorpusWithStatic: a running Caddy that lists the recorded site's credentials lets in what the site let in.
func TestCorpusWithStatic(t *testing.T) {
	address := freeAddress(t)
	runCaddy(t, corpusCaddyfile(address, staticSite(t)))
	driveCorpus(t, address, onPostgreSQL) // keys and tokens compare with case
}

// TestCorpusWithSite: a running Caddy that asks the site agrees with it, whichever database the site has, and nothing
// of a request but the credential reaches the site.
func TestCorpusWithSite(t *testing.T) {
	for _, on := range []string{onMariaDB, onPostgreSQL, "14.81.4 on MariaDB", "16.0.0-dev on MariaDB"} {
		t.Run(on, func(t *testing.T) {
			site := newRecordedSite(t, on)
			address := freeAddress(t)
			runCaddy(t, corpusCaddyfile(address, "backend site "+site.URL))
			driveCorpus(t, address, on)

			site.mu.Lock()
			defer site.mu.Unlock()
			if len(site.requests) == 0 {
				t.Error("the site was never asked")
			}
			for _, r := range site.requests {
				for name := range r.Header {
					if !slices.Contains([]string{"Accept", "Accept-Encoding", "Authorization", "User-Agent"}, name) {
						t.Errorf("the site received a header %s", name)
					}
				}
				if "http://"+r.Host != site.URL {
					t.Errorf("the site received Host %s", r.Host)
				}
				if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); scheme != "Basic" && scheme != "Bearer" {
					t.Errorf("a pair travels as %s, want Basic", scheme)
				}
			}
		})
	}
}

// corpusCaddyfile serves any host, over HTTP/1.1 and HTTP/2.
func corpusCaddyfile(address, backend string) string {
	return fmt.Sprintf(`
{
	servers {
		protocols h1 h2c
	}
}
http://:%s {
	bind 127.0.0.1
	frappe_auth {
		%s
		failures off
	}
	respond {http.auth.user.id}
}`, portOf(address), backend)
}

// driveCorpus sends each case of the corpus and compares the verdict with the recorded one.
func driveCorpus(t *testing.T, address, on string) {
	t.Helper()
	for _, c := range corpus(t) {
		t.Run(c.Name, func(t *testing.T) {
			recorded := c.Frappe[on]
			var headers []string
			for _, value := range c.Authorization {
				headers = append(headers, "Authorization: "+value)
			}
			switch {
			case c.Headers["Host"] != "" || c.Headers["X-Frappe-Site-Name"] != "" || c.Headers["Frappe-Authorization-Source"] != "":
				// These decide in Frappe which site and which doctype is asked. A client has no say in that here.
				recorded = onlyCredential(t, c.Authorization[0], on)
			}
			for name, value := range c.Headers {
				headers = append(headers, name+": "+value)
			}

			// Go's server and client strip white space at both ends of a header over HTTP/1.1 (RFC 9110 section 5.5),
			// which then is no part of the header; over HTTP/2 it arrives.
			client := clientWithoutMagic
			if len(c.Authorization) == 1 && strings.TrimSpace(c.Authorization[0]) != c.Authorization[0] {
				client = h2cClient()
			}
			got := requestOver(t, client, http.MethodGet, "http://"+address, headers...)
			switch {
			case recorded.Status == 200 && (got.status != 200 || got.body != *recorded.User):
				t.Errorf("%d %q, but Frappe let %s in", got.status, got.body, *recorded.User)
			case recorded.Status != 200 && got.status != 401 && got.status != 400:
				t.Errorf("%d %q, but Frappe refused with %d", got.status, got.body, recorded.Status)
			}
		})
	}
}

// onlyCredential is what Frappe answered to the credential without other headers.
func onlyCredential(t *testing.T, authorization, on string) (recorded struct {
	Status int     `json:"status"`
	User   *string `json:"user"`
},
) {
	t.Helper()
	for _, c := range corpus(t) {
		if len(c.Headers) == 0 && slices.Equal(c.Authorization, []string{authorization}) {
			return c.Frappe[on]
		}
	}
	t.Fatalf("no recording of %q alone", authorization)
	return recorded
}

// recordedSite is a double of a Frappe site. It knows the credentials of the recordings, and answers with recorded
// answers byte for byte.
type recordedSite struct {
	*httptest.Server
	users map[string]string // credential as credentialOf has it, to user

	mu       sync.Mutex
	requests []*http.Request
}

func newRecordedSite(t *testing.T, on string) *recordedSite {
	t.Helper()
	site := &recordedSite{users: make(map[string]string)}
	for _, c := range corpus(t) {
		if len(c.Authorization) != 1 || len(c.Headers) != 0 || c.Frappe[on].User == nil {
			continue
		}
		switch scheme, value, _ := strings.Cut(c.Authorization[0], " "); scheme {
		case "token":
			site.users["pair "+value] = *c.Frappe[on].User
		case "Bearer":
			site.users["Bearer "+value] = *c.Frappe[on].User
		}
	}
	site.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		site.mu.Lock()
		site.requests = append(site.requests, r)
		site.mu.Unlock()

		answer := answerOf(t, "denied-15.http")
		if r.URL.Path != "/api/method/frappe.auth.get_logged_user" {
			answer = answerOf(t, "unknown-site.http")
		} else if user, ok := site.users[credentialOf(r)]; ok {
			body := fmt.Sprintf(`{"message":%q}`, user)
			granted, _, _ := strings.Cut(string(answerOf(t, "granted.http")), "\r\n\r\n")
			answer = []byte(strings.Replace(granted, "Content-Length: 31", fmt.Sprintf("Content-Length: %d", len(body)), 1) + "\r\n\r\n" + body)
			if user == "alice@example.com" {
				answer = answerOf(t, "granted.http")
			}
		}
		reply(t, w, answer)
	}))
	t.Cleanup(site.Close)
	return site
}

// credentialOf is what Frappe would look up: `pair` and key and secret, or `Bearer` and the access token.
func credentialOf(r *http.Request) string {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if scheme != "Basic" {
		return scheme + " " + value
	}
	pair, _ := base64.StdEncoding.DecodeString(value)
	return "pair " + string(pair)
}

// reply sends bytes as they are, and closes the connection.
func reply(t *testing.T, w http.ResponseWriter, raw []byte) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	_, _ = conn.Write(raw) // a client may have left
}
