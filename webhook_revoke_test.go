package frappeauth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestWebhookOfHashedToken: the newest versions of Frappe name a token by its hash, in a document with a random name.
func TestWebhookOfHashedToken(t *testing.T) {
	site, asked := testutil.CountingSite(t)
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf(`http://%s {
	frappe_auth_webhook /hook s3cret
	frappe_auth %s
	respond {http.auth.frappe.cache}
}`, address, site))
	url := "http://" + address
	hash := sha256.Sum256([]byte("the-token"))
	for _, test := range []struct {
		name, token string
		asked       int64 // in all, after the next request
	}{
		{"a hash", hex.EncodeToString(hash[:]), 2},
		{"the token", "the-token", 3},
		{"the hash of another", strings.Repeat("0", 64), 3},
		{"nothing", "", 3},
	} {
		get(t, url, "Authorization: Bearer the-token")
		body := fmt.Sprintf(`{"doctype":"OAuth Bearer Token","name":"a1b2c3d4e5","access_token":%q}`, test.token)
		if got := deliver(t, url+"/hook", []byte(body), sign(body)); got.Status != http.StatusNoContent {
			t.Fatalf("%s: %d %s", test.name, got.Status, got.Body)
		}
		if get(t, url, "Authorization: Bearer the-token"); asked.Load() != test.asked {
			t.Errorf("%s: the site was asked %d times, want %d", test.name, asked.Load(), test.asked)
		}
	}
}

// TestWebhookRevokesEverySpelling: MariaDB, with the collation of Frappe's tables, takes each of these for the access token
// of the recorded delivery, so a client that knows the token can have a verdict cached for each.
func TestWebhookRevokesEverySpelling(t *testing.T) {
	const token = "2d6f2973a9c21c820d549cdb01d1b3"
	var asked atomic.Int64
	site := jsonSite(t, testutil.Answers{
		loggedUser: func(*http.Request) (int, string) {
			asked.Add(1)
			return 200, `{"message":"bob@example.com"}`
		},
	})
	address := freeAddress(t)
	runCaddy(t, fmt.Sprintf("http://%s {\nfrappe_auth_webhook /hook s3cret\nfrappe_auth %s\nrespond ok\n}", address, site.URL))
	body, signature := delivery(t, "oauth-bearer-token-on_update.http")
	for _, test := range []struct {
		name, token string
		kept        bool // Frappe makes tokens of such characters
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
				if got := get(t, "http://"+address, "Authorization: Bearer "+test.token); got.Status != 200 {
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
