package e2e

import (
	"crypto/md5"  //nolint:gosec // to search for it
	"crypto/sha1" //nolint:gosec // the same
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// monitor records what a Redis is sent until the test ends, and returns a function that returns the record so far.
func monitor(t *testing.T, server *testutil.RedisServer) (heard func() string) {
	t.Helper()
	conn, err := net.Dial("unix", server.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var all strings.Builder
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buffer)
			mu.Lock()
			all.Write(buffer[:n])
			mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	heard = func() string {
		mu.Lock()
		defer mu.Unlock()
		return all.String()
	}
	testutil.Eventually(t, "Redis is watched", func() bool { return strings.Contains(heard(), "+OK") })
	return heard
}

// dump returns everything in a Redis: names, values, and the entries of streams.
func dump(t *testing.T, server *testutil.RedisServer) string {
	t.Helper()
	names, err := server.Run("KEYS", "*").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range names {
		all.WriteString(name + "\n")
		kind, err := server.Run("TYPE", name).ToString()
		if err != nil {
			t.Fatal(err)
		}
		switch kind {
		case "string":
			value, _ := server.Run("GET", name).ToString() // a lock may have expired
			all.WriteString(value + "\n")
		case "stream":
			entries, err := server.Run("XRANGE", name, "-", "+").AsXRange()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				for field, value := range e.FieldValues {
					all.WriteString(field + " " + value + "\n")
				}
			}
		case "none": // it has expired
		default:
			t.Errorf("%s is a %s", name, kind)
		}
	}
	return all.String()
}

// forms returns the forms of a text to search for: plain, hexadecimal, base64 at any offset, and hashes without a key,
// with which guesses can be checked.
func forms(text string) []string {
	found := []string{text, strings.ToLower(text), strings.ToUpper(text)}
	raw := func(b []byte) {
		found = append(found, hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)))
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			for before := range 3 {
				encoded := encoding.EncodeToString(append(make([]byte, before), b...))
				found = append(found, encoded[(before*8+5)/6:len(encoded)-1])
			}
		}
	}
	raw([]byte(text))
	for _, lower := range []string{text, strings.ToLower(text)} {
		long, short, old := sha256.Sum256([]byte(lower)), sha1.Sum([]byte(lower)),
			md5.Sum([]byte(lower)) //nolint:gosec // see above
		for _, sum := range [][]byte{long[:], short[:], old[:]} {
			found = append(found, string(sum))
			raw(sum)
		}
	}
	return found
}

// TestSearchFindsEncodings: contains finds every form of a text.
func TestSearchFindsEncodings(t *testing.T) {
	sum := sha256.Sum256([]byte("needle-1234"))
	for _, text := range []string{
		"a needle-1234 here", "NEEDLE-1234", hex.EncodeToString([]byte("x needle-1234 y")), hex.EncodeToString(sum[:]),
		string(sum[:]),
		base64.StdEncoding.EncodeToString([]byte("needle-1234")), base64.StdEncoding.EncodeToString([]byte(".needle-1234.")),
		base64.URLEncoding.EncodeToString([]byte("..needle-1234..")),
		base64.StdEncoding.EncodeToString([]byte("...needle-1234...")),
		base64.StdEncoding.EncodeToString(sum[:]),
	} {
		if !contains(text, "needle-1234") {
			t.Errorf("it is not found in %q", text)
		}
	}
	if contains("a haystack", "needle-1234") {
		t.Error("it is found where it is not")
	}
}

func contains(haystack, needle string) bool {
	for _, form := range forms(needle) {
		if strings.Contains(haystack, form) {
			return true
		}
	}
	return false
}

