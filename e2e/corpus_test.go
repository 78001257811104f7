package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestCorpusWithStatic: a backend static with the credentials of the recorded site grants what the site granted.
func TestCorpusWithStatic(t *testing.T) {
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, corpusCaddyfile(address, testutil.StaticSite(t)))
	driveCorpus(t, address, testutil.OnPostgreSQL) // keys and tokens compare with case
}

// TestCorpusWithSite: a backend site grants what the site grants, on each recorded version and database, and only the
// credential of a request reaches the site.
func TestCorpusWithSite(t *testing.T) {
	for _, on := range []string{
		testutil.OnMariaDB, testutil.OnPostgreSQL, testutil.Version14, testutil.Version16,
		testutil.Version16Dev, testutil.Version17,
	} {
		t.Run(on, func(t *testing.T) {
			site := testutil.NewRecordedSite(t, on)
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, corpusCaddyfile(address, "backend site "+site.URL))
			driveCorpus(t, address, on)

			requests := site.Requests()
			if len(requests) == 0 {
				t.Error("the site was never asked")
			}
			for _, r := range requests {
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

// corpusCaddyfile returns a site for any host, over HTTP/1.1 and HTTP/2.
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
}`, testutil.PortOf(address), backend)
}

// driveCorpus sends each case of the corpus and compares the verdict with the recorded one.
func driveCorpus(t *testing.T, address, on string) {
	t.Helper()
	for _, c := range testutil.Corpus(t) {
		t.Run(c.Name, func(t *testing.T) {
			recorded := c.Frappe[on]
			var headers []string
			for _, value := range c.Authorization {
				headers = append(headers, "Authorization: "+value)
			}
			switch {
			case c.Headers["Host"] != "" || c.Headers["X-Frappe-Site-Name"] != "" ||
				c.Headers["Frappe-Authorization-Source"] != "":
				// These headers choose the site or the doctype in Frappe. Here, clients cannot choose these.
				recorded = onlyCredential(t, c.Authorization[0], on)
			}
			for name, value := range c.Headers {
				headers = append(headers, name+": "+value)
			}

			// Over HTTP/1.1, Go's client and server strip white space at both ends of a header (RFC 9110 section 5.5),
			// as the web servers of Frappe 16 and 17 do. Those of older versions do not, so HTTP/2, which keeps it, stands
			// for these.
			client := testutil.Client
			if on != testutil.Version16 && on != testutil.Version17 && len(c.Authorization) == 1 &&
				strings.TrimSpace(c.Authorization[0]) != c.Authorization[0] {
				client = testutil.H2CClient()
			}
			got := testutil.RequestOver(t, client, http.MethodGet, "http://"+address, headers...)
			switch {
			case recorded.Status == 200 && (got.Status != 200 || got.Body != *recorded.User):
				t.Errorf("%d %q, but Frappe let %s in", got.Status, got.Body, *recorded.User)
			case recorded.Status != 200 && got.Status != 401 && got.Status != 400:
				t.Errorf("%d %q, but Frappe refused with %d", got.Status, got.Body, recorded.Status)
			}
		})
	}
}

// onlyCredential returns what Frappe answered to the credential without other headers.
func onlyCredential(t *testing.T, authorization, on string) testutil.RecordedAnswer {
	t.Helper()
	for _, c := range testutil.Corpus(t) {
		if len(c.Headers) == 0 && slices.Equal(c.Authorization, []string{authorization}) {
			return c.Frappe[on]
		}
	}
	t.Fatalf("no recording of %q alone", authorization)
	return testutil.RecordedAnswer{}
}
