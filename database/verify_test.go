package database

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// TestCredentials: every credential of the recorded sites.
func TestCredentials(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		for user, p := range s.creds.pairs {
			want := user
			if user == "disabled@example.com" {
				want = "denied"
			}
			if got := verdict(b, pair(p)); got != want {
				t.Errorf("key of %s: %s", user, got)
			}
			for name, wrong := range map[string][2]string{
				"wrong secret":               {p[0], "wrong"},
				"secret in capitals":         {p[0], strings.ToUpper(p[1])},
				"key in capitals":            {strings.ToUpper(p[0]), p[1]},
				"key with a space":           {p[0] + " ", p[1]},
				"key with a NUL":             {p[0] + "\x00", p[1]},
				"secret with a NUL":          {p[0], p[1] + "\x00"},
				"key with an accent":         {p[0][:5] + "\u0301" + p[0][5:], p[1]},
				"key with a quote":           {p[0] + "' OR '1'='1", p[1]},
				"key that is no UTF-8":       {p[0] + "\xff", p[1]},
				"empty secret":               {p[0], ""},
				"stars for the secret":       {p[0], "***************"},
				"what the database has":      {p[0], "gAAAAA"},
				"empty key":                  {"", p[1]},
				"key of a user without keys": {"", ""},
			} {
				if got := verdict(b, pair(wrong)); got != "denied" && name != "key that is no UTF-8" {
					t.Errorf("%s of %s: %s", name, user, got)
				} else if got == user {
					t.Errorf("%s of %s: granted", name, user)
				}
			}
		}
		for name, token := range s.creds.bearer {
			want := "denied"
			switch name {
			case "alice", "openidonly":
				want = "alice@example.com"
			case "bob":
				want = "bob@example.com"
			}
			if got := verdict(b, bearer(token)); got != want {
				t.Errorf("token %s: %s, want %s", name, got, want)
			}
			for _, wrong := range []string{strings.ToUpper(token), token + " ", token + "\x00", token[1:], "", "' OR '1'='1"} {
				if got := verdict(b, bearer(wrong)); got != "denied" && wrong != token {
					t.Errorf("token %q: %s", wrong, got)
				}
			}
		}
	})
}

// TestIdentity: what Frappe's get_roles answers, full names, scopes and expiry.
func TestIdentity(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		for user, want := range map[string]struct {
			fullName string
			roles    []string
		}{
			"alice@example.com":       {"Alice", []string{"System Manager", "Report Manager", "All", "Guest", "Desk User"}}, // roles.http
			"web@example.com":         {"Web", []string{"All", "Guest"}},
			"o'brien+api@example.com": {"José", []string{"Blogger", "All", "Guest", "Desk User"}},
		} {
			id, err := b.Verify(t.Context(), pair(s.creds.pairs[user]))
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(want.roles)
			slices.Sort(id.Roles)
			if id.FullName != want.fullName || !slices.Equal(id.Roles, want.roles) || id.Scopes != nil || !id.Expiry.IsZero() {
				t.Errorf("%s: %+v", user, id)
			}
		}
		id, err := b.Verify(t.Context(), pair(s.creds.pairs["Administrator"]))
		if err != nil || len(id.Roles) < 20 || !slices.Contains(id.Roles, "Administrator") ||
			!slices.Contains(id.Roles, "Sales User") {
			t.Errorf("Administrator: %v %v", id.Roles, err)
		}

		// With the table of roles readable, Administrator has all of them, also those that were added since.
		s.createRoles(t)
		s.change(t, `INSERT INTO "tabRole" ("name") VALUES ('Brand New')`)
		b.source.current.Load().forgetSchema()
		id, err = b.Verify(t.Context(), pair(s.creds.pairs["Administrator"]))
		if err != nil || !slices.Contains(id.Roles, "Brand New") {
			t.Errorf("Administrator: %v %v", id.Roles, err)
		}
		if id, err = b.Verify(t.Context(), pair(s.creds.pairs["alice@example.com"])); err != nil ||
			slices.Contains(id.Roles, "Brand New") {
			t.Errorf("alice: %v %v", id.Roles, err)
		}

		id, err = b.Verify(t.Context(), bearer(s.creds.bearer["alice"]))
		kolkata := time.Date(2099, 1, 1, 0, 0, 0, 0, time.FixedZone("", 5*3600+1800))
		if err != nil || !slices.Equal(id.Scopes, []string{"all", "openid"}) || !id.Expiry.Equal(kolkata) ||
			len(id.Roles) != 5 {
			t.Errorf("token of alice: %+v %v", id, err)
		}
	})
}

