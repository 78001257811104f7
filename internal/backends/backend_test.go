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
)

// double is a backend for several sites whose answers the test defines.
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

// TestVerify: how each answer of a backend is interpreted, whether the client is charged, and whether the backend was
// called.
func TestVerify(t *testing.T) {
	type answer = func() (frappe.Identity, error)
	returns := func(id frappe.Identity, err error) answer {
		return func() (frappe.Identity, error) { return id, err }
	}
	odd := &frappe.UnavailableError{Reason: errors.New("odd"), CredentialSpecific: true}
	expired := frappe.Identity{User: alice.User, Expiry: time.Now()}
	throttled := errors.New("throttled")
	long := strings.Repeat("x", 1<<16)
	for _, test := range []struct {
		name   string
		answer answer
		allow  error
		known  bool
		want   string // of the error; empty: granted
		charge bool
		calls  int
	}{
		{"granted", returns(alice, nil), nil, false, "", false, 1},
		{"denied", returns(alice, frappe.ErrDenied), nil, false, "credential denied", false, 1},
		{"no such site", returns(alice, frappe.ErrUnknownSite), nil, true, "no such site", true, 1},
		{"down", returns(alice, errors.New("down")), nil, false, "down", false, 1},
		{"cannot verify it", returns(alice, odd), nil, false, "odd", true, 1},
		{"cannot verify a known one", returns(alice, odd), nil, true, "odd", false, 1},
		{"not allowed after the wait", returns(alice, nil), throttled, false, "throttled", false, 0},
		{"panics", func() (frappe.Identity, error) { panic("s3cret") }, nil, false, "panicked with a string", false, 1},
		{"names no user", returns(frappe.Identity{}, nil), nil, false, "did not name a valid Frappe user", false, 1},
		{"has a long name", returns(frappe.Identity{User: alice.User, FullName: long}, nil), nil, false, "is too long", false, 1},
		{"has many roles", returns(frappe.Identity{User: alice.User, Roles: strings.SplitAfter(long, "x")}, nil), nil, false, "is too long", false, 1},
		{"has many scopes", returns(frappe.Identity{User: alice.User, Scopes: []string{long}}, nil), nil, false, "is too long", false, 1},
		{"has a long client", returns(frappe.Identity{User: alice.User, Client: long}, nil), nil, false, "is too long", false, 1},
		{"has a thousand roles", returns(frappe.Identity{User: alice.User, Roles: strings.SplitAfter(long[:1000], "x")}, nil), nil, false, "", false, 1},
		{"has expired", returns(expired, nil), nil, false, "credential denied", false, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			core, logs := observer.New(zap.DebugLevel)
			to := backends.Reporter{Logger: zap.New(core), Now: time.Now}
			d := &double{answer: test.answer}
			b := backends.Loaded{Backend: d, Name: "double", Resolver: d}
			charge := false
			_, err := backends.NewState("double", 1, func() float64 { return 0 }).Verify(b, to, backends.Call{
				Known: test.known, Allow: func() error { return test.allow }, Charge: func() { charge = true },
				Span: trace.SpanFromContext(t.Context()),
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
