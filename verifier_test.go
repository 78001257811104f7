package frappeauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/metrics"
)

// TestOneQuestionForAll: however many wait for a credential, a backend is asked once, also when some of them leave.
func TestOneQuestionForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["new"] = "alice@example.com"
		backend.delay = time.Second
		v := newTestVerifier(t, backend, nil)

		leaving, leave := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		answers := make([]verdict, 1000)
		for i := range answers {
			ctx := t.Context()
			if i%10 == 0 {
				ctx = leaving
			}
			wg.Go(func() { answers[i] = v.verifyFrom(ctx, "", nil, pair("new")) })
		}
		synctest.Wait() // all of them wait
		leave()
		wg.Wait()
		for i, a := range answers {
			switch {
			case i%10 == 0 && !errors.Is(a.err, context.Canceled):
				t.Fatalf("client %d left and got %v", i, a.err)
			case i%10 != 0 && (a.err != nil || a.user != "alice@example.com"):
				t.Fatalf("client %d got %v %v", i, a.user, a.err)
			}
		}
		if n := backend.timesAsked("new"); n != 1 {
			t.Errorf("the backend was asked %d times", n)
		}
		if a := v.verifyFrom(t.Context(), "", nil, pair("new")); a.cache != cacheHit {
			t.Errorf("afterwards: %s", summary(a))
		}
	})
}

// TestExpiry: how long verdicts serve.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["pair"] = "alice@example.com"
		backend.users["oauth"] = "bob@example.com"
		backend.expiry["oauth"] = time.Now().Add(30 * time.Second)
		v := newTestVerifier(t, backend, nil)
		expect := func(token, want string) {
			t.Helper()
			if got := summary(v.verifyFrom(t.Context(), "", nil, pair(token))); got != want {
				t.Errorf("%s: got %s, want %s", token, got, want)
			}
			synctest.Wait() // a renewal ahead
		}
		expect("pair", cacheMiss)
		expect("oauth", cacheMiss)
		expect("unknown", "401")
		asked := backend.timesAsked("unknown")
		time.Sleep(5*time.Second - 1)
		expect("unknown", "401")
		if n := backend.timesAsked("unknown"); n != asked {
			t.Error("a denial was not cached")
		}
		time.Sleep(time.Nanosecond)
		expect("unknown", "401")
		if n := backend.timesAsked("unknown"); n != asked+1 {
			t.Error("a denial was cached for longer than its ttl")
		}

		time.Sleep(25*time.Second - 1) // a nanosecond before the access token expires
		expect("oauth", cacheHit)
		time.Sleep(time.Nanosecond)
		expect("oauth", "401")
		expect("pair", cacheHit)

		time.Sleep(30 * time.Second)
		expect("pair", cacheMiss)
	})
}

// TestRenewalAhead: a credential that is used steadily is asked for again before its verdict expires, once, and nobody
// waits for it.
func TestRenewalAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["steady"] = "alice@example.com"
		v := newTestVerifier(t, backend, nil)
		v.verifyFrom(t.Context(), "", nil, pair("steady"))
		backend.set(func(d *doubleBackend) { d.delay = 3 * time.Second })
		for second := range 600 {
			time.Sleep(time.Second)
			start := time.Now()
			if a := v.verifyFrom(t.Context(), "", nil, pair("steady")); a.cache != cacheHit || time.Since(start) != 0 {
				t.Fatalf("second %d: %s after %s", second, summary(a), time.Since(start))
			}
		}
		if n := backend.timesAsked("steady"); n < 12 || n > 14 {
			t.Errorf("asked %d times in ten minutes at a ttl of one, want about one each 48 s", n)
		}

		// A renewal that fails is tried again, sparingly, and one that denies takes effect.
		asked := backend.timesAsked("steady")
		time.Sleep(time.Minute)
		backend.set(func(d *doubleBackend) { d.delay = 0 })
		v.verifyFrom(t.Context(), "", nil, pair("steady"))
		time.Sleep(48 * time.Second)
		backend.set(func(d *doubleBackend) { d.err = errDown })
		for range 100 {
			v.verifyFrom(t.Context(), "", nil, pair("steady"))
			synctest.Wait()
		}
		if n := backend.timesAsked("steady") - asked; n != 2 {
			t.Errorf("asked %d times, want one that found out and one that did not", n)
		}
		backend.set(func(d *doubleBackend) { d.err = nil; delete(d.users, "steady") })
		time.Sleep(3 * time.Second)
		v.verifyFrom(t.Context(), "", nil, pair("steady"))
		synctest.Wait()
		if got := summary(v.verifyFrom(t.Context(), "", nil, pair("steady"))); got != "401" {
			t.Errorf("after a renewal that denied: %s", got)
		}
	})
}

