package frappeauth

import (
	"testing"

	"github.com/caddy-frappe/frappe-auth/internal/fleet"
)

// TestAdopt: the verdict of another Caddy is cached unless it was revoked since it was read, or this Caddy has a newer one. It
// never replaces an answer to a question that this Caddy has asked.
func TestAdopt(t *testing.T) {
	s := subject{spelling: 1}
	granted := func(at int64) *grant {
		return &grant{spelling: 1, at: at, tags: tags{byUser: 2, byClaim: 3, bySite: 4}}
	}
	for _, test := range []struct {
		name   string
		before func(c *cache) // the verdict is read
		since  func(c *cache)
		want   bool
	}{
		{"nothing known", nil, nil, true},
		{"an older grant", func(c *cache) { c.adopt(s, granted(9), c.begin()) }, nil, true},
		{"a newer grant", func(c *cache) { c.adopt(s, granted(11), c.begin()) }, nil, false},
		{"an older denial", func(c *cache) { c.deny(s, denial{spelling: 1, at: 9, moment: c.begin()}) }, nil, true},
		{"a newer denial", func(c *cache) { c.deny(s, denial{spelling: 1, at: 11, moment: c.begin()}) }, nil, false},
		{"revoked before it was read", func(c *cache) { c.apply(fleet.Revocation{Tags: []uint64{2}}) }, nil, true},
		{"revoked since", nil, func(c *cache) { c.apply(fleet.Revocation{Tags: []uint64{3 ^ 4}}) }, false},
		{"everything revoked since", nil, func(c *cache) { c.apply(fleet.Revocation{Everything: true}) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCache(nil)
			asked := c.begin() // a backend is asked, and answers later
			if test.before != nil {
				test.before(c)
			}
			read := c.begin()
			if test.since != nil {
				test.since(c)
			}
			if cached, _ := c.adopt(s, granted(10), read); cached != test.want {
				t.Errorf("cached: %t", cached)
			}
			if !test.want || test.before != nil {
				return
			}
			c.deny(s, denial{spelling: 1, at: 5, moment: asked})
			if g, d := c.lookup(s); g != nil || d == nil {
				t.Error("the answer of a backend does not replace it")
			}
		})
	}
}
