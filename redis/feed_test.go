package redis

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
	zapobserver "go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// openFeed provisions a feed until the test ends.
func openFeed(t testing.TB, f *FrappeEvents) *FrappeEvents {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := f.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// watched collects what a feed reports.
type watched struct {
	mu    sync.Mutex
	looks int
	seen  []string
}

// watch watches a feed until the test ends.
func watch(t testing.TB, f *FrappeEvents) *watched {
	t.Helper()
	w := new(watched)
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		f.Watch(ctx, func(changes []frappe.Change) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.looks++
			for _, c := range changes {
				w.seen = append(w.seen, described(c))
			}
		})
	})
	t.Cleanup(func() { cancel(); done.Wait() })
	return w
}

func described(c frappe.Change) string {
	text := c.Site
	if c.User != "" {
		text += " user " + c.User
	}
	if c.Token != "" {
		text += " token " + c.Token
	}
	if c.Everything {
		text += " everything"
	}
	return strings.TrimPrefix(text, " ")
}

func (w *watched) saw(what string) func() bool {
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Contains(w.seen, what)
	}
}

func (w *watched) looked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.looks
}

func (w *watched) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = nil
}

func (w *watched) set() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(w.seen))), ", ")
}

func document(site, doctype, name string) string {
	raw, _ := json.Marshal(map[string]any{
		"event": "doc_update", "message": map[string]string{"doctype": doctype, "name": name}, "namespace": site,
		"room": "doc:" + doctype + "/" + name,
	})
	return string(raw)
}

// TestEvents: what a real site announced is reported; messages of other sites and malformed ones are not.
func TestEvents(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		all := watch(t, openFeed(t, &FrappeEvents{URL: server.url()}))
		one := watch(t, openFeed(t, &FrappeEvents{URL: server.url(), Sites: []string{"ERP.localhost"}}))
		testutil.Eventually(t, "both are subscribed", func() bool { return all.looked() > 0 && one.looked() > 0 })
		if all.set() != "" {
			t.Errorf("before anything changed: %s", all.set())
		}
		publish := func(message string) { server.Must("PUBLISH", "events", message) }
		for line := range bytes.Lines(testutil.ReadFile(t, "redis/testdata/events.jsonl")) {
			publish(string(line))
		}
		for _, garbage := range []string{
			"", "x", "null", "[]", "{}", `{"event":"doc_update"}`, `{"event":7}`, `{"event":"doc_update","message":"User"}`,
			`{"event":"doc_update","message":{"doctype":"User","name":7}}`, `{"event":"doc_update","message":{"doctype":"User"}}`,
			document("erp.localhost", "User", strings.Repeat("x", maxName+1)), document("erp.localhost", "User", strings.Repeat("y", maxMessage)),
			`{"event":"msgprint","message":{"doctype":"User","name":"nobody"}}`, document("erp.localhost", "ToDo", "nobody"), "\xff\xfe",
		} {
			publish(garbage)
		}
		publish(document("other.localhost", "User", "other"))
		publish(document("erp.localhost", "User", "Zürich, \"x\"\n"))
		publish(document("erp.localhost", "User", "last"))
		testutil.Eventually(t, "the last message was heard", func() bool { return all.saw("erp.localhost user last")() && one.saw("erp.localhost user last")() })
		erp := "erp.localhost token evetoken1, erp.localhost user Zürich, \"x\"\n, erp.localhost user eve2@example.com, " +
			"erp.localhost user eve@example.com, erp.localhost user last"
		if got := one.set(); got != erp {
			t.Errorf("of one site:\ngot  %s\nwant %s", got, erp)
		}
		if got, want := all.set(), erp+", other.localhost user other"; got != want {
			t.Errorf("of all sites:\ngot  %s\nwant %s", got, want)
		}
		for _, doctype := range []string{"Role", "Role Profile", "OAuth Client", "System Settings"} {
			all.forget()
			publish(document("erp.localhost", doctype, "x"))
			testutil.Eventually(t, doctype+" drops everything", all.saw("erp.localhost everything"))
		}
	})
}