// TestOrderOfBackends: the first that grants wins, and if none does and one is unavailable, so is the verdict.
func TestOrderOfBackends(t *testing.T) {
	for _, test := range []struct {
		name   string
		states string // of each backend: g(rants), d(enies), u(navailable)
		want   string
		asked  string // which were asked
	}{
		{"first grants", "gd", cacheMiss, "10"},
		{"second grants", "dg", cacheMiss, "11"},
		{"second grants while the first is away", "ug", cacheMiss, "11"},
		{"none grants", "dd", "401", "11"},
		{"one is away", "du", "503", "11"},
		{"the other is away", "ud", "503", "11"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var doubles []*doubleBackend
			v := newTestVerifier(t, nil, func(c *verifierConfig) {
				c.backends = nil
				for i, state := range test.states {
					d := newDoubleBackend()
					switch state {
					case 'g':
						d.users["x"] = fmt.Sprintf("user of %d", i)
					case 'u':
						d.err = errDown
					}
					doubles = append(doubles, d)
					c.backends = append(c.backends, namedBackend{Backend: d, name: fmt.Sprint(i)})
				}
			})
			if got := summary(v.verifyFrom(t.Context(), "", nil, pair("x"))); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			asked := ""
			for _, d := range doubles {
				asked += fmt.Sprint(d.timesAsked("x"))
			}
			if asked != test.asked {
				t.Errorf("asked %s, want %s", asked, test.asked)
			}
		})
	}
}

// panicking panics with something that must not be shown.
type panicking struct{}

func (panicking) Verify(_ context.Context, c frappe.Credential) (frappe.Identity, error) {
	panic(c.Token)
}

func TestPanicOfABackend(t *testing.T) {
	v := newTestVerifier(t, panicking{}, nil)
	a := v.verifyFrom(t.Context(), "", nil, pair("s3cret"))
	if summary(a) != "503" || a.err.Error() != "the credential could not be verified: the backend panicked with a string" {
		t.Errorf("got %v", a.err)
	}
}

// TestFloodEvictsNoGoodOne: a hundred times as many bad credentials as the cache has places leave the good ones cached, and
// memory bounded.
func TestFloodEvictsNoGoodOne(t *testing.T) {
	backend := newDoubleBackend()
	for i := range 100 {
		backend.users[fmt.Sprint("good-", i)] = "alice@example.com"
	}
	v := newTestVerifier(t, backend, func(c *verifierConfig) { c.cache.Size = 100 })
	for i := range 100 {
		v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("good-", i)))
	}
	for i := range 10_000 {
		v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("bad-", i)))
	}
	for i := range 100 {
		if a := v.verifyFrom(t.Context(), "", nil, pair(fmt.Sprint("good-", i))); a.cache != cacheHit {
			t.Fatalf("good %d: %s", i, summary(a))
		}
	}
	if granted, denied := v.state.cache.granted.Len(), v.state.cache.denied.Len(); granted != 100 || denied != 100 {
		t.Errorf("%d granted and %d denied verdicts are kept, want 100 each", granted, denied)
	}
}

// TestKeysAreDelimited: no two credentials share a key by moving characters across a border.
func TestKeysAreDelimited(t *testing.T) {
	c := newCache()
	keys := make(map[cacheKey]string)
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
		k := c.subject(entry.sites, &entry.cred).key
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
	if c.subject(nil, new(pair("x"))).key == newCache().subject(nil, new(pair("x"))).key {
		t.Error("keys of two caches agree: they are not keyed by something random")
	}
}

// TestNothingOutlivesTheRequest: nothing that a key or tag was made from stays in what is pooled, the hash's own state
// included.
func TestNothingOutlivesTheRequest(t *testing.T) {
	c := newCache()
	for _, secret := range []string{"short s3cret", strings.Repeat("long s3cret ", 4), strings.Repeat("longer s3cret ", 100)} {
		unwiped := c.macs.New().(*mac)
		unwiped.add(secret)
		unwiped.Write(unwiped.in)
		unwiped.in = nil
		if !holds(reflect.ValueOf(unwiped), "s3cret", nil) {
			t.Fatal("the search does not find a secret that is there")
		}
		m := c.macs.New().(*mac)
		for use := range 3 {
			m.add("a key")
			m.add(secret)
			room := m.in[:cap(m.in)]
			m.sum()
			if holds(reflect.ValueOf(m), "s3cret", nil) || bytes.Contains(room, []byte("s3cret")) {
				t.Errorf("a secret of %d bytes is still there after use %d", len(secret), use)
			}
		}
	}
}