// TestSecrets: how a secret can be stored.
func TestSecrets(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		alice := s.creds.pairs["alice@example.com"]
		update := `UPDATE "__Auth" SET "password" = ?, "encrypted" = ? WHERE "name" = 'alice@example.com'`
		s.change(t, update, "plain", 0)
		for _, secret := range []string{"plain", alice[1]} { // Frappe finds no secret in the hash of a password
			if got := verdict(b, pair([2]string{alice[0], secret})); got != "denied" {
				t.Errorf("not encrypted, with %q: %s", secret, got)
			}
		}
		s.change(t, update, s.encrypted(t, alice[1]), 0)
		if got := verdict(b, pair(alice)); got != "denied" {
			t.Errorf("encrypted, and not said to be: %s", got)
		}
		s.change(t, update, "", 0)
		if got := verdict(b, pair([2]string{alice[0], ""})); got != "denied" {
			t.Errorf("empty: %s", got)
		}
		s.change(t, update, "gAAAAAnot of this key", 1)
		if got := verdict(b, pair(alice)); !strings.Contains(got, "encryption_key") || strings.Contains(got, alice[1]) {
			t.Errorf("of another key: %s", got)
		}
		if kind == "sqlite" { // the others have a unique index
			s.change(t, `UPDATE "tabUser" SET "api_key" = ? WHERE "name" = 'bob@example.com'`, alice[0])
			if got := verdict(b, pair(alice)); !strings.Contains(got, "several users") {
				t.Errorf("of two users: %s", got)
			}
			s.change(t, `UPDATE "tabUser" SET "api_key" = NULL WHERE "name" = 'bob@example.com'`)
		}
		s.change(t, `DELETE FROM "__Auth" WHERE "name" = 'alice@example.com'`)
		if got := verdict(b, pair(alice)); got != "denied" {
			t.Errorf("none: %s", got)
		}
	})
}

// TestOneCredentialDoesNotShutOff: what is wrong with one credential, which a client can send at will, is not taken for
// an outage of the database.
func TestOneCredentialDoesNotShutOff(t *testing.T) {
	s := newSite(t, "mariadb")
	s.change(t, `UPDATE "__Auth" SET "password" = 'gAAAAAnot of this key' WHERE "name" = 'alice@example.com'`)
	s.change(t, `UPDATE "tabSingles" SET "value" = 'Mars/Olympus' WHERE "field" = 'time_zone'`)
	url, _ := serve(t, fmt.Sprintf("frappe_auth {\nbackend database %s\n}", s.dir))
	alice, bob := s.creds.pairs["alice@example.com"], s.creds.pairs["bob@example.com"]
	for i := range 20 {
		if got := ask(t, url, []string{"token " + alice[0] + ":x", "Bearer " + s.creds.bearer["alice"]}[i%2]); got != "503" {
			t.Fatalf("the credential gets %s", got)
		}
	}
	if got := ask(t, url, "token "+bob[0]+":"+bob[1]); !strings.HasPrefix(got, "200 ") {
		t.Errorf("another credential gets %s", got)
	}
}

// TestTokens: what makes an access token end.
func TestTokens(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		for _, test := range []struct {
			name, change, back string
			want               string
		}{
			{"no expiry", `"expiration_time" = NULL`, `"expiration_time" = '2099-01-01 00:00:00'`, "denied"},
			{"no status", `"status" = NULL`, `"status" = 'Active'`, "alice@example.com"},
			{"no scopes", `"scopes" = NULL`, `"scopes" = 'all openid'`, "denied"},
			{"empty scopes", `"scopes" = ''`, `"scopes" = 'all openid'`, "denied"},
			{"one scope beyond the client's", `"scopes" = 'nosuch all'`, `"scopes" = 'all openid'`, "denied"},
			{"unknown client", `"client" = 'nosuch'`, `"client" = (SELECT "name" FROM "tabOAuth Client")`, "denied"},
			{"Guest's", `"user" = 'Guest'`, `"user" = 'alice@example.com'`, "denied"},
			{"nobody's", `"user" = 'nobody@example.com'`, `"user" = 'alice@example.com'`, "denied"},
			{"unchanged", `"status" = 'Active'`, `"status" = 'Active'`, "alice@example.com"},
		} {
			update := `UPDATE "tabOAuth Bearer Token" SET %s WHERE "name" = '` + s.creds.bearer["alice"] + `'`
			s.change(t, fmt.Sprintf(update, test.change))
			if got := verdict(b, bearer(s.creds.bearer["alice"])); got != test.want {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
			s.change(t, fmt.Sprintf(update, test.back))
		}
	})
}

