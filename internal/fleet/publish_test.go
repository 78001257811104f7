package fleet_test

import (
	"context"
	"testing"
	"time"

	"github.com/caddy-frappe/frappe-auth/frappe"
	"github.com/caddy-frappe/frappe-auth/internal/testutil"
)

// lateAnswer is a store whose answer to Append arrives after the new entry has been read, which happens.
type lateAnswer struct{ *testutil.StoreClient }

func (s lateAnswer) Append(ctx context.Context, data []byte, keep time.Duration) (frappe.Position, error) {
	at, err := s.StoreClient.Append(ctx, data, keep)
	time.Sleep(10 * time.Millisecond)
	return at, err
}

// TestPublishedLate: who publishes goes on using the store, whichever arrives first: the entry, or the answer to its writing.
func TestPublishedLate(t *testing.T) {
	testutil.Bubble(t, func(t *testing.T) {
		store := testutil.NewStore()
		a, b := join(t, store, secret, 0), join(t, store, secret, 0)
		detach := a.Attach(lateAnswer{a.client}, a.logger)
		defer detach()
		time.Sleep(5 * time.Second) // until both read through what is attached now
		b.put(t, "kept", time.Hour)
		b.put(t, "revoked", time.Hour)
		for range 3 {
			a.Revoke(revoked(7))
			if err := a.Publish(t.Context()); err != nil {
				t.Fatal(err)
			}
			if a.age("kept", 8) < 0 {
				t.Error("the store is not used after a revocation of something else")
			}
			if a.age("revoked", 7) >= 0 {
				t.Error("what was revoked is used")
			}
		}
	})
}