// holds reports whether a byte slice or array within a value holds the text.
func holds(v reflect.Value, text string, path []unsafe.Pointer) bool {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || slices.Contains(path, v.UnsafePointer()) {
			return false
		}
		return holds(v.Elem(), text, append(path, v.UnsafePointer()))
	case reflect.Interface:
		return !v.IsNil() && holds(v.Elem(), text, path)
	case reflect.Struct:
		for _, field := range v.Fields() {
			if holds(field, text, path) {
				return true
			}
		}
	case reflect.Array, reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			return false
		}
		if v.Kind() == reflect.Slice {
			v = v.Slice(0, v.Cap())
		}
		all := make([]byte, v.Len())
		for i := range all {
			all[i] = byte(v.Index(i).Uint())
		}
		return bytes.Contains(all, []byte(text))
	default:
	}
	return false
}

// TestRevocation: which verdicts a change drops, and that it also concerns what is just being asked for.
func TestRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["a1"], backend.users["a2"], backend.users["b1"] = "alice@example.com", "alice@example.com", "bob@example.com"
		v := newTestVerifier(t, backend, nil)
		ask := func(token string) string { return summary(v.verifyFrom(t.Context(), "", nil, pair(token))) }
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

		// Many revocations are forgotten only after what they concern was removed.
		fill()
		v.state.cache.revoke(frappe.Change{User: "alice@example.com"})
		for i := range 2 * maxRevocations {
			v.state.cache.revoke(frappe.Change{User: fmt.Sprint(i)})
		}
		if n := len(v.state.cache.revoked); n > maxRevocations {
			t.Errorf("%d revocations are remembered", n)
		}
		if cached("a1") || !cached("b1") {
			t.Error("a sweep removed the wrong verdicts")
		}

		// A question from before a revocation: its answer is not kept, and not given to those who come after.
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
		if g, _ := v.state.cache.lookup(v.state.cache.subject(nil, new(pair("late")))); g != nil {
			t.Error("an answer to a question from before the revocation was kept")
		}
		<-late
		if !cached("late") {
			t.Error("the answer to the question from after it was not kept")
		}
	})
}

// TestSharedState: verifiers of the same backends share a cache of the larger size, and one that is replaced leaves its
// verdicts, and its questions under way, to the next.
func TestSharedState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"] = "alice@example.com"
		ctx, unload := context.WithCancel(t.Context())
		conf := newTestVerifier(t, backend, nil).verifierConfig
		conf.fingerprint += " shared"
		conf.cache.Size = 10
		first := startVerifier(t, ctx, conf)
		first.verifyFrom(t.Context(), "", nil, pair("x"))
		backend.set(func(d *doubleBackend) { d.delay = time.Second; d.users["y"] = "bob@example.com" })
		underWay := make(chan verdict, 2)
		go func() { underWay <- first.verifyFrom(t.Context(), "", nil, pair("y")) }()
		synctest.Wait()

		ttl := caddy.Duration(time.Second)
		conf.cache.TTL, conf.cache.Size = &ttl, 20
		second := startVerifier(t, t.Context(), conf)
		if n := len(second.state.demands); n != 2 {
			t.Errorf("%d verifiers share the cache", n)
		}
		go func() { underWay <- second.verifyFrom(t.Context(), "", nil, pair("y")) }()
		synctest.Wait()
		unload()
		if err := first.close(); err != nil {
			t.Error(err)
		}
		if a := second.verifyFrom(t.Context(), "", nil, pair("x")); a.cache != cacheHit {
			t.Errorf("a verdict of the configuration before: %s", summary(a))
		}
		for range 2 {
			if a := <-underWay; a.err != nil {
				t.Errorf("a question under way: %v", a.err)
			}
		}
		if n := backend.timesAsked("y"); n != 1 {
			t.Errorf("asked %d times across the reload", n)
		}
		time.Sleep(time.Second)
		if a := second.verifyFrom(t.Context(), "", nil, pair("x")); a.cache != cacheMiss {
			t.Errorf("past the ttl of the new configuration: %s", summary(a))
		}
		if err := second.close(); err != nil {
			t.Error(err)
		}
		if refs, ok := states.References(conf.fingerprint); ok {
			t.Errorf("the state is still referred to %d times", refs)
		}
	})
}

