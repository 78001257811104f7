package fleet

import (
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// TestPosition: which verdicts may have been revoked, after what was read of the log.
func TestPosition(t *testing.T) {
	const tag = 7
	at := func(epoch string, sequence uint64, id string) frappe.Position {
		return frappe.Position{Epoch: epoch, Sequence: sequence, ID: id}
	}
	for _, test := range []struct {
		name     string
		read     []frappe.Position
		epoch    string
		sequence uint64
		want     bool
	}{
		{"nothing was read", nil, "", 0, true},
		{"the position that was reached", []frappe.Position{at("a", 3, "x")}, "a", 3, false},
		{"just before the first entry", []frappe.Position{at("a", 3, "x")}, "a", 2, false},
		{"before what is left", []frappe.Position{at("a", 3, "x")}, "a", 1, true},
		{"ahead of what was read", []frappe.Position{at("a", 3, "x")}, "a", 4, true},
		{"another epoch", []frappe.Position{at("a", 3, "x")}, "b", 3, true},
		{"before a gap", []frappe.Position{at("a", 3, "x"), at("a", 5, "z")}, "a", 3, true},
		{"after a gap", []frappe.Position{at("a", 3, "x"), at("a", 5, "z")}, "a", 5, false},
		{"before a new epoch", []frappe.Position{at("a", 3, "x"), at("b", 1, "z")}, "a", 3, true},
		{"in a new epoch", []frappe.Position{at("a", 3, "x"), at("b", 1, "z")}, "b", 1, false},
		{"the log went back", []frappe.Position{at("a", 3, "x"), at("a", 2, "z")}, "a", 2, true},
		{"the log went back, and on", []frappe.Position{at("a", 3, "x"), at("a", 2, "y"), at("a", 3, "z")}, "a", 3, true},
		{"the same number under another ID", []frappe.Position{at("a", 3, "x"), at("a", 3, "z")}, "a", 3, true},
		{"begun anew after it went back", []frappe.Position{at("a", 3, "x"), at("a", 3, "y"), at("b", 1, "z")}, "b", 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPosition()
			for _, to := range test.read {
				p.advance(to)
			}
			if got := p.isRevoked(test.epoch, test.sequence, []uint64{tag}); got != test.want {
				t.Errorf("got %t", got)
			}
		})
	}
}

// TestPublishedElsewhere: once this Caddy has published into a log that it has not read, it takes nothing from the store before
// it has begun to read that log.
func TestPublishedElsewhere(t *testing.T) {
	for _, test := range []struct {
		name string
		to   frappe.Position
		want bool
	}{
		{"the next entry", frappe.Position{Epoch: "a", Sequence: 6, ID: "y"}, true},
		{"another epoch", frappe.Position{Epoch: "b", Sequence: 1, ID: "y"}, false},
		{"a number that was read before", frappe.Position{Epoch: "a", Sequence: 5, ID: "y"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			now := time.Now()
			f, err := New(Config{Secret: make([]byte, minSecret), Apply: func(Revocation) {}, Now: func() time.Time { return now }})
			if err != nil {
				t.Fatal(err)
			}
			f.apply(frappe.Position{}, []frappe.LogEntry{{Position: frappe.Position{Epoch: "a", Sequence: 5, ID: "x"}}}, now)
			now = now.Add(time.Second)
			f.Revoke(Revocation{Tags: []uint64{1}})
			f.published(test.to, Revocation{Tags: []uint64{1}}, f.outbox.number)
			if got := f.IsCurrent(&Verdict{epoch: "a", sequence: 5}, 2); got != test.want {
				t.Errorf("a verdict of another user: %t", got)
			}
			if f.IsCurrent(&Verdict{epoch: "a", sequence: 5}, 1) {
				t.Error("the revoked verdict serves")
			}
		})
	}
}
