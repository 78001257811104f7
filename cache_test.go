package frappeauth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// TestCacheKeysAreDelimited: credentials whose fields differ have different keys, even if the concatenated fields are
// equal.
func TestCacheKeysAreDelimited(t *testing.T) {
	c := newCache(nil)
	keys := make(map[verdicts.Key]string)
	for _, entry := range []struct {
		sites []string
		cred  frappe.Credential
	}{
		{nil, frappe.Credential{Scheme: frappe.SchemeToken, Key: "k", Secret: "st"}},
		{nil, frappe.Credential{Scheme: frappe.SchemeToken, Key: "ks", Secret: "t"}},
		{nil, frappe.Credential{Scheme: frappe.SchemeToken, Key: "", Secret: "kst"}},
		{[]string{"k"}, frappe.Credential{Scheme: frappe.SchemeToken, Secret: "st"}},
		{[]string{"k", ""}, frappe.Credential{Scheme: frappe.SchemeToken, Secret: "st"}},
		{[]string{"", "k"}, frappe.Credential{Scheme: frappe.SchemeToken, Secret: "st"}},
		{nil, frappe.Credential{Scheme: frappe.SchemeBearer, Token: "kst"}},
		{nil, frappe.Credential{Scheme: frappe.SchemeBearer, Token: "st"}},
		{[]string{"pair"}, frappe.Credential{Scheme: frappe.SchemeBearer, Token: "st"}},
		{nil, frappe.Credential{}},
	} {
		k := c.subject(entry.sites, &entry.cred).Key
		name := fmt.Sprintf("%q %q %q %q", entry.sites, entry.cred.Key, entry.cred.Secret, entry.cred.Token)
		if other, ok := keys[k]; ok {
			t.Errorf("%s has the key of %s", name, other)
		}
		keys[k] = name
	}
	token := c.subject(nil, new(frappe.Credential{Scheme: frappe.SchemeToken, Key: "k", Secret: "s"}))
	if basic := c.subject(nil, new(frappe.Credential{Scheme: frappe.SchemeBasic, Key: "k", Secret: "s"})); basic != token {
		t.Error("the same pair has two keys, one for each scheme")
	}
	if c.subject(nil, new(pair("x"))).Key == newCache(nil).subject(nil, new(pair("x"))).Key {
		t.Error("keys of two caches agree: they are not keyed by something random")
	}
}

// TestSpellingsShareOneCacheEntry: spellings of an API key that differ in case take one place in the cache, and a
// verdict serves only the spelling that the backend was asked about.
func TestSpellingsShareOneCacheEntry(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		v := newTestVerifier(t, backend, func(c *verifierConfig) { c.cacheSize = 10 })
		ask := func(key string) string { return v.get(t, pair(key)) }
		for i := range 9 {
			backend.users[fmt.Sprint("good-", i)] = "bob@example.com"
			ask(fmt.Sprint("good-", i))
		}
		const key = "abcdefghijklmnop"
		spelling := func(i int) string {
			text := []byte(key)
			for bit := range text {
				if i>>bit&1 == 1 {
					text[bit] -= 'a' - 'A'
				}
			}
			return string(text)
		}
		for i := range 1000 {
			backend.users[spelling(i)] = "alice@example.com"
			if got := ask(spelling(i)); got != cacheMiss {
				t.Fatalf("%s: %s: a verdict on another spelling served", spelling(i), got)
			}
		}
		for i := range 9 {
			if got := ask(fmt.Sprint("good-", i)); got != cacheHit {
				t.Errorf("spellings of one key evicted another key: %s", got)
			}
		}
		if got := ask(spelling(999)); got != cacheHit {
			t.Errorf("the last spelling: %s", got)
		}

		// A spelling that is denied (on PostgreSQL) says nothing of the other.
		backend.set(func(d *doubleBackend) { delete(d.users, strings.ToUpper(key)) })
		if got := ask(strings.ToUpper(key)); got != "401" {
			t.Errorf("a bad spelling: %s", got)
		}
		if got := ask(spelling(999)); got != cacheHit {
			t.Errorf("after a bad spelling was denied: %s", got)
		}
		if got := v.get(t, frappe.Credential{
			Scheme: frappe.SchemeToken, Key: spelling(999),
			Secret: "SECRET",
		}); got != cacheMiss {
			t.Errorf("secrets compare with case: %s", got)
		}
	})
}