// TestMessages: what a message means, by its site and the version of Frappe that wrote it.
func TestMessages(t *testing.T) {
	message := func(doctype, name, rest string) string {
		return fmt.Sprintf(`{"event":"list_update","message":{"doctype":%q,"name":%q}%s}`, doctype, name, rest)
	}
	for _, test := range []struct {
		name, raw string
		sites     []string
		want      string
	}{
		{"namespace", message("User", "a", `,"namespace":"erp.example.com"`), nil, "erp.example.com user a"},
		{"capital letters of the site", message("User", "A", `,"namespace":"ERP.example.com"`), []string{"erp.example.com"}, "erp.example.com user A"},
		{"room of a document in Frappe 14", message("User", "a", `,"room":"erp.example.com:doc:User/a"`), nil, "erp.example.com user a"},
		{"room of a list in Frappe 14", message("Role", "a", `,"room":"erp.example.com:doctype:Role"`), nil, "erp.example.com everything"},
		{"room of another site", message("User", "a", `,"room":"other:doctype:User"`), []string{"erp.example.com"}, ""},
		{"room of a newer Frappe", message("User", "a", `,"room":"doctype:User"`), []string{"erp.example.com"}, "user a"},
		{"neither", message("OAuth Bearer Token", "a", ``), []string{"erp.example.com"}, "token a"},
		{"another doctype", message("Note", "a", ``), nil, ""},
		{"another event", `{"event":"progress","message":[1]}`, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			change, relevant, err := changeOf(test.raw, test.sites)
			if got := described(change); err != nil || relevant != (test.want != "") || relevant && got != test.want {
				t.Errorf("%q %t %v, want %q", got, relevant, err, test.want)
			}
		})
	}
}

// TestBurst: a change that is announced twice is reported once, and a flood drops everything rather than being lost.
func TestBurst(t *testing.T) {
	var seen []frappe.Change
	s := &subscription{pending: make(map[frappe.Change]bool)}
	s.watchers.See(true)
	watching := make(chan struct{})
	go s.watchers.Watch(t.Context(), func(changes []frappe.Change) {
		if changes == nil {
			close(watching)
		}
		seen = append(seen, changes...)
	})
	<-watching
	s.logger.Store(zap.NewNop())
	s.pending[frappe.Change{User: "already"}] = true // so that no timer is started
	s.take(document("erp", "User", "a"))
	s.take(strings.Replace(document("erp", "User", "a"), "doc_update", "list_update", 1))
	s.take(document("erp", "User", "b"))
	s.flush()
	if len(seen) != 3 {
		t.Errorf("reported: %v", seen)
	}
	seen = nil
	s.pending[frappe.Change{User: "already"}] = true
	for i := range maxPending + 10 {
		s.take(document("erp", "User", fmt.Sprint(i)))
	}
	s.flush()
	if len(seen) != maxPending+1 || !slices.Contains(seen, frappe.Change{Everything: true}) {
		t.Errorf("%d changes were reported of a flood", len(seen))
	}
}

// TestFeedLost: while a feed is lost that is logged once, and when it is back, everything may have changed.
func TestFeedLost(t *testing.T) {
	onEach(t, func(t *testing.T, program string) {
		server := start(t, program)
		f := openFeed(t, &FrappeEvents{URL: server.url()})
		core, logs := zapobserver.New(zap.InfoLevel)
		f.subscription.logger.Store(zap.New(core))
		w := watch(t, f)
		testutil.Eventually(t, "it is subscribed", func() bool { return w.looked() > 0 })
		for _, cut := range []func(){
			func() { server.Must("CLIENT", "KILL", "TYPE", "pubsub") },
			func() { server.Kill(); server.Start() },
		} {
			w.forget()
			cut()
			testutil.Eventually(t, "everything is dropped", w.saw("everything"))
			server.Must("PUBLISH", "events", document("erp", "User", "after"))
			testutil.Eventually(t, "it hears again", w.saw("erp user after"))
		}
		late := watch(t, f)
		testutil.Eventually(t, "a second watcher is told", func() bool { return late.looked() > 0 })
		if late.set() != "" {
			t.Errorf("the second watcher got %s", late.set())
		}
		var levels []string
		for _, entry := range logs.All() {
			levels = append(levels, entry.Level.String())
		}
		if got := strings.Join(levels, " "); got != "warn info warn info" {
			t.Errorf("logged: %s", got)
		}
	})
}

