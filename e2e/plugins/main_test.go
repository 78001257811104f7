// Package plugins tests the recipes of docs/recipes-plugins.md. It is a separate module, as it needs plugins of others.
package plugins

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	_ "github.com/mholt/caddy-ratelimit" // registers rate_limit

	_ "github.com/caddy-frappe/frappe-auth" // registers frappe_auth
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

const page = "docs/recipes-plugins.md"

// untested are the recipes that need a plugin which these tests do not have, with the sentence of the page that says
// so.
var untested = map[string]string{
	"A web application firewall": "The tests do not run this recipe",
}

// recipe is a running Caddyfile of the page, with doubles of the site and the application.
type recipe struct {
	*testutil.Caddy
	t       *testing.T
	address string
	files   string
	seen    http.Header // of the last request to the application
}

// run runs the Caddyfile of a section, with its names, addresses and paths replaced by those of doubles.
func run(t *testing.T, title string) *recipe {
	t.Helper()
	return runWith(t, title)
}

// runWith is run with parts of the text replaced by others.
func runWith(t *testing.T, title string, oldnew ...string) *recipe {
	t.Helper()
	text := testutil.Blocks(t, testutil.Section(t, page, title), "caddyfile")[0]
	text = strings.NewReplacer(oldnew...).Replace(text)
	r := &recipe{t: t, address: testutil.FreeAddress(t), files: t.TempDir()}
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		r.seen = request.Header.Clone()
		fmt.Fprintf(w, "%s by %q", request.URL.Path, request.Header.Get("X-Frappe-User"))
	}))
	t.Cleanup(application.Close)
	site := func(name string) string {
		return testutil.JSONSite(t, testutil.Answers{testutil.LoggedUser: func(r *http.Request) (int, string) {
			_, secret, _ := r.BasicAuth() // backend site sends every key as Basic
			switch secret {
			case testutil.AliceSecret:
				return http.StatusOK, `{"message":"alice@` + name + `"}`
			case testutil.BobSecret:
				return http.StatusOK, `{"message":"bob@` + name + `"}`
			}
			return http.StatusUnauthorized, `{"exc_type":"AuthenticationError"}`
		}}).URL
	}
	caddyfile := strings.NewReplacer(
		"https://erp.example.com", site("example.com"), "https://crm.example.com", site("crm.example.com"),
		"localhost:9000", strings.TrimPrefix(application.URL, "http://"), "/var/log/caddy", r.files,
	).Replace(text)
	caddyfile = regexp.MustCompile(`(?m)^(\S+\.example\.com) \{$`).ReplaceAllString(caddyfile,
		"http://$1:"+testutil.PortOf(r.address)+" {")
	r.Caddy = testutil.RunCaddy(t, caddyfile)
	return r
}

// get sends a request for a host and a path, and returns status and body.
func (r *recipe) get(url string, headers ...string) (int, string) {
	r.t.Helper()
	host, path, _ := strings.Cut(url, "/")
	got := testutil.Get(r.t, "http://"+r.address+"/"+path, append(headers, "Host: "+host)...)
	return got.Status, got.Body
}

const (
	byAlice = "Authorization: " + testutil.AlicePair
	byBob   = "Authorization: " + testutil.BobPair
	byNone  = "Authorization: token 2c6245becaa0961:wrong"
)

// TestEveryRecipeIsTested: each Caddyfile of the page has a test here, or the page says that it has none.
func TestEveryRecipeIsTested(t *testing.T) {
	raw, err := os.ReadFile("plugins_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(testutil.Page(t, page), "\n## ") {
		title, text, _ := strings.Cut(part, "\n")
		if !strings.Contains(text, "```caddyfile\n") {
			continue
		}
		if says, ok := untested[title]; ok {
			if !strings.Contains(text, says) {
				t.Errorf("%q does not say that it is not tested", title)
			}
		} else if !strings.Contains(string(raw), `run(t, "`+title+`")`) {
			t.Errorf("no test runs %q", title)
		}
	}
}
