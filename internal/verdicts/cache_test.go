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

// TestManyRevocations: when revocations are forgotten, verdicts that may have been revoked are dropped, an older answer
// is not cached, and verdicts in use stay.
func TestManyRevocations(t *testing.T) {
	c := New[*grant]()
	c.Resize(10)
	used, idle, revoked, late := Subject{Key: Key{1}}, Subject{Key: Key{2}}, Subject{Key: Key{3}}, Subject{Key: Key{4}}
	for user, s := range []Subject{used, idle, revoked} {
		c.Grant(s, &grant{Entry{Tags: Tags{User: uint64(user + 1)}, Moment: c.Begin()}})
	}
	asked := c.Begin()
	c.Revoke([]uint64{3})
	for i := range uint64(2 * maxRevocations) {
		c.Revoke([]uint64{10 + i})
		if n := len(c.revoked); n > maxRevocations {
			t.Fatalf("%d revocations are remembered", n)
		}
		if i%1000 == 0 {
			if g, _ := c.Lookup(used); g == nil {
				t.Fatalf("a verdict in use is gone after %d revocations", i)
			}
		}
	}
	for name, s := range map[string]Subject{"idle": idle, "revoked": revoked} {
		if g, _ := c.Lookup(s); g != nil {
			t.Errorf("the %s verdict is still there", name)
		}
	}
	if cached, _ := c.Grant(late, &grant{Entry{Tags: Tags{User: 4}, Moment: asked}}); cached {
		t.Error("an answer from before the revocations that were forgotten is cached")
	}
}

// TestWasGood: a credential was good until it is denied, also after a revocation; only as many are remembered as fit.
func TestWasGood(t *testing.T) {
	s := Subject{Key: Key{1}, Spelling: 1}
	fresh := func(c *Cache[*grant]) *grant {
		return &grant{Entry{Spelling: 1, Tags: Tags{User: 1}, Moment: c.Begin()}}
	}
	for _, test := range []struct {
		name string
		then func(c *Cache[*grant])
		want bool
	}{
		{"granted", func(*Cache[*grant]) {}, true},
		{"revoked", func(c *Cache[*grant]) { c.Revoke([]uint64{1}) }, true},
		{"revoked and looked up", func(c *Cache[*grant]) { c.Revoke([]uint64{1}); c.Lookup(s) }, true},
		{"everything revoked", func(c *Cache[*grant]) { c.Purge() }, true},
		{"everything revoked twice", func(c *Cache[*grant]) { c.Purge(); c.Purge() }, true},
		{"denied", func(c *Cache[*grant]) { c.Deny(s, fresh(c).Entry) }, false},
		{"revoked and denied", func(c *Cache[*grant]) { c.Purge(); c.Deny(s, fresh(c).Entry) }, false},
		{"the site is gone", func(c *Cache[*grant]) { c.Purge(); c.Forget(s, c.Begin()) }, false},
		{"many others were revoked since", func(c *Cache[*grant]) {
			c.Revoke([]uint64{1})
			c.Lookup(s)
			for i := range byte(3) {
				other := Subject{Key: Key{9, i}, Spelling: 1}
				c.Grant(other, fresh(c))
				c.Revoke([]uint64{1})
				c.Lookup(other)
			}
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := New[*grant]()
			c.Resize(2)
			c.Grant(s, fresh(c))
			test.then(c)
			if got := c.WasGood(s); got != test.want {
				t.Errorf("got %t", got)
			}
			if c.WasGood(Subject{Key: s.Key, Spelling: 2}) {
				t.Error("another spelling counts")
			}
		})
	}
}
