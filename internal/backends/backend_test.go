package backends_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// double is a backend that answers as the test says, of the sites that a request names.
type double struct {
	answer func() (frappe.Identity, error)
	calls  int
}

func (d *double) Verify(context.Context, frappe.Credential) (frappe.Identity, error) {
	d.calls++
	return d.answer()
}

func (*double) ResolvesSites() bool { return true }

func (*double) Site(*caddy.Replacer) (string, error) { return "", nil }

var alice = frappe.Identity{User: "alice@example.com"}

// TestVerify: what each answer of a backend means, who is to blame for it, and whether the backend was called at all.
func TestVerify(t *testing.T) {
	throttled := errors.New("throttled")
	for _, test := range []struct {
		name   string
		answer func() (frappe.Identity, error)
		allow  error
		known  bool
		want   string // of the error; empty: granted
		charge bool
		calls  int
	}{
		{"granted", func() (frappe.Identity, error) { return alice, nil }, nil, false, "", false, 1},
		{"denied", func() (frappe.Identity, error) { return alice, frappe.ErrDenied }, nil, false, "credential denied", false, 1},
		{"no such site", func() (frappe.Identity, error) { return alice, frappe.ErrUnknownSite }, nil, true, "no such site", true, 1},
		{"down", func() (frappe.Identity, error) { return alice, errors.New("down") }, nil, false, "down", false, 1},
		{
			"cannot judge it", func() (frappe.Identity, error) {
				return alice, &frappe.UnavailableError{Reason: errors.New("odd"), CredentialSpecific: true}
			}, nil, false, "odd", true, 1,
		},
		{
			"cannot judge a known one", func() (frappe.Identity, error) {
				return alice, &frappe.UnavailableError{Reason: errors.New("odd"), CredentialSpecific: true}
			}, nil, true, "odd", false, 1,
		},
		{"not allowed after the wait", func() (frappe.Identity, error) { return alice, nil }, throttled, false, "throttled", false, 0},
		{"panics", func() (frappe.Identity, error) { panic("s3cret") }, nil, false, "the backend panicked with a string", false, 1},
		{"names nobody", func() (frappe.Identity, error) { return frappe.Identity{}, nil }, nil, false, "named no valid Frappe user", false, 1},
		{
			"has expired", func() (frappe.Identity, error) { return frappe.Identity{User: alice.User, Expiry: time.Now()}, nil },
			nil, false, "credential denied", false, 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			to := backends.Reporter{Logger: zap.New(core), Now: time.Now}
			d := &double{answer: test.answer}
			b := backends.Backend{Backend: d, Name: "double", Resolver: d}
			charge := false
			_, err := backends.NewState("double", 1, func() float64 { return 0 }).Verify(b, to, backends.Call{
				Known: test.known, Allow: func() error { return test.allow }, Charge: func() { charge = true }, Span: trace.SpanFromContext(t.Context()),
			})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if charge != test.charge || d.calls != test.calls {
				t.Errorf("charged: %t, after %d calls", charge, d.calls)
			}
			if shown := fmt.Sprint(logs.All(), err); strings.Contains(shown, "s3cret") {
				t.Error(shown)
			}
		})
	}
}

// TestStates: a site that does not exist is asked for once a minute, one that is down until its breaker opens; neither concerns
// other sites.
func TestStates(t *testing.T) {
	now := time.Now()
	to := backends.Reporter{Logger: zap.NewNop(), Now: func() time.Time { return now }}
	d := new(double)
	b := backends.Backend{Backend: d, Name: "double", Resolver: d}
	s := backends.NewState("double", 1, func() float64 { return 0 })
	lookup := uint64(0)
	ask := func(site string, answer error) (err error) {
		d.answer = func() (frappe.Identity, error) { return alice, answer }
		lookup++
		_, err = s.Verify(b, to, backends.Call{
			Credential: frappe.Credential{Site: site}, Key: verdicts.Key{byte(lookup)}, Claim: lookup, Lookup: lookup,
			Allow: func() error { return nil }, Charge: func() {}, Span: trace.SpanFromContext(t.Context()),
		})
		return err
	}
	for range 3 {
		if err := ask("made-up", frappe.ErrUnknownSite); !errors.Is(err, frappe.ErrUnknownSite) {
			t.Fatal(err)
		}
	}
	if d.calls != 1 {
		t.Errorf("asked %d times for a site that does not exist", d.calls)
	}
	now = now.Add(time.Minute)
	if err := ask("made-up", nil); err != nil {
		t.Errorf("a site that was created since: %v", err)
	}
	for range breaker.Threshold {
		_ = ask("down", errors.New("down"))
	}
	if _, open := errors.AsType[*breaker.OpenError](ask("down", nil)); !open || len(s.Open()) != 1 {
		t.Errorf("the breaker is not open: %q", s.Open())
	}
	if err := ask("up", nil); err != nil {
		t.Errorf("another site: %v", err)
	}
}

// TestWatch: an age is there while somebody watches, also while one configuration replaces another.
func TestWatch(t *testing.T) {
	var w backends.Watch
	now := time.Now()
	expect := func(want time.Duration, watched bool) {
		t.Helper()
		if age, ok := w.Age(now); ok != watched || ok && age != want {
			t.Errorf("age %s %t, want %s %t", age, ok, want, watched)
		}
	}
	expect(0, false)
	w.Started(now)
	now = now.Add(time.Second)
	expect(time.Second, true)
	w.Started(now)
	expect(time.Second, true)
	w.Stopped()
	if first, second := w.Looked(now), w.Looked(now); !first || second {
		t.Errorf("the first look is the first: %t, the second: %t", first, second)
	}
	expect(0, true)
	w.Started(now)
	w.Stopped()
	if w.Looked(now) {
		t.Error("a look of a configuration that took over is the first")
	}
	w.Stopped()
	expect(0, false)
	w.Started(now)
	if !w.Looked(now) {
		t.Error("after a break, the next look is not the first")
	}
}