// TestOddCredentialsAreNotCached: a credential with a character that Frappe never uses is not cached, as it is not
// known which other credentials MariaDB takes it for.
func TestOddCredentialsAreNotCached(t *testing.T) {
	for _, key := range []string{"kéy", "key²", "key\u00ad", "ＫＥＹ", "key ", "key,", "key\t"} {
		backend := newDoubleBackend()
		backend.users[key] = "alice@example.com"
		v := newTestVerifier(t, backend, nil)
		for range 3 {
			if got := v.get(t, pair(key)); got != cacheMiss {
				t.Errorf("%q: %s", key, got)
			}
		}
		for range 3 {
			v.get(t, pair(key+"é"))
		}
		if granted, denied, _ := v.state.cache.Fill(); granted+denied != 0 {
			t.Errorf("%q: %d granted and %d denied verdicts are kept", key, granted, denied)
		}
	}
}

// TestCredentialKindsAreSeparate: a session, an access token and an API key with the same text are three credentials,
// and a change of one drops no verdict on the others.
func TestCredentialKindsAreSeparate(t *testing.T) {
	backend := newDoubleBackend()
	v := newTestVerifier(t, backend, nil)
	backend.users["x"] = "alice@example.com"
	const hashOfX = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
	credentials := []frappe.Credential{pair("x"), bearer("x"), session("x")}
	for _, test := range []struct {
		name   string
		change frappe.Change
		want   [3]string
	}{
		{"at first", frappe.Change{}, [3]string{cacheMiss, cacheMiss, cacheMiss}},
		{"no change", frappe.Change{}, [3]string{cacheHit, cacheHit, cacheHit}},
		{"the session ended", frappe.Change{Session: "x"}, [3]string{cacheHit, cacheHit, cacheMiss}},
		{"the token was revoked", frappe.Change{Token: "x"}, [3]string{cacheHit, cacheMiss, cacheHit}},
		{"the token was revoked by its hash", frappe.Change{Token: hashOfX}, [3]string{cacheHit, cacheMiss, cacheHit}},
		{"a key that is the hash of a token", frappe.Change{Key: hashOfX}, [3]string{cacheHit, cacheHit, cacheHit}},
		{"the key was revoked", frappe.Change{Key: "x"}, [3]string{cacheMiss, cacheHit, cacheHit}},
		{"the user changed", frappe.Change{User: "alice@example.com"}, [3]string{cacheMiss, cacheMiss, cacheMiss}},
		{"another session ended", frappe.Change{Session: "y"}, [3]string{cacheHit, cacheHit, cacheHit}},
		{
			"a session with a character that Frappe never uses ended",
			frappe.Change{Session: "é"},
			[3]string{cacheMiss, cacheMiss, cacheMiss},
		},
	} {
		v.state.cache.revoke(test.change)
		for i, cred := range credentials {
			if got := v.get(t, cred); got != test.want[i] {
				t.Errorf("%s: %s: %s, want %s", test.name, cred.Scheme, got, test.want[i])
			}
		}
	}
}

// TestFloodOfDenialsEvictsNoGrant: a hundred times as many bad credentials as the cache has places evict no good one,
// and memory stays bounded.
func TestFloodOfDenialsEvictsNoGrant(t *testing.T) {
	backend := newDoubleBackend()
	for i := range 100 {
		backend.users[fmt.Sprint("good-", i)] = "alice@example.com"
	}
	v := newTestVerifier(t, backend, func(c *verifierConfig) { c.cacheSize = 100 })
	for i := range 100 {
		v.get(t, pair(fmt.Sprint("good-", i)))
	}
	for i := range 10_000 {
		v.get(t, pair(fmt.Sprint("bad-", i)))
	}
	for i := range 100 {
		if got := v.get(t, pair(fmt.Sprint("good-", i))); got != cacheHit {
			t.Fatalf("good %d: %s", i, got)
		}
	}
	if granted, denied, _ := v.state.cache.Fill(); granted != 100 || denied != 100 {
		t.Errorf("%d granted and %d denied verdicts are kept, want 100 each", granted, denied)
	}
}