// TestHashedTokens: where Frappe stores tokens as hashes, neither a hash nor the name of a document is a token.
func TestHashedTokens(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		plain, hash := s.creds.bearer["alice"], s.hashToken(t, "alice", "a1b2c3d4e5")
		for _, test := range []struct{ name, token, want string }{
			{"token", plain, "alice@example.com"},
			{"token in capitals", strings.ToUpper(plain), "denied"},
			{"its hash", hash, "denied"},
			{"its hash in capitals", strings.ToUpper(hash), "denied"},
			{"its document", "a1b2c3d4e5", "denied"},
			{"a token that is not hashed yet", s.creds.bearer["bob"], "bob@example.com"},
		} {
			if got := verdict(b, bearer(test.token)); got != test.want {
				t.Errorf("%s: %s, want %s", test.name, got, test.want)
			}
		}
	})
}

// TestRefreshedTokens: after a refresh, the token before it is good for as long as Frappe leaves its row Active, which
// the newest versions do not.
func TestRefreshedTokens(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		b := provisioned(t, &Backend{Site: s.dir})
		before, after := s.creds.bearer["alice"], s.creds.bearer["bob"]
		want := func(what, token, want string) {
			t.Helper()
			if got := verdict(b, bearer(token)); got != want {
				t.Errorf("%s: %s, want %s", what, got, want)
			}
		}
		s.change(t, `UPDATE "tabOAuth Bearer Token" SET "user" = 'alice@example.com' WHERE "name" = ?`, after)
		want("the token of the refresh", after, "alice@example.com")
		want("the one before it, on 15.44.2 and 17.0.0-dev", before, "alice@example.com")
		s.change(t, `UPDATE "tabOAuth Bearer Token" SET "status" = 'Revoked' WHERE "name" = ?`, before)
		want("the token of the refresh", after, "alice@example.com")
		want("the one before it, on the newest versions", before, "denied")
	})
}

// hashToken stores a token as the newest versions of Frappe do, in a document with a random name, and returns its hash.
func (s *site) hashToken(t testing.TB, whose, document string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(s.creds.bearer[whose]))
	hash := hex.EncodeToString(sum[:])
	s.change(
		t,
		`UPDATE "tabOAuth Bearer Token" SET "name" = ?, "access_token" = ? WHERE "name" = ?`,
		document,
		hash,
		s.creds.bearer[whose],
	)
	return hash
}

// TestInstant: the moment that a time without a zone means, at both ends of daylight saving.
func TestInstant(t *testing.T) {
	for _, test := range []struct{ zone, naive, want string }{
		{"", "2026-06-01 12:00:00", "2026-06-01T06:30:00Z"},
		{"Asia/Kolkata", "2026-06-01 12:00:00.5", "2026-06-01T06:30:00.5Z"},
		{"Europe/Berlin", "2026-03-29 01:59:59", "2026-03-29T00:59:59Z"},
		{"Europe/Berlin", "2026-03-29 02:30:00", "2026-03-29T01:00:00Z"}, // skipped: the moment of skipping
		{"Europe/Berlin", "2026-03-29 03:00:00", "2026-03-29T01:00:00Z"},
		{"Europe/Berlin", "2026-10-25 01:59:59", "2026-10-24T23:59:59Z"},
		{"Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00Z"}, // twice: the first
		{"Europe/Berlin", "2026-10-25 03:00:00", "2026-10-25T02:00:00Z"},
		{"America/New_York", "2026-03-08 02:15:00", "2026-03-08T07:00:00Z"},
		{"America/New_York", "2026-03-08 03:15:00", "2026-03-08T07:15:00Z"},
		{"America/New_York", "2026-11-01 01:15:00", "2026-11-01T05:15:00Z"},
		{"America/New_York", "2026-11-01 02:15:00", "2026-11-01T07:15:00Z"},
		{"Australia/Lord_Howe", "2026-04-05 01:45:00", "2026-04-04T14:45:00Z"}, // half an hour, twice
		{"Australia/Lord_Howe", "2026-10-04 02:15:00", "2026-10-03T15:30:00Z"}, // half an hour, skipped
		{"Australia/Lord_Howe", "2026-10-04 02:30:00", "2026-10-03T15:30:00Z"},
		{"Pacific/Apia", "2011-12-30 12:00:00", "2011-12-30T10:00:00Z"}, // a day that was skipped
		{"Mars/Olympus", "2026-06-01 12:00:00", "unknown"},
		{"Asia/Kolkata", "yesterday", "not in Frappe's format"},
	} {
		got, err := instant(test.naive, test.zone)
		text := fmt.Sprint(err)
		if err == nil {
			text = got.UTC().Format(time.RFC3339Nano)
		}
		if !strings.Contains(text, test.want) {
			t.Errorf("%s in %s: %s, want %s", test.naive, test.zone, text, test.want)
		}
	}
}

