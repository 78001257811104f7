package verdicts

import (
	"fmt"
	"testing"
	"time"
)

// TestFreshness: the limits between fresh, due, stale and expired, for each kind of credential.
func TestFreshness(t *testing.T) {
	l := Lifetimes{
		TTL: 100 * time.Second, BearerTTL: 50 * time.Second, SessionTTL: 20 * time.Second, StaleIfError: time.Hour,
	}
	now := time.Unix(1_000_000, 0)
	in := func(d time.Duration) int64 { return now.Add(d).UnixNano() }
	for _, test := range []struct {
		name  string
		of    Validity
		age   time.Duration
		want  Freshness
		keeps time.Duration
	}{
		{"new", Validity{}, 0, Fresh, time.Hour + 100*time.Second},
		{"before four fifths", Validity{}, 80*time.Second - 1, Fresh, time.Hour + 100*time.Second},
		{"four fifths", Validity{}, 80 * time.Second, Due, time.Hour + 100*time.Second},
		{"ttl", Validity{}, 100 * time.Second, Stale, time.Hour + 100*time.Second},
		{"ttl and stale_if_error", Validity{}, time.Hour + 100*time.Second, Expired, time.Hour + 100*time.Second},
		{"access token of unknown expiry", Validity{ExpiryUnknown: true}, 50*time.Second - 1, Due, 50 * time.Second},
		{"access token of unknown expiry, later", Validity{ExpiryUnknown: true}, 50 * time.Second, Expired, 50 * time.Second},
		{
			"session of unknown expiry",
			Validity{Session: true, ExpiryUnknown: true},
			20 * time.Second, Expired, 20 * time.Second,
		},
		{"session", Validity{Session: true, Expiry: in(2 * time.Hour)}, 20 * time.Second, Stale, time.Hour + 20*time.Second},
		{"ends soon", Validity{Expiry: in(1)}, 0, Fresh, 1},
		{"has ended", Validity{Expiry: in(0)}, 0, CredentialExpired, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := fmt.Sprint(l.Freshness(test.of, test.age, now), l.Longest(test.of, now))
			if want := fmt.Sprint(test.want, test.keeps); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