// TestRevocation: which verdicts a change drops. It also applies to lookups that are in flight.
func TestRevocation(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["a1"], backend.users["a2"], backend.users["b1"] = "alice@example.com", "alice@example.com",
			"bob@example.com"
		v := newTestVerifier(t, backend, nil)
		ask := func(token string) string { return v.get(t, pair(token)) }
		cached := func(token string) bool {
			before := backend.timesAsked(token)
			ask(token)
			return backend.timesAsked(token) == before
		}
		fill := func() {
			for _, token := range []string{"a1", "a2", "b1", "none", "other"} {
				ask(token)
			}
		}
		for _, test := range []struct {
			name    string
			change  frappe.Change
			dropped string
		}{
			{"user", frappe.Change{User: "alice@example.com"}, "a1 a2"},
			{"user in another case", frappe.Change{User: "ALICE@example.com"}, "a1 a2"},
			{"API key", frappe.Change{Key: "a1"}, "a1"},
			{"API key in another case", frappe.Change{Key: "A1"}, "a1"},
			{"API key that was denied", frappe.Change{Key: "none"}, "none"},
			{"access token of that name", frappe.Change{Token: "a1"}, ""},
			{"API key that Frappe cannot have made", frappe.Change{Key: "ä1"}, "a1 a2 b1 none other"},
			{"unknown user", frappe.Change{User: "carol@example.com"}, ""},
			{"nothing", frappe.Change{}, ""},
			{"both", frappe.Change{User: "bob@example.com", Key: "other"}, "b1 other"},
			{"everything", frappe.Change{Everything: true}, "a1 a2 b1 none other"},
		} {
			fill()
			v.state.cache.revoke(test.change)
			dropped := ""
			for _, token := range []string{"a1", "a2", "b1", "none", "other"} {
				if !cached(token) {
					dropped += " " + token
				}
			}
			if len(dropped) > 0 {
				dropped = dropped[1:]
			}
			if dropped != test.dropped {
				t.Errorf("%s: dropped %q, want %q", test.name, dropped, test.dropped)
			}
		}

		// Revocations are forgotten only after their verdicts have been removed.
		fill()
		v.state.cache.revoke(frappe.Change{User: "alice@example.com"})
		for i := range 10_000 {
			v.state.cache.revoke(frappe.Change{User: fmt.Sprint(i)})
		}
		if cached("a1") || !cached("b1") {
			t.Error("a sweep removed the wrong verdicts")
		}

		// The answer to a lookup that began before a revocation is not kept, and not used for requests that come after
		// it.
		backend.set(func(d *doubleBackend) { d.delay = time.Second; d.users["late"] = "carol@example.com" })
		early := make(chan string, 1)
		go func() { early <- ask("late") }()
		synctest.Wait()
		v.state.cache.revoke(frappe.Change{User: "carol@example.com"})
		time.Sleep(500 * time.Millisecond)
		late := make(chan string, 1)
		go func() { late <- ask("late") }()
		synctest.Wait()
		if n := backend.timesAsked("late"); n != 2 {
			t.Errorf("asked %d times, want once before and once after the revocation", n)
		}
		<-early
		if g, _ := v.state.cache.Lookup(v.state.cache.subject(nil, new(pair("late")))); g != nil {
			t.Error("the answer to a lookup from before the revocation was kept")
		}
		<-late
		if !cached("late") {
			t.Error("the answer to the lookup from after it was not kept")
		}
	})
}

// resolvingDouble is a doubleBackend for several sites with the same users.
type resolvingDouble struct{ *doubleBackend }

func (resolvingDouble) ResolvesSites() bool { return true }

func (resolvingDouble) Site(*caddy.Replacer) (string, error) { return "", errors.New("not used") }