// TestFeedStartsLate: a feed whose Redis is down at first reports that everything may have changed when it is there.
func TestFeedStartsLate(t *testing.T) {
	server := startRedis(t)
	server.Kill()
	f := openFeed(t, &FrappeEvents{URL: server.url(), Sites: []string{"a", "b"}})
	w := watch(t, f)
	if got := f.CheckHealth(soon(t)); got[0].Result != frappe.ResultTrouble || !strings.Contains(got[0].Detail, server.url()) {
		t.Errorf("without a server: %v", got)
	}
	testutil.Eventually(t, "it has tried", func() bool {
		f.subscription.mu.Lock()
		defer f.subscription.mu.Unlock()
		return f.subscription.missed
	})
	server.Start()
	testutil.Eventually(t, "everything of the sites is dropped", func() bool { return w.saw("a everything")() && w.saw("b everything")() })
}

// TestFeedHangs: a connection over which no answer comes is given up.
func TestFeedHangs(t *testing.T) {
	server := startRedis(t)
	w := watch(t, openFeed(t, &FrappeEvents{URL: server.url()}))
	testutil.Eventually(t, "it is subscribed", func() bool { return w.looked() > 0 })
	testutil.Eventually(t, "a ping shows that it works", func() bool { return w.looked() > 1 })
	server.Must("CLIENT", "PAUSE", "12000")
	testutil.Eventually(t, "it is given up, and everything dropped afterwards", w.saw("everything"))
}

// TestOtherSites: a site whose name is wrong is told once, when many announcements were of another one.
func TestOtherSites(t *testing.T) {
	for _, test := range []struct {
		name  string
		sites []string
		first string // announced first
		want  int    // warnings
	}{
		{"a wrong name", []string{"erp.example.co"}, "", 1},
		{"one of them is right", []string{"erp.example.co", "quiet.example.com"}, document("quiet.example.com", "ToDo", "x"), 0},
		{"all sites", nil, "", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			core, logs := zapobserver.New(zap.WarnLevel)
			s := &subscription{address: &address{shown: "redis://h"}, sites: test.sites, pending: make(map[frappe.Change]bool)}
			s.logger.Store(zap.New(core))
			s.pending[frappe.Change{User: "already"}] = true // so that no timer is started
			if test.first != "" {
				s.take(test.first)
			}
			for range 3 * manyOthers {
				s.take(document("erp.example.com", "ToDo", "x"))
			}
			if logs.Len() != test.want {
				t.Errorf("%d warnings: %v", logs.Len(), logs.All())
			}
		})
	}
}

// TestBench: doctor sees whether a Redis is the one where a bench has its queues and announces its changes.
func TestBench(t *testing.T) {
	cache, queue := startRedis(t), startRedis(t)
	cache.Must("SET", "_1bd3e0294da19198|bootinfo", "x")
	queue.Must("SADD", "rq:queues", "rq:queue:home-frappe-frappe-bench:short")
	about := func(findings []frappe.Finding, check string) string {
		for _, f := range findings {
			if f.Check == check {
				return string(f.Result) + " " + f.String()
			}
		}
		return ""
	}
	for _, test := range []struct {
		name, got, want string
	}{
		{"a feed of the queue", about(openFeed(t, &FrappeEvents{URL: queue.url()}).CheckHealth(soon(t)), "bench"), "ok its queues are here"},
		{"a feed of the cache", about(openFeed(t, &FrappeEvents{URL: cache.url()}).CheckHealth(soon(t)), "bench"), "warning no queue of a bench"},
		{"a store in the queue", about(open(t, &Store{URL: queue.url()}).CheckHealth(soon(t)), "purpose"), "warning this is the redis_queue of a bench"},
		{"a store in another Redis", about(open(t, &Store{URL: cache.url()}).CheckHealth(soon(t)), "purpose"), ""},
	} {
		if !strings.HasPrefix(test.got, test.want) || test.want == "" && test.got != "" {
			t.Errorf("%s: %s", test.name, test.got)
		}
	}
}
