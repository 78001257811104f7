package site_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestOneCredentialDoesNotOpenTheBreaker: a user who may not ask for roles does not shut the site off for others.
func TestOneCredentialDoesNotOpenTheBreaker(t *testing.T) {
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: func(r *http.Request) (int, string) {
			return 200, fmt.Sprintf(`{"message":%q}`, testutil.CredentialOf(r))
		},
		testutil.GetRoles: func(r *http.Request) (int, string) {
			switch testutil.CredentialOf(r) {
			case "Bearer limited":
				return 403, `{}`
			case "Bearer oddly-named":
				return 404, `{}`
			}
			return 200, `{"message":[]}`
		},
	})
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth {\nbackend site %s {\nroles\n}\n}\nrespond {http.auth.user.id}\n}", address, site.URL))
	for i := range 20 {
		if got := testutil.Get(t, "http://"+address, "Authorization: Bearer "+[]string{"limited", "oddly-named"}[i%2]); got.Status != 503 {
			t.Fatalf("status %d", got.Status)
		}
	}
	if got := testutil.Get(t, "http://"+address, "Authorization: Bearer other"); got.Status != 200 {
		t.Errorf("another credential gets %d", got.Status)
	}
}

// TestOneRequestDoesNotOpenTheBreaker: what something before Frappe refuses because of the credential itself does not shut
// the site off for others; what concerns the site does.
func TestOneRequestDoesNotOpenTheBreaker(t *testing.T) {
	html := func(status int) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(status)
			io.WriteString(w, "<h1>No</h1>")
		}
	}
	for _, test := range []struct {
		name          string
		authorization string // that something before Frappe refuses
		answer        func(w http.ResponseWriter)
		others        int // what other credentials then get
	}{
		{"a pair that is longer than nginx takes", "token k:" + strings.Repeat("x", 7000), html(400), 200},
		{"a token that is", "Bearer " + strings.Repeat("x", 8160), html(400), 200},
		{"with the status of RFC 6585", "Bearer " + strings.Repeat("x", 8160), html(431), 200},
		{"for a firewall, an attack", "Bearer 'or'1'='1", html(403), 200},
		{"for a firewall, not acceptable", "Bearer <script>", html(406), 200},
		{"no site", "Bearer x", html(404), 503},
		{"a site that fails", "Bearer x", html(500), 503},
		{"another site", "Bearer x", html(200), 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if testutil.CredentialOf(r) != "Bearer good" {
					test.answer(w)
					return
				}
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, `{"message":"alice@example.com"}`)
			}))
			defer site.Close()
			address := testutil.FreeAddress(t)
			testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth %s\nrespond ok\n}", address, site.URL))
			for i := range 10 {
				authorization := test.authorization
				if test.others == 503 {
					authorization += fmt.Sprint(i) // one credential alone says nothing of the site
				}
				if got := testutil.Get(t, "http://"+address, "Authorization: "+authorization); got.Status != 503 {
					t.Fatalf("status %d", got.Status)
				}
			}
			if got := testutil.Get(t, "http://"+address, "Authorization: Bearer good"); got.Status != test.others {
				t.Errorf("another credential gets %d, want %d", got.Status, test.others)
			}
		})
	}
}
