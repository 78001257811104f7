package frappeauth_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestMain fails the test run if a secret was logged anywhere in it.
func TestMain(m *testing.M) { os.Exit(testutil.Main(m)) }

// TestInputs: what each kind of request gets from a running Caddy: the status, the challenges, the placeholders.
func TestInputs(t *testing.T) {
	asked := make(chan struct{}, 100)
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		w.WriteHeader(http.StatusInternalServerError)
	}))
	defer down.Close()
	open, strict, bearerOnly, anonymous, unknown := testutil.FreeAddress(t), testutil.FreeAddress(t),
		testutil.FreeAddress(t), testutil.FreeAddress(t), testutil.FreeAddress(t)
	respond := `respond "{http.auth.user.id}|{http.auth.user.scheme}|{http.auth.user.full_name}|{http.auth.user.roles}|{http.auth.user.scopes}|{http.auth.user.backend}|{http.auth.frappe.cache}|{http.auth.frappe.error}|{header.Authorization}"
	handle_errors {
		respond "{err.status_code} {err.message}|{http.auth.frappe.error}|{http.auth.user.id}|{http.auth.user.roles}|{http.auth.candidate.id}"
	}`
	site := "backend static {\n" +
		"token " + testutil.AliceKey + " " + testutil.Hash(testutil.AliceSecret) +
		` alice@example.com "System Manager" "Report Manager"` + "\n" +
		"token 5f200e7119f1d3c " + testutil.Hash("091f121aa6a0031") + " bob@example.com\n" +
		"bearer " + testutil.Hash("641cc7393fbf7e529b94837c181e81") + " alice@example.com \"System Manager\"\n" +
		"bearer " + testutil.Hash("2d6f2973a9c21c820d549cdb01d1b3") + " bob@example.com\n}\n"
	testutil.RunCaddy(t, fmt.Sprintf(`
http://%s {
	frappe_auth {
		%s
		cache {
			ttl 0
		}
		failures off
	}
	%s
}
http://%s {
	frappe_auth {
		%s
		require role "System Manager" Accountant
		require user alice@example.com carol@example.com
		realm "The \"inner\" ring"
		hide_credentials
	}
	%s
}
http://%s {
	frappe_auth {
		%s
		schemes bearer
	}
	%s
}
http://%s {
	frappe_auth {
		%s
		anonymous
	}
	%s
}
http://%s {
	frappe_auth {
		backend static {
			token %s %s alice@example.com
		}
		backend site %s
	}
	%s
}`, open, site, respond, strict, site, respond, bearerOnly, site, respond, anonymous, site, respond,
		unknown, testutil.AliceKey, testutil.Hash(testutil.AliceSecret), down.URL, respond))

	const bearer = `Bearer realm="Frappe", error="invalid_token"`
	plain := []string{`Basic realm="Frappe", charset="UTF-8"`}
	denied := append(slices.Clone(plain), bearer)
	described := func(description string) []string {
		description = `, error_description="` + description + `"`
		return []string{plain[0] + description, bearer + description}
	}
	const lineBreak = "credential denied: the API secret ends with a line break, which `echo` adds; use `printf` in its place"
	tooLong := "token " + testutil.AliceKey + ":" + strings.Repeat("x", 8192)

	for _, test := range []struct {
		name          string
		address       string
		authorization []string
		status        int
		body          string
		challenges    []string
	}{
		{
			"token", open,
			[]string{testutil.AlicePair},
			200,
			"alice@example.com|token||System Manager,Report Manager||static|miss||" + testutil.AlicePair, nil,
		},
		{
			"Basic", open,
			[]string{testutil.AliceBasic},
			200,
			"alice@example.com|basic||System Manager,Report Manager||static|miss||" + testutil.AliceBasic, nil,
		},
		{
			"Bearer", open,
			[]string{testutil.AliceBearer},
			200,
			"alice@example.com|bearer||System Manager||static|miss||" + testutil.AliceBearer, nil,
		},
		{
			"a user without roles", open,
			[]string{testutil.BobPair},
			200,
			"bob@example.com|token||||static|miss||" + testutil.BobPair, nil,
		},
		{"none", open, nil, 401, "401 no credential|no credential|||", plain},
		{"empty", open, []string{""}, 401, "401 no credential|no credential|||", plain},
		{
			"wrong secret", open,
			[]string{"token " + testutil.AliceKey + ":x"},
			401,
			"401 credential denied|credential denied|||" + testutil.AliceKey, denied,
		},
		{"unknown key", open, []string{"token x:x"}, 401, "401 credential denied|credential denied|||x", denied},
		{"unknown token", open, []string{"Bearer x"}, 401, "401 credential denied|credential denied|||", denied},
		{
			"a known key, with the line break of echo", open,
			[]string{"Basic " + base64.StdEncoding.EncodeToString([]byte(testutil.AliceKey+":"+testutil.AliceSecret+"\n"))},
			401, "", described(lineBreak)[:1],
		},
		{
			"an unknown key, with the line break of echo", open,
			[]string{"Basic " + base64.StdEncoding.EncodeToString([]byte("x:x\n"))},
			401, "401 " + lineBreak + "|" + lineBreak + "|||x", described(lineBreak)[:1],
		},
		{
			"JWT", open,
			[]string{"Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln"},
			401,
			"401 credential denied|credential denied|||", denied,
		},
		{
			"no colon", open,
			[]string{"token x"},
			401, "",
			described("an API key and an API secret are needed, joined by one colon; an access token is sent with `Bearer`"),
		},
		{
			"two colons", open,
			[]string{"token x:y:z"},
			401, "",
			described("there must be exactly one colon, the one between API key and API secret"),
		},
		{
			"two spaces", open,
			[]string{"token  x:y"},
			401, "",
			described("there must be exactly one space, the one between scheme and credential"),
		},
		{
			"no padding", open,
			[]string{strings.TrimRight(testutil.AliceBasic, "=")},
			401, "",
			described("the credential is not base64 that ends with its padding")[:1],
		},
		{
			"Python's bytes", open,
			[]string{"Basic b'" + testutil.AliceBasic[6:] + "'"},
			401, "",
			described("the base64 was sent as Python 3 prints bytes, b'...': call .decode() on the result of base64.b64encode before putting it into the header")[:1],
		},
		{"another scheme", open, []string{"Digest x:y"}, 401, "", described("the scheme is none of token, Basic and Bearer")},
		{"too long", open, []string{tooLong}, 401, "", described("the Authorization header is longer than 8192 bytes")},
		{
			"two headers", open,
			[]string{testutil.AlicePair, testutil.AlicePair},
			400,
			"400 more than one Authorization header|more than one Authorization header|||", nil,
		},
		{
			"requirements met, by a verdict that another handler asked for", strict,
			[]string{testutil.AlicePair},
			200,
			"alice@example.com|token||System Manager,Report Manager||static|hit||", nil,
		},
		{
			"and met again by the other scheme", strict,
			[]string{testutil.AliceBasic},
			200,
			"alice@example.com|basic||System Manager,Report Manager||static|hit||", nil,
		},
		{
			"requirement not met", strict,
			[]string{testutil.BobPair},
			403,
			"403 the user does not meet the requirements|the user does not meet the requirements|||5f200e7119f1d3c", nil,
		},
		{
			"requirement not met by an access token", strict,
			[]string{testutil.BobBearer},
			403,
			"403 the user does not meet the requirements|the user does not meet the requirements|||",
			[]string{`Bearer realm="The \"inner\" ring", error="insufficient_scope"`},
		},
		{
			"nor from the cache", strict,
			[]string{testutil.BobBearer},
			403, "",
			[]string{`Bearer realm="The \"inner\" ring", error="insufficient_scope"`},
		},
		{"an accepted scheme", bearerOnly, []string{testutil.AliceBearer}, 200, "", nil},
		{
			"a scheme that is not accepted", bearerOnly,
			[]string{testutil.AlicePair},
			401, "",
			[]string{bearer + `, error_description="the scheme of the credential is not accepted here"`},
		},
		{"anonymous", anonymous, nil, 200, "Guest||||||||", nil},
		{"anonymous, with an empty header", anonymous, []string{" "}, 200, "Guest||||||||", nil},
		{"not anonymous with a good credential", anonymous, []string{testutil.AlicePair}, 200, "", nil},
		{"not anonymous with a bad one", anonymous, []string{"token x:y"}, 401, "", denied},
		{
			"not anonymous with a malformed one", anonymous,
			[]string{"token"},
			401, "",
			described("a scheme and a credential are needed, separated by one space"),
		},
		{
			"unavailable", unknown,
			[]string{testutil.AliceBearer},
			503,
			"503 the credential could not be verified|the credential could not be verified|||", nil,
		},
		{"known to the first backend", unknown, []string{testutil.AlicePair}, 200, "", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var headers []string
			for _, value := range test.authorization {
				headers = append(headers, "Authorization: "+value)
			}
			got := testutil.Get(t, "http://"+test.address, headers...)
			if got.Status != test.status {
				t.Errorf("status %d, want %d", got.Status, test.status)
			}
			if test.body != "" && got.Body != test.body {
				t.Errorf("body %q, want %q", got.Body, test.body)
			}
			if !slices.Equal(got.Header["Www-Authenticate"], test.challenges) {
				t.Errorf("challenges %q, want %q", got.Header["Www-Authenticate"], test.challenges)
			}
			if retry := got.Header.Get("Retry-After"); (test.status == 503) != (retry != "") {
				t.Errorf("Retry-After is %q with status %d", retry, test.status)
			}
		})
	}
	if len(asked) != 1 {
		t.Errorf("the site was asked %d times, want once: for what the first backend did not know", len(asked))
	}
}

// TestRequirements: every require line must be met, names of users compare with case, and Guest meets no requirement.
func TestRequirements(t *testing.T) {
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`
http://%s {
	frappe_auth {
		backend static {
			bearer %s both@example.com Employee
			bearer %s role@example.com Employee
			bearer %s listed@example.com
			bearer %s Both@example.com Employee
		}
		require role Employee
		require user both@example.com listed@example.com Guest
		anonymous
	}
	respond {http.auth.user.id}
}`, address, testutil.Hash("both"), testutil.Hash("role"), testutil.Hash("listed"), testutil.Hash("case")))
	for token, want := range map[string]int{"both": 200, "role": 403, "listed": 403, "case": 403} {
		if got := testutil.Get(t, "http://"+address, "Authorization: Bearer "+token); got.Status != want {
			t.Errorf("%s: %d, want %d", token, got.Status, want)
		}
	}
	if got := testutil.Get(t, "http://"+address); got.Status != 401 || len(got.Header["Www-Authenticate"]) != 1 {
		t.Errorf("Guest: %d", got.Status)
	}
}
