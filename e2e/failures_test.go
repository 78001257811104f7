package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestTooManyFailures: a client past the failure limit gets 429 with Retry-After, and the log says why.
func TestTooManyFailures(t *testing.T) {
	address := testutil.FreeAddress(t)
	c := testutil.RunCaddy(t, fmt.Sprintf(`
http://%s {
	frappe_auth {
		%s
		failures 2 1h
	}
	respond {http.auth.user.id}
}`, address, testutil.StaticSite(t)))
	for i, want := range []int{401, 401, 429} {
		if got := testutil.Get(t, "http://"+address, fmt.Sprintf("Authorization: token guess%d:x", i)); got.Status != want {
			t.Fatalf("guess %d: status %d, want %d", i, got.Status, want)
		} else if want == 429 && (got.Header.Get("Retry-After") != "1800" || got.Header["Www-Authenticate"] != nil) {
			t.Errorf("headers %q", got.Header)
		}
	}
	line := c.Logged(`"too many denied credentials from this client"`)
	for _, want := range []string{
		`"client_ip":"127.0.0.1"`, `"scheme":"token"`, `"status":429`, `"api_key":"gues…"`,
		`"logger":"http.handlers.frappe_auth"`,
	} {
		if !strings.Contains(line, want) {
			t.Errorf("log line lacks %s: %s", want, line)
		}
	}
}

// TestGuessedSessionsCountAsFailures: each guessed session is charged to the client once.
func TestGuessedSessionsCountAsFailures(t *testing.T) {
	address, _ := runSessions(t, "schemes session\nfailures 2 1h")
	for _, test := range []struct {
		session string
		status  int
	}{
		{deadSession, 401},
		{deadSession, 401},
		{deadSession, 401},
		{loggedIn, 200},
		{"guess1", 401},
		{"guess2", 429},
		{loggedIn, 200},
	} {
		if got := testutil.Get(t, "http://"+address, "Cookie: sid="+test.session); got.Status != test.status {
			t.Errorf("%s: %d, want %d", test.session, got.Status, test.status)
		}
	}
}

// TestMadeUpHosts: a host that the bench does not have is 404, as Frappe answers, and is charged to the client. The
// bench is asked once about it, and nothing is warned of.
func TestMadeUpHosts(t *testing.T) {
	var asked atomic.Int64
	bench := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Host != "erp.example.com" {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"+
				"<p>%s does not exist</p>\n", r.Host)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"message":"alice@example.com"}`)
	}))
	defer bench.Close()
	address := testutil.FreeAddress(t)
	_, port, _ := strings.Cut(address, ":")
	c := testutil.RunCaddy(t, fmt.Sprintf("http://:%s {\nfrappe_auth {\nbackend site %s {\n"+
		"site_name {http.request.host}\n}\n}\nrespond {http.auth.user.id}\n}", port, bench.URL))
	for i, host := range []string{"erp.example.com", "ERP.example.com", "erp.example.com."} {
		if got := testutil.Get(t, "http://"+address, "Host: "+host, tokenHeader); got.Status != 200 {
			t.Errorf("%s: %d", host, got.Status)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%d spellings of one host: %d calls", i+1, n)
		}
	}
	for range 10 {
		if got := testutil.Get(t, "http://"+address, "Host: made-up.example",
			tokenHeader); got.Status != 404 {
			t.Fatalf("a host that the bench does not have: %d", got.Status)
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("the bench was asked %d times about one host that it does not have", n)
	}
	statuses := make(map[int]int)
	for i := range 300 {
		statuses[testutil.Get(t, "http://"+address, fmt.Sprintf("Host: made-up-%d.example", i),
			tokenHeader).Status]++
	}
	if n := asked.Load(); n != 21 || statuses[404] != 19 || statuses[429] != 281 {
		t.Errorf("300 made-up hosts: %d calls, %v", n, statuses)
	}
	if strings.Contains(c.Logs(), `"level":"warn","logger":"http.handlers.frappe_auth"`) {
		t.Errorf("warnings of made-up hosts:\n%s", c.Logs())
	}
}

// TestSavedUserIsNotLockedOut: a client whose neighbour guesses keeps its access when its user is saved in Frappe. A
// credential that is denied then is a stranger again, and is charged.
func TestSavedUserIsNotLockedOut(t *testing.T) {
	site := newStreamSite(t)
	guesses := testutil.JSONSite(t, testutil.Answers{testutil.LoggedUser: func(r *http.Request) (int, string) {
		if strings.Contains(testutil.CredentialOf(r), "guess") {
			return http.StatusUnauthorized, `{"exc_type":"AuthenticationError"}`
		}
		return site.reply()
	}})
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth_webhook /hook s3cret
	frappe_auth %s {
		failures 3 1h
	}
	respond ok
}`, address, guesses.URL))
	url, good := "http://"+address, "Authorization: token 2c6245becaa0961:61066224add85e6"
	expect := func(what, header string, want int) {
		t.Helper()
		if got := testutil.Get(t, url, header); got.Status != want {
			t.Errorf("%s: %d, want %d", what, got.Status, want)
		}
	}
	expect("good", good, 200)
	for i := range 3 {
		expect("a guess", fmt.Sprintf("Authorization: token guess%d:x", i), 401)
	}
	expect("one guess too many", "Authorization: token guess4:x", 429)
	for range 3 {
		revokeAlice(t, url)
		expect("good, and saved", good, 200)
	}
	revokeAlice(t, url)
	site.answer(http.StatusUnauthorized)
	expect("revoked", good, 401)
	site.answer(http.StatusOK)
	revokeAlice(t, url)
	expect("a stranger again", good, 429)
}
