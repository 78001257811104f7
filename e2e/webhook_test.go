package e2e

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// delivery returns a recorded delivery of Frappe, which is signed with `s3cret`.
func delivery(t *testing.T, name string) (body []byte, signature string) {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(testutil.ReadFile(t, "testdata/webhook/"+name))))
	if err != nil {
		t.Fatal(err)
	}
	if body, err = io.ReadAll(r.Body); err != nil {
		t.Fatal(err)
	}
	return body, r.Header.Get("X-Frappe-Webhook-Signature")
}

// sign returns the signature of a delivery.
func sign(body string) string {
	mac := hmac.New(sha256.New, []byte("s3cret"))
	mac.Write([]byte(body))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// deliver sends a delivery with these signatures.
func deliver(t *testing.T, url string, body []byte, signatures ...string) testutil.Response {
	t.Helper()
	var headers []string
	for _, signature := range signatures {
		headers = append(headers, "X-Frappe-Webhook-Signature: "+signature)
	}
	return testutil.Send(t, http.MethodPost, url, string(body), headers...)
}

// errorOf returns the error in the answer to a delivery, which Frappe's log shows.
func errorOf(t *testing.T, got testutil.Response) string {
	t.Helper()
	if got.Status == http.StatusNoContent {
		if got.Body != "" {
			t.Errorf("body %q", got.Body)
		}
		return ""
	}
	var answer struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal([]byte(got.Body), &answer); err != nil ||
		got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%v: %q %q", err, got.Header.Get("Content-Type"), got.Body)
	}
	return answer.Error
}

// TestWebhookLogsRefusals: each cause of refusals is warned of once at the default log level, and each refusal is
// counted. handle_errors does not change the answer to Frappe.
func TestWebhookLogsRefusals(t *testing.T) {
	address := testutil.FreeAddress(t)
	c := testutil.RunCaddy(t, fmt.Sprintf(`
{
	metrics
}
http://%s {
	handle_errors {
		respond "hidden"
	}
	metrics /metrics
	frappe_auth_webhook /hook s3cret
	frappe_auth_webhook /misnamed s3cret {
		handler nobody
	}
}`, address))
	url := "http://" + address
	// Counters keep their values across tests, as across reloads.
	counted := func(outcome string) (n int) {
		t.Helper()
		series := fmt.Sprintf("caddy_frappe_auth_webhook_deliveries_total{outcome=%q} ", outcome)
		_, rest, ok := strings.Cut(testutil.Get(t, url+"/metrics").Body, series)
		if _, err := fmt.Sscan(rest, &n); !ok || err != nil {
			t.Errorf("no %s: %v", series, err)
		}
		return n
	}
	want := map[string]int{"accepted": 3, "bad_signature": 3, "malformed": 4, "unknown_handler": 3, "unpublished": 0}
	before := make(map[string]int)
	for outcome := range want {
		before[outcome] = counted(outcome)
	}
	const good, bad = `{"doctype":"User","name":"dave@example.com"}`, `{"doctype":"User"}`
	for range 3 {
		deliver(t, url+"/hook", []byte(good), sign(good))
		if got := deliver(t, url+"/hook", []byte(good), sign(bad)); errorOf(t, got) == "" {
			t.Error("no reason")
		}
		deliver(t, url+"/hook", []byte(bad), sign(bad))
		deliver(t, url+"/misnamed", []byte(good), sign(good))
	}
	testutil.Get(t, url+"/hook")
	for outcome, n := range want {
		if got := counted(outcome) - before[outcome]; got != n {
			t.Errorf("%d deliveries were counted as %s, want %d", got, outcome, n)
		}
		warning := regexp.MustCompile(fmt.Sprintf(`"level":"warn".*"logger":"http.handlers.frappe_auth_webhook".*"outcome":%q.*"client_ip":"127.0.0.1"`, outcome))
		want := 1
		if outcome == "accepted" || n == 0 {
			want = 0
		}
		if got := len(warning.FindAllString(c.Logs(), -1)); got != want {
			t.Errorf("%d warnings of %s, want %d", got, outcome, want)
		}
	}
}

