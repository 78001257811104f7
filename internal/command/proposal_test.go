package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// fakeModule stands for a module that some builds of Caddy have. It only needs to be registered.
type fakeModule struct{ id caddy.ModuleID }

func (m fakeModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: m.id, New: func() caddy.Module { return m }}
}

// TestProposals: the proposals depend on the modules of this Caddy. The binary of this test has no database backend at
// first, and modules cannot be unregistered.
func TestProposals(t *testing.T) {
	const redis = "redis://127.0.0.1:11000"
	b := bench{sitesDir: "/bench/sites", sites: []string{"erp.example.com"}, redisQueue: redis, webserverPort: 8001}
	onBench := target{bench: &b, siteName: "erp.example.com"}
	check := func(t *testing.T, want ...proposal) {
		t.Helper()
		got := onBench.proposals()
		if len(got) != len(want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("got %+v, want %+v", got[i], want[i])
			}
		}
	}
	site := proposal{url: "http://127.0.0.1:8001", siteName: "erp.example.com"}
	check(t, site)
	var said bytes.Buffer
	// The invalid address ends it before the site is asked.
	if _, err := (loader{}).choose(&said, onBench, "\n", nil); err == nil {
		t.Error("a line break is accepted as an address")
	}
	if !strings.Contains(said.String(), "This Caddy has no database backend") {
		t.Errorf("it only says %q", said.String())
	}

	caddy.RegisterModule(fakeModule{feedModule})
	site.feed = redis
	check(t, site)

	caddy.RegisterModule(fakeModule{databaseModule})
	check(t, proposal{database: "/bench/sites/erp.example.com", feed: redis}, site)
	said.Reset()
	if _, err := (loader{}).choose(&said, onBench, "\n", nil); err == nil || said.Len() != 0 {
		t.Errorf("%v, %q", err, said.String())
	}
}

// TestFeed: the feed is suggested in a comment, without a password.
func TestFeed(t *testing.T) {
	const hidden = "# feed frappe_events {env.FRAPPE_REDIS_URL}\n"
	for _, test := range []struct {
		name, redis, want string
	}{
		{"none", "", ""},
		{"plain", "redis://127.0.0.1:11000", "# feed frappe_events redis://127.0.0.1:11000\n"},
		{"password", "redis://:s3cret@127.0.0.1:11000", hidden},
		{"password of a user", "rediss://frappe:s3cret@redis:6379/0", hidden},
		{"password in the query", "redis://redis:6379?password=s3cret", hidden},
		{"no URL", "redis://:s3cret @[redis", hidden},
		{"no host", "s3cret", hidden},
		{"placeholder", "redis://redis:6379/{s3cret}", hidden},
		{"line break", "redis://redis:6379/s3cret\nrespond", hidden},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, err := proposal{url: "https://erp.example.com", feed: feedURL(test.redis)}.caddyfile("files.example.com", nil)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text, test.want) || strings.Contains(text, "s3cret") ||
				(test.want == "") == strings.Contains(text, "feed") {
				t.Errorf("no %q in\n%s", test.want, text)
			}
		})
	}
}
