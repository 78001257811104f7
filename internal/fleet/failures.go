package fleet

import (
	"context"
	"crypto/rand"
	"strconv"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
)

// Limit is how many failures a client may have in a window, at all Caddys together. Those of different limits are counted
// apart.
type Limit struct {
	Client string
	Max    int // positive
	Window time.Duration
}

func (l Limit) cost() time.Duration { return l.Window / time.Duration(l.Max) }

func (f *Fleet) limitName(l Limit) string {
	return f.nameOf("failures", f.Scope, l.Client, strconv.Itoa(l.Max), l.Window.String())
}

// Wait returns how long a client has to wait because of its failures. It is 0 if the store is away.
func (x *Exchange) Wait(l Limit) time.Duration {
	var debt time.Duration
	err := x.read(func(ctx context.Context, s frappe.Store) (err error) {
		debt, err = s.Charge(ctx, x.fleet.limitName(l), 0, l.Window)
		return err
	})
	if err != nil {
		return 0
	}
	return max(0, min(debt, l.Window)-(l.Window-l.cost()))
}

// Charge counts a failure against a client, unless another Caddy has counted it in this window: who sends the same bad credential
// to each of them is not guessing. credential is the name of its verdict; if it is empty, the failure counts in any case.
func (x *Exchange) Charge(l Limit, credential string) {
	if credential != "" {
		var first bool
		err := x.write(func(ctx context.Context, s frappe.Store) error {
			owner := rand.Text()
			holder, err := s.Lock(ctx, x.fleet.nameOf("failed", x.fleet.limitName(l), credential), owner, l.Window)
			first = holder == owner
			return err
		})
		if err != nil || !first {
			return
		}
	}
	_ = x.write(func(ctx context.Context, s frappe.Store) error {
		_, err := s.Charge(ctx, x.fleet.limitName(l), l.cost(), l.Window)
		return err
	})
}
