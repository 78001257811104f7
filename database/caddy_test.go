package database

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// serve runs a Caddy with the directive until the test ends, and returns its address.
func serve(t testing.TB, directive string) (url string, logs func() string) {
	t.Helper()
	address := testutil.FreeAddress(t)
	c := testutil.NewCaddy(t)
	t.Cleanup(func() {
		c.Stop()
		if secret := secretIn(t, c.Logs()); secret != "" {
			t.Errorf("the log holds the secret %s", secret)
		}
	})
	c.Load(fmt.Sprintf("http://%s {\n%s\nrespond \"{http.auth.user.id}|{http.auth.user.roles}\"\n}", address, directive))
	return "http://" + address, c.Logs
}

// secretIn is a secret of the recorded sites that a text holds, or empty: of users, of the database, and of the site.
func secretIn(t testing.TB, text string) string {
	t.Helper()
	for _, recorded := range []string{"mariadb-site", "postgres-site"} {
		creds := readCredentials(t, recorded)
		conf, err := readSiteConfig(filepath.Join("testdata", recorded))
		if err != nil {
			t.Fatal(err)
		}
		secrets := []string{conf.DBPassword, conf.EncryptionKey}
		for _, pair := range creds.pairs {
			secrets = append(secrets, pair[1], base64.StdEncoding.EncodeToString([]byte(pair[0]+":"+pair[1])))
		}
		for _, token := range creds.bearer {
			secrets = append(secrets, token)
		}
		for _, secret := range secrets {
			if secret != "" && strings.Contains(text, secret) {
				return secret
			}
		}
	}
	return ""
}

// ask is what Caddy answers to a credential: the status, and the user and roles if it is good.
func ask(t testing.TB, url, authorization string) string {
	t.Helper()
	got := testutil.Get(t, url, "Authorization: "+authorization)
	return strings.TrimSuffix(fmt.Sprintf("%d %s", got.Status, got.Body), " ")
}

// TestCorpusThroughCaddy: on every database a running Caddy lets in what the recorded site let in, but for disabled users,
// and for keys and tokens in another case.
func TestCorpusThroughCaddy(t *testing.T) {
	recordedWith := readCredentials(t, "mariadb-site")
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		url, _ := serve(t, fmt.Sprintf("frappe_auth {\nbackend database %s\nfailures off\n}", s.dir))
		driven := 0
		for _, c := range testutil.Corpus(t) {
			if len(c.Headers) > 0 || len(c.Authorization) != 1 || strings.TrimSpace(c.Authorization[0]) != c.Authorization[0] {
				continue // what other headers do, and white space, is the handler's part
			}
			driven++
			recorded := c.Frappe[testutil.OnPostgreSQL] // which compares with case
			got := ask(t, url, s.creds.inPlaceOf(recordedWith, c.Authorization[0]))
			switch {
			case strings.Contains(c.Name, "disabled"):
				if got != "401" {
					t.Errorf("%s: %s", c.Name, got)
				}
			case recorded.Status == 200 && !strings.HasPrefix(got, "200 "+*recorded.User+"|"):
				t.Errorf("%s: %s, but Frappe let %s in", c.Name, got, *recorded.User)
			case recorded.Status != 200 && got != "401":
				t.Errorf("%s: %s, but Frappe refused", c.Name, got)
			}
		}
		if driven < 50 {
			t.Errorf("only %d cases were driven", driven)
		}
		for user, p := range s.creds.pairs {
			got := ask(t, url, "token "+p[0]+":"+p[1])
			if want := "200 " + user; (user == "disabled@example.com" && got != "401") || (user != "disabled@example.com" && !strings.HasPrefix(got, want)) {
				t.Errorf("key of %s: %s", user, got)
			}
		}
		for name, token := range s.creds.bearer {
			want := map[string]string{"alice": "200 alice@example.com|", "openidonly": "200 alice@example.com|", "bob": "200 bob@example.com|"}[name]
			if got := ask(t, url, "Bearer "+token); (want == "" && got != "401") || !strings.HasPrefix(got, want) {
				t.Errorf("token %s: %s", name, got)
			}
		}
	})
}

// inPlaceOf puts the site's own credentials into a header that was recorded with another site's.
func (c credentials) inPlaceOf(other credentials, header string) string {
	var names []string
	for user, p := range other.pairs {
		own := c.pairs[user]
		for i := range p {
			names = append(names, p[i], own[i], strings.ToUpper(p[i]), strings.ToUpper(own[i]))
		}
		names = append(names, base64.StdEncoding.EncodeToString([]byte(p[0]+":"+p[1])), base64.StdEncoding.EncodeToString([]byte(own[0]+":"+own[1])))
	}
	for name, token := range other.bearer {
		names = append(names, token, c.bearer[name], strings.ToUpper(token), strings.ToUpper(c.bearer[name]))
	}
	return strings.NewReplacer(names...).Replace(header)
}

// TestExpiryWhileCached: a token is refused at the very second in which it ends, although its verdict is cached for an
// hour.
func TestExpiryWhileCached(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		url, _ := serve(t, fmt.Sprintf("frappe_auth {\nbackend database %s\ncache {\nttl 1h\n}\n}", s.dir))
		kolkata := time.FixedZone("", 5*3600+1800)
		ends := time.Now().Add(1500 * time.Millisecond).Truncate(time.Microsecond)
		s.change(t, `UPDATE "tabOAuth Bearer Token" SET "expiration_time" = ? WHERE "name" = ?`,
			ends.In(kolkata).Format("2006-01-02 15:04:05.000000"), s.creds.bearer["alice"])
		granted := 0
		for {
			before := time.Now()
			got := ask(t, url, "Bearer "+s.creds.bearer["alice"])
			after := time.Now()
			if strings.HasPrefix(got, "200 ") {
				granted++
				if before.After(ends) {
					t.Fatalf("granted %s after its end", before.Sub(ends))
				}
				continue
			}
			if got != "401" || after.Before(ends) || granted == 0 {
				t.Errorf("%s, %s after its end, granted %d times before", got, after.Sub(ends), granted)
			}
			return
		}
	})
}
