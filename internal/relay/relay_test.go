package relay_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/internal/relay"
)

const (
	secret  = "0123456789abcdef0123456789abcdef"
	another = "fedcba9876543210fedcba9876543210"
	session = "0123456789abcdef0123456789abcdef0123456789abcdef01234567"
)

var now = time.Unix(1_800_000_000, 5)

func keys(t testing.TB, secrets ...string) *relay.Keys {
	t.Helper()
	k, err := relay.NewKeys(secrets)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestState: a state comes back as it was, and not from another secret or from a text that was changed. A long way back
// loses its query.
func TestState(t *testing.T) {
	k := keys(t, secret)
	for back, want := range map[string]string{
		"/": "/", "/a%2Fb;c?d=e&f\x80\"": "/a%2Fb;c?d=e&f\x80\"",
		"/p?" + strings.Repeat("q", 2000): "/p?" + strings.Repeat("q", 2000),
		"/p?" + strings.Repeat("q", 2200): "/p", "/" + strings.Repeat("p", 2200): "/",
	} {
		s := relay.State{Origin: "https://app.example.com", Back: back, Browser: relay.NewBrowser(), Again: back == "/", Began: now}
		sealed := k.SealState(s)
		got, ok := k.OpenState(sealed)
		s.Back = want
		if s.Began = got.Began; !ok || got != s || !got.Began.Equal(now) || len(sealed) > 3000 {
			t.Errorf("%.20q: %t %+v, sealed %d bytes", back, ok, got, len(sealed))
		}
		for name, other := range map[string]string{
			"changed": "A" + sealed[1:], "cut": sealed[:len(sealed)-1], "longer": sealed + "AA", "padded": sealed + "=", "empty": "",
		} {
			if _, ok := k.OpenState(other); ok && other != sealed {
				t.Errorf("%s: it is opened", name)
			}
		}
		if _, ok := keys(t, another).OpenState(sealed); ok {
			t.Error("it is opened with another secret")
		}
		if _, ok := keys(t, another, secret).OpenState(sealed); !ok {
			t.Error("it is not opened with the old secret")
		}
	}
}

// TestTicket: a ticket is good for one login, for a minute.
func TestTicket(t *testing.T) {
	k := keys(t, secret)
	state := k.SealState(relay.State{Origin: "https://app.example.com", Back: "/", Began: now})
	login, _ := k.OpenState(state)
	ticket := k.SealTicket(login, state, session, now)
	for _, test := range []struct {
		name, state, ticket string
		after               time.Duration
		good                bool
	}{
		{"good", state, ticket, 0, true},
		{"after a minute", state, ticket, relay.MaxTicket, true},
		{"with a clock that is slow", state, ticket, -relay.MaxTicket, true},
		{"after more than a minute", state, ticket, relay.MaxTicket + 1, false},
		{"from the future", state, ticket, -relay.MaxTicket - 1, false},
		{"of the same login, begun again", k.SealState(login), ticket, 0, false},
		{"a state", state, state, 0, false},
		{"empty", state, "", 0, false},
		{"not a session", state, k.SealTicket(login, state, "Guest", now), 0, false},
	} {
		if got, ok := k.OpenTicket(test.state, test.ticket, now.Add(test.after)); ok != test.good || ok && got != session {
			t.Errorf("%s: %q %t", test.name, got, ok)
		}
	}
	rotated := keys(t, another, secret)
	login, _ = rotated.OpenState(state)
	if _, ok := k.OpenTicket(state, rotated.SealTicket(login, state, session, now), now); !ok {
		t.Error("a host without the new secret cannot open its ticket")
	}
}

// FuzzOpen: no text that was not sealed is opened.
func FuzzOpen(f *testing.F) {
	k := keys(f, secret)
	state := k.SealState(relay.State{Origin: "https://app.example.com", Back: "/", Began: now})
	f.Add("AAAA" + state) // a worker of the fuzzer has a state of its own, and would open this one
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		if _, ok := k.OpenState(text); ok {
			t.Errorf("%q is opened as a state", text)
		}
		if _, ok := k.OpenTicket(state, text, now); ok {
			t.Errorf("%q is opened as a ticket", text)
		}
		r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
		r.Header.Set("Cookie", "__Host-frappe_auth="+text)
		if _, ok := relay.TakeCookies(r).Session(k, "https", "app.example.com"); ok {
			t.Errorf("%q is opened as a session", text)
		}
	})
}