// TestExpiryInZones: a token is good until the very moment, in the site's zone, on each database.
func TestExpiryInZones(t *testing.T) {
	forEachKind(t, func(t *testing.T, kind string) {
		s := newSite(t, kind)
		now := time.Time{}
		b := &Backend{Site: s.dir, now: func() time.Time { return now }}
		provisioned(t, b)
		for _, test := range []struct{ zone, naive string }{
			{"Europe/Berlin", "2026-03-29 02:30:00"},
			{"Europe/Berlin", "2026-10-25 02:30:00"},
			{"America/New_York", "2026-11-01 01:15:00.123456"},
			{"Australia/Lord_Howe", "2026-10-04 02:15:00"},
		} {
			s.change(t, `DELETE FROM "tabSingles" WHERE "field" = 'time_zone'`)
			s.change(
				t,
				`INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', ?)`,
				test.zone,
			)
			s.change(
				t,
				`UPDATE "tabOAuth Bearer Token" SET "expiration_time" = ? WHERE "name" = ?`,
				test.naive,
				s.creds.bearer["alice"],
			)
			ends, err := instant(test.naive, test.zone)
			if err != nil {
				t.Fatal(err)
			}
			now = ends.Add(-time.Nanosecond)
			if got := verdict(b, bearer(s.creds.bearer["alice"])); got != "alice@example.com" {
				t.Errorf("%s in %s, just before: %s", test.naive, test.zone, got)
			}
			now = ends
			if got := verdict(b, bearer(s.creds.bearer["alice"])); got != "denied" {
				t.Errorf("%s in %s, at the moment: %s", test.naive, test.zone, got)
			}
		}
	})
}

// TestCorpusThroughCaddy: on every database a running Caddy lets in what the recorded site let in, but for disabled
// users, and for keys and tokens in another case.
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
			if want := "200 " + user; (user == "disabled@example.com" && got != "401") ||
				(user != "disabled@example.com" && !strings.HasPrefix(got, want)) {
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
		names = append(
			names,
			base64.StdEncoding.EncodeToString([]byte(p[0]+":"+p[1])),
			base64.StdEncoding.EncodeToString([]byte(own[0]+":"+own[1])),
		)
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

// sessionOf16 is a session of eve@example.com of 16.4.1, which began at sessionOf16Began in Asia/Kolkata.
const (
	sessionOf16      = "b089814f8199465d10616ebcdc9ae5b3f0f98b492677edb9293d2de1"
	sessionOf16Began = "2026-11-25 21:10:27.599283"
)

// newSite16 makes a site with the tables and rows of 16.4.1. If hashed is true, its tokens and sessions are as the
// patches hash_oauth_bearer_tokens and hash_session_ids of later versions of Frappe 16 left them.
func newSite16(t testing.TB, hashed bool) *site {
	t.Helper()
	s := newSiteOf(t, "mariadb", "mariadb-site-16", mariaDB)
	if hashed {
		rows, err := os.ReadFile("testdata/mariadb-site-16/hashed.sql")
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, s.admin, "DELETE FROM `tabOAuth Bearer Token`; DELETE FROM tabSessions; "+string(rows))
	}
	return s
}

