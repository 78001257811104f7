package verdicts

import "testing"

// grant is the grant of a test.
type grant struct{ Entry }

// TestAdopt: a verdict of another Caddy is cached unless it was revoked after it was read, or this Caddy has a newer
// one. It never replaces an answer of a backend to this Caddy.
func TestAdopt(t *testing.T) {
	s := Subject{Spelling: 1}
	granted := func(at int64) *grant {
		return &grant{Entry{Spelling: 1, At: at, Tags: Tags{User: 2, Claim: 3, Site: 4}}}
	}
	for _, test := range []struct {
		name   string
		before func(c *Cache[*grant]) // before the verdict is read
		since  func(c *Cache[*grant]) // after it was read
		want   bool
	}{
		{"nothing known", nil, nil, true},
		{"an older grant", func(c *Cache[*grant]) { c.Adopt(s, granted(9), c.Begin()) }, nil, true},
		{"a newer grant", func(c *Cache[*grant]) { c.Adopt(s, granted(11), c.Begin()) }, nil, false},
		{"an older denial", func(c *Cache[*grant]) { c.Deny(s, Entry{Spelling: 1, At: 9, Moment: c.Begin()}) }, nil, true},
		{"a newer denial", func(c *Cache[*grant]) { c.Deny(s, Entry{Spelling: 1, At: 11, Moment: c.Begin()}) }, nil, false},
		{"revoked before it was read", func(c *Cache[*grant]) { c.Revoke([]uint64{2}) }, nil, true},
		{"revoked since", nil, func(c *Cache[*grant]) { c.Revoke([]uint64{3 ^ 4}) }, false},
		{"everything revoked since", nil, func(c *Cache[*grant]) { c.Purge() }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := New[*grant]()
			asked := c.Begin() // a backend is asked, and answers later
			if test.before != nil {
				test.before(c)
			}
			read := c.Begin()
			if test.since != nil {
				test.since(c)
			}
			if cached, _ := c.Adopt(s, granted(10), read); cached != test.want {
				t.Errorf("cached: %t", cached)
			}
			if !test.want || test.before != nil {
				return
			}
			c.Deny(s, Entry{Spelling: 1, At: 5, Moment: asked})
			if g, d := c.Lookup(s); g != nil || d == nil {
				t.Error("the answer of a backend does not replace it")
			}
		})
	}
}

// TestManyRevocations: revocations are forgotten only after the revoked verdicts were removed, and an older answer is
// not cached.
func TestManyRevocations(t *testing.T) {
	c := New[*grant]()
	c.Resize(10)
	good, revoked, late := Subject{Key: Key{1}}, Subject{Key: Key{2}}, Subject{Key: Key{3}}
	c.Grant(good, &grant{Entry{Tags: Tags{User: 1}, Moment: c.Begin()}})
	c.Grant(revoked, &grant{Entry{Tags: Tags{User: 2}, Moment: c.Begin()}})
	asked := c.Begin()
	c.Revoke([]uint64{2})
	for i := range uint64(2 * maxRevocations) {
		c.Revoke([]uint64{10 + i})
		if n := len(c.revoked); n > maxRevocations {
			t.Fatalf("%d revocations are remembered", n)
		}
	}
	if g, _ := c.Lookup(good); g == nil {
		t.Error("a verdict that was not revoked is gone")
	}
	if granted, _, _ := c.Fill(); granted != 1 {
		t.Error("the revoked verdict is still there")
	}
	if cached, _ := c.Grant(late, &grant{Entry{Tags: Tags{User: 3}, Moment: asked}}); cached {
		t.Error("an answer from before the revocations that were forgotten is cached")
	}
}