// TestWebhookDeliveries: a recorded delivery drops the verdicts on its user or token. A request without a valid
// signature has no effect.
func TestWebhookDeliveries(t *testing.T) {
	var mu sync.Mutex
	asked := make(map[string]int)
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: func(r *http.Request) (int, string) {
			mu.Lock()
			defer mu.Unlock()
			credential := testutil.CredentialOf(r)
			asked[credential]++
			switch credential {
			case "pair 5f200e7119f1d3c:091f121aa6a0031", testutil.BobBearer:
				return 200, `{"message":"bob@example.com"}`
			case "pair " + testutil.AliceKey + ":" + testutil.AliceSecret:
				return 200, `{"message":"alice@example.com"}`
			}
			return 401, `{}`
		},
	})
	address := testutil.FreeAddress(t)
	t.Setenv("FRAPPE_AUTH_TEST_WEBHOOK", "s3cret")
	c := testutil.RunCaddy(t, fmt.Sprintf(`
http://%s {
	frappe_auth_webhook /hooks/frappe {env.FRAPPE_AUTH_TEST_WEBHOOK}
	frappe_auth_webhook /hooks/named {env.FRAPPE_AUTH_TEST_WEBHOOK} {
		handler erp
	}
	frappe_auth_webhook /hooks/misnamed {env.FRAPPE_AUTH_TEST_WEBHOOK} {
		handler nobody
	}
	frappe_auth %s {
		name erp
		cache {
			negative_ttl 1m
		}
	}
	respond {http.auth.user.id}
}`, address, site.URL))
	url := "http://" + address + "/hooks/frappe"
	user, userSignature := delivery(t, "user-on_update.http")
	token, tokenSignature := delivery(t, "oauth-bearer-token-on_update.http")
	changed := func(body []byte, at int) []byte {
		changed := bytes.Clone(body)
		changed[at] ^= 1
		return changed
	}
	const appeared = `{"doctype":"User","name":"dave@example.com","api_key":"dave"}`

	credentials := map[string]string{
		"alice": testutil.AlicePair, "bob's key": testutil.BobPair, "bob's token": testutil.BobBearer,
		"dave's key": "token dave:x", "nobody's token": "Bearer x",
	}
	names := []string{"alice", "bob's key", "bob's token", "dave's key", "nobody's token"}
	// asks sends all credentials, and returns those that the site was asked about.
	asks := func() string {
		var fresh []string
		for _, name := range names {
			mu.Lock()
			before := 0
			for _, n := range asked {
				before += n
			}
			mu.Unlock()
			testutil.Get(t, "http://"+address, "Authorization: "+credentials[name])
			mu.Lock()
			after := 0
			for _, n := range asked {
				after += n
			}
			mu.Unlock()
			if after > before {
				fresh = append(fresh, name)
			}
		}
		return strings.Join(fresh, ", ")
	}
	if got := asks(); got != strings.Join(names, ", ") {
		t.Fatalf("at first the site is asked of %s", got)
	}

	const (
		badSignature = "the signature is missing or wrong; tick Enable Security in the Webhook, and set its Webhook Secret to the secret of " +
			"frappe_auth_webhook in Caddy"
		noObject = "the body is not a JSON object; set Request Structure to JSON in the Webhook, and its JSON Request Body to the one in " +
			"docs/freshness.md of frappe-auth"
		noName         = `the body has no name; add "name": "{{ doc.name }}" to the JSON Request Body of the Webhook`
		wrongDoctype   = `the doctype of the body must be "User" or "OAuth Bearer Token"; webhooks of other documents revoke nothing`
		tooLong        = "the body is longer than 64 KiB; send only doctype, name and api_key"
		unknownHandler = "no frappe_auth is named nobody, so nothing was revoked; in Caddy, correct `handler` of frappe_auth_webhook or " +
			"`name` of frappe_auth"
	)
	misnamed := "http://" + address + "/hooks/misnamed"
	for _, test := range []struct {
		name       string
		url        string
		body       []byte
		signatures []string
		status     int
		what       string // error
		dropped    string
	}{
		{"user", url, user, []string{userSignature}, 204, "", "bob's key, bob's token"},
		{"token", url, token, []string{tokenSignature}, 204, "", "bob's token"},
		{"replay", url, token, []string{tokenSignature}, 204, "", "bob's token"},
		{"for a named handler", url + "/../named", user, []string{userSignature}, 204, "", "bob's key, bob's token"},
		{"for a handler that is not there", misnamed, user, []string{userSignature}, 500, unknownHandler, ""},
		{"new key of a user", url, []byte(appeared), []string{sign(appeared)}, 204, "", "dave's key"},
		{"first byte of the body changed", url, changed(user, 0), []string{userSignature}, 403, badSignature, ""},
		{"last byte of the body changed", url, changed(user, len(user)-1), []string{userSignature}, 403, badSignature, ""},
		{
			"byte of the signature changed", url, user,
			[]string{string(changed([]byte(userSignature), 5))},
			403, badSignature,
			"",
		},
		{"signature of another delivery", url, user, []string{tokenSignature}, 403, badSignature, ""},
		{"no signature", url, user, nil, 403, badSignature, ""},
		{"empty signature", url, user, []string{""}, 403, badSignature, ""},
		{"two signatures", url, user, []string{userSignature, userSignature}, 403, badSignature, ""},
		{"empty body", url, nil, nil, 403, badSignature, ""},
		{"wrong signature, for a handler that is not there", misnamed, user, []string{tokenSignature}, 403, badSignature, ""},
		{"too long", url, []byte(strings.Repeat(" ", 64<<10) + "{}"), nil, 413, tooLong, ""},
		{"no JSON", url, []byte("x"), []string{sign("x")}, 422, noObject, ""},
		{"form", url, []byte("doctype=User&name=x"), []string{sign("doctype=User&name=x")}, 422, noObject, ""},
		{"list", url, []byte("[]"), []string{sign("[]")}, 422, noObject, ""},
		{"null", url, []byte("null"), []string{sign("null")}, 422, noName, ""},
		{"no name", url, []byte(`{"doctype":"User"}`), []string{sign(`{"doctype":"User"}`)}, 422, noName, ""},
		{
			"another doctype", url, []byte(`{"doctype":"ToDo","name":"x"}`),
			[]string{sign(`{"doctype":"ToDo","name":"x"}`)},
			422, wrongDoctype, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := deliver(t, strings.ReplaceAll(test.url, "/frappe/../", "/"), test.body, test.signatures...)
			if got.Status != test.status {
				t.Errorf("status %d, want %d", got.Status, test.status)
			}
			if what := errorOf(t, got); what != test.what {
				t.Errorf("answers %s, want %s", what, test.what)
			}
			if dropped := asks(); dropped != test.dropped {
				t.Errorf("dropped the verdicts of %q, want %q", dropped, test.dropped)
			}
		})
	}
	if got := testutil.Get(t, url); got.Status != 405 || got.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %q", got.Status, got.Header)
	}
	for _, secret := range []string{"s3cret", "2d6f2973a9c21c820d549cdb01d1b3", testutil.AliceSecret} {
		if strings.Contains(c.Logs(), secret) {
			t.Errorf("%s was logged", secret)
		}
	}
}