// recorded checks that a backend gives each recorded key and access token the verdict that Frappe 16 and later gave. It
// returns a function that checks another credential.
func (s *site) recorded(t *testing.T, b *Backend) (expect func(what string, c frappe.Credential, want string)) {
	t.Helper()
	expect = func(what string, c frappe.Credential, want string) {
		t.Helper()
		if got := verdict(b, c); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	for user, p := range s.creds.pairs {
		want := user
		if user == "disabled@example.com" {
			want = "denied"
		}
		expect("key of "+user, pair(p), want)
		expect("wrong secret of "+user, pair([2]string{p[0], "wrong"}), "denied")
	}
	granted := map[string]string{"alice": "alice@example.com", "openidonly": "alice@example.com", "bob": "bob@example.com"}
	for whose, token := range s.creds.bearer {
		want := granted[whose]
		if want == "" {
			want = "denied"
		}
		expect("token "+whose, bearer(token), want)
		expect("refresh token of "+whose, bearer(token+"-refresh"), "denied")
	}
	return expect
}

// TestFrappe16: each credential of the recorded 16.4.1 gets the verdict that 16.4.1 gave, but for tokens of disabled
// users. Neither hashes nor the names of documents are credentials.
func TestFrappe16(t *testing.T) {
	for name, hashed := range map[string]bool{"as 16.4.1 stores tokens and sessions": false, "as later versions " +
		"store them": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite16(t, hashed)
			start, err := instant(sessionOf16Began, defaultZone)
			if err != nil {
				t.Fatal(err)
			}
			now := start.Add(time.Minute)
			b := provisioned(t, &Backend{Site: s.dir, now: func() time.Time { return now }})
			expect := s.recorded(t, b)
			for whose, token := range s.creds.bearer {
				expect("token in capitals: "+whose, bearer(strings.ToUpper(token)), "denied")
				expect("hash of token "+whose, bearer(frappe.StoredHash(token)), "denied")
			}
			for _, document := range column(t, s, "SELECT name FROM `tabOAuth Bearer Token`") {
				if hashed {
					expect("the name of a document", bearer(document), "denied")
				}
			}
			id, err := b.Verify(t.Context(), bearer(s.creds.bearer["alice"]))
			slices.Sort(id.Roles)
			if want := []string{"All", "Desk User", "Guest", "Report Manager", "System Manager"}; err != nil || !slices.Equal(id.Roles, want) ||
				!slices.Equal(id.Scopes, []string{"all", "openid"}) ||
				id.Client != "pst5lhvsui" {
				t.Errorf("%+v %v", id, err)
			}
			expect("session", session(sessionOf16), "eve@example.com")
			expect("hash of the session", session(frappe.StoredHash(sessionOf16)), "denied")
			expect("another session", session(strings.Repeat("0", 56)), "denied")
			now = start.Add(170*time.Hour - time.Millisecond)
			expect("session, just before it expires", session(sessionOf16), "eve@example.com")
			now = start.Add(170 * time.Hour)
			expect("session, expired", session(sessionOf16), "denied")
			s.change(t, `DELETE FROM "tabSessions"`) // as a logout does
			now = start
			expect("session, logged out", session(sessionOf16), "denied")
		})
	}
}

// TestFrappe17: each credential of the recorded 17.0.0-dev gets the verdict that 17.0.0-dev gave.
func TestFrappe17(t *testing.T) {
	const (
		recordedSession = "9d560a615943aa9cb3174ecd109b6cf9b4f2e4cf6b48ec629a814ece" // of eve@example.com
		began           = "2026-11-30 22:36:34.797125"
	)
	s := newSiteOf(t, "mariadb", "mariadb-site-17", mariaDB)
	start, err := instant(began, defaultZone)
	if err != nil {
		t.Fatal(err)
	}
	now := start.Add(time.Minute)
	b := provisioned(t, &Backend{Site: s.dir, now: func() time.Time { return now }})
	expect := s.recorded(t, b)
	for whose, want := range map[string][]string{
		"alice@example.com": {"All", "Desk User", "Guest", "Report Manager", "System Manager"},
		"web@example.com":   {"All", "Customer", "Guest"},
	} {
		id, err := b.Verify(t.Context(), pair(s.creds.pairs[whose]))
		slices.Sort(id.Roles)
		if err != nil || !slices.Equal(id.Roles, want) {
			t.Errorf("roles of %s: %q %v, want %q", whose, id.Roles, err, want)
		}
	}
	expect("session", session(recordedSession), "eve@example.com")
	expect("another session", session(strings.Repeat("0", 56)), "denied")
	now = start.Add(170 * time.Hour)
	expect("session, expired", session(recordedSession), "denied")
}