// TestRequestsAfterTheConfiguration: Caddy may have requests for a handler that it has unloaded. They are judged as any,
// and a revocation that the handler's cache was not told of concerns them too, also where it came while a backend was
// being asked.
func TestRequestsAfterTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"] = "alice@example.com"
		conf := newTestVerifier(t, backend, nil).verifierConfig
		conf.fingerprint += " gone"
		gone, stays := startVerifier(t, t.Context(), conf), startVerifier(t, t.Context(), conf)
		gone.verifyFrom(t.Context(), "", nil, pair("x"))
		if err := gone.close(); err != nil {
			t.Fatal(err)
		}
		if a := gone.verifyFrom(t.Context(), "", nil, pair("x")); a.cache != cacheHit {
			t.Errorf("while another handler has the cache: %s", summary(a))
		}

		backend.set(func(d *doubleBackend) { d.delay = time.Second; d.users["y"] = "bob@example.com" })
		if err := stays.close(); err != nil {
			t.Fatal(err)
		}
		before := make(chan verdict)
		go func() { before <- gone.verifyFrom(t.Context(), "", nil, pair("y")) }()
		synctest.Wait()
		time.Sleep(time.Second / 2)
		backend.set(func(d *doubleBackend) { clear(d.users) })
		revokeIn("", frappe.Change{User: "alice@example.com"}, metrics.Webhook)
		for _, token := range []string{"x", "y"} {
			if a := gone.verifyFrom(t.Context(), "", nil, pair(token)); a.err == nil {
				t.Errorf("revoked after the configuration went, %s still gets in: %s", token, summary(a))
			}
		}
		<-before
	})
}

// TestUsersThatNobodyIs: a backend that grants must name a user of Frappe's, and Guest owns no credential.
func TestUsersThatNobodyIs(t *testing.T) {
	for _, user := range []string{"", frappe.Guest, "alice\n", "a\x00", strings.Repeat("x", frappe.MaxUserSize+1)} {
		backend := newDoubleBackend()
		backend.users["x"] = user
		v := newTestVerifier(t, backend, nil)
		if a := v.verifyFrom(t.Context(), "", nil, pair("x")); summary(a) != "503" {
			t.Errorf("%q: %s", user, summary(a))
		}
	}
}

// TestLongestVerification: a backend that does not answer is given up after a minute.
func TestLongestVerification(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"], backend.delay = "alice@example.com", time.Hour
		v := newTestVerifier(t, backend, nil)
		began := time.Now()
		if a := v.verifyFrom(t.Context(), "", nil, pair("x")); summary(a) != "503" {
			t.Error(summary(a))
		}
		if took := time.Since(began); took != maxVerification {
			t.Errorf("it took %s", took)
		}
	})
}

// TestClientGoesAway: whoever leaves gets no verdict. Who waits for another's stops at once; who asked sees the verification
// through, for those who stay.
func TestClientGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		backend := newDoubleBackend()
		backend.users["x"], backend.delay = "alice@example.com", time.Second
		v := newTestVerifier(t, backend, nil)
		leaving, leave := context.WithCancel(t.Context())
		start := func(ctx context.Context, token string) (found chan verdict) {
			found = make(chan verdict, 1)
			go func() { found <- v.verifyFrom(ctx, "", nil, pair(token)) }()
			synctest.Wait()
			return found
		}
		began := time.Now()
		asks, leaves, stays := start(leaving, "x"), start(leaving, "x"), start(t.Context(), "x")
		leave()
		for _, c := range []struct {
			name  string
			found chan verdict
			after time.Duration
		}{{"who waits", leaves, 0}, {"who asked", asks, time.Second}} {
			if rejected, became, _ := new(Options).judge(leaving, new(<-c.found), frappe.SchemeToken); rejected != rejectClientGone || became != outcomeClientGone {
				t.Errorf("%s: %v", c.name, became)
			}
			if took := time.Since(began); took != c.after {
				t.Errorf("%s was done after %s", c.name, took)
			}
		}
		if a := <-stays; summary(a) != cacheMiss {
			t.Errorf("the verification did not go on: %s", summary(a))
		}
		if asked := backend.timesAsked("x"); asked != 1 {
			t.Errorf("the backend was asked %d times", asked)
		}

		// Nobody stays.
		backend.users["y"] = "alice@example.com"
		leaving, leave = context.WithCancel(t.Context())
		asks = start(leaving, "y")
		leave()
		if rejected, became, _ := new(Options).judge(leaving, new(<-asks), frappe.SchemeToken); rejected != rejectClientGone || became != outcomeClientGone {
			t.Error(became)
		}
		for _, token := range []string{"x", "y"} {
			if a := v.verifyFrom(t.Context(), "", nil, pair(token)); a.cache != cacheHit {
				t.Errorf("%s: the verification did not go on: %s", token, summary(a))
			}
		}
	})
}
