package database

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
)

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

// hashToken stores a token as the newest versions of Frappe do, in a document with a random name, and returns its hash.
func (s *site) hashToken(t testing.TB, whose, document string) string {
	t.Helper()
	sum := sha256.Sum256([]byte(s.creds.bearer[whose]))
	hash := hex.EncodeToString(sum[:])
	s.change(t, `UPDATE "tabOAuth Bearer Token" SET "name" = ?, "access_token" = ? WHERE "name" = ?`, document, hash, s.creds.bearer[whose])
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
			s.change(t, `INSERT INTO "tabSingles" ("doctype", "field", "value") VALUES ('System Settings', 'time_zone', ?)`, test.zone)
			s.change(t, `UPDATE "tabOAuth Bearer Token" SET "expiration_time" = ? WHERE "name" = ?`, test.naive, s.creds.bearer["alice"])
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
