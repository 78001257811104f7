package backends_test

import (
	"errors"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/backends"
	"github.com/caddy-frappe/frappe-auth/internal/breaker"
	"github.com/caddy-frappe/frappe-auth/internal/verdicts"
)

// TestState: the backend is asked about a site that does not exist once a minute, and about a site that is down until
// its breaker opens. Neither affects other sites.
func TestState(t *testing.T) {
	now := time.Now()
	to := backends.Reporter{Logger: zap.NewNop(), Now: func() time.Time { return now }}
	d := new(double)
	b := backends.Loaded{Backend: d, Name: "double", Resolver: d}
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