// TestFleetStoreHoldsNoNames: neither the contents of Redis nor any command that it gets contain a user, a role, a key,
// a secret, a token or a session, whether granted, denied, revoked or refreshed.
func TestFleetStoreHoldsNoNames(t *testing.T) {
	server := testutil.StartRedis(t)
	heard := monitor(t, server)
	site := testutil.NewRecordedSite(t, testutil.OnMariaDB)
	nodes := launchFleet(t, 2, "site "+site.URL+" {\nroles\n}", server, patient,
		func(int) string { return "failures 1000 1m\nschemes basic bearer token session" })
	sent := map[string]int{
		testutil.AlicePair: 200, testutil.AliceBearer: 200, testutil.BobPair: 200, testutil.BobBearer: 200,
		"sid=" + testutil.RecordedSession:  200,
		testutil.AlicePair + "x":           401,
		"token nobodys-key:nobodys-secret": 401, "Bearer nobodys-token": 401, "sid=nobodys-session": 401,
	}
	all := func() {
		for _, n := range nodes {
			for credential, want := range sent {
				if status, body, err := n.request(t, credential); status != want {
					t.Errorf("%s: %d %s %v", credential, status, body, err)
				}
			}
		}
	}
	all()
	if status, answer := nodes[0].deliver(t, "alice@example.com", testutil.AliceKey); status != 204 {
		t.Errorf("webhook: %d %s", status, answer)
	}
	for _, query := range []string{"?user=bob@example.com", ""} {
		if status, answer := ask(t, "DELETE", "http://"+nodes[1].admin+"/frappe_auth/cache"+query, ""); status != 204 {
			t.Errorf("drop: %d %s", status, answer)
		}
	}
	all()
	site.LoggedOut.Store(true)
	ask(t, "DELETE", "http://"+nodes[0].admin+"/frappe_auth/cache", "")
	sent["sid="+testutil.RecordedSession] = 401
	testutil.Eventually(t, "the other has heard", func() bool {
		status, _, _ := nodes[1].request(t, "sid="+testutil.RecordedSession)
		return status == 401
	})
	all()

	held := dump(t, server)
	if n := strings.Count(held, "}:1:v:"); n < 4 {
		t.Fatalf("Redis holds %d results only:\n%q", n, held)
	}
	for what, where := range map[string]string{"holds": held, "was told": heard()} {
		for _, private := range []string{
			testutil.AliceKey, testutil.AliceSecret, testutil.AliceToken, "alice@example.com", "Report Manager",
			"System Manager",
			strings.TrimPrefix(testutil.BobPair, "token "), testutil.BobSecret,
			strings.TrimPrefix(testutil.BobBearer, "Bearer "), "bob@example.com",
			testutil.RecordedSession, "Administrator", testutil.AliceSecret + "x",
			"nobodys-key", "nobodys-secret", "nobodys-token", "nobodys-session", "s3cret", fleetSecret,
			strings.TrimPrefix(site.URL, "http://"),
		} {
			if contains(where, private) {
				t.Errorf("Redis %s %s", what, private)
			}
		}
	}
}