// TestWebhookRevokesHashedToken: the newest versions of Frappe send the hash of a token, in a document with a random
// name.
func TestWebhookRevokesHashedToken(t *testing.T) {
	site, asked := testutil.CountingSite(t)
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth_webhook /hook s3cret
	frappe_auth %s
	respond {http.auth.frappe.cache}
}`, address, site))
	url := "http://" + address
	hash := sha256.Sum256([]byte("the-token"))
	for _, test := range []struct {
		name, token string
		asked       int64 // how often in all, after the next request
	}{
		{"a hash", hex.EncodeToString(hash[:]), 2},
		{"the token", "the-token", 3},
		{"the hash of another", strings.Repeat("0", 64), 3},
		{"nothing", "", 3},
	} {
		testutil.Get(t, url, "Authorization: Bearer the-token")
		body := fmt.Sprintf(`{"doctype":"OAuth Bearer Token","name":"a1b2c3d4e5","access_token":%q}`, test.token)
		if got := deliver(t, url+"/hook", []byte(body), sign(body)); got.Status != http.StatusNoContent {
			t.Fatalf("%s: %d %s", test.name, got.Status, got.Body)
		}
		if testutil.Get(t, url, "Authorization: Bearer the-token"); asked.Load() != test.asked {
			t.Errorf("%s: the site was asked %d times, want %d", test.name, asked.Load(), test.asked)
		}
	}
}

// TestWebhookRevokesEverySpelling: with the collation of Frappe's tables, MariaDB takes each of these spellings for the
// access token of the recorded delivery. So each can have a verdict, and the delivery drops all of them.
func TestWebhookRevokesEverySpelling(t *testing.T) {
	const token = "2d6f2973a9c21c820d549cdb01d1b3"
	var asked atomic.Int64
	site := testutil.JSONSite(t, testutil.Answers{
		testutil.LoggedUser: func(*http.Request) (int, string) {
			asked.Add(1)
			return 200, `{"message":"bob@example.com"}`
		},
	})
	address := testutil.FreeAddress(t)
	testutil.RunCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth_webhook /hook s3cret\nfrappe_auth %s\nrespond ok\n}",
		address, site.URL))
	body, signature := delivery(t, "oauth-bearer-token-on_update.http")
	for _, test := range []struct {
		name, token string
		kept        bool // whether it is cached, as Frappe makes tokens of such characters
	}{
		{"as it is", token, true},
		{"in capitals", strings.ToUpper(token), true},
		{"with a control character at its end", token + "\x80", false},
		{"with a control character within", token[:5] + "\x9f" + token[5:], false},
		{"with a no-break space at its end", token + "\xa0", false},
		{"with an accent", strings.Replace(token, "a", "\xe1", 1), false},
		{"with a raised digit", strings.Replace(token, "2", "\xb2", 1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ask := func() {
				t.Helper()
				if got := testutil.Get(t, "http://"+address, "Authorization: Bearer "+test.token); got.Status != 200 {
					t.Fatalf("status %d", got.Status)
				}
			}
			ask()
			if got := deliver(t, "http://"+address+"/hook", body, signature); got.Status != 204 {
				t.Fatalf("the delivery got %d", got.Status)
			}
			before := asked.Load()
			if ask(); asked.Load() != before+1 {
				t.Error("the verdict outlived the revocation")
			}
			if ask(); (asked.Load() == before+1) != test.kept {
				t.Errorf("the verdict from after the revocation is kept: %t", !test.kept)
			}
		})
	}
}