// TestRevocationInOneSite: a change in a site drops the verdicts of that site, and those of backends that do not name
// their site. It keeps the verdicts of other sites.
func TestRevocationInOneSite(t *testing.T) {
	const alice = "alice@example.com"
	for _, test := range []struct {
		name   string
		change frappe.Change
		want   string // of the pair and the unknown key, at one.example.com, two.example.com, and a backend of one site
	}{
		{"a user of a site", frappe.Change{Site: "one.example.com", User: alice}, "miss cached | hit cached | miss cached"},
		{
			"the site in capitals",
			frappe.Change{Site: "ONE.example.com", User: alice},
			"miss cached | hit cached | miss cached",
		},
		{"a user", frappe.Change{User: alice}, "miss cached | miss cached | miss cached"},
		{"a key of a site", frappe.Change{Site: "two.example.com", Key: "key"}, "hit cached | miss cached | miss cached"},
		{"a key", frappe.Change{Key: "key"}, "miss cached | miss cached | miss cached"},
		{
			"an unknown key of a site",
			frappe.Change{Site: "one.example.com", Key: "unknown"},
			"hit asked | hit cached | hit asked",
		},
		{"an unknown key", frappe.Change{Key: "unknown"}, "hit asked | hit asked | hit asked"},
		{
			"everything of a site",
			frappe.Change{Site: "one.example.com", Everything: true},
			"miss asked | hit cached | miss asked",
		},
		{"an odd key of a site", frappe.Change{Site: "one.example.com", Key: "kéy"}, "miss asked | hit cached | miss asked"},
		{"everything", frappe.Change{Everything: true}, "miss asked | miss asked | miss asked"},
		{
			"a session of a site",
			frappe.Change{Site: "one.example.com", Session: "key"},
			"hit cached | hit cached | hit cached",
		},
		{"another site", frappe.Change{Site: "three.example.com", User: alice}, "hit cached | hit cached | miss cached"},
		{"nothing", frappe.Change{Site: "one.example.com"}, "hit cached | hit cached | hit cached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			testutil.Bubble(t, func(t *testing.T) {
				backend := newDoubleBackend()
				backend.users["key"] = alice
				several := newTestVerifier(t, backend, func(c *verifierConfig) {
					c.backends[0].Resolver = resolvingDouble{backend}
				})
				one := newTestVerifier(t, backend, nil)
				got := func(v *verifier, sites []string) string {
					granted := summary(v.verifyFrom(context.Background(), "", sites, pair("key")))
					asked := backend.timesAsked("unknown")
					v.verifyFrom(context.Background(), "", sites, pair("unknown"))
					if backend.timesAsked("unknown") > asked {
						return granted + " asked"
					}
					return granted + " cached"
				}
				all := func() string {
					return got(several, []string{"one.example.com"}) + " | " + got(several, []string{"two.example.com"}) + " | " +
						got(one, nil)
				}
				if before := all(); before != "miss asked | miss asked | miss asked" {
					t.Fatalf("at first: %s", before)
				}
				for _, v := range []*verifier{several, one} {
					if err := v.state.revoke(t.Context(), test.change); err != nil {
						t.Error(err)
					}
				}
				if after := all(); after != test.want {
					t.Errorf("got %s, want %s", after, test.want)
				}
				if again := all(); again != "hit cached | hit cached | hit cached" {
					t.Errorf("afterwards: %s", again)
				}
			})
		})
	}
}

// TestRevocationDropsDenialOfSeveralSites: a denial by backends of several sites is dropped by a change in any of them.
func TestRevocationDropsDenialOfSeveralSites(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		backend := newDoubleBackend()
		v := newTestVerifier(t, backend, func(c *verifierConfig) {
			c.backends[0].Resolver = resolvingDouble{backend}
			c.backends = append(c.backends, backends.Loaded{Backend: backend, Name: "another"})
		})
		sites := []string{"one.example.com", ""}
		for _, change := range []frappe.Change{
			{Site: "one.example.com", Key: "key"},
			{Site: "two.example.com", Key: "key"},
			{Key: "key"},
			{Site: "one.example.com", Everything: true},
		} {
			v.verifyFrom(t.Context(), "", sites, pair("key"))
			asked := backend.timesAsked("key")
			v.verifyFrom(t.Context(), "", sites, pair("key"))
			if backend.timesAsked("key") != asked {
				t.Fatal("the denial is not cached")
			}
			v.state.drop(change)
			v.verifyFrom(t.Context(), "", sites, pair("key"))
			if backend.timesAsked("key") != asked+2 {
				t.Errorf("after %+v the denial is kept", change)
			}
		}
	})
}

// TestClaimedExpiry: what counts as the end of a JSON Web Token.
func TestClaimedExpiry(t *testing.T) {
	for _, test := range []struct {
		name, token string
		want        time.Time
	}{
		{"exp", unsigned(`{"exp":1900000000}`), time.Unix(1_900_000_000, 0)},
		{"exp with a fraction", unsigned(`{"exp":1900000000.9}`), time.Unix(1_900_000_000, 0)},
		{"exp of 0", unsigned(`{"exp":0}`), time.Unix(1, 0)},
		{"negative exp", unsigned(`{"exp":-1e300}`), time.Unix(1, 0)},
		{"exp too large", unsigned(`{"exp":1e300}`), time.Unix(math.MaxInt32*100, 0)},
		{"no exp", unsigned(`{"sub":"alice"}`), time.Time{}},
		{"exp is a text", unsigned(`{"exp":"1900000000"}`), time.Time{}},
		{"exp is null", unsigned(`{"exp":null}`), time.Time{}},
		{"no JSON", unsigned(`exp`), time.Time{}},
		{"no base64", "a.b!.c", time.Time{}},
		{"two parts", "a.b", time.Time{}},
		{"an access token of Frappe", "641cc7393fbf7e529b94837c181e81", time.Time{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := claimedExpiry(test.token); !got.Equal(test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