// keysOf returns the keys of a kind in a Redis: s for states, w for wakes, v for verdicts, f for failures.
func keysOf(t *testing.T, server *testutil.RedisServer, kind string) []string {
	t.Helper()
	keys, err := server.Run("KEYS", "*}:1:"+kind+":*").AsStrSlice()
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// resultNames returns the names of the verdicts in a Redis.
func resultNames(t *testing.T, server *testutil.RedisServer) []string {
	t.Helper()
	return keysOf(t, server, "v")
}

// shared makes a Caddy share the verdict on a new credential, and returns its name and value in Redis.
func (n *node) shared(t *testing.T, server *testutil.RedisServer, sent string) (name, value string) {
	t.Helper()
	before := resultNames(t, server)
	if status, cache := n.get(t, sent); status != 200 || cache != "miss" {
		t.Fatalf("%s: %d %s", sent, status, cache)
	}
	for _, name := range resultNames(t, server) {
		if slices.Contains(before, name) {
			continue
		}
		value, err := server.Run("GET", name).ToString()
		if err != nil {
			t.Fatal(err)
		}
		return name, value
	}
	t.Fatalf("%s is not in Redis", sent)
	return "", ""
}

// kinds are the kinds of credentials, each as a function of the user.
var kinds = map[string]func(who string) string{"key": goodPair, "token": goodToken, "session": goodSession}

// TestFleetTampering: writing to Redis can make Caddys forget verdicts, and nothing else.
func TestFleetTampering(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 2, site.backend(), server, patient, func(int) string {
		return "failures off\nschemes token bearer session\ncache {\nttl 1h\n}"
	})
	set := func(name, value string) { server.Must("SET", name, value) }
	flip := func(value string, at, bit int) string {
		changed := []byte(value)
		changed[at] ^= 1 << bit
		return string(changed)
	}
	for _, test := range []struct {
		name   string
		tamper func(name, value, sent string)
		shared bool
	}{
		{"untouched", func(string, string, string) {}, true},
		{"written again", func(name, value, _ string) { set(name, value) }, true},
		{"one bit of the nonce", func(name, value, _ string) { set(name, flip(value, 0, 0)) }, false},
		{"one bit of the text", func(name, value, _ string) { set(name, flip(value, len(value)/2, 3)) }, false},
		{"one bit of the seal", func(name, value, _ string) { set(name, flip(value, len(value)-1, 7)) }, false},
		{"cut short", func(name, value, _ string) { set(name, value[:len(value)-1]) }, false},
		{"only a nonce", func(name, value, _ string) { set(name, value[:12]) }, false},
		{"garbage", func(name, _, _ string) { set(name, strings.Repeat("x", 1<<20)) }, false},
		{
			"a plain identity", func(name, _, _ string) { set(name, `{"p":{"backend":0,"identity":{"User":"Administrator"}}}`) },
			false,
		},
		{"another type", func(name, _, _ string) { server.Must("DEL", name); server.Must("RPUSH", name, "x") }, false},
		{"deleted", func(name, _, _ string) { server.Must("DEL", name) }, false},
		{"the value of another user under its name", func(name, _, _ string) {
			_, value := nodes[0].shared(t, server, goodPair(fmt.Sprint("root", probes.Add(1))))
			set(name, value)
		}, false},
		{"revoked, and put back", func(name, value, sent string) {
			revokeEve(t, nodes)
			set(name, value)
		}, false},
		{"revoked, and put back with the state as it was", func(name, value, sent string) {
			state := keysOf(t, server, "s")[0]
			before, err := server.Run("GET", state).ToString()
			if err != nil {
				t.Fatal(err)
			}
			revokeEve(t, nodes)
			set(state, before)
			set(name, value)
		}, false},
		{"revoked, and put back without a state", func(name, value, sent string) {
			revokeEve(t, nodes)
			server.Must("DEL", keysOf(t, server, "s")[0])
			set(name, value)
		}, false},
		{"revoked, and put back with garbage for a state", func(name, value, sent string) {
			revokeEve(t, nodes)
			set(keysOf(t, server, "s")[0], strings.Repeat("x", 1<<10))
			set(name, value)
		}, false},
		{"the largest ID in the wake", func(string, string, string) {
			server.Must("XADD", keysOf(t, server, "w")[0], fmt.Sprintf("%d-%[1]d", uint64(math.MaxUint64)), "v", "")
			revokeEve(t, nodes)
		}, false},
	} {
		for kind, of := range kinds {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				shareAll(t, nodes)
				sent := of(fmt.Sprint("eve", probes.Add(1)))
				name, value := nodes[0].shared(t, server, sent)
				test.tamper(name, value, sent)
				status, cache := nodes[1].get(t, sent)
				want, asked := "miss", 2
				if test.shared {
					want, asked = "shared", 1
				}
				if n := site.times(sent); status != 200 || cache != want || n != asked {
					t.Errorf("%d %s, and the site was asked %d times; want %s and %d", status, cache, n, want, asked)
				}
			})
		}
	}
}

// revokeEve tells one Caddy that eve has changed, and waits until the other knows. Nothing changes in the site.
func revokeEve(t *testing.T, nodes []*node) {
	t.Helper()
	canary := goodPair(fmt.Sprint("eve", probes.Add(1)))
	nodes[1].get(t, canary)
	if _, cache := nodes[1].get(t, canary); cache != "hit" {
		t.Fatalf("before: %s", cache)
	}
	if status, answer := nodes[0].deliver(t, "eve@example.com", ""); status != 204 {
		t.Fatalf("webhook: %d %s", status, answer)
	}
	testutil.Eventually(t, "the other has heard",
		func() bool { _, cache := nodes[1].get(t, canary); return cache != "hit" })
}

// TestFleetReplay: a verdict that is put back after its ttl is not used.
func TestFleetReplay(t *testing.T) {
	site, server := newFleetSite(t), testutil.StartRedis(t)
	nodes := startFleet(t, 2, site.backend(), server, patient, func(int) string {
		return "schemes token bearer session\ncache {\nttl 1s\n}"
	})
	for kind, of := range kinds {
		t.Run(kind, func(t *testing.T) {
			sent := of("robin")
			name, value := nodes[0].shared(t, server, sent)
			testutil.Eventually(t, "Redis has forgotten it", func() bool {
				there, err := server.Run("EXISTS", name).AsInt64()
				return err == nil && there == 0
			})
			server.Must("SET", name, value)
			if status, cache := nodes[1].get(t, sent); status != 200 || cache != "miss" || site.times(sent) != 2 {
				t.Errorf("%d %s, and the site was asked %d times", status, cache, site.times(sent))
			}
		})
	}
}
