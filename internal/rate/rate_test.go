package rate

import (
	"fmt"
	"testing"
	"time"
)

func TestClientOf(t *testing.T) {
	for _, test := range []struct{ address, client string }{
		{"192.0.2.7", "192.0.2.7/32"},
		{"::ffff:192.0.2.7", "192.0.2.7/32"},
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
		{"fe80::1%eth0", "fe80::/64"},
		{"", "invalid Prefix"},
		{"@", "invalid Prefix"},
	} {
		if client := ClientOf(test.address).String(); client != test.client {
			t.Errorf("%q counts as %s, want %s", test.address, client, test.client)
		}
	}
}

// TestMaxClients: no flood of clients takes more memory than MaxClients.
func TestMaxClients(t *testing.T) {
	l, limit := New(), Limit{Max: 20, Window: time.Minute}
	for i := range 2 * MaxClients {
		l.Charge(ClientOf(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)), limit, 0)
	}
	if n := l.Clients(); n != MaxClients {
		t.Errorf("%d clients are remembered, want %d", n, MaxClients)
	}
}
